"""Replay is the truth: what holds of every history, event by event."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from sample_events import (
    HALF,
    NEXT_HOLDER,
    PROMOTING,
    RESTORED,
    WHOLE,
    begin,
    checkpoint,
    chunk,
    complete,
    pin,
    promote,
    resume,
    suspend,
)
from strategies import histories

from bootledger.errors import DivergedHistory, GuardRefused, IllegalEvent
from bootledger.positions import Position
from bootledger.statemachine.events import Begin, Checkpoint, Event, Resume, SnapshotChunk
from bootledger.statemachine.fold import EMPTY, advance, fold
from bootledger.statemachine.live import LiveIntent
from bootledger.statemachine.progress import FINAL, PHASES, Progress, Snapshot, State
from bootledger.statemachine.ranges import MAX_ISLANDS, Range, islands


def steps(history: tuple[Event, ...]) -> list[tuple[Progress, Event, Progress]]:
    """Every event with what was true before and after it."""
    taken, before = [], EMPTY
    for event in history:
        after = advance(before, event)
        taken.append((before, event, after))
        before = after
    return taken


# --- Laws ---------------------------------------------------------------------------------------


@given(histories())
def test_live_equals_fold_at_every_prefix(history: tuple[Event, ...]) -> None:
    """What the live machine knows after n events is the replay of those n events."""
    live = LiveIntent()
    for n, event in enumerate(history, start=1):
        live.move(event)
        assert live.progress == fold(history[:n])
        assert live.state == live.progress.state
    live.close()


@given(histories())
def test_replay_may_start_anywhere(history: tuple[Event, ...]) -> None:
    """Going on from a saved progress is the same as replaying from the beginning."""
    for n in range(len(history) + 1):
        progress = msgspec.msgpack.decode(msgspec.msgpack.encode(fold(history[:n])), type=Progress)
        for event in history[n:]:
            progress = advance(progress, event)
        assert progress == fold(history)


@given(histories())
def test_positions_never_go_back(history: tuple[Event, ...]) -> None:
    """The applied position only grows, and once told it is never untold."""
    for before, _, after in steps(history):
        if before.position is not None:
            assert after.position is not None
            assert after.position >= before.position


@given(histories())
def test_staged_ranges_are_in_order(history: tuple[Event, ...]) -> None:
    """Staged ranges are sorted, apart, inside the size, and few."""
    for _, _, after in steps(history):
        if after.snapshot is None:
            continue
        staged = after.snapshot.staged
        edges = [edge for r in staged for edge in r]
        assert edges == sorted(set(edges))
        assert after.snapshot.size_bytes is None or max(edges, default=0) <= (
            after.snapshot.size_bytes
        )
        assert islands(staged) <= MAX_ISLANDS


@given(histories())
def test_only_a_resume_drops_and_only_a_new_generation_starts_over(
    history: tuple[Event, ...],
) -> None:
    """Staged bytes are lost by no other event, a checkpoint and a suspension included."""
    for before, event, after in steps(history):
        if before.snapshot is None:
            continue
        assert after.snapshot is not None
        if after.snapshot.generation > before.snapshot.generation:
            assert isinstance(event, SnapshotChunk)
        elif isinstance(event, Resume):
            dropped = before.snapshot.staged_bytes - after.snapshot.staged_bytes
            assert dropped == sum(end - start for start, end in event.dropped)
        elif isinstance(event, SnapshotChunk):
            brought = after.snapshot.staged_bytes - before.snapshot.staged_bytes
            assert brought == sum(end - start for start, end in event.brought)
        else:
            assert after.snapshot == before.snapshot


@given(histories())
def test_counters_count(history: tuple[Event, ...]) -> None:
    """Versions count events, epochs lives, checkpoint numbers checkpoints and chunks."""
    progress = fold(history)
    assert progress.version == len(history)
    assert progress.epoch == sum(isinstance(event, Begin | Resume) for event in history)
    assert progress.checkpoint_number == sum(
        isinstance(event, Checkpoint | SnapshotChunk) for event in history
    )


@given(histories())
def test_the_phase_is_the_last_state_that_could_go_on(history: tuple[Event, ...]) -> None:
    """Neither a suspension nor an end touches the phase; every other event sets it."""
    for before, _, after in steps(history):
        assert after.phase is (after.state if after.state in PHASES else before.phase)
        assert after.unfinished == (after.state not in FINAL)


@given(histories())
def test_what_was_told_once_stays(history: tuple[Event, ...]) -> None:
    """Size, LSN and digest of a snapshot never change; begin is never replaced."""
    for before, _, after in steps(history):
        assert before.begin in (None, after.begin)
        old, new = before.snapshot, after.snapshot
        if old is None or new is None or old.generation != new.generation:
            continue
        assert old.token == new.token
        assert old.size_bytes in (None, new.size_bytes)
        assert old.lsn in (None, new.lsn)
        assert old.manifest_digest in (None, new.manifest_digest)


# --- One history, in full -----------------------------------------------------------------------


def test_the_empty_history_is_absent() -> None:
    """Before the first event nothing is true, and absent is not zero."""
    assert fold(()) == EMPTY == Progress()
    assert EMPTY.state is EMPTY.phase is State.ABSENT
    assert EMPTY.applied_lsn is None
    assert EMPTY.position is None
    assert not EMPTY.unfinished
    assert not EMPTY.has_progress


def test_a_whole_bootstrap_told_event_by_event() -> None:
    """The fold of an interrupted and completed bootstrap, field by field."""
    history = (*HALF, suspend(), resume(), chunk(40, 20, reused=(Range(80, 100),)))
    history = (*history, checkpoint(100, batches=3), promote(), complete())
    assert fold(history) == Progress(
        version=10,
        state=State.COMPLETED,
        phase=State.PROMOTING,
        begin=begin(),
        timeline=1,
        applied_lsn=100,
        batches=3,
        snapshot=Snapshot(
            "snapshot-1",
            1,
            size_bytes=100,
            lsn=100,
            manifest_digest="ab" * 32,
            staged=(Range(0, 100),),
        ),
        promoted_generation=1,
        checkpoint_number=5,
        epoch=2,
        holder=NEXT_HOLDER,
        suspension=suspend(),
        end=complete(),
        recorded_at_ms=7,
    )


def test_a_new_generation_keeps_the_position() -> None:
    """When a snapshot is lost the copy starts over; what was applied stays true."""
    before = fold(RESTORED)
    after = advance(before, pin(2, snapshot_lsn=150))
    assert after.snapshot == Snapshot(
        "snapshot-2", 2, size_bytes=100, lsn=150, manifest_digest="ab" * 32
    )
    assert after.position == before.position == Position(1, 100)


def test_dropped_bytes_are_missing_again() -> None:
    """A resume that found damage leaves a whole snapshot incomplete."""
    after = fold([*WHOLE, suspend(), resume(dropped=(Range(10, 20), Range(90, 100)))])
    assert after.snapshot is not None
    assert after.snapshot.staged == (Range(0, 10), Range(20, 90))
    assert after.snapshot.offset_bytes == 10
    assert not after.snapshot.whole


def test_generations_go_on_where_the_target_ended() -> None:
    """An intent's first snapshot follows the highest generation that the target held."""
    assert fold([begin(last_generation=7)]).generation == 7
    assert fold([begin(last_generation=7), pin(8)]).generation == 8


def test_an_empty_snapshot_is_whole_at_once() -> None:
    """A size of zero is a size: nothing is missing."""
    snapshot = fold([begin(), pin(size_bytes=0)]).snapshot
    assert snapshot is not None
    assert snapshot.whole


# --- Histories that this machine did not write --------------------------------------------------


@pytest.mark.parametrize(
    ("history", "version", "cause"),
    [
        ((checkpoint(),), 1, IllegalEvent),
        ((begin(), begin()), 2, IllegalEvent),
        ((*RESTORED, checkpoint(99)), 5, GuardRefused),
        ((*PROMOTING, complete(), checkpoint()), 7, IllegalEvent),
    ],
)
def test_an_impossible_history_is_named_at_its_first_wrong_event(
    history: tuple[Event, ...], version: int, cause: type[Exception]
) -> None:
    """Replay stops with the version that broke the rules, and with the rule as the cause."""
    with pytest.raises(DivergedHistory, match=f"event {version} breaks the rules") as caught:
        fold(history)
    assert type(caught.value.__cause__) is cause
    assert caught.value.hint
