"""Rule 1: what may happen, and where it leads, is decided here and nowhere else.

"Here" is two files: this one says which event leads from where to where and which guards watch it;
`bootledger.statemachine.guards` says what each guard refuses.

Rule 2: both act on values only. They know no clock, no disk and no process.

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
from typing import Generic

from bootledger.errors import GuardRefused, IllegalEvent
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
from bootledger.statemachine.guards import (
    E,
    Guard,
    below_snapshot,
    candidate_not_promoted,
    chunk_goes_back,
    drop_scatters,
    dropped_not_staged,
    epoch_not_next,
    generation_changed,
    generation_skipped,
    generations_used_up,
    held_by_operator,
    hold_without_actor,
    not_the_restored_one,
    outside_of_size,
    position_goes_back,
    size_was_told,
    snapshot_not_whole,
    snapshot_too_old,
    staged_already,
    suspended_already,
    swap_not_undone,
    told_twice,
    too_scattered,
)
from bootledger.statemachine.progress import PHASES, RUN, Progress, State

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
    returns_to.__doc__ = f"Hold if {phase} is where the bootstrap stood."
    return returns_to


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

_FITS = (snapshot_too_old, outside_of_size, staged_already, too_scattered, chunk_goes_back)
_OPENS = (generation_skipped, *_FITS)
_CONTINUES = (generation_changed, told_twice, *_FITS)
_RESUME = (epoch_not_next, held_by_operator, dropped_not_staged, drop_scatters)

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
    Row(Begin,         (A,),        B,    unless=(generations_used_up,)),
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
    Row(Complete,      (B, P),      DONE),
    Row(Complete,      (C,),        DONE, unless=(candidate_not_promoted,)),
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
