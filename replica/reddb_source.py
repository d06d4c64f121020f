"""A RedDB primary as a `Source`: its base backup feeds the ordinary loop.

RedDB answers one question: what follows this offset of the base backup with this token. The answer
is a payload; how the question travels is the caller's business. `pin` downloads until everything is
in the spool, checks the whole, and publishes it under our own manifest, from which the loop copies
like from any other source. The download can be interrupted anywhere: what is in the spool is found
by looking, and at most what was in flight is asked for again.

A log is optional, because RedDB's payloads do not say what its records mean: the caller does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeAlias

from bootledger.basebackup.manifest import Manifest
from bootledger.basebackup.publishing import DEFAULT_CHUNK_BYTES
from bootledger.basebackup.reddb_errors import InvalidOperation
from bootledger.basebackup.reddb_layout import ReplicaCatchupMode
from bootledger.basebackup.reddb_manifest import PrimaryReplicaBaseBackupManifest
from bootledger.basebackup.reddb_spool import Spool
from bootledger.basebackup.reddb_stream import WalStreamChunk, WalStreamOpen
from bootledger.basebackup.reddb_wire import BaseBackupChunk, BaseBackupRequest
from bootledger.errors import CorruptRecord, LogWindowLost, SnapshotLost, SourceUnavailable
from bootledger.files import Files
from bootledger.replica.ports import Change, Pause, Pin, SourceIdentity, go_on
from bootledger.replica.reddb_download import Download, available_manifest

AskSnapshot: TypeAlias = Callable[[BaseBackupRequest], str | bytes]
"""Asks the primary for `replication_snapshot` and returns the payload.

Raises `SourceUnavailable` (or any `OSError`) if it cannot be had, `SnapshotLost` if the primary no
longer has the base backup of that token.
"""
AskLog: TypeAlias = Callable[[WalStreamOpen], str | bytes]
"""Asks the primary for a piece of its log and returns the payload. Raises as `AskSnapshot`."""
ReadRecord: TypeAlias = Callable[[bytes], tuple[bytes, bytes | None]]
"""Returns the key and the value (None: deleted) that a record of the log changes."""


@dataclass(frozen=True)
class RedDbLog:
    """The primary's change log: how to ask for it, and what its records mean.

    RedDB's payloads carry records as bytes that only the database understands.
    """

    ask: AskLog
    read_record: ReadRecord


class RedDbSource:
    """Keeps the promise of `bootledger.replica.ports.Source`. For one thread.

    Without a `log` the primary can be copied but not followed: `last_lsn` is the LSN of its base
    backup, and whoever is behind that needs a newer one.
    """

    def __init__(
        self,
        ask: AskSnapshot,
        identity: SourceIdentity,
        spool: Spool,
        *,
        replica_id: str | None = None,
        max_bytes: int = DEFAULT_CHUNK_BYTES,
        log: RedDbLog | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ask_snapshot = ask
        self._identity = identity
        self._spool = spool
        self._replica_id = replica_id
        self._max_bytes = max_bytes
        self._log = log
        self._sleep = sleep
        self._first_answer: BaseBackupChunk | None = None
        self._seen_lsn: int | None = None
        self._served: str | None = None
        self._lost_lsn: int | None = None
        """From where the log did not go on, if that was asked."""

    @classmethod
    def open(
        cls,
        ask: AskSnapshot,
        identity: SourceIdentity,
        spool: Path,
        files: Files,
        *,
        replica_id: str | None = None,
        max_bytes: int = DEFAULT_CHUNK_BYTES,
        log: RedDbLog | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Self:
        """Open a source that downloads into the directory `spool`, one for each target.

        `identity` is the caller's word for which database the primary holds: RedDB has none.
        `max_bytes` is how much is asked for at once, `sleep` what waits between answers without
        anything new. Raises as `Spool.open`.
        """
        return cls(
            ask,
            identity,
            Spool.open(spool, files),
            replica_id=replica_id,
            max_bytes=max_bytes,
            log=log,
            sleep=sleep,
        )

    def identity(self) -> SourceIdentity:
        """Return which database this is, as the caller said."""
        return self._identity

    def last_lsn(self) -> int:
        """Return where the primary's log stands, or without a log: its base backup."""
        if self._log is not None:
            return self._read_log(self._log, self._seen_lsn or 0, 1).current_lsn
        if self._seen_lsn is None:
            manifest = self._spool.manifest
            if manifest is None:
                # The answer brings the first chunk as well: `pin` takes it from here.
                self._first_answer = self._ask(0, None)
                encoded = available_manifest(self._first_answer)
                manifest = PrimaryReplicaBaseBackupManifest.decode(encoded)
            self._seen_lsn = manifest.checkpoint_lsn
        return self._seen_lsn

    # --- the base backup ----------------------------------------------------------------------

    def pin(self, intent_id: str, generation: int, pause: Pause = go_on) -> Pin:
        """Download what is missing of the primary's base backup, and publish it.

        `pause` is called before each request, and before each part and chunk that is read again.
        One base backup serves every intent and generation until it is released. What arrived stays
        whatever happens, and the next call goes on from there.

        Raises what `Download.run` raises, and `InvalidOperation` if the whole is not what RedDB's
        manifest says, or is empty.
        """
        self._give_up_what_is_too_old()
        manifest = self._published(pause)
        if manifest is None:
            answer, self._first_answer = self._first_answer, None
            timeline = self._identity.timeline
            Download(
                self._ask, self._spool, timeline, pause, self._sleep, after_lsn=self._lost_lsn
            ).run(answer)
            manifest = self._publish(pause)
        with manifest:
            self._served = _token(manifest)
            self._seen_lsn = manifest.checkpoint_lsn
            return Pin(
                token=self._served,
                timeline=manifest.timeline,
                lsn=manifest.checkpoint_lsn,
                size_bytes=manifest.size_bytes,
                manifest_size_bytes=self._spool.published_path.stat().st_size,
                manifest_digest=manifest.digest,
            )

    def read_manifest(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Return that part of our manifest. Raises `SnapshotLost` if it is not in the spool."""
        self._check_served(token)
        return self._spool.read_published(offset_bytes, length_bytes)

    def read_chunk(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Return that part of the base backup; otherwise as `read_manifest`."""
        self._check_served(token)
        return self._spool.read(offset_bytes, length_bytes)

    def release(self, token: str) -> None:
        """Remove the base backup from the spool if it is there, or what a crash left of it."""
        manifest = self._spool.published()
        if manifest is not None:
            with manifest:
                is_it = _token(manifest) == token
        else:
            # It is the first to go, or never came to be: the origin still tells what this is.
            known = self._spool.manifest
            is_it = known is not None and token.startswith(_stem(known))
        if is_it:
            self._spool.remove()
            self._served = None

    def _check_served(self, token: str) -> None:
        if self._served is None and (manifest := self._published()) is not None:
            with manifest:
                self._served = _token(manifest)
        if token != self._served:
            raise SnapshotLost(f"the spool does not hold base backup {token}")

    def _give_up_what_is_too_old(self) -> None:
        known, lost_lsn = self._spool.manifest, self._lost_lsn
        if known is not None and lost_lsn is not None and known.checkpoint_lsn <= lost_lsn:
            self._spool.ask_anew()

    def _published(self, pause: Pause = go_on) -> Manifest | None:
        """Return what is published, if each of its parts was read in this process and is sound."""
        manifest = self._spool.published()
        if manifest is None or self._served is not None:
            return manifest
        try:
            whole = not self._spool.missing(pause)
        except BaseException:  # an interrupt, too; it goes on
            manifest.close()
            raise
        if whole:
            return manifest
        manifest.close()
        self._spool.unpublish()
        return None

    def _publish(self, pause: Pause) -> Manifest:
        try:
            return self._spool.publish(self._identity.database_id, pause)
        except InvalidOperation:
            # Nothing that is here can mend it: the primary may have another one by now.
            self._spool.ask_anew()
            raise

    def _ask(self, offset: int, token: str | None) -> BaseBackupChunk:
        request = BaseBackupRequest(offset, token, self._max_bytes, self._replica_id)
        try:
            payload = self._ask_snapshot(request)
        except OSError as error:
            raise SourceUnavailable(f"the primary cannot be asked: {error}") from error
        return BaseBackupChunk.decode(payload)

    # --- the log ------------------------------------------------------------------------------

    def changes(self, after_lsn: int, limit: int) -> Sequence[Change]:
        """Return changes after an LSN, as the log's payloads carry them.

        Raises `LogWindowLost` if the primary says that the log does not reach back so far or is not
        enough, or if there is no log and the base backup is newer; `CorruptRecord` if records do
        not come in order. Gaps between them are left for the applier to refuse.
        """
        if self._log is None:
            if after_lsn >= self.last_lsn():
                return ()
            self._lost_lsn = after_lsn
            raise LogWindowLost("this primary has no log that could be followed")
        piece = self._read_log(self._log, after_lsn, limit)
        if reason := _not_enough(piece, after_lsn):
            self._lost_lsn = after_lsn
            raise LogWindowLost(reason)
        last_lsn = after_lsn
        for record in piece.records:
            if record.lsn <= last_lsn:
                raise CorruptRecord(f"LSN {record.lsn} follows {last_lsn} in the primary's log")
            last_lsn = record.lsn
        return [Change(record.lsn, *self._log.read_record(record.data)) for record in piece.records]

    def _read_log(self, log: RedDbLog, since_lsn: int, limit: int) -> WalStreamChunk:
        request = WalStreamOpen(since_lsn, limit, self._replica_id)
        try:
            return WalStreamChunk.decode(log.ask(request))
        except OSError as error:
            raise SourceUnavailable(f"the primary cannot be asked: {error}") from error

    def close(self) -> None:
        """Give the spool up. What was downloaded stays."""
        self._spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _token(manifest: Manifest) -> str:
    """Return the name of a base backup: from what it is, so that it is the same in any process."""
    return f"{_stem(manifest)}{manifest.digest[:16]}"


def _stem(manifest: Manifest | PrimaryReplicaBaseBackupManifest) -> str:
    """Return what the name of a base backup begins with, which RedDB's manifest tells as well."""
    return f"reddb-{manifest.timeline}-{manifest.checkpoint_lsn}-"


def _not_enough(piece: WalStreamChunk, after_lsn: int) -> str | None:
    """Return why the log cannot bring a replica on from an LSN, None if it can."""
    if piece.needs_rebootstrap:
        return f"the primary asks for a new base backup: {piece.invalidation_reason or 'no reason'}"
    if piece.catchup is not None and piece.catchup.mode is not ReplicaCatchupMode.WAL_ONLY:
        return f"the primary's way to catch up is {piece.catchup.mode}"
    oldest_lsn = piece.oldest_available_lsn
    if oldest_lsn is not None and oldest_lsn > after_lsn + 1:
        return f"the primary's log begins with LSN {oldest_lsn}, {after_lsn + 1} comes next"
    return None
