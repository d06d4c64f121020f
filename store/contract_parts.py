"""What the checks of the contract are made of: a few intents, events and comparisons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

from bootledger.statemachine.events import Abort, Begin, Checkpoint, Complete, Event, Holder
from bootledger.store.port import Append, EventStore, NodeExpectation, Recorded

_E = TypeVar("_E", bound=Exception)

A, B, C = (UUID(int=number) for number in (0xA, 0xB, 0xC))
END = Complete(recorded_at_ms=3, total_records=0, duration_ms=0)
ABORT = Abort(recorded_at_ms=3, actor="operator", reason="asked to", abort_kind="operator")


def begin(
    intent_id: UUID, *, node: str = "node", labels: dict[str, object] | None = None
) -> Append:
    """Return the first event of an intent."""
    me, labels = Holder("contract", 1, 1), labels or {}
    event = Begin(
        recorded_at_ms=1, node_id=node, source_lsn=1, target_lsn_hint=2, holder=me, labels=labels
    )
    return Append(intent_id, 0, event, b"begun")


def following(intent_id: UUID, version: int, event: Event | None = None) -> Append:
    """Return the event after `version`: a checkpoint, unless another is given."""
    default = Checkpoint(recorded_at_ms=2, applied_lsn=version, batches=version)
    return Append(intent_id, version, event or default, b"head %d" % version)


def recorded(batch: Sequence[Append]) -> list[Recorded]:
    """Return what a new store holds after `batch`."""
    return [
        Recorded(position, item.intent_id, item.expected_version + 1, item.event)
        for position, item in enumerate(batch, start=1)
    ]


def equal(actual: object, expected: object) -> None:
    """Raise `AssertionError` unless both are equal."""
    if actual != expected:
        raise AssertionError(f"{actual!r} is not {expected!r}")


def raises(kind: type[_E], work: Callable[[], object]) -> _E:
    """Return the error that `work` raises; `AssertionError` if it is not of that kind."""
    try:
        work()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


def refuses_and_writes_nothing(
    store: EventStore,
    kind: type[Exception],
    batch: Sequence[Append],
    expect: NodeExpectation | None = None,
) -> None:
    """Raise `AssertionError` unless the append raises that kind of error and changes nothing."""
    before = everything(store)
    raises(kind, lambda: store.append(batch, expect=expect))
    equal(everything(store), before)


def everything(store: EventStore) -> tuple[object, ...]:
    """Return all that a reader can ask for, of a small store."""
    intents = [head.intent_id for head in store.heads()]
    return (
        store.last_position(),
        list(store.read(0, 1000)),
        list(store.unfinished()),
        [(store.head(intent_id), list(store.history(intent_id))) for intent_id in (*intents, A, B)],
    )
