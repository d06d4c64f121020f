"""Keeps a projection up to date: position and state are saved in one transaction, batch by batch.

A projection is a pure fold. It can be thrown away and rebuilt at any time, and the result is the
same as if it had followed along; that is a law under test.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from bootledger.errors import IntentConflict
from bootledger.store.port import EventStore, Recorded, SavedProjection

S = TypeVar("S")

BATCH_EVENTS = 1000


class Projection(Protocol[S]):
    """A fold over the whole ledger. Pure: the same events give the same state."""

    @property
    def name(self) -> str:
        """Under which name it is saved."""

    def initial(self) -> S:
        """Return the state before the first event."""

    def fold(self, state: S, recorded: Recorded) -> S:
        """Return the state after one more event; the caller does not use `state` again."""

    def encode(self, state: S) -> bytes:
        """Return the state as bytes."""

    def decode(self, data: bytes) -> S:
        """Return the state that `encode` wrote."""


def catch_up(store: EventStore, projection: Projection[S], *, batch: int = BATCH_EVENTS) -> S:
    """Fold every event that the saved projection has not seen, and return the state.

    When this returns, state and position are durable. If another process works on the same
    projection, whoever saves first wins and the other goes on from there.
    """
    while True:
        saved = store.load_projection(projection.name)
        position = saved.position if saved else 0
        state = projection.decode(saved.state) if saved else projection.initial()
        events = store.read(position, batch)
        if not events:
            return state
        for recorded in events:
            state = projection.fold(state, recorded)
        after = SavedProjection(events[-1].position, projection.encode(state))
        try:
            store.save_projection(projection.name, position, after)
        except IntentConflict:
            continue


def rebuild(store: EventStore, projection: Projection[S], *, batch: int = BATCH_EVENTS) -> S:
    """Return the state folded from the first event on, in bounded memory. Saves nothing."""
    state, position = projection.initial(), 0
    while events := store.read(position, batch):
        for recorded in events:
            state = projection.fold(state, recorded)
        position = events[-1].position
    return state
