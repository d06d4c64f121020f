"""Ledgers with real histories, and changes to them behind the store's back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

import msgspec
import sample_events as sample

from bootledger.environment import Databases, Transaction
from bootledger.projections.heads import encode_head
from bootledger.projections.latest import LatestIntents
from bootledger.projections.runner import catch_up
from bootledger.replica.compaction import compact
from bootledger.statemachine.events import Event
from bootledger.statemachine.fold import EMPTY, advance
from bootledger.statemachine.progress import Progress
from bootledger.store.lmdb import LmdbEventStore
from bootledger.store.port import Append, EventStore

Told = tuple[UUID, Event]


def intent(number: int) -> UUID:
    """The intent of that number."""
    return UUID(int=number)


def append(store: EventStore, told: Iterable[Told], *, batch: int = 1000) -> None:
    """Append events of new intents as the machine would: with the fold of each as its head."""
    folds: dict[UUID, Progress] = {}
    items: list[Append] = []
    for intent_id, event in told:
        before = folds.get(intent_id, EMPTY)
        after = advance(before, event)
        items.append(Append(intent_id, before.version, event, encode_head(after)))
        folds[intent_id] = after
    for first in range(0, len(items), batch):
        store.append(items[first : first + batch])


def interleaved(intents: int, *, first: int = 1, every_unfinished: int = 7) -> list[Told]:
    """Intents of seven nodes, begun one after the other and going on side by side, mostly ended.

    An intent's events carry its number as their time; each `every_unfinished`th does not end.
    """
    waiting: list[list[Told]] = []
    told: list[Told] = []
    for number in range(first, first + intents):
        history: tuple[Event, ...] = (
            sample.begin(node_id=f"node-{number % 7}"),
            *sample.PROMOTING[1:],
        )
        if number % every_unfinished:
            history = (*history, sample.complete())
        timed = [msgspec.structs.replace(event, recorded_at_ms=number) for event in history]
        waiting.append([(intent(number), event) for event in timed])
        for queue in waiting[-3:]:
            told += queue[:2]
            del queue[:2]
    for queue in waiting:
        told += queue
    return told


def edit(store: LmdbEventStore, work: Callable[[Transaction, Databases], object]) -> None:
    """Change the databases behind the store's back, as a damaged disk would."""
    store._env.write(work)


def key(position: int) -> bytes:
    """The key of a position in the log."""
    return position.to_bytes(8, "big")


def compact_before(store: EventStore, before_ms: int) -> int:
    """Archive what ended before that time; return how many events were moved."""
    return compact(store, 0, clock=lambda: before_ms).events


def answers(store: EventStore, intents: Sequence[UUID]) -> tuple[object, ...]:
    """Everything that anybody asks a ledger for."""
    return (
        store.last_position(),
        list(store.read(0, 100_000)),
        list(store.unfinished()),
        list(store.heads()),
        [list(store.history(intent_id)) for intent_id in intents],
        catch_up(store, LatestIntents()),
    )
