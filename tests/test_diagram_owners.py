"""Who owned an intent, and how it ended: as the pictures tell it."""

from __future__ import annotations

import msgspec
import pytest
import sample_events as sample
from pictures import INTENT, holder, store_of

from bootledger.projections.course import Course
from bootledger.projections.lanes import lanes
from bootledger.projections.trail import trail
from bootledger.statemachine.events import (
    Abort,
    Checkpoint,
    Event,
    Resume,
    SnapshotChunk,
    Suspend,
    kind_of,
)
from bootledger.statemachine.ranges import Range
from bootledger.store.memory import MemoryEventStore


def decided(*later: Event) -> MemoryEventStore:
    """A life of three events, the last of them at 3000 ms, and what came of it then."""
    begin = sample.begin(node_id="n")
    applied = (Checkpoint(recorded_at_ms=at, applied_lsn=at, batches=0) for at in (2000, 3000))
    return store_of(begin, *applied, *later)


HOLD = Suspend(recorded_at_ms=9000, cause="wait", cause_class="operator", actor="ops")


HANDED_ON = (
    Resume(recorded_at_ms=10_000, epoch=2, holder=holder(9), actor="ops"),
    Suspend(recorded_at_ms=10_000, cause="released", cause_class="shutdown", actor="ops"),
)


GONE = Abort(recorded_at_ms=9000, actor="ops", reason="no use", abort_kind="operator")


@pytest.mark.parametrize(
    ("later", "certain", "dead_ms", "lives"),
    [
        ([HOLD, *HANDED_ON, Resume(recorded_at_ms=11_000, epoch=3, holder=holder(3))], False, 6, 2),
        ([*HANDED_ON], False, 7, 1),
        ([GONE], False, 6, 1),
        ([Resume(recorded_at_ms=11_000, epoch=2, holder=holder(2))], True, 8, 2),
    ],
    ids=["held", "adopted", "aborted", "resumed"],
)
def test_what_an_operator_records_is_no_sign_of_life(
    later: list[Event], certain: bool, dead_ms: int, lives: int
) -> None:
    """The owner's bar ends at its own last event, with a cross; an operator's is no life."""
    course = Course(decided(*later), INTENT)
    found, crashes = lanes(course), trail(course).crashes
    assert found.owners[0].end_ms == 3000
    assert len(found.owners) == lives
    assert (found.deaths[0].start_ms, found.deaths[0].end_ms) == (3000, 3000 + dead_ms * 1000)
    assert len(found.deaths) == sum(deaths.count for deaths in crashes.values())
    first = found.deaths[0].what
    assert first == f"{'died' if certain else 'died or was stopped'}, catching_up"


@pytest.mark.parametrize(
    "word",
    [
        Suspend(recorded_at_ms=4000, cause="stopped by SIGTERM", cause_class="shutdown"),
        Abort(recorded_at_ms=4000, actor="n", reason="left", abort_kind="left"),
    ],
    ids=kind_of,
)
def test_who_says_why_it_stops_did_not_die(word: Event) -> None:
    """A word of its own ends the owner's bar where it was said, whatever operators do then."""
    later = [HOLD] if isinstance(word, Suspend) else []
    course = Course(decided(word, *later), INTENT)
    assert [mark.end_ms for mark in lanes(course).owners] == [4000]
    assert (lanes(course).deaths, trail(course).crashes) == ([], {})


def test_a_drop_is_no_death() -> None:
    """An owner that drops damaged ranges goes on as its own next epoch."""
    chunk = SnapshotChunk(
        recorded_at_ms=2, token="t", generation=1, offset_bytes=0, length_bytes=10, size_bytes=10
    )
    drop = Resume(recorded_at_ms=3, epoch=2, holder=holder(1), dropped=(Range(0, 10),))
    begin = msgspec.structs.replace(sample.begin(), holder=holder(1))
    course = Course(store_of(begin, chunk, drop), INTENT)
    assert [mark.what for mark in lanes(course).owners] == ["epoch 1", "epoch 2"]
    assert (lanes(course).deaths, trail(course).crashes) == ([], {})
