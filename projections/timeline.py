"""What happened to one intent, event by event, in words."""

from __future__ import annotations

from typing import assert_never

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
)
from bootledger.statemachine.ranges import Ranges, total_bytes


def says(event: Event) -> str:
    """Return what `event` says beyond its kind, in one line for a person."""
    match event:
        case Begin():
            source = f" of {event.source_identity}" if event.source_identity else ""
            return _listed(
                f"node {event.node_id!r}{source}",
                "" if event.source_lsn is None else f"source at LSN {event.source_lsn}",
                f"by {event.holder}",
                *(f"{name}: {value}" for name, value in event.labels.items()),
            )
        case SnapshotChunk():
            return _chunk(event)
        case Checkpoint():
            applied = Position(event.timeline, event.applied_lsn)
            return f"applied up to {applied}, {event.batches} batches"
        case Promote():
            return f"generation {event.generation} goes into service at LSN {event.applied_lsn}"
        case Suspend():
            return _listed(
                f"{event.cause_class}: {event.cause}", f"by {event.actor}" if event.actor else ""
            )
        case Resume():
            return _listed(
                f"epoch {event.epoch} by {event.holder}",
                f"in the name of {event.actor}" if event.actor else "",
                _dropped(event.dropped),
            )
        case Complete():
            return _listed(
                "" if event.total_records is None else f"{event.total_records} records",
                "" if event.duration_ms is None else f"in {event.duration_ms / 1000:.1f} s",
            )
        case Abort():
            return _listed(
                f"{event.abort_kind} by {event.actor}: {event.reason}",
                "rolled back" if event.rolled_back else "",
                "what was staged is kept" if event.keep_artifacts else "",
            )
        case _:
            assert_never(event)


def _chunk(event: SnapshotChunk) -> str:
    end = event.offset_bytes + event.length_bytes
    if event.length_bytes:
        staged = f"bytes {event.offset_bytes} to {end} of {event.token}"
    else:
        staged = f"pinned {event.token}"
    return _listed(
        staged,
        f"generation {event.generation}",
        "" if event.size_bytes is None else f"size {event.size_bytes} bytes",
        "" if event.snapshot_lsn is None else f"at LSN {event.snapshot_lsn}",
        f"{total_bytes(event.reused)} bytes reused" if event.reused else "",
        "" if event.applied_lsn is None else f"applied up to LSN {event.applied_lsn}",
    )


def _dropped(dropped: Ranges) -> str:
    return f"{total_bytes(dropped)} staged bytes dropped" if dropped else ""


def _listed(*parts: str) -> str:
    return ", ".join(part for part in parts if part)
