"""Our answers and RedDB's in one shape: the seed's, which knows neither epochs nor absent LSNs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from bootledger.projections.resume import ResumePoint
from bootledger.projections.unfinished import UnfinishedIntent
from bootledger.statemachine.events import (
    Abort,
    Checkpoint,
    Complete,
    Event,
    SnapshotChunk,
)
from bootledger.statemachine.progress import Progress

Json: TypeAlias = Mapping[str, object]
OP = "replica_bootstrap"


@dataclass(frozen=True)
class Point:
    """A resume point. The seed writes 0 where no LSN was told."""

    lsn: int
    token: str | None
    offset: int


@dataclass(frozen=True)
class Entry:
    """One unfinished intent. `point` is None before any progress, `batches` if not told."""

    op: str
    phase: str
    actor: object
    args: Json
    point: Point | None
    batches: object


@dataclass(frozen=True)
class Line:
    """One record that a handle appended."""

    phase: str
    point: Point | None
    numbers: tuple[object, ...]


def plain(value: object) -> str:
    """JSON with sorted keys, so that equal values have one text; 1.0 is 1, as RedDB writes it."""
    return json.dumps(_whole(value), sort_keys=True)


def _whole(value: object) -> object:
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {key: _whole(item) for key, item in value.items()}
        case list():
            return [_whole(item) for item in value]
        case _:
            return value


# --- Theirs -------------------------------------------------------------------------------------


def seed_u64(value: object) -> int:
    """A number as the seed reads it: through a double, clamped; whatever is no number is 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    try:
        return min(max(int(float(value)), 0), 2**64 - 1)
    except OverflowError:
        return 2**64 - 1 if value > 0 else 0


def told_point(progress: Json) -> Point:
    """What the seed's resume makes of a progress map."""
    name = "snapshot_cursor" if "snapshot_cursor" in progress else "snapshot_token"
    token = progress.get(name)
    return Point(
        seed_u64(progress.get("last_applied_lsn")),
        token if isinstance(token, str) else None,
        seed_u64(progress.get("snapshot_offset")),
    )


def their_point(point: Json | None) -> Point | None:
    """A resume point of the vectors."""
    if point is None:
        return None
    lsn, token, offset = (
        point[name] for name in ("last_applied_lsn", "snapshot_token", "snapshot_offset")
    )
    assert isinstance(lsn, int)
    assert isinstance(offset, int)
    return Point(lsn, None if token is None else str(token), offset)


def their_entry(entry: Json) -> Entry:
    """An element of `list_unfinished` of the vectors."""
    progress = entry["last_progress"]
    told = progress if isinstance(progress, dict) else None
    return Entry(
        str(entry["op"]),
        str(entry["last_phase"]),
        entry["actor"],
        dict(args) if isinstance(args := entry["args"], dict) else {},
        None if told is None else told_point(told),
        None if told is None else told.get("batches_applied"),
    )


def their_line(line: str) -> Line:
    """A record that RedDB appended."""
    record = json.loads(line)
    progress, summary = record.get("progress"), record.get("summary") or {}
    return Line(
        record["phase"],
        None if progress is None else told_point(progress),
        ((progress or {}).get("batches_applied"), *(summary[name] for name in sorted(summary))),
    )


def their_event(text: str) -> tuple[str, str, str]:
    """Id, op and last phase of a dangling event's text."""
    found = re.search(r"id=(\S+) op=(\S+) started_at_ms=\d+ last_phase=(\S+)$", text)
    assert found, text
    return found[1], found[2], found[3]


# --- Ours ---------------------------------------------------------------------------------------


def phase_of(progress: Progress) -> str:
    """The last phase of an unfinished intent."""
    number = progress.checkpoint_number
    return f"checkpoint_{number}" if number else "running"


def our_point(point: ResumePoint) -> Point:
    """A resume point of ours."""
    return Point(point.last_applied_lsn or 0, point.snapshot_token, point.snapshot_offset)


def our_entry(intent: UnfinishedIntent) -> Entry:
    """An unfinished intent of ours. What is beyond the seed's arguments is kept in the labels."""
    progress, begin = intent.progress, intent.progress.begin
    assert begin is not None
    more = begin.labels.get("args", {})
    assert isinstance(more, dict)
    numbers = {"source_lsn": begin.source_lsn, "target_lsn_hint": begin.target_lsn_hint}
    args = {"replica_id": begin.node_id, **more}
    args |= {name: number for name, number in numbers.items() if number is not None}
    return Entry(
        intent.op,
        phase_of(progress),
        begin.labels.get("actor", begin.node_id),
        args,
        progress_point(progress) if progress.has_progress else None,
        progress.batches,
    )


def progress_point(progress: Progress) -> Point:
    """Where an intent stands."""
    snapshot = progress.snapshot
    return Point(
        progress.applied_lsn or 0,
        snapshot.token if snapshot else None,
        snapshot.offset_bytes if snapshot else 0,
    )


def our_lines(events: Iterable[Event], number: int) -> list[Line]:
    """What a handle appended, after checkpoint `number`; a resume is not seen in the seed."""
    lines = []
    for event in events:
        match event:
            case SnapshotChunk():
                number += 1
                point = Point(
                    event.applied_lsn or 0, event.token, event.offset_bytes + event.length_bytes
                )
                lines.append(Line(f"checkpoint_{number}", point, (event.batches,)))
            case Checkpoint():
                number += 1
                point = Point(event.applied_lsn, None, 0)
                lines.append(Line(f"checkpoint_{number}", point, (event.batches,)))
            case Complete():
                told = (None, event.duration_ms, event.total_records)
                lines.append(Line("completed", None, told))
            case Abort():
                lines.append(Line("aborted", None, (None,)))
            case _:
                pass
    return lines
