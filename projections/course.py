"""One intent's events from the first to the last, however many: the store walks the other way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from bootledger.errors import DivergedHistory, InvalidValue, Refused
from bootledger.projections.runner import BATCH_EVENTS
from bootledger.statemachine.fold import EMPTY
from bootledger.statemachine.progress import Progress, evolve
from bootledger.statemachine.table import AnyRow, check
from bootledger.store.port import EventStore, Recorded

_KEPT_EVENTS = 10_000


@dataclass(frozen=True)
class Told:
    """One event, what was true before it and after it, and the row of the table that allowed it."""

    recorded: Recorded
    before: Progress
    after: Progress
    row: AnyRow


class Course:
    """The history of an intent up to a position, to be read from its beginning.

    Each reading takes bounded memory. Raises `InvalidValue` for an intent that had not begun.
    """

    def __init__(self, store: EventStore, intent_id: UUID, until: int | None = None) -> None:
        self._store, self._intent_id = store, intent_id
        self._last: Recorded | None = None
        self._kept: list[Recorded] = []
        for recorded in store.history(intent_id):
            if until is not None and recorded.position > until:
                continue
            self._last = self._last or recorded
            self._first = recorded
            if len(self._kept) <= _KEPT_EVENTS:
                self._kept.append(recorded)
        if self._last is None:
            raise InvalidValue(
                f"intent {intent_id} had not begun"
                + ("" if until is None else f" at position {until}"),
                hint="bootledger status LEDGER lists what there is",
            )
        self.begin_ms = self._first.event.recorded_at_ms
        """When it began, in milliseconds since 1970."""
        self.end_ms = max(self._last.event.recorded_at_ms, self.begin_ms)
        """When its last event was recorded."""

    def __iter__(self) -> Iterator[Told]:
        """Yield every event, oldest first.

        Raises `DivergedHistory` at one that the table refuses, `CorruptRecord` at a damaged one.
        """
        progress = EMPTY
        for recorded in self._events():
            try:
                row = check(progress, recorded.event)
            except Refused as refusal:
                raise DivergedHistory(
                    f"position {recorded.position} breaks the rules: {refusal}",
                    position=recorded.position,
                ) from refusal
            after = evolve(progress, recorded.event, row.target)
            yield Told(recorded, progress, after, row)
            progress = after

    def _events(self) -> Iterator[Recorded]:
        if len(self._kept) <= _KEPT_EVENTS:
            yield from reversed(self._kept)
            return
        last = self._last.position if self._last else 0
        reached = self._first.position - 1
        while reached < last and (
            events := self._store.read(reached, min(BATCH_EVENTS, last - reached))
        ):
            yield from (recorded for recorded in events if recorded.intent_id == self._intent_id)
            reached = events[-1].position
