"""A file by its path, on this machine or a mounted file system, as a `Source`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Self

from bootledger.basebackup.manifest import Chunk, Manifest
from bootledger.basebackup.publishing import DEFAULT_CHUNK_BYTES
from bootledger.errors import SnapshotLost, SourceUnavailable
from bootledger.files import Files
from bootledger.replica.ports import Pause
from bootledger.replica.sources.looks import SETTLE_S, look, looks_of, stat_file, stat_filled
from bootledger.replica.sources.snapshots import SnapshotSource
from bootledger.replica.sources.spool import Spool


class FileSource(SnapshotSource):
    """One file, as it is: a snapshot without a log. Nothing is written where it lies.

    `pin` reads it once and writes its manifest into the spool; the chunks are then read from the
    file itself, each checked against that manifest. A file that looks different (inode, size or
    times), or holds other bytes, is `SnapshotLost`: a newer version is pinned, of which only what
    the copy does not have is copied.
    """

    def __init__(
        self,
        path: Path,
        spool: Path,
        files: Files,
        *,
        name: str | None = None,
        identity: str | None = None,
        chunk_bytes: int = DEFAULT_CHUNK_BYTES,
        settle_s: float = SETTLE_S,
    ) -> None:
        """Make a source of the file at `path`, which may be a link; nothing is opened yet.

        `spool` is a directory on the replica's side, one for each target, made in an existing
        parent. `name` is what the copy is called, `identity` which source this is: without it, the
        absolute path. What was written less than `settle_s` ago may look the same as what was
        written before.
        """
        self._path = Path(os.path.abspath(path))  # noqa: PTH100 - a link is not to be followed
        self._settle_s = settle_s
        super().__init__(
            identity or f"file:{self._path}",
            Spool(spool, files),
            name or self._path.name,
            chunk_bytes=chunk_bytes,
        )

    def _check_there(self) -> None:
        stat_filled(self._path)

    def _look(self) -> int:
        looks, settled = look(self._path, settle_s=self._settle_s)
        return self._spool.observe(looks, settled=settled)

    def _make(self, lsn: int, pause: Pause) -> None:
        header = self._header(lsn, stat_filled(self._path).st_size)
        self._spool.unpublish()
        with self._spool.sums(header) as sums, _Opened(self._path) as file:
            for ordinal in sums.missing():
                pause()
                data = file.read(*sums.extent(ordinal), self._check)
                sums.put(Chunk.of(ordinal, sums.extent(ordinal)[0], data))
            sums.sync()
            self._spool.publish(header, sums.chunks())

    def _read(self, manifest: Manifest, offset_bytes: int, length_bytes: int) -> bytes:
        version = self._spool.version()
        if version is None or version.lsn != manifest.checkpoint_lsn:
            raise SnapshotLost(f"{self._path} has changed since it was pinned")
        with _Opened(self._path) as file:
            return file.read(offset_bytes, length_bytes, self._check)

    def _check(self, found: os.stat_result) -> None:
        version = self._spool.version()
        if version is None or version.fingerprint != looks_of(found):
            raise SnapshotLost(f"{self._path} was written to while it was copied")


class _Opened:
    """The file, opened to be read."""

    def __init__(self, path: Path) -> None:
        stat_file(path)  # opening something else than a file may never return
        self._path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise SourceUnavailable(f"{path} cannot be read: {error}") from error

    def read(
        self, offset_bytes: int, length_bytes: int, check: Callable[[os.stat_result], None]
    ) -> bytes:
        """Return that part of the file; `check` is given its status afterwards."""
        try:
            data = os.pread(self._fd, length_bytes, offset_bytes)
            check(os.fstat(self._fd))
        except OSError as error:
            raise SourceUnavailable(f"{self._path} cannot be read: {error}") from error
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
