"""Events with sensible fields, to be varied, and histories that lead into every situation."""

from __future__ import annotations

from bootledger.statemachine.events import (
    Abort,
    AbortKind,
    Begin,
    CauseClass,
    Checkpoint,
    Complete,
    Event,
    Holder,
    Promote,
    Resume,
    SnapshotChunk,
    Suspend,
)
from bootledger.statemachine.ranges import Ranges

HOLDER = Holder("replica-1", 4242, 1_700_000_000_000)
NEXT_HOLDER = Holder("replica-1", 4343, 1_700_000_500_000)


def begin(*, node_id: str = "replica-a", last_generation: int = 0, timeline: int = 1) -> Begin:
    """A begin of node `replica-a` at LSN 100."""
    return Begin(
        recorded_at_ms=1,
        node_id=node_id,
        source_lsn=100,
        target_lsn_hint=200,
        holder=HOLDER,
        source_identity="db-1",
        timeline=timeline,
        last_generation=last_generation,
        labels={"ticket": "4711"},
    )


def chunk(
    offset_bytes: int = 0,
    length_bytes: int = 0,
    *,
    generation: int = 1,
    token: str | None = None,
    size_bytes: int | None = None,
    snapshot_lsn: int | None = None,
    manifest_digest: str | None = None,
    reused: Ranges = (),
    applied_lsn: int | None = None,
) -> SnapshotChunk:
    """A chunk of `snapshot-N`, telling nothing but what is asked for."""
    return SnapshotChunk(
        recorded_at_ms=2,
        token=token or f"snapshot-{generation}",
        generation=generation,
        offset_bytes=offset_bytes,
        length_bytes=length_bytes,
        size_bytes=size_bytes,
        snapshot_lsn=snapshot_lsn,
        manifest_digest=manifest_digest,
        reused=reused,
        applied_lsn=applied_lsn,
    )


def pin(generation: int = 1, *, size_bytes: int = 100, snapshot_lsn: int = 100) -> SnapshotChunk:
    """The empty chunk that opens a snapshot and tells all about it."""
    return chunk(
        generation=generation,
        size_bytes=size_bytes,
        snapshot_lsn=snapshot_lsn,
        manifest_digest="ab" * 32,
    )


def checkpoint(applied_lsn: int = 100, *, batches: int = 0, timeline: int = 1) -> Checkpoint:
    """A checkpoint, at the pinned snapshot's LSN unless told otherwise."""
    return Checkpoint(recorded_at_ms=3, applied_lsn=applied_lsn, batches=batches, timeline=timeline)


def promote(generation: int = 1, applied_lsn: int = 100) -> Promote:
    """A promotion of the pinned snapshot's candidate."""
    return Promote(recorded_at_ms=4, generation=generation, applied_lsn=applied_lsn)


def suspend(cause_class: CauseClass = "network", *, actor: str | None = None) -> Suspend:
    """A suspension by the network, unless told otherwise."""
    return Suspend(recorded_at_ms=5, cause="why not", cause_class=cause_class, actor=actor)


def hold() -> Suspend:
    """An operator's hold."""
    return suspend("operator", actor="ada")


def resume(epoch: int = 2, *, actor: str | None = None, dropped: Ranges = ()) -> Resume:
    """A resume by another life of the same process, the second unless told otherwise."""
    return Resume(recorded_at_ms=6, epoch=epoch, holder=NEXT_HOLDER, actor=actor, dropped=dropped)


def complete() -> Complete:
    """A completion."""
    return Complete(recorded_at_ms=7, total_records=10, duration_ms=1000)


def abort(*, kind: AbortKind = "operator", rolled_back: bool = False) -> Abort:
    """An abort by a person."""
    return Abort(
        recorded_at_ms=8, actor="ada", reason="enough", abort_kind=kind, rolled_back=rolled_back
    )


BEGUN = (begin(),)
VOUCHED_COPY = (*BEGUN, chunk(0, 40))
PINNED = (*BEGUN, pin())
HALF = (*PINNED, chunk(0, 40), chunk(60, 20))
WHOLE = (*PINNED, chunk(0, 100))
FOLLOWING = (*BEGUN, checkpoint())
VOUCHED = (*VOUCHED_COPY, checkpoint())
RESTORED = (*WHOLE, checkpoint())
PROMOTING = (*RESTORED, promote())

SITUATIONS: dict[str, tuple[Event, ...]] = {
    "absent": (),
    "begun": BEGUN,
    "copying, size never told": VOUCHED_COPY,
    "pinned": PINNED,
    "half staged": HALF,
    "whole": WHOLE,
    "following": FOLLOWING,
    "restored on the caller's word": VOUCHED,
    "restored": RESTORED,
    "second snapshot": (*RESTORED, pin(2, snapshot_lsn=150)),
    "promoting": PROMOTING,
    "suspended, begun": (*BEGUN, suspend()),
    "suspended, half staged": (*HALF, suspend()),
    "suspended, restored": (*RESTORED, suspend()),
    "suspended, promoting": (*PROMOTING, suspend()),
    "held, half staged": (*HALF, hold()),
    "held, promoting": (*PROMOTING, hold()),
    "resumed": (*HALF, suspend(), resume()),
    "taken over without a word": (*HALF, resume()),
    "completed": (*PROMOTING, complete()),
    "aborted": (*HALF, abort()),
}
"""Every state, in every variant that a guard or the plan tells apart."""


def one_of_each() -> tuple[Event, ...]:
    """One event of every kind, with as many fields told as it has."""
    return (
        begin(),
        chunk(3, 5, size_bytes=100, snapshot_lsn=9, manifest_digest="ab" * 32, applied_lsn=7),
        checkpoint(),
        promote(),
        suspend(actor="ada"),
        resume(actor="ada"),
        complete(),
        abort(),
    )
