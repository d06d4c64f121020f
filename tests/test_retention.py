from __future__ import annotations

import contextlib
import re
from collections.abc import Callable

import pytest
from database_model import create, operations, stream
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bootledger.clock import now_ms
from bootledger.errors import InvalidValue, LogWindowLost
from bootledger.files import Files
from bootledger.primary.retention import Facts, Retention, held_bytes, why_invalid
from bootledger.primary.service import Primary
from bootledger.replica.wire import PinRequest, Slot
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
            assert slot.acknowledged_lsn > pruned or pruned == before
            assert limit is None or last - slot.acknowledged_lsn <= limit
        # What the other process heard and has not written is not known here: it holds more.
        assert pruned <= max(before, min([last - keep, *(s.acknowledged_lsn for s in valid)]))
        if not valid:
            assert pruned == max(before, last - keep - 1)

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


# --- the reasons, one by one ---------------------------------------------------------------------

FACTS = Facts(
    last_lsn=1000, pruned_lsn=200, log_bytes=8000, now_ms=10_000_000, watched_since_ms=5_000_000
)


def slot_at(lsn: int, active_at_ms: int = 9_000_000) -> Slot:
    """Return a valid slot."""
    return Slot(name="r", acknowledged_lsn=lsn, created_at_ms=1, active_at_ms=active_at_ms)


@pytest.mark.parametrize(
    ("lsn", "active_at_ms", "retention", "reason"),
    [
        (199, 0, Retention(), "log-removed: LSN 199 is acknowledged, but changes up to 200 were"),
        (200, 0, Retention(), None),
        (900, 0, Retention(slot_max_changes=100), None),
        (899, 0, Retention(slot_max_changes=100), "horizon: LSN 899 is .* 101 changes .* 100 are"),
        (1001, 0, Retention(slot_max_changes=0), None),
        (900, 0, Retention(slot_max_bytes=1000), None),
        (899, 0, Retention(slot_max_bytes=1000), "bytes: LSN 899 .* about 1010 bytes .* 1000 are"),
        (900, 9_000_000, Retention(slot_idle_ms=1_000_000), None),
        (900, 8_999_999, Retention(slot_idle_ms=1_000_000), "idle-timeout: .* 1000001 ms, 1000000"),
        (900, 0, Retention(slot_idle_ms=5_000_000), None),
        (900, 11_000_000, Retention(slot_idle_ms=1), None),
    ],
)
def test_a_slot_is_invalidated_just_beyond_its_limit(
    lsn: int, active_at_ms: int, retention: Retention, reason: str | None
) -> None:
    """The reason tells the numbers; at the limit there is none."""
    found = why_invalid(slot_at(lsn, active_at_ms), retention, FACTS)
    assert found is None if reason is None else re.match(reason, str(found))


def test_what_a_slot_holds_in_bytes_is_its_share_of_the_log() -> None:
    """All of it is what all of it takes up; nothing of an empty log."""
    assert [held_bytes(slot_at(lsn), FACTS) for lsn in (0, 200, 600, 1000, 2000)] == [
        8000,
        8000,
        4000,
        0,
        0,
    ]
    assert held_bytes(slot_at(0), FACTS._replace(pruned_lsn=1000)) == 0


@pytest.mark.parametrize(
    "wrong", [{"keep_changes": -1}, {"slot_max_bytes": 1.5}, {"slot_idle_ms": 0}]
)
def test_a_limit_that_is_none_is_refused(wrong: dict[str, int]) -> None:
    """At once, not when it is carried out."""
    with pytest.raises(InvalidValue):
        Retention(**wrong)


# --- histories -----------------------------------------------------------------------------------

TestRetention = RetentionMachine.TestCase
TestRetention.settings = settings(
    max_examples=40, stateful_step_count=40, suppress_health_check=list(HealthCheck)
)


@pytest.mark.crash
class TestRetentionForLong(RetentionMachine.TestCase):
    """The same, for minutes."""

    settings = settings(
        max_examples=1000, stateful_step_count=50, suppress_health_check=list(HealthCheck)
    )
