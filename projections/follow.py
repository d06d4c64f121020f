"""A ledger as it grows: where everything stands at each look, reading only what is new since."""

from __future__ import annotations

from collections import deque
from itertools import dropwhile, islice
from uuid import UUID

from bootledger.projections.as_of import as_of
from bootledger.projections.latest import LatestIntents
from bootledger.projections.runner import BATCH_EVENTS
from bootledger.projections.standing import RECENT_EVENTS, Source, Standing, standings
from bootledger.projections.unfinished import list_unfinished
from bootledger.statemachine.events import Event
from bootledger.store.port import EventStore


class Follower:
    """Looks at a ledger again and again. Only reads: no writer waits for it, nothing is saved.

    Begins with what is saved of the projection. Memory grows with nodes and unfinished intents,
    not with history. Raises `Corrupted` if a head cannot be read.
    """

    def __init__(self, store: EventStore) -> None:
        list_unfinished(store)  # starts decide from the heads: a damaged one is told at once
        self._store = store
        self._projection = LatestIntents()
        saved = store.load_projection(self._projection.name)
        self.position = saved.position if saved else 0
        self._latest = self._projection.decode(saved.state) if saved else self._projection.initial()
        self._recent: dict[UUID, deque[Event]] = {}

    def look(self) -> list[Standing]:
        """Return where every intent stands that is unfinished or its node's last, oldest first.

        Raises `Corrupted` if an event on the way cannot be read or breaks the rules.
        """
        while events := self._store.read(self.position, BATCH_EVENTS):
            for recorded in events:
                self._latest = self._projection.fold(self._latest, recorded)
                self.position = recorded.position
                if recorded.intent_id not in self._latest.unfinished:
                    self._recent.pop(recorded.intent_id, None)
                elif (recent := self._recent.get(recorded.intent_id)) is not None:
                    recent.appendleft(recorded.event)
        sources = {}
        for intent_id, progress in self._latest.by_intent().items():
            owner = self._store.claimant(intent_id) if progress.unfinished else None
            recent = deque() if owner is None else self._recent_of(intent_id)
            sources[intent_id] = Source(progress, owner, recent)
        return standings(sources)

    def _recent_of(self, intent_id: UUID) -> deque[Event]:
        """Return the newest events of an intent, from here on kept up to date."""
        if intent_id not in self._recent:
            newer = dropwhile(
                lambda recorded: recorded.position > self.position, self._store.history(intent_id)
            )
            newest = (recorded.event for recorded in islice(newer, RECENT_EVENTS))
            self._recent[intent_id] = deque(newest, maxlen=RECENT_EVENTS)
        return self._recent[intent_id]


def standings_as_of(store: EventStore, position: int) -> list[Standing]:
    """Return where everything stood after the event at `position`; raises as `as_of` does."""
    latest = as_of(store, position).latest.by_intent()
    sources = {}
    for intent_id, progress in latest.items():
        until = dropwhile(lambda recorded: recorded.position > position, store.history(intent_id))
        recent = [recorded.event for recorded in islice(until, RECENT_EVENTS)]
        sources[intent_id] = Source(progress, None, recent)
    return standings(sources, then=True)
