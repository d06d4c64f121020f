"""What was true when the ledger ended at an earlier position: the same answers, by replay up to it.

A time means the newest event, by position, that was recorded at or before it. Clocks may have gone
back: then events before that one count as well though they claim to be later, because order is
position. What the ledger does not record cannot be known: whether an owner was alive.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from bootledger.errors import DivergedHistory, InvalidValue, Refused
from bootledger.projections.latest import Latest, LatestIntents
from bootledger.projections.runner import BATCH_EVENTS, Projection, S
from bootledger.projections.unfinished import UnfinishedIntent
from bootledger.statemachine.fold import EMPTY, advance
from bootledger.statemachine.progress import Progress
from bootledger.store.port import EventStore, Recorded


@dataclass(frozen=True)
class AsOf:
    """The ledger as it was when it ended at `position`.

    `latest` is where every node stood; `unfinished` are the intents that had begun and not ended,
    by intent id, of which nobody knows whether they were running.
    """

    position: int
    latest: Latest
    unfinished: tuple[UnfinishedIntent, ...]


def as_of(store: EventStore, position: int) -> AsOf:
    """Return what was true after the event at `position`; 0 is before the first.

    In bounded memory. Takes time with what lies between the saved projection and `position`, or
    with everything up to `position` if that lies before it. Raises `InvalidValue` beyond the end,
    `Corrupted` if an event on the way cannot be read.
    """
    last = store.last_position()
    if not 0 <= position <= last:
        raise InvalidValue(
            f"the ledger has no position {position}: it ends at {last}",
            hint="choose an earlier one" if position > last else "positions count from 1",
        )
    latest = _state_at(store, LatestIntents(), position)
    unfinished = (
        UnfinishedIntent(intent_id, progress, _end_at(store, intent_id, position), running=None)
        for intent_id, progress in sorted(latest.unfinished.items())
    )
    return AsOf(position, latest, tuple(unfinished))


def progress_as_of(store: EventStore, intent_id: UUID, position: int) -> Progress | None:
    """Return what was true of one intent after the event at `position`, or None before its first.

    In bounded memory, reading what lies between the intent's first event and `position`.
    """
    head = store.head(intent_id)
    if head is None:
        return None
    first = head.position
    for recorded in store.history(intent_id):
        first = recorded.position
    progress, reached = EMPTY, first - 1
    while reached < position and (events := store.read(reached, BATCH_EVENTS)):
        for recorded in events:
            if recorded.intent_id == intent_id and recorded.position <= position:
                progress = _advance(progress, recorded)
        reached = events[-1].position
        if reached >= head.position:
            break
    return progress if progress.begin else None


def position_at(store: EventStore, at_ms: int) -> int:
    """Return the position of the newest event recorded at or before a time; 0 if there is none.

    Reads back from the end, so that a time not long ago is found at once.
    """
    end = store.last_position()
    while end > 0:
        start = max(end - BATCH_EVENTS, 0)
        for recorded in reversed(store.read(start, end - start)):
            if recorded.event.recorded_at_ms <= at_ms:
                return recorded.position
        end = start
    return 0


def _advance(progress: Progress, recorded: Recorded) -> Progress:
    try:
        return advance(progress, recorded.event)
    except Refused as refusal:
        raise DivergedHistory(
            f"position {recorded.position} breaks the rules: {refusal}", position=recorded.position
        ) from refusal


def _state_at(store: EventStore, projection: Projection[S], position: int) -> S:
    saved = store.load_projection(projection.name)
    if saved is not None and saved.position <= position:
        state, reached = projection.decode(saved.state), saved.position
    else:
        state, reached = projection.initial(), 0
    while reached < position:
        for recorded in store.read(reached, min(BATCH_EVENTS, position - reached)):
            state = projection.fold(state, recorded)
            reached = recorded.position
    return state


def _end_at(store: EventStore, intent_id: UUID, position: int) -> int:
    """Return where the intent's last event up to `position` stands."""
    return next(
        recorded.position for recorded in store.history(intent_id) if recorded.position <= position
    )
