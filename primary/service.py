"""A primary as its replicas see it over a network, without the network: backups, log and slots."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Self

from bootledger.basebackup.manifest import DATA_NAME, MANIFEST_NAME, Chunk
from bootledger.basebackup.publishing import DEFAULT_CHUNK_BYTES
from bootledger.clock import Clock, now_ms
from bootledger.environment import DEFAULT_WAIT_S
from bootledger.errors import LogWindowLost, SnapshotLost
from bootledger.files import Files, translated
from bootledger.positions import check_u64
from bootledger.primary.backups import BackupInfo, BaseBackups
from bootledger.primary.hooks import ignore
from bootledger.primary.pins import is_earlier, superseded
from bootledger.primary.place import Place
from bootledger.primary.publication import Progress
from bootledger.primary.retention import Keeper, Retention
from bootledger.primary.slots import Slots
from bootledger.primary.tokens import is_for_network
from bootledger.primary.write_rate import WriteRate
from bootledger.replica.database import Database
from bootledger.replica.histories import check_history
from bootledger.replica.ports import Change, LastChange, Pause, go_on
from bootledger.replica.wire import Pinned, PinRequest, PrimaryInfo, Slot

__all__ = ["BackupInfo", "Primary", "Retention"]

DEFAULT_MAX_BACKUPS = 64
"""How many base backups exist at once, unless another limit is given."""


class Primary:
    """What serves a database to its replicas. Thread-safe, blocking; several processes may.

    Every method raises `SourceUnavailable` if the database has left its place since it was opened.
    Call `enforce` every few seconds: it is what makes acknowledgements durable for certain, and
    keeps the log from growing for ever.
    """

    def __init__(
        self, database: Database, backups: BaseBackups, slots: Slots, keeper: Keeper
    ) -> None:
        self._database = database
        self._backups = backups
        self._slots = slots
        self._keeper = keeper
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
        max_backups: int | None = DEFAULT_MAX_BACKUPS,
        chunk_bytes: int = DEFAULT_CHUNK_BYTES,
        wait_s: float = DEFAULT_WAIT_S,
        clock: Clock = now_ms,
    ) -> Self:
        """Open the primary in the directory `path`; another process may go on writing to it.

        `retention` is what `enforce` carries out, no limits unless given. A base backup that is not
        older than `reuse_backups_s` is shared, if it can be followed with room to spare; no more
        than `max_backups` different ones exist at once. `wait_s` is how long `pin` waits for
        another publication, and a write to the slots for another process.

        Raises what `Database.open` and `Slots.open` raise.
        """
        database = Database.open(path, files, name="primary")
        try:
            slots = Slots.open(database.path, files, clock=clock, wait_s=wait_s)
        except BaseException:  # an interrupt, too; it goes on
            database.close()
            raise
        backups = BaseBackups(
            database,
            files,
            wait_s=wait_s,
            chunk_bytes=chunk_bytes,
            reuse_s=reuse_backups_s,
            for_network=True,
            most=max_backups,
            clock=clock,
        )
        return cls(
            database, backups, slots, Keeper(database, slots, retention or Retention(), clock=clock)
        )

    # --- looking ----------------------------------------------------------------------------

    def info(self, slot: str | None = None) -> PrimaryInfo:
        """Return which database this is and where it stands; the replica of `slot` was here."""
        self.last_lsn()
        if slot is not None:
            self._slots.touch(slot)
        identity = self._database.identity()
        facts, retention = self._keeper.facts(), self._keeper.retention
        data = self._database.path / DATA_NAME
        with translated(data):
            size_bytes = data.stat().st_size
        return PrimaryInfo(
            database_id=identity.database_id,
            timeline=identity.timeline,
            last_lsn=facts.last_lsn,
            pruned_lsn=facts.pruned_lsn,
            size_bytes=size_bytes,
            log_bytes=facts.log_bytes,
            write_rate_per_s=self._rate.per_s(),
            slot_max_changes=retention.slot_max_changes,
            slot_max_bytes=retention.slot_max_bytes,
            slot_idle_ms=retention.slot_idle_ms,
        )

    def last_lsn(self) -> int:
        """Return the LSN of the newest change, 0 before the first."""
        self._place.check()
        lsn = self._database.last_lsn()
        self._rate.saw(lsn, time.monotonic())
        return lsn

    # --- base backups -----------------------------------------------------------------------

    def pin(self, request: PinRequest, pause: Pause = go_on, progress: Progress = ignore) -> Pinned:
        """Publish or share a base backup for this intent and generation, held by a slot.

        The slot is durable before the first byte of the database is read, at the LSN then, and
        holds every change after the base backup's. A slot is for one replica: its base backups of
        earlier generations of the intent are released, and of others all but the newest
        (`bootledger.primary.pins`). Harmless when repeated: the base backup that exists is returned
        as long as the changes after it are there; else it is replaced, under another token.
        `progress` is told how many bytes are done, of how many; also of a publication by another
        thread that is waited for. Otherwise as `BaseBackups.pin` and `Slots.hold`.
        """
        self._place.check()
        slot, intent_id, generation = request.slot, request.intent_id, request.generation
        keeper = self._keeper
        if not self._backups.is_pinned(intent_id, generation):
            # A new bootstrap: what the replica had before does not count any more.
            keeper.hold_newest(slot)

        def pausing() -> None:
            pause()
            self._slots.touch(slot)

        pin = self._backups.pin(
            intent_id,
            generation,
            pausing,
            hold=lambda lsn: keeper.holds(slot, lsn),
            share=lambda lsn: keeper.has_room(lsn) and keeper.holds(slot, lsn),
            given=lambda token: self._slots.pins.add(token, slot),
            gives_way=lambda token: (
                is_earlier(token, intent_id, generation) and self._slots.pins.slot_of(token) == slot
            ),
            progress=progress,
        )
        self._slots.pins.add(pin.token, slot)  # it may have been for another slot
        pins = self._slots.pins.all()
        others = [token for token in self._backups.by_age() if pins.get(token) == slot]
        for token in superseded(pin.token, others):
            self.release(token)
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

    def changes(
        self, after_lsn: int, limit: int, slot: str | None, *, after_digest: str | None = None
    ) -> list[Change]:
        """Return changes after an LSN, as `Database.changes`; `slot` has everything up to there.

        `after_digest` is the digest of the change at `after_lsn` that the replica has. It is not
        compared if that change is no longer kept.

        A slot that is missing or invalid is not in the way of changes that are there: it is made,
        or made valid again, unless it is beyond a limit.

        Raises `LogWindowLost` if the next change is no longer kept, the `SlotInvalid` that says why
        if the slot was invalidated; `DivergedHistory` if this database has not come as far as
        `after_lsn`, or has another change there.
        """
        self._place.check()
        try:
            found = self._database.changes(after_lsn, limit)
        except LogWindowLost as lost:
            raise (lost if slot is None else self._keeper.why_lost(slot, lost)) from None
        if after_digest is not None and after_lsn:
            check_history(LastChange(after_lsn, after_digest), self._database)
        if slot is not None:
            self._keeper.acknowledge(slot, after_lsn)
        return found

    def touch(self, slot: str) -> None:
        """Note that the replica of `slot` is there; nothing is made or made valid by that."""
        self._place.check()
        self._slots.touch(slot)

    def hold_slot(self, name: str, lsn: int) -> Slot:
        """Hold the changes after `lsn` for a replica, which has it: as `Keeper.hold`."""
        self._place.check()
        return self._keeper.hold(name, lsn)

    def drop_slot(self, name: str) -> None:
        """Remove a slot and its base backups: that replica is gone. Harmless when repeated."""
        self._place.check()
        self._slots.drop(name)
        for token, slot in self._slots.pins.all().items():
            if slot == name:
                self.release(token)

    def slots(self) -> list[Slot]:
        """Return every slot, by name."""
        self._place.check()
        return self._slots.all()

    def enforce(self) -> list[Slot]:
        """Carry out the retention, and return the slots that were invalidated just now.

        Base backups are deleted once the changes after them are pruned: nobody could follow them.
        One that is being copied is none of these, for its slot holds those changes. So is what
        publications that died left. Otherwise as `Keeper.enforce`.
        """
        self.last_lsn()
        invalid = self._keeper.enforce()
        pins = self._slots.pins.all()
        settled = self._backups.wipe()  # else a pin may be of what is being published
        pruned_lsn, found = self._database.pruned_lsn(), self._backups.all()
        for backup in found:
            if backup.lsn < pruned_lsn and is_for_network(backup.token):
                self.release(backup.token)
        if settled:
            for token in pins.keys() - {backup.token for backup in found}:
                self._slots.pins.remove(token)
        return invalid

    def close(self) -> None:
        """Write what is not written yet, and give everything back."""
        try:
            self._slots.close()
        finally:
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
