"""What is true of one bootstrap: the fold of its events, and nothing else.

`Progress` is a value. It merges and never forgets: a checkpoint leaves the snapshot in place, a
suspension leaves the position in place. `phase` is the last state that was neither suspended nor
final, so that nothing about where to go on has to be inferred.
"""

from __future__ import annotations

import enum
from typing import TypeVar, assert_never

import msgspec

from bootledger.errors import DivergedHistory
from bootledger.positions import FIRST_TIMELINE, U64, Position
from bootledger.statemachine.events import (
    Abort,
    Begin,
    Checkpoint,
    Complete,
    Event,
    Holder,
    Promote,
    Resume,
    SnapshotChunk,
    Suspend,
)
from bootledger.statemachine.ranges import Ranges, add, first_gap_bytes, subtract, total_bytes

T = TypeVar("T")


class State(enum.StrEnum):
    """Where a bootstrap stands; each value says what is true on disk while it holds."""

    ABSENT = "absent"
    """No event yet: nothing of this intent exists anywhere."""
    BEGUN = "begun"
    """The intent is durable. Nothing was staged or applied for it."""
    TRANSFERRING = "transferring"
    """A snapshot is pinned at the source. Exactly the staged ranges are durable in the candidate
    file; other bytes of it mean nothing. Once whole, it may have been restored, but nobody may
    rely on that before the checkpoint that says so."""
    CATCHING_UP = "catching_up"
    """The database (candidate or current) is restored and holds every change up to the applied
    LSN, possibly a few more than the log knows, never fewer. CURRENT is untouched."""
    PROMOTING = "promoting"
    """The candidate is synced and verified. CURRENT names the old generation or the new one, never
    anything else; repeating the swap is harmless."""
    SUSPENDED = "suspended"
    """As in the stored phase; nobody works on it, and the last event says why."""
    COMPLETED = "completed"
    """CURRENT names the promoted generation, or the database that was followed. Final."""
    ABORTED = "aborted"
    """Ended on purpose. CURRENT is what it was before. What was staged belongs to nobody. Final."""


RUN = (State.BEGUN, State.TRANSFERRING, State.CATCHING_UP)
"""The states in which work goes on and nothing irrevocable has happened."""
PHASES = (*RUN, State.PROMOTING)
"""The states that a suspension remembers and a resume returns to."""
FINAL = (State.COMPLETED, State.ABORTED)


class Snapshot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The base backup being copied, or copied last.

    `staged` is what is durable of it; `size_bytes`, `lsn` and `manifest_digest` are None until
    they are told (a caller who vouches for completeness never tells them).
    """

    token: str
    generation: U64
    size_bytes: U64 | None = None
    lsn: U64 | None = None
    manifest_digest: str | None = None
    staged: Ranges = ()

    @property
    def staged_bytes(self) -> int:
        """How many bytes are durable."""
        return total_bytes(self.staged)

    @property
    def offset_bytes(self) -> int:
        """The first byte that is not staged: where a copy in order goes on."""
        return first_gap_bytes(self.staged)

    @property
    def whole(self) -> bool:
        """Whether the size is known and all of it is staged."""
        return self.size_bytes is not None and self.staged_bytes == self.size_bytes


class Progress(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The fold of one intent's events; the empty history is `Progress()`.

    `version` counts the events. `applied_lsn` is None until an event told one: absent is not zero.
    `checkpoint_number` counts checkpoints and chunks. `epoch` and `holder` name the one life of
    one process that may write. `promoted_generation` is set from the promote event on.
    `suspension` is the last suspension, also after it ended; `end` the final event.
    """

    version: U64 = 0
    state: State = State.ABSENT
    phase: State = State.ABSENT
    begin: Begin | None = None
    timeline: U64 = FIRST_TIMELINE
    applied_lsn: U64 | None = None
    batches: U64 = 0
    snapshot: Snapshot | None = None
    promoted_generation: U64 | None = None
    checkpoint_number: U64 = 0
    epoch: U64 = 0
    holder: Holder | None = None
    suspension: Suspend | None = None
    end: Complete | Abort | None = None
    recorded_at_ms: U64 = 0

    @property
    def position(self) -> Position | None:
        """What was applied, as a position; None before the first applied LSN was told."""
        return None if self.applied_lsn is None else Position(self.timeline, self.applied_lsn)

    @property
    def generation(self) -> int:
        """The highest generation in use; the next snapshot opens the one after it."""
        if self.snapshot is not None:
            return self.snapshot.generation
        return 0 if self.begin is None else self.begin.last_generation

    @property
    def has_progress(self) -> bool:
        """Whether there is anything to resume: a snapshot was pinned or an LSN applied."""
        return self.snapshot is not None or self.applied_lsn is not None

    @property
    def unfinished(self) -> bool:
        """Whether the bootstrap has begun and not ended."""
        return self.state is not State.ABSENT and self.state not in FINAL

    @property
    def held(self) -> bool:
        """Whether an operator holds it: only a resume that names an actor ends that."""
        return (
            self.state is State.SUSPENDED
            and self.suspension is not None
            and self.suspension.cause_class == "operator"
        )


def known(value: T | None, what: str) -> T:
    """Return `value`, which every history of this machine tells before it is asked for.

    Raises `DivergedHistory` if it is missing all the same: absent is never taken for zero.
    """
    if value is None:
        raise DivergedHistory(
            f"the ledger does not say what it must at this point: {what}",
            hint="the ledger was damaged: do not resume from it",
        )
    return value


def evolve(progress: Progress, event: Event, target: State) -> Progress:
    """Return `progress` after `event`, with `target` as its state.

    Pure bookkeeping: the table has already judged that the event is legal and where it leads.
    """
    after = msgspec.structs.replace(
        progress,
        version=progress.version + 1,
        state=target,
        phase=target if target in PHASES else progress.phase,
        recorded_at_ms=event.recorded_at_ms,
    )
    match event:
        case Begin():
            return msgspec.structs.replace(
                after, begin=event, timeline=event.timeline, epoch=1, holder=event.holder
            )
        case SnapshotChunk():
            return msgspec.structs.replace(
                after,
                snapshot=_staged(snapshot_of(progress, event), event),
                applied_lsn=_told(event.applied_lsn, progress.applied_lsn),
                batches=progress.batches if event.batches is None else event.batches,
                checkpoint_number=progress.checkpoint_number + 1,
            )
        case Checkpoint():
            return msgspec.structs.replace(
                after,
                timeline=event.timeline,
                applied_lsn=event.applied_lsn,
                batches=event.batches,
                checkpoint_number=progress.checkpoint_number + 1,
            )
        case Promote():
            return msgspec.structs.replace(after, promoted_generation=event.generation)
        case Suspend():
            return msgspec.structs.replace(after, suspension=event)
        case Resume():
            return msgspec.structs.replace(
                after,
                epoch=event.epoch,
                holder=event.holder,
                snapshot=_dropped(progress.snapshot, event.dropped),
            )
        case Complete() | Abort():
            return msgspec.structs.replace(after, end=event)
        case _:
            assert_never(event)


def snapshot_of(progress: Progress, event: SnapshotChunk) -> Snapshot:
    """Return the snapshot that `event` adds to: the open one, or a new one of its generation."""
    if progress.snapshot is None or progress.snapshot.generation != event.generation:
        return Snapshot(event.token, event.generation)
    return progress.snapshot


def _staged(snapshot: Snapshot, event: SnapshotChunk) -> Snapshot:
    staged = snapshot.staged
    for brought in event.brought:
        staged = add(staged, brought)
    return msgspec.structs.replace(
        snapshot,
        size_bytes=_told(event.size_bytes, snapshot.size_bytes),
        lsn=_told(event.snapshot_lsn, snapshot.lsn),
        manifest_digest=event.manifest_digest or snapshot.manifest_digest,
        staged=staged,
    )


def _dropped(snapshot: Snapshot | None, dropped: Ranges) -> Snapshot | None:
    if snapshot is None:
        return None
    staged = snapshot.staged
    for gone in dropped:
        staged = subtract(staged, gone)
    return msgspec.structs.replace(snapshot, staged=staged)


def _told(new: int | None, old: int | None) -> int | None:
    return old if new is None else new
