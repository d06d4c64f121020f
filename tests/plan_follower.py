"""Does what `next_step` says, on values alone, as if every step succeeded."""

from __future__ import annotations

from sample_events import HOLDER, begin, complete

from bootledger.positions import U64_MAX
from bootledger.statemachine import plan
from bootledger.statemachine.events import Checkpoint, Event, Promote, Resume, SnapshotChunk
from bootledger.statemachine.fold import advance
from bootledger.statemachine.progress import Progress, Snapshot, State
from bootledger.statemachine.ranges import gaps

MOST_STEPS = 300


def finish(progress: Progress, *, lose_snapshot: bool = False) -> list[Event]:
    """Return the events that lead `progress` to its completion, each one accepted by the table.

    With `lose_snapshot` the source once answers that the snapshot is gone. Raises `Refused` if the
    plan asks for what the table refuses, and fails if it goes round in circles.
    """
    events: list[Event] = []
    for _ in range(MOST_STEPS):
        step = plan.next_step(progress)
        if isinstance(step, plan.Nothing):
            assert progress.state is State.COMPLETED
            return events
        if isinstance(step, plan.Fetch) and lose_snapshot:
            event, lose_snapshot = _pin(progress, progress.generation + 1), False
        else:
            event = _done(step, progress)
        progress = advance(progress, event)
        events.append(event)
    raise AssertionError(f"no end after {MOST_STEPS} steps: {progress}")


def _done(step: plan.Step, progress: Progress) -> Event:
    match step:
        case plan.BeginIntent():
            return begin()
        case plan.FindPosition():
            return _pin(progress, progress.generation + 1)
        case plan.Fetch():
            return _fetched(step.snapshot)
        case plan.Restore():
            return _checkpoint(progress, max(step.snapshot.lsn or 0, progress.applied_lsn or 0))
        case plan.CatchUp(candidate_generation=None):
            return complete()
        case plan.CatchUp(applied_lsn, int(generation)):
            return Promote(recorded_at_ms=0, generation=generation, applied_lsn=applied_lsn)
        case plan.Swap():
            assert step.generation == progress.generation
            return complete()
        case plan.TakeUp():
            return Resume(recorded_at_ms=0, epoch=progress.epoch + 1, holder=HOLDER, actor="ada")
        case _:
            raise AssertionError(step)


def _pin(progress: Progress, generation: int) -> SnapshotChunk:
    return SnapshotChunk(
        recorded_at_ms=0,
        token=f"snapshot-{generation}",
        generation=generation,
        offset_bytes=0,
        length_bytes=0,
        size_bytes=50,
        snapshot_lsn=min((progress.applied_lsn or 0) + 1, U64_MAX),
    )


def _fetched(snapshot: Snapshot) -> SnapshotChunk:
    """The first gap, whole; and the size, where it was never told."""
    staged_to = max((r.end_bytes for r in snapshot.staged), default=0)
    size = staged_to if snapshot.size_bytes is None else snapshot.size_bytes
    missing = gaps(snapshot.staged, size)
    return SnapshotChunk(
        recorded_at_ms=0,
        token=snapshot.token,
        generation=snapshot.generation,
        offset_bytes=missing[0].start_bytes if missing else 0,
        length_bytes=missing[0].end_bytes - missing[0].start_bytes if missing else 0,
        size_bytes=size,
    )


def _checkpoint(progress: Progress, applied_lsn: int) -> Checkpoint:
    return Checkpoint(
        recorded_at_ms=0,
        applied_lsn=applied_lsn,
        batches=progress.batches,
        timeline=progress.timeline,
    )
