"""The guards: the reasons to refuse an event, each one pure and named after what is wrong.

A guard looks at what is true and at the event, and returns why it may not happen now, in words for
an operator, or None. Which guard watches which transition stands in `bootledger.statemachine.table`
and nowhere else: the two files together are Rule 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from bootledger.positions import U64_MAX, Position
from bootledger.statemachine.events import (
    Abort,
    Begin,
    Checkpoint,
    Complete,
    Event,
    Promote,
    Resume,
    SnapshotChunk,
    Suspend,
)
from bootledger.statemachine.progress import Progress, Snapshot, State, known, snapshot_of
from bootledger.statemachine.ranges import (
    MAX_ISLANDS,
    Ranges,
    add,
    contains,
    islands,
    overlaps,
    subtract,
)

E = TypeVar("E", bound=Event)
Guard = Callable[[Progress, E], str | None]
"""Returns why the event is refused, in words for an operator, or None."""

# --- begin --------------------------------------------------------------------------------------


def generations_used_up(_progress: Progress, event: Begin) -> str | None:
    """The first snapshot needs a number of its own."""
    if event.last_generation < U64_MAX:
        return None
    return f"the target's last generation is {event.last_generation}, there is no number after it"


# --- snapshot_chunk -----------------------------------------------------------------------------


def generation_skipped(progress: Progress, event: SnapshotChunk) -> str | None:
    """A new snapshot takes the next number, so that a generation names one copy for ever."""
    expected = progress.generation + 1
    if event.generation == expected:
        return None
    return f"the next snapshot must be generation {expected}, not {event.generation}"


def generation_changed(progress: Progress, event: SnapshotChunk) -> str | None:
    """Bytes of two snapshots never mix in one candidate."""
    snapshot = _open(progress)
    if event.generation != snapshot.generation:
        return f"generation {event.generation} is over, {snapshot.generation} is being copied"
    if event.token != snapshot.token:
        return (
            f"generation {snapshot.generation} is pinned as {snapshot.token!r}, "
            f"not as {event.token!r}"
        )
    return None


def told_twice(progress: Progress, event: SnapshotChunk) -> str | None:
    """Size, LSN and digest of a snapshot are told once; saying the same again is harmless."""
    snapshot = _open(progress)
    for name, old, new in (
        ("size", snapshot.size_bytes, event.size_bytes),
        ("LSN", snapshot.lsn, event.snapshot_lsn),
        ("manifest digest", snapshot.manifest_digest, event.manifest_digest),
    ):
        if None not in (old, new) and old != new:
            return f"the snapshot's {name} was told as {old}, it cannot become {new}"
    return None


def snapshot_too_old(progress: Progress, event: SnapshotChunk) -> str | None:
    """A snapshot from before what is applied would take the replica back in time."""
    lsn = snapshot_of(progress, event).lsn if event.snapshot_lsn is None else event.snapshot_lsn
    applied_lsn = progress.applied_lsn if event.applied_lsn is None else event.applied_lsn
    if lsn is None or applied_lsn is None or lsn >= applied_lsn:
        return None
    return f"the snapshot is of LSN {lsn}, below the applied LSN {applied_lsn}"


def chunk_goes_back(progress: Progress, event: SnapshotChunk) -> str | None:
    """The applied LSN that a chunk repeats may not be lower than what is known."""
    if event.applied_lsn is None or progress.applied_lsn is None:
        return None
    if event.applied_lsn < progress.applied_lsn:
        return f"LSN {event.applied_lsn} is below the applied LSN {progress.applied_lsn}"
    return None


def outside_of_size(progress: Progress, event: SnapshotChunk) -> str | None:
    """No byte may lie beyond the size, whenever that is told."""
    snapshot = snapshot_of(progress, event)
    size = snapshot.size_bytes if event.size_bytes is None else event.size_bytes
    end = max(r.end_bytes for r in (*snapshot.staged, *event.brought))
    if size is None or end <= size:
        return None
    return f"byte {end} lies beyond the snapshot's size of {size} bytes"


def staged_already(progress: Progress, event: SnapshotChunk) -> str | None:
    """A byte is claimed once: claiming it again hides that something copies twice."""
    staged = snapshot_of(progress, event).staged
    for new in event.brought:
        if overlaps(staged, new):
            return f"bytes {new.start_bytes} to {new.end_bytes} are staged already, at least partly"
        staged = add(staged, new)
    return None


def too_scattered(progress: Progress, event: SnapshotChunk) -> str | None:
    """Few ranges lie beyond the first gap: the resume point stays small at any size.

    What goes on at the first gap is never too scattered, so the copy can always go on.
    """
    staged = snapshot_of(progress, event).staged
    for new in event.brought:
        staged = add(staged, new)
    if reason := _scattered(staged):
        return f"{reason}: go on at the first gap"
    return None


# --- checkpoint ---------------------------------------------------------------------------------


def position_goes_back(progress: Progress, event: Checkpoint) -> str | None:
    """(timeline, LSN) never goes back."""
    known = progress.position
    told = Position(event.timeline, event.applied_lsn)
    if known is not None and told < known:
        return f"position {told} is before {known}, which is applied already"
    if known is None and event.timeline < progress.timeline:
        return f"timeline {event.timeline} is before {progress.timeline}, where this began"
    return None


def snapshot_not_whole(progress: Progress, _event: Checkpoint) -> str | None:
    """Only a whole snapshot can have been restored."""
    snapshot = _open(progress)
    if snapshot.size_bytes is None or snapshot.whole:
        return None
    missing = snapshot.size_bytes - snapshot.staged_bytes
    return f"{missing} of {snapshot.size_bytes} bytes of the snapshot are not staged yet"


def below_snapshot(progress: Progress, event: Checkpoint) -> str | None:
    """A restored snapshot holds at least its own LSN."""
    lsn = _open(progress).lsn
    if lsn is not None and event.applied_lsn < lsn:
        return f"LSN {event.applied_lsn} is below the snapshot's own LSN {lsn}"
    return None


# --- promote ------------------------------------------------------------------------------------


def not_the_restored_one(progress: Progress, event: Promote) -> str | None:
    """What is promoted is the generation that was restored, at the LSN that was applied."""
    if progress.snapshot is None:
        return "no snapshot was restored: there is no candidate to promote"
    if event.generation != progress.snapshot.generation:
        return (
            f"generation {progress.snapshot.generation} was restored, "
            f"generation {event.generation} cannot be promoted"
        )
    if event.applied_lsn != progress.applied_lsn:
        return f"LSN {progress.applied_lsn} is applied, not {event.applied_lsn}"
    return None


# --- suspend and resume -------------------------------------------------------------------------


def hold_without_actor(_progress: Progress, event: Suspend) -> str | None:
    """A hold is somebody's decision."""
    if event.cause_class == "operator" and event.actor is None:
        return "a hold needs the name of the operator who holds"
    return None


def suspended_already(_progress: Progress, event: Suspend) -> str | None:
    """What stands still can be held by an operator, but not stopped again."""
    if event.cause_class == "operator":
        return None
    return "it is suspended already; only an operator's hold can be added"


def epoch_not_next(progress: Progress, event: Resume) -> str | None:
    """Each life of an owner has a number of its own, without gaps: it is the fencing token."""
    if event.epoch == progress.epoch + 1:
        return None
    return f"the next epoch is {progress.epoch + 1}, not {event.epoch}"


def held_by_operator(progress: Progress, event: Resume) -> str | None:
    """Only a person ends what a person holds."""
    if not progress.held or event.actor is not None or progress.suspension is None:
        return None
    return (
        f"it is held by {progress.suspension.actor} ({progress.suspension.cause}): "
        "a resume must name who releases it"
    )


def dropped_not_staged(progress: Progress, event: Resume) -> str | None:
    """Only staged bytes of a running copy can be dropped."""
    if not event.dropped:
        return None
    if progress.phase is not State.TRANSFERRING:
        return f"in phase {progress.phase} no staged bytes can be dropped"
    staged = _open(progress).staged
    for gone in event.dropped:
        if not contains(staged, gone):
            return f"bytes {gone.start_bytes} to {gone.end_bytes} are not staged"
    return None


def drop_scatters(progress: Progress, event: Resume) -> str | None:
    """What stays after a drop is as little scattered as what was copied; `to_drop` sees to it."""
    if not event.dropped:
        return None
    staged = _open(progress).staged
    for gone in event.dropped:
        staged = subtract(staged, gone)
    if reason := _scattered(staged):
        return f"{reason}: drop more"
    return None


# --- complete and abort -------------------------------------------------------------------------


def size_was_told(progress: Progress, _event: Complete) -> str | None:
    """Only a caller who vouches for everything completes without a restore."""
    if _vouched(_open(progress)):
        return None
    return "the snapshot was not restored: a checkpoint must come first"


def candidate_not_promoted(progress: Progress, _event: Complete) -> str | None:
    """Only a caller who vouches for everything completes while CURRENT names something else."""
    if progress.snapshot is None or _vouched(progress.snapshot):
        return None
    return f"generation {progress.snapshot.generation} was restored and must be promoted first"


def swap_not_undone(progress: Progress, event: Abort) -> str | None:
    """Once promoting, CURRENT may name the candidate: roll it back first, or let it finish."""
    if progress.phase is State.PROMOTING and not event.rolled_back:
        return "it is being promoted: let it finish, or roll CURRENT back first"
    return None


def _open(progress: Progress) -> Snapshot:
    return known(progress.snapshot, "the open snapshot")


def _vouched(snapshot: Snapshot) -> bool:
    return snapshot.size_bytes is None and snapshot.lsn is None


def _scattered(staged: Ranges) -> str | None:
    if islands(staged) <= MAX_ISLANDS:
        return None
    return (
        f"the staged bytes would form {islands(staged)} separate ranges beyond the first gap, "
        f"{MAX_ISLANDS} are allowed"
    )
