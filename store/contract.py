"""The promise of `bootledger.store.port` as checks that any adapter can be put to.

`check_event_store` runs them all, each on a store of its own. It needs no test framework: a broken
promise is an `AssertionError` that names the check and quotes the promise.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeAlias, TypeVar
from uuid import UUID

from bootledger.errors import IntentConflict, InvalidValue
from bootledger.files import LockHeld
from bootledger.statemachine.events import Abort, Begin, Checkpoint, Complete, Event, Holder
from bootledger.store.port import Append, EventStore, NodeExpectation, Recorded, SavedProjection

_E = TypeVar("_E", bound=Exception)
Check: TypeAlias = Callable[[EventStore], None]
Reopen: TypeAlias = Callable[[EventStore], EventStore]

_A, _B, _C = (UUID(int=number) for number in (0xA, 0xB, 0xC))
_END = Complete(recorded_at_ms=3, total_records=0, duration_ms=0)
_ABORT = Abort(recorded_at_ms=3, actor="operator", reason="asked to", abort_kind="operator")
_HISTORY_EVENTS = 150
_THREADS = 4


def check_event_store(make: Callable[[], EventStore], *, reopen: Reopen | None = None) -> None:
    """Put the stores that `make` returns to every check; each must be new and empty.

    `reopen`, for adapters that remember, closes the store that it is given and returns one on the
    same ledger.

    Raises `AssertionError` naming the check and the promise that is broken.
    """
    for check in CHECKS:
        with _named(check.__name__, check.__doc__):
            check(make())
    if reopen is not None:
        durable = what_was_appended_is_there_again
        with _named(durable.__name__, durable.__doc__):
            durable(make(), reopen)


@contextlib.contextmanager
def _named(name: str, promise: str | None) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{name}: {promise} But: {error!r}") from error


# --- Append -------------------------------------------------------------------------------------


def positions_count_up_from_one(store: EventStore) -> None:
    """Events get the positions 1, 2, 3, … in the order of their batches."""
    _equal(store.last_position(), 0)
    _equal(list(store.append([_begin(_A), _next(_A, 1)])), [1, 2])
    _equal(list(store.append([_begin(_B)])), [3])
    _equal(store.last_position(), 3)


def an_empty_batch_is_nothing(store: EventStore) -> None:
    """An empty batch has no positions and changes nothing."""
    _equal(list(store.append([])), [])
    _equal(store.last_position(), 0)


def events_come_back_equal(store: EventStore) -> None:
    """What is read is what was appended: position, intent, version and event."""
    batch = [_begin(_A), _begin(_B), _next(_A, 1), _next(_B, 1), _next(_A, 2, _END)]
    store.append(batch)
    _equal(list(store.read(0, 10)), _recorded(batch))


def a_wrong_version_is_a_conflict(store: EventStore) -> None:
    """A version that is too low, too high or of an intent that never began is a conflict."""
    store.append([_begin(_A), _next(_A, 1)])
    for wrong in (_begin(_A), _next(_A, 1), _next(_A, 3), _next(_B, 1)):
        _refuses_and_writes_nothing(store, IntentConflict, [wrong])


def a_refused_batch_writes_nothing(store: EventStore) -> None:
    """If one event of a batch is refused, none of it is written: no event, head or index."""
    store.append([_begin(_A)])
    _refuses_and_writes_nothing(
        store, IntentConflict, [_begin(_B), _next(_A, 1, _END), _next(_A, 7)]
    )


def an_intent_has_a_first_and_a_last_event(store: EventStore) -> None:
    """Begin comes first and only once; nothing follows a complete or an abort."""
    store.append([_begin(_A), _begin(_B), _next(_B, 1, _END), _begin(_C), _next(_C, 1, _ABORT)])
    unbegun = Append(UUID(int=0xD), 0, _END, b"")
    for wrong in (unbegun, _next(_A, 1, _begin(_A).event), _next(_B, 2), _next(_C, 2, _END)):
        _refuses_and_writes_nothing(store, InvalidValue, [wrong])


def an_event_above_the_limit_is_refused(store: EventStore) -> None:
    """An event larger than the record limit is an invalid value, also behind one that is not."""
    _refuses_and_writes_nothing(store, InvalidValue, [_begin(_A), _begin(_B, label="x" * 1000)])


def an_expectation_is_of_one_node(store: EventStore) -> None:
    """A batch is appended only if exactly the expected intents of that node are unfinished."""
    store.append([_begin(_A), _begin(_B, node="another")])
    for wrong in ({_B}, {_A, _B}, set[UUID]()):
        expect = NodeExpectation("node", frozenset(wrong))
        _refuses_and_writes_nothing(store, IntentConflict, [_begin(_C)], expect)
        _refuses_and_writes_nothing(store, IntentConflict, [], expect)
    right = NodeExpectation("node", frozenset({_A}))
    store.append([_next(_A, 1, _ABORT), _begin(_C)], expect=right)
    _equal([head.intent_id for head in store.unfinished("node")], [_C])


def of_racing_writers_one_wins(store: EventStore) -> None:
    """Of several threads that append the same version of one intent, exactly one succeeds."""
    store.append([_begin(_A)])
    start, lost = threading.Barrier(_THREADS), []

    def race() -> None:
        start.wait()
        try:
            store.append([_next(_A, 1)])
        except IntentConflict as conflict:
            lost.append(conflict)

    threads = [threading.Thread(target=race) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _equal((len(lost), store.last_position()), (_THREADS - 1, 2))


# --- Heads and index ----------------------------------------------------------------------------


def a_head_is_the_end_of_its_intent(store: EventStore) -> None:
    """A head has the node, version, position and bytes of the intent's last event."""
    data = bytes(range(256))
    store.append([_begin(_A), _begin(_B), Append(_A, 1, _next(_A, 1).event, data)])
    heads = [store.head(intent_id) for intent_id in (_A, _B, _C)]
    _equal(heads, [(_A, "node", 2, 3, data), (_B, "node", 1, 2, b"begun"), None])


def unfinished_is_begun_and_not_ended(store: EventStore) -> None:
    """Begin puts an intent into the index, complete and abort take it out, nothing else does."""
    store.append([_begin(_C), _begin(_A), _begin(_B), _next(_A, 1)])
    _equal([head.intent_id for head in store.unfinished()], [_A, _B, _C])
    store.append([_next(_A, 2, _END), _next(_B, 1, _ABORT)])
    _equal([head.intent_id for head in store.unfinished()], [_C])
    _equal(list(store.unfinished()), [store.head(_C)])


def nodes_do_not_mix(store: EventStore) -> None:
    """A node's unfinished intents are its own, also if its name begins with another's."""
    store.append([_begin(_A, node="n"), _begin(_B, node="nn"), _begin(_C, node="n\x01")])
    for node, intent_id in (("n", _A), ("nn", _B), ("n\x01", _C)):
        _equal([head.intent_id for head in store.unfinished(node)], [intent_id])
    _equal(list(store.unfinished("nobody")), [])


# --- Reading, projections, claims ---------------------------------------------------------------


def history_is_newest_first(store: EventStore) -> None:
    """A history holds all events of one intent and no others, newest first."""
    batch = [_begin(_A), _begin(_B)]
    for version in range(1, _HISTORY_EVENTS):
        batch += [_next(_A, version), _next(_B, version)]
    store.append(batch)
    _equal(
        list(store.history(_A)),
        [event for event in reversed(_recorded(batch)) if event.intent_id == _A],
    )
    _equal(list(store.history(_C)), [])


def reading_goes_on_after_a_position(store: EventStore) -> None:
    """Reading returns at most the limit, from behind the position, and nothing at the end."""
    batch = [_begin(_A), *(_next(_A, version) for version in range(1, 5))]
    store.append(batch)
    everything = _recorded(batch)
    for after in range(7):
        for limit in range(7):
            _equal(list(store.read(after, limit)), everything[after : after + limit])
    for after, limit in ((-1, 1), (0, -1), (2**64, 1)):
        _raises(InvalidValue, partial(store.read, after, limit))


def a_projection_is_saved_against_its_position(store: EventStore) -> None:
    """A projection is replaced whole, and only by who has seen its last position."""
    _equal(store.load_projection("one"), None)
    store.save_projection("one", 0, SavedProjection(3, b"\0first"))
    store.save_projection("two", 0, SavedProjection(1, b""))
    _equal(store.load_projection("one"), (3, b"\0first"))
    for stale in (0, 2, 4):
        save = partial(store.save_projection, "one", stale, SavedProjection(9, b"stale"))
        _raises(IntentConflict, save)
    _equal(store.load_projection("one"), (3, b"\0first"))
    store.save_projection("one", 3, SavedProjection(5, b"second"))
    _equal(store.load_projection("one"), (5, b"second"))
    _equal(store.load_projection("two"), (1, b""))


def a_claim_keeps_others_out(store: EventStore) -> None:
    """An intent is claimed by one at a time, who is named to the others, until released."""
    _equal(store.claimed(_A), False)
    claim = store.claim(_A, "the first owner")
    _equal((store.claimed(_A), store.claimed(_B)), (True, False))
    held = _raises(LockHeld, lambda: store.claim(_A, "the second owner"))
    _equal(held.holder, "the first owner")
    claim.release()
    _equal(store.claimed(_A), False)
    second = store.claim(_A, "the second owner")
    claim.release()
    _equal(store.claimed(_A), True)
    second.release()


def closing_keeps_claims(store: EventStore) -> None:
    """Closing the store, once or twice, releases no claim."""
    claim = store.claim(_A, "owner")
    store.close()
    store.close()
    _equal(store.claimed(_A), True)
    claim.release()


def what_was_appended_is_there_again(store: EventStore, reopen: Reopen) -> None:
    """Events, heads, index and projections are the same after the store was opened again."""
    batch = [_begin(_A), _begin(_B), _next(_A, 1), _next(_B, 1, _END)]
    store.append(batch)
    store.save_projection("one", 0, SavedProjection(4, b"state"))
    head, unfinished = store.head(_A), list(store.unfinished())
    store = reopen(store)
    _equal(list(store.read(0, 10)), _recorded(batch))
    _equal((store.head(_A), list(store.unfinished())), (head, unfinished))
    _equal(store.load_projection("one"), (4, b"state"))
    _equal(list(store.append([_next(_A, 2)])), [5])
    _equal([event.version for event in store.history(_A)], [3, 2, 1])


CHECKS: tuple[Check, ...] = (
    positions_count_up_from_one,
    an_empty_batch_is_nothing,
    events_come_back_equal,
    a_wrong_version_is_a_conflict,
    a_refused_batch_writes_nothing,
    an_intent_has_a_first_and_a_last_event,
    an_event_above_the_limit_is_refused,
    an_expectation_is_of_one_node,
    of_racing_writers_one_wins,
    a_head_is_the_end_of_its_intent,
    unfinished_is_begun_and_not_ended,
    nodes_do_not_mix,
    history_is_newest_first,
    reading_goes_on_after_a_position,
    a_projection_is_saved_against_its_position,
    a_claim_keeps_others_out,
    closing_keeps_claims,
)


# --- What the checks are made of ----------------------------------------------------------------


def _begin(intent_id: UUID, *, node: str = "node", label: str = "") -> Append:
    me = Holder("contract", 1, 1)
    labels: dict[str, object] = dict.fromkeys("abcd", label)
    event = Begin(
        recorded_at_ms=1, node_id=node, source_lsn=1, target_lsn_hint=2, holder=me, labels=labels
    )
    return Append(intent_id, 0, event, b"begun")


def _next(intent_id: UUID, version: int, event: Event | None = None) -> Append:
    default = Checkpoint(recorded_at_ms=2, applied_lsn=version, batches=version)
    return Append(intent_id, version, event or default, b"head %d" % version)


def _recorded(batch: Sequence[Append]) -> list[Recorded]:
    return [
        Recorded(position, item.intent_id, item.expected_version + 1, item.event)
        for position, item in enumerate(batch, start=1)
    ]


def _equal(actual: object, expected: object) -> None:
    if actual != expected:
        raise AssertionError(f"{actual!r} is not {expected!r}")


def _raises(kind: type[_E], work: Callable[[], object]) -> _E:
    try:
        work()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


def _refuses_and_writes_nothing(
    store: EventStore,
    kind: type[Exception],
    batch: Sequence[Append],
    expect: NodeExpectation | None = None,
) -> None:
    def everything() -> tuple[object, ...]:
        heads = [store.head(intent_id) for intent_id in (_A, _B, _C, *(i.intent_id for i in batch))]
        return (list(store.read(0, 100)), list(store.unfinished()), heads, store.last_position())

    before = everything()
    _raises(kind, lambda: store.append(batch, expect=expect))
    _equal(everything(), before)
