"""Slots: how far the change log is kept, and for whom. Durable in `PRIMARY/slots`.

A slot holds the changes after its acknowledged LSN for one replica. It is made, or made valid
again, before that replica's base backup is read, and moves on with what the replica acknowledges.
Whoever prunes the log asks here how far (`let_go`), so that everything is decided in the order of
this environment's transactions: a slot is either there before the decision, and counts, or is
made after it, and is refused below what was let go. It needs no lock across two environments, and
a pruning that dies half way, or still goes on, takes nothing from anybody.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

import msgspec

from bootledger.clock import Clock, now_ms
from bootledger.environment import (
    DEFAULT_WAIT_S,
    Databases,
    Environment,
    Transaction,
    create_environment,
)
from bootledger.errors import LogWindowLost, SourceUnavailable, Unavailable
from bootledger.files import Files
from bootledger.positions import TEXT_MAX_BYTES, check_node_id, check_text, check_u64
from bootledger.primary import slot_tables as tables
from bootledger.primary.pins import Pins
from bootledger.primary.said import Said, with_said
from bootledger.primary.slot_tables import Stored
from bootledger.replica.wire import Slot

SLOTS_NAME = "slots"
MAX_SLOTS = 1000
"""Names come from outside: without a bound, they could fill the disk."""
FLUSH_S = 1.0
"""How long an acknowledgement may be in memory alone."""

T = TypeVar("T")


class Slots:
    """The slots of one database. Thread-safe; any number of processes may use them.

    An acknowledgement is written a second later at most, together with others, if anything of this
    process still comes by; `flush` writes it now. One that a death takes along only holds more than
    is needed. Everything else is durable when it returns. Every method may raise `CorruptRecord`,
    and those that write what `Environment.write` raises.
    """

    def __init__(
        self, environment: Environment, *, clock: Clock = now_ms, flush_s: float = FLUSH_S
    ) -> None:
        self._environment = environment
        self._clock = clock
        self._flush_s = flush_s
        self._said: dict[str, Said] = {}
        self._flushed_s = time.monotonic()
        self._lock = threading.Lock()  # never held while a transaction is waited for
        self.pins = Pins(environment)

    @classmethod
    def open(
        cls,
        primary: Path,
        files: Files,
        *,
        clock: Clock = now_ms,
        wait_s: float = DEFAULT_WAIT_S,
        flush_s: float = FLUSH_S,
    ) -> Self:
        """Open the slots of the database in the directory `primary`; made if there are none yet.

        Raises what `create_environment` and `Environment.open` raise, and `UnknownFormat`.
        """
        path = primary / SLOTS_NAME
        create_environment(path, tables.TABLES, tables.initialise, files, wait_s=wait_s)
        environment = Environment.open(path, tables.TABLES, files, name="slots", wait_s=wait_s)
        try:
            environment.read(tables.check_format)
        except BaseException:  # an interrupt, too; it goes on
            environment.close()
            raise
        return cls(environment, clock=clock, flush_s=flush_s)

    # --- looking ----------------------------------------------------------------------------

    def get(self, name: str) -> Slot | None:
        """Return the slot of that name, None if there is none."""
        stored = self._stored(name)
        return None if stored is None else with_said(stored, self._said.get(name)).slot

    def all(self) -> list[Slot]:
        """Return every slot, by name."""
        said = dict(self._said)
        return [
            with_said(stored, said.get(stored.slot.name)).slot
            for stored in self._environment.read(_list)
        ]

    def horizon(self) -> int | None:
        """Return the LSN after which everything is held for somebody, None if nothing is."""
        return min(
            (slot.acknowledged_lsn for slot in self.all() if slot.invalid_because is None),
            default=None,
        )

    # --- holding ----------------------------------------------------------------------------

    def hold(self, name: str, lsn: int, *, last_lsn: int) -> Slot:
        """Hold the changes after `lsn` for the replica of that name: make the slot, or move it.

        One that was invalid is valid again. `last_lsn` is what the database has now.

        Durable when this returns. Whoever calls it looks afterwards whether the database still has
        the change after `lsn`: an application may prune without asking here. Raises
        `LogWindowLost` if these changes were let go, `InvalidValue` for a name that is none,
        `SourceUnavailable` if there are `MAX_SLOTS` of other names.
        """
        check_node_id(name)
        check_u64(lsn, "lsn")
        now = self._clock()

        def work(txn: Transaction, db: Databases) -> Stored:
            # A database that was put back to an older state is before what was once let go.
            released = min(tables.number(txn, db, tables.RELEASED), last_lsn)
            if lsn < released:
                raise LogWindowLost(
                    f"changes after LSN {lsn} cannot be held: those up to {released} were let go",
                    hint="start again from a new base backup",
                )
            found = tables.get_slot(txn, db, name)
            if found is None and txn.stat(db["slots"])["entries"] >= MAX_SLOTS:
                raise SourceUnavailable(
                    f"there are {MAX_SLOTS} slots, none is left for {name[:80]!r}",
                    hint="`bootledger drop-slot` those of replicas that are gone",
                )
            hold = tables.number(txn, db, tables.HOLDS) + 1
            tables.put_number(txn, db, tables.HOLDS, hold)
            stored = Stored(
                hold,
                Slot(
                    name=name,
                    acknowledged_lsn=lsn,
                    created_at_ms=found.slot.created_at_ms if found else now,
                    active_at_ms=now,
                ),
            )
            tables.put_slot(txn, db, stored)
            return stored

        return self._environment.write(work).slot

    def acknowledge(self, name: str, lsn: int) -> Slot | None:
        """Note that the replica has everything up to `lsn` durably, and was there.

        Never moves a slot back. Returns the slot as it is then; None, or one that is invalid and
        stays so, if nothing is held.
        """
        return self._say(name, check_u64(lsn, "lsn"))

    def touch(self, name: str) -> None:
        """Note that the replica was there."""
        self._say(name, 0)

    def _say(self, name: str, lsn: int) -> Slot | None:
        stored = self._stored(name)
        if stored is None or stored.slot.invalid_because is not None:
            return None if stored is None else stored.slot
        with self._lock:
            before = self._said.get(name)
            if before is None or before.hold < stored.hold:
                before = Said(stored.hold, 0, 0)
            said = Said(stored.hold, max(before.lsn, lsn), max(before.at_ms, self._clock()))
            if before.hold == stored.hold:  # else it was held again since it was read
                self._said[name] = said
            due = time.monotonic() - self._flushed_s >= self._flush_s
            if due:
                self._flushed_s = time.monotonic()  # this thread does it, no other one
        if due:
            # What is not written now is kept and written later; whoever enforces is told of it.
            with contextlib.suppress(Unavailable):
                self.flush()
        return with_said(stored, said).slot

    def flush(self) -> None:
        """Make every acknowledgement so far durable."""
        with self._lock:
            said = dict(self._said)
            self._flushed_s = time.monotonic()
        if not said:
            return

        def work(txn: Transaction, db: Databases) -> None:
            for name, words in said.items():
                stored = tables.get_slot(txn, db, name)
                if stored is not None and (after := with_said(stored, words)) != stored:
                    tables.put_slot(txn, db, after)

        self._environment.write(work)
        with self._lock:
            for name, words in said.items():
                if self._said.get(name) == words:
                    del self._said[name]

    # --- letting go -------------------------------------------------------------------------

    def invalidate(self, why: Callable[[Slot], str | None]) -> list[Slot]:
        """Invalidate the valid slots that `why` has a reason for, and return them as they are then.

        Writes nothing if there is none.
        """
        self.flush()
        if not any(why(slot) for slot in self.all() if slot.invalid_because is None):
            return []

        def work(txn: Transaction, db: Databases) -> list[Slot]:
            invalid = []
            for stored in list(tables.slots(txn, db)):
                now = with_said(stored, self._said.get(stored.slot.name)).slot
                if now.invalid_because is not None or not (reason := why(now)):
                    continue
                check_text(reason, "reason", max_bytes=TEXT_MAX_BYTES)
                slot = msgspec.structs.replace(now, invalid_because=reason)
                tables.put_slot(txn, db, Stored(stored.hold, slot))
                invalid.append(slot)
            return invalid

        return self._environment.write(work)

    def let_go(self, up_to_lsn: int) -> int:
        """Decide up to which LSN the log may be pruned, at most `up_to_lsn`, and return it.

        No valid slot needs any of it, and none that is made afterwards can. Durable when this
        returns.
        """

        def work(txn: Transaction, db: Databases) -> int:
            up_to = min(up_to_lsn, _horizon(txn, db, up_to_lsn))
            if up_to > tables.number(txn, db, tables.RELEASED):
                tables.put_number(txn, db, tables.RELEASED, up_to)
            return up_to

        return self._environment.write(work)

    def drop(self, name: str) -> bool:
        """Remove a slot; return whether there was one. Nothing is held for that replica then."""

        def work(txn: Transaction, db: Databases) -> bool:
            return txn.delete(name.encode(), db=db["slots"])

        check_node_id(name)
        return self._stored(name) is not None and self._environment.write(work)

    def close(self) -> None:
        """Write what is not written yet, and give the environment back."""
        try:
            self.flush()
        finally:
            self._environment.close()

    def _stored(self, name: str) -> Stored | None:
        check_node_id(name)
        return self._environment.read(lambda txn, db: tables.get_slot(txn, db, name))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _list(txn: Transaction, db: Databases) -> list[Stored]:
    return list(tables.slots(txn, db))


def _horizon(txn: Transaction, db: Databases, default: int) -> int:
    return min(
        (
            stored.slot.acknowledged_lsn
            for stored in tables.slots(txn, db)
            if stored.slot.invalid_because is None
        ),
        default=default,
    )
