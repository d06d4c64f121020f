"""What the sources without a log have in common: a snapshot of one version, and then a newer one.

There is no change log, so whoever is behind gets a newer snapshot. What ends it: a source looks at
what it is copied from when it is asked for the first time, and at each pin, and in between it
stands still. A run that returns has everything that was there when it began.
"""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from bootledger.basebackup.manifest import Chunk, Header, Manifest
from bootledger.basebackup.publishing import DEFAULT_CHUNK_BYTES
from bootledger.errors import LogWindowLost, SnapshotLost, SourceUnavailable
from bootledger.positions import FIRST_TIMELINE, check_text
from bootledger.replica.ports import Change, Pause, Pin, Rejected, SourceIdentity, go_on, unnoticed
from bootledger.replica.readers import check_data_name
from bootledger.replica.sources.spool import Spool

_MOST_ATTEMPTS = 3


class SnapshotSource(ABC):
    """Keeps the promises of `bootledger.replica.ports`: `Source`, `ChecksChunks`, `HandsOver`.

    `name` is what the copy is called. `read_chunk` may be called from several threads at once.
    """

    def __init__(
        self,
        database_id: str,
        spool: Spool,
        name: str,
        *,
        chunk_bytes: int = DEFAULT_CHUNK_BYTES,
    ) -> None:
        self._identity = SourceIdentity(
            check_text(database_id, "source identity"), timeline=FIRST_TIMELINE
        )
        self._spool = spool
        self._name = check_data_name(name)
        self._chunk_bytes = chunk_bytes
        self._there = False
        self._seen_lsn: int | None = None
        self._served: Manifest | None = None
        self._serving = threading.Lock()

    # --- what a kind of source adds -----------------------------------------------------------

    @abstractmethod
    def _check_there(self) -> None:
        """Raise if there is nothing that could be copied. Leaves no trace."""

    @abstractmethod
    def _look(self) -> int:
        """Look at what is copied, and return the LSN of its version."""

    @abstractmethod
    def _make(self, lsn: int, pause: Pause) -> None:
        """Have the spool publish the snapshot of the version with that LSN.

        Raises `SnapshotLost` if it changes meanwhile.
        """

    @abstractmethod
    def _read(self, manifest: Manifest, offset_bytes: int, length_bytes: int) -> bytes:
        """Return that part of the snapshot. Raises `SnapshotLost` if it cannot be had any more."""

    def _usable(self, manifest: Manifest) -> bool:
        """Return whether a snapshot that was published before can still be read."""
        return True

    # --- the port -----------------------------------------------------------------------------

    def identity(self) -> SourceIdentity:
        """Return which source this is: where it lies, or what the caller called it.

        The first call looks whether there is something to copy, and raises if there is not.
        """
        if not self._there:
            self._check_there()
            self._there = True
        return self._identity

    def last_lsn(self) -> int:
        """Return the LSN of the version that was there at the first call, or at the last pin."""
        if self._seen_lsn is None:
            self._seen_lsn = self._look()
        return self._seen_lsn

    def pin(self, intent_id: str, generation: int, pause: Pause = go_on) -> Pin:
        """Return the pin of a snapshot of what is there now; it is made if need be.

        What a call that died had done already is not done again. If the source changes meanwhile,
        it begins anew with what is there then, a few times. Raises `SourceUnavailable` after that,
        what the kind of source says, and what writing to the spool raises.
        """
        for _ in range(_MOST_ATTEMPTS):
            with contextlib.suppress(SnapshotLost):  # changed while it was read: look again
                manifest = self._made(pause)
                break
        else:
            raise SourceUnavailable(
                f"{self._name} changed {_MOST_ATTEMPTS} times while it was read",
                hint="copy something that rests: a snapshot of the file system, say",
            )
        return Pin(
            token=_token(manifest),
            timeline=manifest.timeline,
            lsn=manifest.checkpoint_lsn,
            size_bytes=manifest.size_bytes,
            manifest_size_bytes=self._spool.manifest_size_bytes(),
            manifest_digest=manifest.digest,
        )

    def _made(self, pause: Pause) -> Manifest:
        lsn = self._seen_lsn = self._look()
        manifest = self._manifest()
        if manifest is None or manifest.checkpoint_lsn != lsn or not self._usable(manifest):
            self._let_go()
            self._make(lsn, pause)
            manifest = self._manifest()
        if manifest is None:
            raise SourceUnavailable(f"{self._spool.path} was changed by somebody else")
        return manifest

    def read_manifest(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Return that part of the manifest. Raises `SnapshotLost` if the spool has another one."""
        self._pinned(token)
        return self._spool.read_manifest(offset_bytes, length_bytes)

    def read_chunk(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Return that part of the snapshot.

        Raises `SnapshotLost` if the spool has another one, or if what is copied has changed.
        """
        return self._read(self._pinned(token), offset_bytes, length_bytes)

    def fetch_chunk(self, token: str, chunk: Chunk, rejected: Rejected = unnoticed) -> bytes:
        """Return a chunk, compared: as `bootledger.replica.ports.ChecksChunks`.

        Raises `SnapshotLost` as `read_chunk`, and if it is not what it was when it was pinned: then
        what is copied changed without looking different.
        """
        data = self.read_chunk(token, chunk.offset_bytes, chunk.length_bytes)
        if (reason := chunk.objection(data)) is None:
            return data
        rejected(self._identity.database_id, chunk, reason)
        with self._serving:
            self._spool.distrust()
            self._spool.unpublish()
        raise SnapshotLost(f"{self._name} changed at byte {chunk.offset_bytes}: {reason}")

    def hand_over(self, token: str, path: Path) -> None:
        """Let the spool's data become the copy: as `bootledger.replica.ports.HandsOver`."""
        self._pinned(token)
        self._spool.hand_over(path)

    def changes(self, after_lsn: int, limit: int) -> Sequence[Change]:
        """Return nothing: there is no log. Raises `LogWindowLost` if there is a newer version."""
        if after_lsn >= self.last_lsn():
            return ()
        raise LogWindowLost(f"{self._name} has changed, and there is no log that could be followed")

    def release(self, token: str) -> None:
        """Remove the snapshot from the spool. Harmless when repeated."""
        manifest = self._manifest()
        if manifest is not None and _token(manifest) == token:
            self._let_go()
            self._spool.clear()

    def close(self) -> None:
        """Give the spool back. What it holds stays."""
        self._let_go()
        self._spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _header(self, lsn: int, size_bytes: int) -> Header:
        """Return what the snapshot of a version is, apart from its bytes."""
        return Header(
            source_identity=self._identity.database_id,
            timeline=self._identity.timeline,
            start_lsn=lsn,
            checkpoint_lsn=lsn,
            path=self._name,
            size_bytes=size_bytes,
            chunk_bytes=self._chunk_bytes,
            chunk_count=-(-size_bytes // self._chunk_bytes),
        )

    def _manifest(self) -> Manifest | None:
        with self._serving:
            if self._served is None:
                self._served = self._spool.published()
            return self._served

    def _pinned(self, token: str) -> Manifest:
        manifest = self._manifest()
        if manifest is None or _token(manifest) != token:
            raise SnapshotLost(f"{self._spool.path} does not hold snapshot {token}")
        return manifest

    def _let_go(self) -> None:
        with self._serving:
            if self._served is not None:
                self._served.close()
                self._served = None


def _token(manifest: Manifest) -> str:
    """Return the name of a snapshot: from what it is, so that it is the same in any process."""
    return f"{manifest.checkpoint_lsn}-{manifest.digest[:16]}"
