from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from database_model import create, operations, stream
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bootledger.clock import now_ms
from bootledger.errors import LogWindowLost
from bootledger.files import Files
from bootledger.primary.retention import Retention
from bootledger.primary.service import Primary
from bootledger.replica.wire import PinRequest
from bootledger.simulation.places import fresh_place

NAMES = st.sampled_from(["one", "two", "three"])
LIMITS = st.one_of(st.none(), st.integers(1, 80))


class Errand(Files):
    """Real files; the first time that a point is passed, something else happens."""

    def __init__(self) -> None:
        self.at = ""
        self.do: Callable[[], object] = lambda: None

    def point(self, name: str) -> None:
        """Run the errand at its point."""
        if name == self.at:
            self.at = ""
            self.do()


class RetentionMachine(RuleBasedStateMachine):
    """Two primaries of one database, as two processes have them, and what each replica was told.

    `promised` is from where on each replica may count on the log: it was told so by a call that
    returned. `taken` is up to where the application pruned, which asks nobody.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stack = contextlib.ExitStack()
        self._place = self._stack.enter_context(fresh_place())
        self.database = self._stack.enter_context(create(self._place / "primary", last=20))
        self.promised: dict[str, int] = {}
        self.taken = 0
        self.generation = 0
        self.late_ms = 0
        self.files = Errand()
        self.primaries: list[Primary] = []

    @initialize(keep=st.integers(0, 30), changes=LIMITS, idle=LIMITS)
    def start(self, keep: int, changes: int | None, idle: int | None) -> None:
        """Open both with the same retention."""
        self.retention = Retention(
            keep_changes=keep,
            slot_max_changes=changes,
            slot_max_bytes=None if changes is None else changes * 500,
            slot_idle_ms=None if idle is None else idle * 1000,
        )
        self.primaries = [self._opened(), self._opened()]

    def _opened(self) -> Primary:
        return Primary.open(
            self._place / "primary",
            self.files,
            retention=self.retention,
            clock=lambda: now_ms() + self.late_ms,
        )

    @rule(count=st.integers(1, 40))
    def write(self, count: int) -> None:
        """The application writes."""
        last = self.database.last_lsn()
        self.database.write(operations(last + 1, last + count))

    @rule(count=st.integers(1, 60))
    def application_prunes(self, count: int) -> None:
        """The application prunes without asking."""
        pruned = self.database.pruned_lsn()
        up_to = min(pruned + count, self.database.last_lsn())
        self.database.prune(up_to)
        self.taken = max(self.taken, up_to)

    @rule(which=st.integers(0, 1), name=NAMES, back=st.integers(0, 40))
    def hold(self, which: int, name: str, back: int) -> None:
        """A replica asks for the log from somewhere on."""
        self._hold(which, name, max(0, self.database.last_lsn() - back))

    def _hold(self, which: int, name: str, lsn: int) -> None:
        try:
            slot = self.primaries[which].hold_slot(name, lsn)
        except LogWindowLost:
            return
        assert slot.acknowledged_lsn == lsn
        self.promised[name] = lsn

    @rule(which=st.integers(0, 1), name=NAMES, again=st.booleans())
    def pin(self, which: int, name: str, again: bool) -> None:
        """A replica begins a new bootstrap, or repeats its last request."""
        self.generation += not again or not self.generation
        request = PinRequest(intent_id=name, generation=self.generation, slot=name)
        pinned = self.primaries[which].pin(request)
        assert self.database.changes(pinned.lsn, 1) == stream(
            pinned.lsn + 1, min(pinned.lsn + 1, self.database.last_lsn())
        )
        self.promised[name] = pinned.lsn

    @rule(which=st.integers(0, 1), name=NAMES, forward=st.integers(0, 60))
    def poll(self, which: int, name: str, forward: int) -> None:
        """A replica asks for more, and says by that what it has."""
        if name not in self.promised:
            return
        after = min(self.promised[name] + forward, self.database.last_lsn())
        try:
            self.primaries[which].changes(after, 10, name)
        except LogWindowLost:
            return
        self.promised[name] = max(self.promised[name], after)

    @rule(which=st.integers(0, 1), name=NAMES)
    def drop(self, which: int, name: str) -> None:
        """An operator drops a slot: nothing is promised any more."""
        self.primaries[which].drop_slot(name)
        self.promised.pop(name, None)

    @rule(seconds=st.integers(1, 60))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.late_ms += seconds * 1000

    @rule(which=st.integers(0, 1), dies=st.booleans())
    def restart(self, which: int, dies: bool) -> None:
        """A process ends, in order or without a word, and another one begins."""
        if dies:
            self.primaries[which]._slots._said.clear()
        self.primaries[which].close()
        self.primaries[which] = self._opened()

    @rule(which=st.integers(0, 1))
    def enforce(self, which: int) -> None:
        """The retention is carried out, and leaves nothing beyond a limit."""
        before = self.database.pruned_lsn()
        self.primaries[which].enforce()
        last, pruned = self.database.last_lsn(), self.database.pruned_lsn()
        keep, limit = self.retention.keep_changes, self.retention.slot_max_changes
        assert keep is not None
        valid = [slot for slot in self.primaries[which].slots() if slot.invalid_because is None]
        for slot in valid:
            assert slot.acknowledged_lsn >= pruned
            assert limit is None or last - slot.acknowledged_lsn <= limit
        # What the other process heard and has not written is not known here: it holds more.
        assert pruned <= max(before, min([last - keep, *(s.acknowledged_lsn for s in valid)]))
        if not valid:
            assert pruned == max(before, last - keep)

    @rule(name=NAMES, back=st.integers(0, 60))
    def hold_while_pruning(self, name: str, back: int) -> None:
        """A slot is held at the moment when a pruning that was decided begins."""
        lsn = max(0, self.database.last_lsn() - back)
        self.files.do = lambda: self._hold(1, name, lsn)
        self.files.at = "primary.writing"
        self.primaries[0].enforce()
        self.files.at = ""

    @precondition(lambda self: self.primaries)
    @invariant()
    def what_was_promised_is_there(self) -> None:
        """As long as a slot is valid, nothing after what its replica acknowledged is let go."""
        pruned = self.database.pruned_lsn()
        for slot in (slot for primary in self.primaries for slot in primary.slots()):
            if slot.invalid_because is None:
                assert slot.acknowledged_lsn <= self.promised[slot.name]
                assert pruned <= max(self.promised[slot.name], self.taken), slot

    def teardown(self) -> None:
        """Close everything."""
        for primary in self.primaries:
            primary.close()
        self._stack.close()


TestRetention = RetentionMachine.TestCase
TestRetention.settings = settings(
    max_examples=60, stateful_step_count=40, suppress_health_check=list(HealthCheck)
)


@pytest.mark.crash
class TestRetentionForLong(RetentionMachine.TestCase):
    """The same, for minutes."""

    settings = settings(
        max_examples=2000, stateful_step_count=60, suppress_health_check=list(HealthCheck)
    )
