"""A primary as its replicas see it over a network, without the network: backups, log and slots."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Self

from bootledger.basebackup.manifest import DATA_NAME, MANIFEST_NAME, Chunk
from bootledger.basebackup.publishing import DEFAULT_CHUNK_BYTES
from bootledger.clock import Clock, now_ms
from bootledger.environment import DEFAULT_WAIT_S
from bootledger.errors import DivergedHistory, LogWindowLost, SlotInvalid, SnapshotLost
from bootledger.files import Files, translated
from bootledger.positions import check_u64
from bootledger.primary.backups import BackupInfo, BaseBackups
from bootledger.primary.place import Place
from bootledger.primary.retention import Facts, Retention, why_invalid
from bootledger.primary.slots import Slots
from bootledger.replica.database import Database
from bootledger.replica.ports import Change, Pause, go_on
from bootledger.replica.wire import Pinned, PinRequest, PrimaryInfo, Slot

__all__ = ["BackupInfo", "Primary", "Retention"]

_RATE_WINDOW_S = 60.0
_SAMPLE_EVERY_S = 1.0


class WriteRate:
    """How many changes a second were written over the last minute or so. Pure: time is passed in.

    Measured between the newest sample and the newest one that is a minute older; over less as long
    as there is none, over more if nobody looked in between.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def saw(self, lsn: int, now_s: float) -> None:
        """Take a sample, unless the last one was taken a moment ago."""
        if self._samples and now_s - self._samples[-1][0] < _SAMPLE_EVERY_S:
            return
        self._samples.append((now_s, lsn))
        while len(self._samples) > 2 and now_s - self._samples[1][0] >= _RATE_WINDOW_S:  # noqa: PLR2004
            self._samples.popleft()

    def per_s(self) -> float | None:
        """Return the rate, None before there are two samples."""
        if len(self._samples) < 2:  # noqa: PLR2004
            return None
        (then_s, then), *_, (now_s, now) = self._samples
        return max(0.0, (now - then) / (now_s - then_s))


class Primary:
    """What serves a database to its replicas. Thread-safe, blocking; several processes may.

    Every method raises `SourceUnavailable` if the database has left its place since it was opened.
    Call `enforce` again and again: it is what keeps the log from growing for ever.
    """

    def __init__(
        self,
        database: Database,
        backups: BaseBackups,
        slots: Slots,
        *,
        retention: Retention,
        clock: Clock,
    ) -> None:
        self._database = database
        self._backups = backups
        self._slots = slots
        self._retention = retention
        self._clock = clock
        self._opened_at_ms = clock()
        self._place = Place(database.path)
        self._rate = WriteRate()

    @classmethod
    def open(
        cls,
        path: Path,
        files: Files,
        *,
        retention: Retention | None = None,
        reuse_backups_s: float = 3600.0,
        chunk_bytes: int = DEFAULT_CHUNK_BYTES,
        wait_s: float = DEFAULT_WAIT_S,
        clock: Clock = now_ms,
    ) -> Self:
        """Open the primary in the directory `path`; another process may go on writing to it.

        `retention` is what `enforce` carries out. A base backup that is not older than
        `reuse_backups_s` is shared, if it can still be followed. `wait_s` is how long `pin` waits
        for another publication, and a write to the slots for another process.

        Raises what `Database.open` and `Slots.open` raise.
        """
        database = Database.open(path, files, name="primary")
        try:
            slots = Slots.open(database.path, files, clock=clock, wait_s=wait_s)
        except BaseException:
            database.close()
            raise
        backups = BaseBackups(
            database,
            files,
            wait_s=wait_s,
            chunk_bytes=chunk_bytes,
            reuse_s=reuse_backups_s,
            for_network=True,
            clock=clock,
        )
        return cls(database, backups, slots, retention=retention or Retention(), clock=clock)

    # --- looking ----------------------------------------------------------------------------

    def info(self) -> PrimaryInfo:
        """Return which database this is and where it stands."""
        identity = self._database.identity()
        last_lsn = self.last_lsn()
        data = self._database.path / DATA_NAME
        with translated(data):
            size_bytes = data.stat().st_size
        return PrimaryInfo(
            database_id=identity.database_id,
            timeline=identity.timeline,
            last_lsn=last_lsn,
            pruned_lsn=self._database.pruned_lsn(),
            size_bytes=size_bytes,
            log_bytes=self._database.log_bytes(),
            write_rate_per_s=self._rate.per_s(),
            slot_max_changes=self._retention.slot_max_changes,
            slot_max_bytes=self._retention.slot_max_bytes,
            slot_idle_ms=self._retention.slot_idle_ms,
        )

    def last_lsn(self) -> int:
        """Return the LSN of the newest change, 0 before the first."""
        self._place.check()
        lsn = self._database.last_lsn()
        self._rate.saw(lsn, time.monotonic())
        return lsn

    # --- base backups -----------------------------------------------------------------------

    def pin(
        self,
        request: PinRequest,
        pause: Pause = go_on,
        progress: Callable[[int, int], None] = lambda _done_bytes, _size_bytes: None,
    ) -> Pinned:
        """Publish or share a base backup for this intent and generation, held by a slot.

        The slot is durable before the first byte of the database is read, at the LSN then, and
        holds every change after the base backup's. Harmless when repeated: the base backup that
        exists is returned as long as the changes after it are there; else it is replaced.
        `progress` is told how many bytes are done, of how many; also of the publication by
        somebody else in this process that is waited for.

        Otherwise as `BaseBackups.pin`. Raises `InvalidValue` for a slot's name that is none, and
        what `hold_slot` raises.
        """
        self._place.check()
        if not self._backups.is_pinned(request.intent_id, request.generation):
            # A new bootstrap: what the replica had before does not count any more.
            self.hold_slot(request.slot, self.last_lsn())

        def hold(lsn: int) -> bool:
            try:
                self._hold(request.slot, lsn, at_least=True)
            except (LogWindowLost, DivergedHistory):
                return False
            return True

        pin = self._backups.pin(
            request.intent_id, request.generation, pause, hold=hold, progress=progress
        )
        self._slots.pins.add(pin.token, request.slot)
        return Pinned(**pin._asdict())

    def backup_file(self, token: str, name: str) -> Path:
        """Return where `data.mdb` or `manifest` of a base backup lies. Its replica was here.

        Raises `SnapshotLost` if there is no base backup of this token, or no such file in it.
        """
        self._place.check()
        if name not in (DATA_NAME, MANIFEST_NAME):
            raise SnapshotLost(f"a base backup has no file {name[:80]!r}")
        path = self._backups.path(token, name)
        if (slot := self._slots.pins.slot_of(token)) is not None:
            self._slots.touch(slot)
        return path

    def chunk_at(self, token: str, offset_bytes: int, length_bytes: int) -> Chunk | None:
        """Return the chunk that consists of exactly these bytes, None if none does.

        Raises `SnapshotLost` if there is no base backup of this token.
        """
        self._place.check()
        return self._backups.chunk_at(
            token, check_u64(offset_bytes, "offset_bytes"), check_u64(length_bytes, "length_bytes")
        )

    def release(self, token: str) -> None:
        """Delete a base backup if it is there; one that is shared stays with its other tokens."""
        self._place.check()
        self._backups.release(token)
        self._slots.pins.remove(token)

    def backups(self) -> list[BackupInfo]:
        """Return every base backup, the oldest first."""
        self._place.check()
        return self._backups.all()

    # --- the log and its slots --------------------------------------------------------------

    def changes(self, after_lsn: int, limit: int, slot: str | None) -> list[Change]:
        """Return changes after an LSN, as `Database.changes`; a slot has everything up to it.

        A slot that is missing or invalid is not in the way as long as the changes are there: it is
        made, or valid again, unless it would be invalidated at once.

        Raises `LogWindowLost` if the next change is no longer kept, and the `SlotInvalid` that says
        why if it is because the slot was invalidated; `DivergedHistory` if this database has not
        come as far as `after_lsn`.
        """
        self._place.check()
        try:
            found = self._database.changes(after_lsn, limit)
        except LogWindowLost as lost:
            if slot is not None:
                self._tell_why(slot, lost)
            raise
        if slot is not None:
            held = self._slots.acknowledge(slot, after_lsn)
            if held is None or held.invalid_because is not None:
                self._hold_again(slot, after_lsn, held)
        return found

    def hold_slot(self, name: str, lsn: int) -> Slot:
        """Hold the changes after `lsn` for a replica: make its slot, or make it valid again there.

        Durable when this returns. Raises `LogWindowLost` if they are no longer kept, and the
        `SlotInvalid` that says why if the slot was invalidated; `DivergedHistory` if this database
        has not come as far; otherwise as `Slots.hold`.
        """
        self._place.check()
        try:
            return self._hold(name, lsn, at_least=False)
        except LogWindowLost as lost:
            self._tell_why(name, lost)
            raise

    def drop_slot(self, name: str) -> None:
        """Remove a slot; nothing is held for that replica any more. Harmless when repeated."""
        self._place.check()
        self._slots.drop(name)

    def slots(self) -> list[Slot]:
        """Return every slot, by name."""
        self._place.check()
        return self._slots.all()

    def enforce(self) -> list[Slot]:
        """Carry out the retention, and return the slots that were invalidated by it just now.

        What was acknowledged is durable first. The log is pruned in bounded transactions, up to
        what the valid slots and `keep_changes` leave over; cut short, the next call goes on.
        """
        facts = self._facts()
        invalid = self._slots.invalidate(lambda slot: why_invalid(slot, self._retention, facts))
        keep = self._retention.keep_changes
        if keep is not None and facts.last_lsn - keep > facts.pruned_lsn:
            self._database.prune(self._slots.let_go(facts.last_lsn - keep))
        return invalid

    def close(self) -> None:
        """Write what is not written yet, and give everything back."""
        try:
            self._slots.close()
        finally:
            self._database.close()

    def _facts(self) -> Facts:
        last_lsn = self.last_lsn()
        return Facts(
            last_lsn=last_lsn,
            pruned_lsn=self._database.pruned_lsn(),
            log_bytes=self._database.log_bytes(),
            now_ms=self._clock(),
            watched_since_ms=self._opened_at_ms,
        )

    def _hold(self, name: str, lsn: int, *, at_least: bool) -> Slot:
        last_lsn = self._database.last_lsn()
        if check_u64(lsn, "lsn") > last_lsn:
            raise DivergedHistory(
                f"changes after LSN {lsn} were to be held, but the last LSN is {last_lsn}",
                hint="this database was put back to an older state than its replica has",
            )
        self._check_kept(lsn)
        slot = self._slots.hold(name, lsn, last_lsn=last_lsn, at_least=at_least)
        # An application that prunes does not ask: look again, now that everybody else does.
        try:
            self._check_kept(lsn)
        except LogWindowLost:
            facts = self._facts()
            self._slots.invalidate(
                lambda other: why_invalid(other, Retention(), facts) if other == slot else None
            )
            raise
        return slot

    def _check_kept(self, lsn: int) -> None:
        if lsn < (pruned_lsn := self._database.pruned_lsn()):
            raise LogWindowLost(
                f"changes after LSN {lsn} are needed, but those up to {pruned_lsn} are pruned",
                hint="start again from a new base backup",
            )

    def _hold_again(self, name: str, lsn: int, slot: Slot | None) -> None:
        facts = self._facts()
        again = Slot(name=name, acknowledged_lsn=lsn, created_at_ms=0, active_at_ms=facts.now_ms)
        if slot is None or why_invalid(again, self._retention, facts) is None:
            self.hold_slot(name, lsn)

    def _tell_why(self, name: str, lost: LogWindowLost) -> None:
        """Raise the reason why the slot no longer holds, if there is one."""
        slot = self._slots.get(name)
        if slot is not None and slot.invalid_because is not None:
            raise SlotInvalid(
                f"slot {name!r} is invalid: {slot.invalid_because}", hint=lost.hint
            ) from lost

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
