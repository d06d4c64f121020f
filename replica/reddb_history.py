"""One intent of RedDB's log as our events. Pure: what cannot be said is refused, not guessed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from bootledger.errors import InvalidValue, Refused
from bootledger.positions import U64_MAX
from bootledger.replica.cursor import staged_up_to
from bootledger.replica.reddb_intent_log import Record
from bootledger.statemachine.events import Abort, Begin, Checkpoint, Complete, Event, Holder
from bootledger.statemachine.fold import EMPTY, advance
from bootledger.statemachine.labels import REDACTED
from bootledger.statemachine.progress import Progress, State

HOLDER = Holder("reddb", 0, 0)
"""RedDB does not write down which process owned an intent."""
EXACT_BELOW = 2**53
"""RedDB's numbers went through a double: from here on the low bits may be wrong."""

_FIELDS = {"id", "op", "phase", "ts", "actor", "args"}
_PROGRESS = {
    "last_applied_lsn",
    "batches_applied",
    "snapshot_cursor",
    "snapshot_token",
    "snapshot_offset",
}
_SUMMARY = {"total_records", "duration_ms"}


class Step(NamedTuple):
    """What one record says: an event, if any, and what is true after it.

    `note` tells a person what the record holds and no event can say; it is empty for most.
    """

    line: int
    event: Event | None
    progress: Progress
    note: str = ""


def steps_of(records: Iterable[Record]) -> Iterator[Step]:
    """Yield what the records of one intent say, in their order.

    Raises `Refused`, naming the line, at the first record that no event can say, or that the table
    does not allow: then the intent as a whole is not to be trusted.
    """
    progress, at_ms = EMPTY, 0
    for record in records:
        try:
            at_ms, note = _time(record.fields.get("ts"), at_ms)
            if progress is EMPTY and record.phase != "running":
                # Every record repeats the arguments, so the first one is as good as a beginning.
                begin = _begin(record.fields, at_ms)
                progress = advance(progress, begin)
                yield Step(record.place.line, begin, progress, "it does not begin with `running`")
            event = event_of(record.phase, record.fields, progress, at_ms)
            if event is not None:
                progress = advance(progress, event)
        except Refused as refusal:
            raise Refused(f"line {record.place.line}: {refusal}") from refusal
        if event is None:
            note += " it tells no progress"
        yield Step(record.place.line, event, progress, (note + _unsaid(record.fields)).strip(" ;"))


def event_of(
    phase: str, fields: Mapping[str, object], progress: Progress, at_ms: int
) -> Event | None:
    """Return the event that a record of `phase` is for an intent in `progress`, None for nothing.

    A checkpoint that tells nothing new repeats what is known. Raises `Refused` for what no event
    can say.
    """
    match phase:
        case "running":
            return _begin(fields, at_ms)
        case "completed":
            summary = _object(fields.get("summary"))
            return Complete(
                recorded_at_ms=at_ms,
                total_records=_number(summary, "total_records"),
                duration_ms=_number(summary, "duration_ms"),
            )
        case "aborted":
            return Abort(
                recorded_at_ms=at_ms,
                actor=progress.begin.node_id if progress.begin else HOLDER.host,
                reason="aborted in RedDB's log, which gives no reason",
                abort_kind="left",
            )
        case _:
            return _checkpoint(_object(fields.get("progress")), progress, at_ms)


def _begin(fields: Mapping[str, object], at_ms: int) -> Begin:
    args = _object(fields.get("args"))
    node_id = args.get("replica_id")
    if not isinstance(node_id, str):
        raise InvalidValue(f"args.replica_id must be text, not {node_id!r:.80}")
    labels: dict[str, object] = {}
    if fields.get("actor") not in (None, node_id):
        labels["actor"] = fields["actor"]
    own = ("replica_id", "source_lsn", "target_lsn_hint")
    if more := {name: value for name, value in args.items() if name not in own}:
        labels["args"] = more
    return Begin(
        recorded_at_ms=at_ms,
        node_id=node_id,
        source_lsn=_number(args, "source_lsn"),
        target_lsn_hint=_number(args, "target_lsn_hint"),
        holder=HOLDER,
        labels=labels,
    )


def _checkpoint(told: Mapping[str, object], progress: Progress, at_ms: int) -> Event | None:
    lsn, offset, batches = (
        _number(told, name) for name in ("last_applied_lsn", "snapshot_offset", "batches_applied")
    )
    token = _token(told)
    if token is None and offset:
        raise InvalidValue(f"snapshot_offset {offset} belongs to no snapshot")
    if token is None and lsn is None:
        if progress.state is State.TRANSFERRING and progress.snapshot is not None:
            token = progress.snapshot.token
        elif progress.state is State.CATCHING_UP:
            lsn = progress.applied_lsn
    if token is not None:
        return staged_up_to(
            progress, token, offset, recorded_at_ms=at_ms, applied_lsn=lsn, batches=batches
        )
    if lsn is None:
        return None
    return Checkpoint(
        recorded_at_ms=at_ms,
        applied_lsn=lsn,
        batches=progress.batches if batches is None else batches,
        timeline=progress.timeline,
    )


def _token(told: Mapping[str, object]) -> str | None:
    """Return the token: `snapshot_cursor`, or under its old name; None if neither is told."""
    name = "snapshot_cursor" if "snapshot_cursor" in told else "snapshot_token"
    token = told.get(name)
    if token is None and told.get("snapshot_token") is None:
        return None
    if not isinstance(token, str):
        raise InvalidValue(f"{name} must be text, not {token!r:.80}")
    if token == REDACTED:
        raise InvalidValue(f"{name} was redacted: the token is lost")
    return token


def _number(told: Mapping[str, object], name: str) -> int | None:
    """Return an exact number; None if it is not told, which is not 0."""
    value = told.get(name)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= U64_MAX:
        raise InvalidValue(f"{name} must be a whole number within u64, not {value!r:.80}")
    if value >= EXACT_BELOW:
        raise InvalidValue(f"{name} is {value}: RedDB may have rounded it when it was written")
    return value


def _time(ts: object, last_ms: int) -> tuple[int, str]:
    """Return when the record was written, and a note; what cannot be read is as before it."""
    if isinstance(ts, int) and not isinstance(ts, bool) and 0 <= ts <= U64_MAX:
        return ts, ""
    return last_ms, "its time cannot be read;"


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _unsaid(fields: Mapping[str, object]) -> str:
    """Return, in words, what a record holds beyond what an event can say."""
    phase = str(fields["phase"])
    own = {"completed": "summary", "running": "", "aborted": ""}.get(phase, "progress")
    names = [name for name in fields if name not in _FIELDS | {own}]
    names += [f"progress.{n}" for n in _object(fields.get("progress")) if n not in _PROGRESS]
    names += [f"summary.{n}" for n in _object(fields.get("summary")) if n not in _SUMMARY]
    if own and fields.get(own) is not None and not isinstance(fields[own], dict):
        names.append(own)
    return f" not read: {', '.join(names)[:200]}" if names else ""
