"""What every adapter checks before it writes, inside of its transaction."""

from __future__ import annotations

from uuid import UUID

from bootledger.errors import IntentConflict, InvalidValue
from bootledger.positions import check_text, check_u64
from bootledger.statemachine.events import Abort, Begin, Complete, Event, kind_of
from bootledger.store.port import Append, Head, NodeExpectation

PROJECTION_NAME_MAX_BYTES = 255
LAST_KINDS = frozenset({kind_of(Complete), kind_of(Abort)})
"""What the last event of an intent is called."""


def admit(item: Append, head: Head | None, *, unfinished: bool) -> str:
    """Return the node of the intent if `item` may follow its `head`.

    `unfinished` says whether the index has the intent. Raises `IntentConflict` or `InvalidValue`.
    """
    version = 0 if head is None else head.version
    if item.expected_version != version:
        raise IntentConflict(
            f"intent {item.intent_id} is at version {version}, not {item.expected_version}",
            hint="somebody else appended to it: read it again, then decide",
        )
    kind = kind_of(item.event)
    if head is None:
        if not isinstance(item.event, Begin):
            raise InvalidValue(f"intent {item.intent_id} cannot start with {kind}")
        return item.event.node_id
    if isinstance(item.event, Begin):
        raise InvalidValue(f"intent {item.intent_id} has begun already")
    if not unfinished:
        raise InvalidValue(f"intent {item.intent_id} is finished: {kind} cannot follow")
    return head.node_id


def ends(event: Event) -> bool:
    """Return whether `event` is the last one of its intent."""
    return isinstance(event, Complete | Abort)


def check_expectation(expect: NodeExpectation, unfinished: frozenset[UUID]) -> None:
    """Raise `IntentConflict` unless the node's unfinished intents are the expected ones."""
    if expect.unfinished != unfinished:
        raise IntentConflict(
            f"node {expect.node_id!r} has the unfinished intents {_ids(unfinished)}, "
            f"not {_ids(expect.unfinished)}",
            hint="somebody else began or ended one: read again, then decide",
        )


def check_bounds(after_position: int, limit: int) -> None:
    """Raise `InvalidValue` unless both are u64."""
    check_u64(after_position, "after_position")
    check_u64(limit, "limit")


def check_cutoff(after_position: int, before_ms: int) -> None:
    """Raise `InvalidValue` unless both are u64."""
    check_u64(after_position, "after_position")
    check_u64(before_ms, "before_ms")


def check_projection_name(name: str) -> None:
    """Raise `InvalidValue` unless `name` can be the key of a projection."""
    check_text(name, "projection name", max_bytes=PROJECTION_NAME_MAX_BYTES)


def projection_conflict(name: str, expected_position: int, position: int) -> IntentConflict:
    """Return the error of a projection that somebody else has saved."""
    return IntentConflict(
        f"projection {name!r} was saved at position {position}, not {expected_position}",
        hint="somebody else saved it: load it again",
    )


def _ids(intents: frozenset[UUID]) -> str:
    return "{" + ", ".join(sorted(map(str, intents))) + "}"
