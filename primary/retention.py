"""How long the change log is kept for a replica that does not come, and why no longer.

First, slots beyond a limit are invalidated; then the log is pruned up to what the valid ones, and
`keep_changes`, leave over. What is decided is decided by the slots (`bootledger.primary.slots`), so
it does not matter who prunes when: a slot that was held is in time for every later pruning, and one
that would be too late for a pruning that was decided is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bootledger.clock import Clock
from bootledger.errors import DivergedHistory, InvalidValue, LogWindowLost, SlotInvalid
from bootledger.files import Files
from bootledger.positions import check_u64
from bootledger.primary.slots import SLOTS_NAME, Slots
from bootledger.replica.database import Database
from bootledger.replica.wire import Slot

PRUNE_AT_ONCE = 1_000_000
"""How many changes one enforcement prunes at most: the next one goes on."""


@dataclass(frozen=True, kw_only=True)
class Retention:
    """What is kept; None is no such limit. Raises `InvalidValue` for a limit that is none.

    With `keep_changes` the log is pruned so that at least the newest so many changes stay, and the
    last one that each replica has; without, it is never pruned. A slot becomes invalid if it holds
    more than `slot_max_changes` changes or `slot_max_bytes` of the log, or if its replica was not
    heard of for `slot_idle_ms`. How many bytes a slot holds is an estimate: its share of the
    changes in the log, times the size of the log's pages on disk.
    """

    keep_changes: int | None = None
    slot_max_changes: int | None = None
    slot_max_bytes: int | None = None
    slot_idle_ms: int | None = None

    def __post_init__(self) -> None:
        """Check all limits."""
        for name, limit in vars(self).items():
            if limit is not None:
                check_u64(limit, name)
        if self.slot_idle_ms == 0:
            raise InvalidValue("slot_idle_ms must be at least 1: no replica is there all the time")


class Facts(NamedTuple):
    """What is true of the log at one moment; `watched_since_ms` is when this process began.

    Nobody could be heard of before that: time before it does not count as idle.
    """

    last_lsn: int
    pruned_lsn: int
    log_bytes: int
    now_ms: int
    watched_since_ms: int


def held_changes(slot: Slot, facts: Facts) -> int:
    """Return how many changes of the log the slot holds."""
    return max(0, facts.last_lsn - max(slot.acknowledged_lsn, facts.pruned_lsn))


def held_bytes(slot: Slot, facts: Facts) -> int:
    """Return how many bytes of the log the slot holds: its share of all changes in it."""
    kept = facts.last_lsn - facts.pruned_lsn
    return facts.log_bytes * held_changes(slot, facts) // kept if kept > 0 else 0


def why_invalid(slot: Slot, retention: Retention, facts: Facts) -> str | None:
    """Return why a valid slot is to be invalidated, with the numbers; None if it is not.

    The reason begins with one of `log-removed`, `horizon`, `bytes` and `idle-timeout`.
    """
    acknowledged = f"LSN {slot.acknowledged_lsn} is acknowledged"
    if slot.acknowledged_lsn < facts.pruned_lsn:
        return f"log-removed: {acknowledged}, but changes up to {facts.pruned_lsn} were pruned"
    held = held_changes(slot, facts)
    if retention.slot_max_changes is not None and held > retention.slot_max_changes:
        return (
            f"horizon: {acknowledged}, the newest is {facts.last_lsn}: {held} changes were held, "
            f"{retention.slot_max_changes} are allowed"
        )
    size_bytes = held_bytes(slot, facts)
    if retention.slot_max_bytes is not None and size_bytes > retention.slot_max_bytes:
        return (
            f"bytes: {acknowledged}, the newest is {facts.last_lsn}: about {size_bytes} bytes of "
            f"log were held, {retention.slot_max_bytes} are allowed"
        )
    idle_ms = facts.now_ms - max(slot.active_at_ms, facts.watched_since_ms)
    if retention.slot_idle_ms is not None and idle_ms > retention.slot_idle_ms:
        return (
            f"idle-timeout: the replica was not heard of for {idle_ms} ms, "
            f"{retention.slot_idle_ms} are allowed; {acknowledged}"
        )
    return None


class Holding(NamedTuple):
    """A slot, and what it holds of the log: nothing if it is invalid. The bytes are an estimate."""

    slot: Slot
    changes: int
    size_bytes: int


def holdings(path: Path, files: Files) -> list[Holding]:
    """Return what the slots of the primary in the directory `path` hold, by name. Makes nothing.

    Raises what `Database.open` and `Slots.open` raise.
    """
    with Database.open(path, files, name="primary") as database:
        if not (database.path / SLOTS_NAME).is_dir():
            return []
        with Slots.open(database.path, files) as slots:
            found, facts = slots.all(), _facts(database, 0, 0)
    return [
        Holding(slot, 0, 0)
        if slot.invalid_because is not None
        else Holding(slot, held_changes(slot, facts), held_bytes(slot, facts))
        for slot in found
    ]


class Keeper:
    """Keeps the change log of one database for its slots, within a retention. Thread-safe."""

    def __init__(
        self, database: Database, slots: Slots, retention: Retention, *, clock: Clock
    ) -> None:
        self.retention = retention
        self._database = database
        self._slots = slots
        self._clock = clock
        self._opened_at_ms = clock()

    def hold(self, name: str, lsn: int) -> Slot:
        """Hold the changes after `lsn`: make the slot, or move it there, valid again.

        Durable when this returns, and then the change after `lsn` is there, and stays.

        Raises `LogWindowLost` if it is no longer kept, the `SlotInvalid` that says why if the slot
        was invalidated; `DivergedHistory` if the database has not come as far as `lsn`; otherwise
        as `Slots.hold`.
        """
        last_lsn = self._database.last_lsn()
        if check_u64(lsn, "lsn") > last_lsn:
            raise DivergedHistory(
                f"changes after LSN {lsn} were to be held, but the last LSN is {last_lsn}",
                hint="this database was put back to an older state than its replica has",
            )
        try:
            self._check_kept(lsn)
            slot = self._slots.hold(name, lsn, last_lsn=last_lsn)
            # An application that prunes by itself does not ask the slots: look again.
            try:
                self._check_kept(lsn)
            except LogWindowLost:
                self._invalidate_removed()
                raise
        except LogWindowLost as lost:
            raise self.why_lost(name, lost) from lost
        return slot

    def holds(self, name: str, lsn: int) -> bool:
        """Hold the changes after `lsn` if they are there; return whether they are."""
        try:
            self.hold(name, lsn)
        except (LogWindowLost, DivergedHistory):
            return False
        return True

    def hold_newest(self, name: str) -> Slot:
        """Hold the changes that are still to come: as `hold`, at the last LSN."""
        while True:
            try:
                return self.hold(name, self._database.last_lsn())
            except LogWindowLost:
                continue  # an application has written and pruned in between

    def has_room(self, lsn: int) -> bool:
        """Return whether a slot at `lsn` would still have half of every limit before it."""
        facts, kept = self.facts(), self.retention
        slot = _slot_at("a slot", lsn, facts)
        changes, size_bytes = held_changes(slot, facts), held_bytes(slot, facts)
        return (kept.slot_max_changes is None or 2 * changes <= kept.slot_max_changes) and (
            kept.slot_max_bytes is None or 2 * size_bytes <= kept.slot_max_bytes
        )

    def acknowledge(self, name: str, lsn: int) -> None:
        """Note that the replica has everything up to `lsn`, which was just read from the log.

        A slot that is missing or invalid is made, or made valid again, unless it is beyond a limit:
        then it stays as it is. Raises as `hold`.
        """
        slot = self._slots.acknowledge(name, lsn)
        if slot is not None and slot.invalid_because is None:
            return
        facts = self.facts()
        if slot is None or not why_invalid(_slot_at(name, lsn, facts), self.retention, facts):
            self.hold(name, lsn)

    def why_lost(self, name: str, lost: LogWindowLost) -> LogWindowLost:
        """Return the error that says why changes are gone for a slot: the reason, if it has one."""
        slot = self._slots.get(name)
        if slot is None or slot.invalid_because is None:
            return lost
        return SlotInvalid(f"slot {name!r} is invalid: {slot.invalid_because}", hint=lost.hint)

    def enforce(self) -> list[Slot]:
        """Invalidate and prune, and return the slots that were invalidated just now.

        What was acknowledged is durable first. The log is pruned in bounded transactions, up to
        `PRUNE_AT_ONCE` changes; cut short, the next call goes on.
        """
        facts, keep = self.facts(), self.retention.keep_changes
        invalid = self._slots.invalidate(lambda slot: why_invalid(slot, self.retention, facts))
        if keep is not None:
            # The last change that a replica has stays too: its history is compared with it.
            up_to_lsn = min(facts.last_lsn - keep, facts.pruned_lsn + 1 + PRUNE_AT_ONCE)
            if up_to_lsn - 1 > facts.pruned_lsn:
                self._database.prune(max(0, self._slots.let_go(up_to_lsn) - 1))
        return invalid

    def facts(self) -> Facts:
        """Return what is true of the log now."""
        return _facts(self._database, self._clock(), self._opened_at_ms)

    def _check_kept(self, lsn: int) -> None:
        if lsn < (pruned_lsn := self._database.pruned_lsn()):
            raise LogWindowLost(
                f"changes after LSN {lsn} are needed, but those up to {pruned_lsn} are pruned",
                hint="start again from a new base backup",
            )

    def _invalidate_removed(self) -> None:
        facts = self.facts()
        self._slots.invalidate(lambda slot: why_invalid(slot, Retention(), facts))


def _facts(database: Database, now_ms: int, watched_since_ms: int) -> Facts:
    pruned_lsn = database.pruned_lsn()  # first: it is never above what is read after it
    return Facts(
        last_lsn=database.last_lsn(),
        pruned_lsn=pruned_lsn,
        log_bytes=database.log_bytes(),
        now_ms=now_ms,
        watched_since_ms=watched_since_ms,
    )


def _slot_at(name: str, lsn: int, facts: Facts) -> Slot:
    return Slot(
        name=name, acknowledged_lsn=lsn, created_at_ms=facts.now_ms, active_at_ms=facts.now_ms
    )
