"""A primary with slots whose time is played: copying and applying take it, and writes come in it.

The database, its log, its slots and what is pruned are real; only seconds are not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
from replicas import CHUNK_BYTES, NODE, assert_equal, make_primary, quiet

from bootledger.basebackup.manifest import DATA_NAME, MANIFEST_NAME
from bootledger.files import Files
from bootledger.primary.service import Primary, Retention
from bootledger.replica.database import Database
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.loop import Outcome, Replication
from bootledger.replica.observer import Observer
from bootledger.replica.ports import Change, Pause, Pin, SourceIdentity, go_on
from bootledger.replica.settings import Settings, never
from bootledger.replica.target import Target
from bootledger.replica.wire import PinRequest, PrimaryInfo


class PlayedSource:
    """Keeps the promise of `Source`, at these rates; `now_s` is what time it is."""

    def __init__(
        self,
        path: Path,
        *,
        copy_bytes_per_s: float = 20_480,
        write_changes_per_s: float = 100,
        apply_changes_per_s: float = 1000,
        slot_max_changes: int | None = None,
        tells_write_rate: bool = False,
    ) -> None:
        if not path.exists():
            make_primary(path, records=2000, value_bytes=100)
        self.path = path
        self.now_s = 0.0
        self.rates = (copy_bytes_per_s, write_changes_per_s, apply_changes_per_s)
        self._writer = Database.open(path, Files(), name="primary")
        self._began_at_lsn = self._writer.last_lsn()
        self._tells_write_rate = tells_write_rate
        retention = Retention(keep_changes=0, slot_max_changes=slot_max_changes)
        self.primary = Primary.open(path, Files(), retention=retention, chunk_bytes=CHUNK_BYTES)

    def pass_s(self, seconds: float) -> None:
        """Let time pass: writes come, and the source enforces its limits."""
        self.now_s += seconds
        due = self._began_at_lsn + int(self.now_s * self.rates[1]) - self._writer.last_lsn()
        self._writer.write([(b"new-%d" % number, b"x") for number in range(due)])
        self.primary.enforce()

    def info(self) -> PrimaryInfo:
        rate = self.rates[1] if self._tells_write_rate else None
        return msgspec.structs.replace(self.primary.info(), write_rate_per_s=rate)

    def identity(self) -> SourceIdentity:
        return self.primary.info().identity

    def last_lsn(self) -> int:
        return self.primary.last_lsn()

    def pin(self, intent_id: str, generation: int, pause: Pause = go_on) -> Pin:
        request = PinRequest(intent_id=intent_id, generation=generation, slot=NODE)
        return self.primary.pin(request, pause).pin

    def read_manifest(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        return self._read(token, MANIFEST_NAME, offset_bytes, length_bytes)

    def read_chunk(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        self.pass_s(length_bytes / self.rates[0])
        return self._read(token, DATA_NAME, offset_bytes, length_bytes)

    def _read(self, token: str, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        fd = os.open(self.primary.backup_file(token, name), os.O_RDONLY)
        try:
            return os.pread(fd, length_bytes, offset_bytes)
        finally:
            os.close(fd)

    def changes(self, after_lsn: int, limit: int) -> Sequence[Change]:
        found = self.primary.changes(after_lsn, limit, NODE)
        self.pass_s(len(found) / self.rates[2])
        return found

    def release(self, token: str) -> None:
        self.primary.release(token)

    def close(self) -> None:
        self.primary.close()
        self._writer.close()


def assert_ends_equal(source: PlayedSource, target: Path) -> None:
    """Assert that the replica is what the primary is, once nobody writes any more."""
    source.rates = (source.rates[0], 0, source.rates[2])
    replicate_played(source, target, Observer())
    assert_equal(source.path, target)


def replicate_played(
    source: PlayedSource, target: Path, observer: Observer, stop: object = never
) -> Outcome:
    """Bring the target up to date with it, in its time."""
    files = Files()
    assert callable(stop)
    settings = Settings(
        batch_changes=50, lag_changes=50, stop=stop, clock=lambda: int(source.now_s * 1000)
    )
    with (
        Target.open(
            target, files, source_database_id=source.identity().database_id, node_id=NODE
        ) as opened,
        IntentLog.open(opened.path / "ledger", files=files, sink=quiet) as log,
    ):
        applier = partial(Database.open, files=files, name="applier")
        return Replication(
            NODE, log, source, opened, applier, files=files, settings=settings, observer=observer
        ).run()
