"""What our ledger must answer about an intent log: from the records it accepts, and nothing else.

A rule says why an answer differs from RedDB's. This says what ours must be then, so that a rule
never passes an answer only because it is another one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from conformance.intent_log_records import (
    REDACTED,
    Asked,
    History,
    batches_of,
    is_uuid,
    merged,
    node_of,
    sensitive,
    telling_checkpoints,
)
from conformance.seed_shape import OP, Entry, Line, Point, plain
from conformance.verdicts import Comparison


def follows(asked: Asked, comparison: Comparison) -> bool:
    """Whether our answer is the one that follows from the records that ours has accepted."""
    if asked.what in _EXPECTED:
        return bool(comparison.ours == _EXPECTED[asked.what](asked))
    judged = _JUDGED.get(asked.what)
    return judged is not None and judged(asked, comparison.theirs, comparison.ours)


def standing(history: History) -> Point | None:
    """Where an intent stands, None before any progress."""
    return merged(history) if telling_checkpoints(history) else None


def is_open(history: History) -> bool:
    """Whether an intent has begun and not ended."""
    return bool(history) and history[-1]["phase"] not in ("completed", "aborted")


def superseded(asked: Asked, number: int) -> bool:
    """Whether a later intent of the node took its place: begun, if it had no progress, or done."""
    if not asked.supersedes:
        return False
    later = [h for h in asked.accepted[number + 1 :] if h and same_node(h, asked.accepted[number])]
    return any(h[-1]["phase"] == "completed" for h in later) or (
        bool(later) and not telling_checkpoints(asked.accepted[number])
    )


def same_node(one: History, other: History) -> bool:
    """Whether two intents are of one node."""
    return bool(one) and bool(other) and node_of(one) == node_of(other)


def resumable(asked: Asked) -> Point | None:
    """The one point that the node resumes from, None if there is none or more than one."""
    points = [
        point
        for number, history in enumerate(asked.accepted)
        if is_open(history) and (point := standing(history)) and not superseded(asked, number)
    ]
    return points[0] if len(points) == 1 else None


def _is_open(asked: Asked) -> bool:
    number = asked.number
    return number is not None and is_open(asked.own) and not superseded(asked, number)


def _phase(asked: Asked) -> str:
    count = telling_checkpoints(asked.own)
    return f"checkpoint_{count}" if count else "running"


def _is_own_entry(asked: Asked, ours: object) -> bool:
    return (
        isinstance(ours, Entry)
        and (ours.op, ours.phase, ours.point) == (OP, _phase(asked), standing(asked.own))
        and ours.args.get("replica_id") == node_of(asked.own)
        and (ours.point is None or (ours.batches or 0) == (batches_of(asked.own) or 0))
    )


def _argument(asked: Asked) -> str | None:
    """An argument as it was given, redacted by whole words."""
    if asked.call is None or not asked.own:
        return None
    name = str(asked.call["name"])
    args = asked.own[0].get("args")
    given = args.get(name) if isinstance(args, dict) else None
    given = asked.own[0].get(name) if given is None else given
    return plain(_redacted(name, given))


def _redacted(name: str, value: object) -> object:
    if sensitive(name):
        return REDACTED
    match value:
        case dict():
            return {key: _redacted(key, item) for key, item in value.items()}
        case list():
            return [_redacted("", item) for item in value]
        case _:
            return value


def _is_next_line(asked: Asked, theirs: object, ours: object) -> bool:
    if ours is None:
        return True  # only the rule about going back says so, and it looks
    if not isinstance(ours, Line) or not isinstance(theirs, Line):
        return False
    phases = {theirs.phase} & {"completed", "aborted"} or {f"checkpoint_{asked.counted}"}
    return ours.phase in phases and (ours.point, ours.numbers) == (theirs.point, theirs.numbers)


def _ids_follow(asked: Asked, theirs: object, ours: object) -> bool:
    if not isinstance(theirs, frozenset) or not isinstance(ours, frozenset):
        return False
    invents = any(not is_uuid(name) for name in asked.names)
    return all(
        _is_unfinished(asked, name) is (name in ours)
        if name in asked.names
        else invents and name in theirs  # for an id that is no UUID, RedDB makes up another
        for name in theirs ^ ours
    )


def _is_unfinished(asked: Asked, name: str) -> bool:
    """Whether an intent is unfinished while, or after, the first one that was asked about ended."""
    number = asked.names.index(name)
    history, ended = asked.accepted[number], (asked.call or {}).get("ended")
    if not is_open(history) or superseded(asked, number):
        return False
    if number == asked.number:
        return ended is None
    older = asked.number is not None and number < asked.number
    taken_over = ended == "completed" and same_node(history, asked.own)
    return not (taken_over and (older or not telling_checkpoints(history)))


def _call_follows(asked: Asked, _: object, ours: object) -> bool:
    if asked.call is not None and "resume" in asked.call:
        return ours == (None if asked.live else resumable(asked))
    return ours in ("ok", "refused")  # each rule says when


def _node_follows(asked: Asked, _: object, ours: object) -> bool:
    """A node answers with its point, and its handle with the LSN of it."""
    point = resumable(asked)
    return ours == point or (point is not None and ours == point.lsn)


def _entry_follows(asked: Asked, _: object, ours: object) -> bool:
    return _is_own_entry(asked, ours) if _is_open(asked) else ours is None


def _event(asked: Asked) -> tuple[str, str] | None:
    return (OP, _phase(asked)) if _is_open(asked) else None


def _actor(asked: Asked) -> object:
    """Who began an intent: the node, unless somebody else is told."""
    actor = asked.own[0].get("actor") if asked.own else None
    return node_of(asked.own) if actor is None and asked.own else actor


_EXPECTED: Mapping[str, Callable[[Asked], object]] = {
    "event": _event,
    "phase": _phase,
    "progress": lambda asked: standing(asked.own),
    "batches": lambda asked: batches_of(asked.own),
    "op": lambda _: OP,
    "actor": _actor,
    "argument": _argument,
}
_JUDGED: Mapping[str, Callable[[Asked, object, object], bool]] = {
    "call": _call_follows,
    "node": _node_follows,
    "entry": _entry_follows,
    "appended": _is_next_line,
    "ids": _ids_follow,
}
