"""Rule 1: what may happen, and where it leads, is decided in this file and nowhere else.

Rule 2: this file acts on values only. It knows no clock, no disk and no process.

`TABLE` is the machine. A row says: in one of `sources`, if `when` holds, this event leads to
`target`, unless one of the guards in `unless` gives a reason to refuse. The live machine, the
replay, the diagrams and the simulations read these rows; none of them knows better.

How to read it
--------------
For a state and an event there is at most one row whose `when` holds: `when` tells rows apart that
share source and event (a chunk that opens a generation from one that continues it; a resume by the
phase it returns to). If there is none, the event is *illegal* here. If there is one and a guard
objects, the event is *refused*, with the guard's words, which are meant for an operator. In both
cases nothing changes and nothing is written.

The happy path is begin, chunks, a checkpoint (the snapshot is restored), more checkpoints (the log
is applied), promote, complete. Everything else is there because machines fail: a suspension keeps
the phase, a resume returns to it under a new epoch, and a generation that the source has lost is
followed by the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from bootledger.errors import GuardRefused, IllegalEvent
from bootledger.positions import Position
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
    kind_of,
)
from bootledger.statemachine.progress import PHASES, RUN, Progress, Snapshot, State
from bootledger.statemachine.ranges import Range, Ranges, add, contains, overlaps

MAX_DISJOINT_RANGES = 64
"""How scattered the staged bytes of one snapshot may be; it bounds the size of `Progress`."""

E = TypeVar("E", bound=Event)
Guard = Callable[[Progress, E], str | None]
"""Returns why the event is refused, in words for an operator, or None."""
When = Callable[[Progress, E], bool]
"""Tells rows apart that share source and event."""


def always(_progress: Progress, _event: Event) -> bool:
    """Hold for every event: the row is the only one of its source and event."""
    return True


@dataclass(frozen=True)
class Row(Generic[E]):
    """One transition for each of `sources`: `event` leads to `target`, unless a guard objects."""

    event: type[E]
    sources: tuple[State, ...]
    target: State
    unless: tuple[Guard[E], ...] = ()
    when: When[E] = always

    @property
    def kind(self) -> str:
        """The event's name, as stored and drawn."""
        return kind_of(self.event)

    def applies(self, progress: Progress, event: Event) -> bool:
        """Return whether this row is about `event` in this situation."""
        return (
            isinstance(event, self.event)
            and progress.state in self.sources
            and self.when(progress, event)
        )

    def objection(self, progress: Progress, event: Event) -> str | None:
        """Return the first guard's reason to refuse `event`, or None if it may happen."""
        if isinstance(event, self.event):
            for guard in self.unless:
                if reason := guard(progress, event):
                    return reason
        return None


# --- What tells rows apart ----------------------------------------------------------------------


def opens(progress: Progress, event: SnapshotChunk) -> bool:
    """Hold if the chunk belongs to a generation that is not open yet."""
    return event.generation > progress.generation


def continues(progress: Progress, event: SnapshotChunk) -> bool:
    """Hold if the chunk belongs to the open generation, or to an earlier one."""
    return not opens(progress, event)


def into(phase: State) -> When[Resume]:
    """Return a condition that holds if `phase` is where the bootstrap stood."""

    def returns_to(progress: Progress, _event: Resume) -> bool:
        return progress.phase is phase

    returns_to.__name__ = f"phase_is_{phase}"
    return returns_to


# --- Guards -------------------------------------------------------------------------------------


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
    if event.snapshot_lsn is None or progress.applied_lsn is None:
        return None
    if event.snapshot_lsn < progress.applied_lsn:
        return (
            f"the snapshot is of LSN {event.snapshot_lsn}, "
            f"below the applied LSN {progress.applied_lsn}"
        )
    return None


def chunk_goes_back(progress: Progress, event: SnapshotChunk) -> str | None:
    """The applied LSN that a chunk repeats may not be lower than what is known."""
    if event.applied_lsn is None or progress.applied_lsn is None:
        return None
    if event.applied_lsn < progress.applied_lsn:
        return f"LSN {event.applied_lsn} is below the applied LSN {progress.applied_lsn}"
    return None


def outside_of_size(progress: Progress, event: SnapshotChunk) -> str | None:
    """No byte may lie beyond the size, whenever that is told."""
    snapshot = _after_opening(progress, event)
    size = snapshot.size_bytes if event.size_bytes is None else event.size_bytes
    if size is None:
        return None
    end = max(r.end_bytes for r in (*snapshot.staged, *_brought(event)))
    if end > size:
        return f"byte {end} lies beyond the snapshot's size of {size} bytes"
    return None


def staged_already(progress: Progress, event: SnapshotChunk) -> str | None:
    """A byte is claimed once: claiming it again hides that something copies twice."""
    staged = _after_opening(progress, event).staged
    for new in _brought(event):
        if overlaps(staged, new):
            return f"bytes {new.start_bytes} to {new.end_bytes} are staged already, at least partly"
        staged = add(staged, new)
    return None


def too_scattered(progress: Progress, event: SnapshotChunk) -> str | None:
    """Staged bytes form few ranges, so that the resume point stays small at any size."""
    staged: Ranges = _after_opening(progress, event).staged
    for new in _brought(event):
        staged = add(staged, new)
    if len(staged) > MAX_DISJOINT_RANGES:
        return (
            f"the staged bytes would form {len(staged)} separate ranges, "
            f"{MAX_DISJOINT_RANGES} are allowed: copy nearer to the beginning first"
        )
    return None


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


def size_was_told(progress: Progress, _event: Complete) -> str | None:
    """Only a caller who vouches for everything completes without a restore."""
    snapshot = _open(progress)
    if snapshot.size_bytes is None and snapshot.lsn is None:
        return None
    return "the snapshot was not restored: a checkpoint must come first"


def swap_not_undone(progress: Progress, event: Abort) -> str | None:
    """Once promoting, CURRENT may name the candidate: roll it back first, or let it finish."""
    if progress.phase is State.PROMOTING and not event.rolled_back:
        return "it is being promoted: let it finish, or roll CURRENT back first"
    return None


def _open(progress: Progress) -> Snapshot:
    # The rows that use this start where a snapshot is open; an empty one only pleases the types.
    return progress.snapshot or Snapshot("", progress.generation)


def _after_opening(progress: Progress, event: SnapshotChunk) -> Snapshot:
    if opens(progress, event):
        return Snapshot(event.token, event.generation)
    return _open(progress)


def _brought(event: SnapshotChunk) -> tuple[Range, ...]:
    return (event.staged, *event.reused)


# --- The machine --------------------------------------------------------------------------------

A, B, T, C, P, S = (
    State.ABSENT,
    State.BEGUN,
    State.TRANSFERRING,
    State.CATCHING_UP,
    State.PROMOTING,
    State.SUSPENDED,
)
DONE, GONE = State.COMPLETED, State.ABORTED

_FITS = (outside_of_size, staged_already, too_scattered, chunk_goes_back)
_OPENS = (generation_skipped, snapshot_too_old, *_FITS)
_CONTINUES = (generation_changed, told_twice, snapshot_too_old, *_FITS)
_RESUME = (epoch_not_next, held_by_operator, dropped_not_staged)

AnyRow = (
    Row[Begin]
    | Row[SnapshotChunk]
    | Row[Checkpoint]
    | Row[Promote]
    | Row[Suspend]
    | Row[Resume]
    | Row[Complete]
    | Row[Abort]
)

# fmt: off
TABLE: tuple[AnyRow, ...] = (
    Row(Begin,         (A,),        B),
    Row(SnapshotChunk, (B, C),      T,    unless=_OPENS),
    Row(SnapshotChunk, (T,),        T,    unless=_OPENS,     when=opens),
    Row(SnapshotChunk, (T,),        T,    unless=_CONTINUES, when=continues),
    Row(Checkpoint,    (B, C),      C,    unless=(position_goes_back,)),
    Row(Checkpoint,    (T,),        C,    unless=(snapshot_not_whole, below_snapshot,
                                                  position_goes_back)),
    Row(Promote,       (C,),        P,    unless=(not_the_restored_one,)),
    Row(Suspend,       PHASES,      S,    unless=(hold_without_actor,)),
    Row(Suspend,       (S,),        S,    unless=(suspended_already, hold_without_actor)),
    Row(Resume,        (B, S),      B,    unless=_RESUME,    when=into(B)),
    Row(Resume,        (T, S),      T,    unless=_RESUME,    when=into(T)),
    Row(Resume,        (C, S),      C,    unless=_RESUME,    when=into(C)),
    Row(Resume,        (P, S),      P,    unless=_RESUME,    when=into(P)),
    Row(Complete,      (B, C, P),   DONE),
    Row(Complete,      (T,),        DONE, unless=(size_was_told,)),
    Row(Abort,         (*RUN, P, S), GONE, unless=(swap_not_undone,)),
)
# fmt: on


def row_for(progress: Progress, event: Event) -> AnyRow | None:
    """Return the row that is about `event` in this situation, or None if it is illegal here."""
    for row in TABLE:
        if row.applies(progress, event):
            return row
    return None


def check(progress: Progress, event: Event) -> AnyRow:
    """Return the row by which `event` may happen now.

    Raises `IllegalEvent` if no row is about it, `GuardRefused` with the guard's reason if one is.
    """
    row = row_for(progress, event)
    if row is None:
        raise IllegalEvent(
            f"{kind_of(event)} cannot happen in state {progress.state}",
            hint=f"possible: {', '.join(legal_kinds(progress.state)) or 'nothing, it is over'}",
        )
    if reason := row.objection(progress, event):
        raise GuardRefused(f"{kind_of(event)} refused: {reason}")
    return row


def legal_kinds(state: State) -> tuple[str, ...]:
    """Return the names of the events that some row allows from `state`, in table order."""
    return tuple(dict.fromkeys(row.kind for row in TABLE if state in row.sources))
