"""What to do next follows from what is true, and from nothing else."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from plan_follower import finish
from sample_events import SITUATIONS, begin, pin, resume
from strategies import histories

from bootledger.errors import DivergedHistory
from bootledger.statemachine import plan
from bootledger.statemachine.events import Event
from bootledger.statemachine.fold import EMPTY, fold
from bootledger.statemachine.progress import PHASES, Snapshot, State
from bootledger.statemachine.ranges import Range

TOLD = Snapshot("snapshot-1", 1, size_bytes=100, lsn=100, manifest_digest="ab" * 32)
HALF_STAGED = msgspec.structs.replace(TOLD, staged=(Range(0, 40), Range(60, 80)))

EXPECTED: dict[str, plan.Step] = {
    "absent": plan.BeginIntent(),
    "begun": plan.FindPosition(),
    "copying, size never told": plan.Fetch(Snapshot("snapshot-1", 1, staged=(Range(0, 40),))),
    "pinned": plan.Fetch(TOLD),
    "half staged": plan.Fetch(HALF_STAGED),
    "whole": plan.Restore(msgspec.structs.replace(TOLD, staged=(Range(0, 100),))),
    "following": plan.CatchUp(applied_lsn=100, candidate_generation=None),
    "restored on the caller's word": plan.CatchUp(applied_lsn=100, candidate_generation=1),
    "restored": plan.CatchUp(applied_lsn=100, candidate_generation=1),
    "second snapshot": plan.Fetch(
        msgspec.structs.replace(TOLD, token="snapshot-2", generation=2, lsn=150)
    ),
    "promoting": plan.Swap(generation=1),
    "suspended, begun": plan.TakeUp(State.BEGUN),
    "suspended, half staged": plan.TakeUp(State.TRANSFERRING),
    "suspended, restored": plan.TakeUp(State.CATCHING_UP),
    "suspended, promoting": plan.TakeUp(State.PROMOTING),
    "held, half staged": plan.TakeUp(State.TRANSFERRING),
    "held, promoting": plan.TakeUp(State.PROMOTING),
    "resumed": plan.Fetch(HALF_STAGED),
    "taken over without a word": plan.Fetch(HALF_STAGED),
    "completed": plan.Nothing(),
    "aborted": plan.Nothing(),
}


def test_every_situation_has_its_step() -> None:
    """Each situation, and no history, decides the step."""
    assert {name: plan.next_step(fold(history)) for name, history in SITUATIONS.items()} == EXPECTED


def test_generations_follow_the_targets() -> None:
    """The first snapshot's generation comes after what the target already holds."""
    history = [begin(last_generation=7), pin(8)]
    assert fold(history).generation == 8
    with pytest.raises(DivergedHistory, match="generation 8, not 1"):
        fold([begin(last_generation=7), pin(1)])


@given(histories())
def test_a_step_depends_on_the_fold_alone(history: tuple[Event, ...]) -> None:
    """A progress that went through bytes, as after a crash, asks for the same step."""
    progress = fold(history)
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(progress), type=type(progress))
    assert plan.next_step(stored) == plan.next_step(progress)


@given(histories())
def test_a_takeover_does_not_change_the_work(history: tuple[Event, ...]) -> None:
    """Whoever takes over a bootstrap goes on with the step that the last owner was at."""
    before = fold(history)
    if before.state in PHASES:
        after = fold([*history, resume(before.epoch + 1)])
        assert plan.next_step(after) == plan.next_step(before)


def test_a_fresh_start_needs_six_events() -> None:
    """From nothing, the plan leads over begin, pin, copy, restore and promotion to the end."""
    events = finish(EMPTY)
    assert [type(event).__name__ for event in events] == [
        "Begin",
        "SnapshotChunk",
        "SnapshotChunk",
        "Checkpoint",
        "Promote",
        "Complete",
    ]


@pytest.mark.parametrize(
    ("situation", "field", "words"),
    [
        ("half staged", "snapshot", "the open snapshot"),
        ("restored", "applied_lsn", "the applied LSN"),
        ("promoting", "promoted_generation", "the promoted generation"),
    ],
)
def test_a_progress_that_lacks_what_it_must_know_is_refused(
    situation: str, field: str, words: str
) -> None:
    """A damaged head is an error: absent is never taken for zero."""
    damaged = msgspec.structs.replace(fold(SITUATIONS[situation]), **{field: None})
    with pytest.raises(DivergedHistory, match=words):
        plan.next_step(damaged)
