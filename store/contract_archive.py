"""The part of the contract that is about the archive: nobody who reads can tell it is there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from uuid import UUID

from bootledger.errors import InvalidValue
from bootledger.statemachine.events import Complete
from bootledger.store.contract_parts import (
    ABORT,
    END,
    A,
    B,
    C,
    begin,
    equal,
    everything,
    following,
    raises,
    recorded,
)
from bootledger.store.port import Append, EventStore, SavedProjection

_D = UUID(int=0xD)
_LATE_MS = 9
_LATE = Complete(recorded_at_ms=_LATE_MS, total_records=0, duration_ms=0)


def compact_all(store: EventStore, before_ms: int) -> int:
    """Compact to the end and return how many events were moved."""
    moved = position = 0
    while step := store.compact(position, before_ms):
        if step.position <= position:
            raise AssertionError(f"a step from {position} ends at {step.position}")
        moved, position = moved + step.events, step.position
    return moved


def compaction_moves_what_is_over(store: EventStore) -> None:
    """What is archived is finished intents whose last event is older than the time, all of each."""
    store.append(_mixed())
    equal(compact_all(store, END.recorded_at_ms), 0)
    equal(list(store.archived()), [])
    equal(compact_all(store, _LATE_MS), 5)
    equal(list(store.archived()), [(1, 1), (4, 5), (7, 8)])
    equal(compact_all(store, _LATE_MS + 1), 3)
    equal(list(store.archived()), [(1, 1), (3, 5), (7, 9), (11, 11)])


def nobody_can_tell(store: EventStore) -> None:
    """Events, histories, heads, index and projections are the same after a compaction."""
    store.append(_mixed())
    store.save_projection("one", 0, SavedProjection(4, b"state"))
    before = everything(store)
    equal(before[1], recorded(_mixed()))
    for before_ms in (END.recorded_at_ms + 1, _LATE_MS + 1):
        compact_all(store, before_ms)
        equal(everything(store), before)
    equal(store.load_projection("one"), (4, b"state"))
    for after in range(14):
        for limit in range(14):
            equal(list(store.read(after, limit)), recorded(_mixed())[after : after + limit])


def the_newest_event_stays(store: EventStore) -> None:
    """The newest event of all is archived only when there is a newer one: positions go on."""
    store.append([begin(A), following(A, 1, END)])
    equal(compact_all(store, _LATE_MS), 1)
    equal((list(store.archived()), store.last_position()), ([(1, 1)], 2))
    equal(list(store.append([begin(B)])), [3])
    equal(compact_all(store, _LATE_MS), 1)
    equal((list(store.archived()), store.last_position()), ([(1, 2)], 3))
    equal([event.version for event in store.history(A)], [2, 1])


def compacting_again_moves_nothing(store: EventStore) -> None:
    """A compaction that was done is done, and an earlier time after a later one moves nothing."""
    store.append(_mixed())
    equal(compact_all(store, _LATE_MS + 1), 8)
    for before_ms in (0, END.recorded_at_ms + 1, _LATE_MS + 1):
        equal(compact_all(store, before_ms), 0)
    equal(list(store.archived()), [(1, 1), (3, 5), (7, 9), (11, 11)])


def compaction_goes_on_after_a_position(store: EventStore) -> None:
    """What stands up to the position is left where it is; bounds are u64."""
    store.append(_mixed())
    position = 6
    while step := store.compact(position, _LATE_MS):
        position = step.position
    equal(list(store.archived()), [(7, 8)])
    equal(store.compact(len(_mixed()), _LATE_MS), None)
    for after, before_ms in ((-1, 1), (0, -1), (2**64, 1), (0, 2**64)):
        raises(InvalidValue, partial(store.compact, after, before_ms))


def heads_are_all_there_in_order(store: EventStore) -> None:
    """Asked for all heads, a store names every intent once, finished or not, by intent id."""
    equal(list(store.heads()), [])
    many = [UUID(int=number) for number in range(0x100, 0x100 + 500)]
    store.append([*_mixed(), *(begin(intent_id) for intent_id in reversed(many))])
    every = [A, B, C, _D, *many]
    equal([head.intent_id for head in store.heads()], every)
    equal(list(store.heads()), [store.head(intent_id) for intent_id in every])
    equal([head.intent_id for head in store.heads(C)], every[2:])
    equal([head.intent_id for head in store.heads(UUID(int=C.int + 1))], every[3:])
    equal(list(store.heads(UUID(int=2**128 - 1))), [])


def what_was_archived_is_there_again(
    store: EventStore, reopen: Callable[[EventStore], EventStore]
) -> None:
    """The archive is the same after the store was opened again, and the log goes on behind it."""
    store.append(_mixed())
    before = everything(store)
    compact_all(store, _LATE_MS + 1)
    archived = list(store.archived())
    store = reopen(store)
    equal((everything(store), list(store.archived())), (before, archived))
    equal(list(store.append([following(B, 4)])), [len(_mixed()) + 1])


def _mixed() -> list[Append]:
    """Four intents: A and D ended, B did not, C ended late; B has the newest event."""
    return [
        begin(A),
        begin(B),
        begin(C),
        following(A, 1),
        following(A, 2, END),
        following(B, 1),
        begin(_D),
        following(_D, 1, ABORT),
        following(C, 1),
        following(B, 2),
        following(C, 2, _LATE),
        following(B, 3),
    ]


CHECKS: tuple[Callable[[EventStore], None], ...] = (
    compaction_moves_what_is_over,
    nobody_can_tell,
    the_newest_event_stays,
    compacting_again_moves_nothing,
    compaction_goes_on_after_a_position,
    heads_are_all_there_in_order,
)
