"""Whether the history is one that the machine allows, and all that is kept beside it agrees.

This is the third of the three layers of a verification: a replay of every event through the table,
compared with what was written in passing: heads, the index of what is unfinished, projections. It
rests on the records being sound (the second layer). Memory grows with nodes and with what is
unfinished, not with history: an intent's fold is dropped at its final event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar
from uuid import UUID

from bootledger.errors import CorruptRecord, DivergedHistory, UnknownFormat
from bootledger.projections.heads import decode_head
from bootledger.projections.latest import LatestIntents
from bootledger.projections.runner import BATCH_EVENTS
from bootledger.statemachine.progress import Progress
from bootledger.store.port import EventStore, Head, Recorded, SavedProjection
from bootledger.watch import Watch, watch_nothing

T = TypeVar("T")


class HistoryCounts(NamedTuple):
    """What was replayed: all events, all intents, and how many of these are unfinished."""

    events: int
    intents: int
    unfinished: int


def check_history(store: EventStore, watch: Watch = watch_nothing) -> HistoryCounts:
    """Replay every event of `store` and compare heads, index and projections with the result.

    Writers may go on meanwhile. `watch` is told the position that was reached and the last one.

    Raises `DivergedHistory`, with its position, for the first event that the table refuses and the
    first head, index entry or projection that says something else; `CorruptRecord` for an event
    that cannot be read.
    """
    replay = _Replay(store)
    while True:
        while events := store.read(replay.position, BATCH_EVENTS):
            for recorded in events:
                replay.see(recorded)
            watch(replay.position, max(replay.position, store.last_position()))
        unfinished = _in_agreement(store.unfinished)
        # Read in between two looks at an end that did not move, the index belongs to that end.
        if store.last_position() == replay.position:
            break
    replay.compare_unfinished({head.intent_id: head for head in unfinished})
    replay.compare_count()
    replay.compare_end()
    return HistoryCounts(replay.position, replay.intents, len(replay.ends))


class _Replay:
    """The replay up to `position`: the projection, and where each unfinished intent ends."""

    def __init__(self, store: EventStore) -> None:
        self.position = 0
        self.intents = 0
        self.ends: dict[UUID, int] = {}
        self._store = store
        self._projection = LatestIntents()
        self._state = self._projection.initial()
        self._saved = store.load_projection(self._projection.name)
        if self._saved and self._saved.position == 0:
            self._compare_saved(self._saved)

    def see(self, recorded: Recorded) -> None:
        """Advance by one event; compare what can be compared after it."""
        intent_id, position = recorded.intent_id, recorded.position
        before = self._state.unfinished.get(intent_id)
        self._state = self._projection.fold(self._state, recorded)
        self.position = position
        self.intents += recorded.version == 1
        if intent_id in self._state.unfinished:
            self.ends[intent_id] = position
        else:
            self.ends.pop(intent_id, None)
            _, ended = self._state.finished[_node_of(before)]
            head = _in_agreement(lambda: self._store.head(intent_id))
            _compare_head(intent_id, head, ended, position)
        if self._saved and self._saved.position == position:
            self._compare_saved(self._saved)

    def compare_unfinished(self, index: dict[UUID, Head]) -> None:
        """Compare the heads that the index leads to with the intents that did not end."""
        for intent_id, position in self.ends.items():
            if intent_id not in index:
                raise DivergedHistory(
                    f"intent {intent_id} is unfinished, its last event is at position {position}, "
                    "and the index of unfinished intents does not have it",
                    position=position,
                )
            progress = self._state.unfinished[intent_id]
            _compare_head(intent_id, index[intent_id], progress, position)
        for intent_id, head in index.items():
            if intent_id not in self.ends:
                raise DivergedHistory(
                    f"the index of unfinished intents has intent {intent_id}, which "
                    "has ended or never began",
                    position=head.position,
                )

    def compare_count(self) -> None:
        """Find a head of an intent that never was; every other one has been compared by now."""
        if sum(1 for _ in self._store.heads()) <= self.intents:
            return
        for head in self._store.heads():
            events = self._store.read(max(head.position - 1, 0), 1)
            if not events or (events[0].intent_id, events[0].version) != (
                head.intent_id,
                head.version,
            ):
                raise DivergedHistory(
                    f"the head of intent {head.intent_id} says that its event {head.version} is at "
                    f"position {head.position}, and that is another one",
                    position=head.position,
                )

    def compare_end(self) -> None:
        """Compare the projection's position with the end of the ledger."""
        if self._saved and self._saved.position > self.position:
            raise DivergedHistory(
                f"the saved projection {self._projection.name} has seen position "
                f"{self._saved.position}, the ledger ends at {self.position}",
                position=self.position,
            )

    def _compare_saved(self, saved: SavedProjection) -> None:
        if _in_agreement(lambda: self._projection.decode(saved.state)) != self._state:
            raise DivergedHistory(
                f"the saved projection {self._projection.name} is not what a replay up to position "
                f"{saved.position} gives",
                position=saved.position,
            )


def _compare_head(intent_id: UUID, head: Head | None, progress: Progress, position: int) -> None:
    node_id = _node_of(progress)
    if head is None:
        raise DivergedHistory(
            f"intent {intent_id} has no head, its last event is at position {position}",
            position=position,
        )
    if (head.position, head.version, head.node_id) != (position, progress.version, node_id):
        raise DivergedHistory(
            f"the head of intent {intent_id} is of event {head.version} at position "
            f"{head.position} of node {head.node_id!r}; the last one is event {progress.version} "
            f"at position {position} of node {node_id!r}",
            position=position,
        )
    if _in_agreement(lambda: decode_head(head)) != progress:
        raise DivergedHistory(
            f"the head of intent {intent_id} is not the fold of its events up to position "
            f"{position}",
            position=position,
        )


def _node_of(progress: Progress | None) -> str:
    return progress.begin.node_id if progress and progress.begin else ""


def _in_agreement(read: Callable[[], T]) -> T:
    """Return `read()`; a sound record that contradicts another one is a matter of this layer."""
    try:
        return read()
    except (CorruptRecord, UnknownFormat) as error:
        raise DivergedHistory(str(error), hint=error.hint, position=error.position) from error
