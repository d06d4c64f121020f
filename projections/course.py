"""One intent's events from the first to the last, however many: the store walks the other way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from bootledger.errors import DivergedHistory, InvalidValue, Refused
from bootledger.projections.heads import decode_head
from bootledger.projections.runner import BATCH_EVENTS
from bootledger.statemachine.fold import EMPTY
from bootledger.statemachine.progress import Progress, evolve, known
from bootledger.statemachine.table import AnyRow, check
from bootledger.store.port import EventStore, Head, Recorded

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
        self._kept: list[Recorded] = []
        head = store.head(intent_id)
        if head is None:
            raise _not_begun(intent_id, until)
        if (until is None or until >= head.position) and _fills(head):
            progress = decode_head(head)
            begin = known(progress.begin, "how it began")
            self._after, self._until = 0, head.position
            self.begin_ms, end_ms = begin.recorded_at_ms, progress.recorded_at_ms
        else:
            self._after, self._until, self.begin_ms, end_ms = self._walked(until)
        self.end_ms = max(end_ms, self.begin_ms)

    begin_ms: int
    """When it began, in milliseconds since 1970."""
    end_ms: int
    """When its last event was recorded; not before it began."""

    def _walked(self, until: int | None) -> tuple[int, int, int, int]:
        """Return after which and up to which position its events lie, and both ends in time.

        Keeps them on the way if they are not many.
        """
        first = last = None
        for recorded in self._store.history(self._intent_id):
            if until is None or recorded.position <= until:
                last = last or recorded
                first = recorded
                if len(self._kept) <= _KEPT_EVENTS:
                    self._kept.append(recorded)
        if first is None or last is None:
            raise _not_begun(self._intent_id, until)
        ends_ms = (first.event.recorded_at_ms, last.event.recorded_at_ms)
        return first.position - 1, last.position, *ends_ms

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
        if self._kept and len(self._kept) <= _KEPT_EVENTS:
            yield from reversed(self._kept)
            return
        reached, last = self._after, self._until
        while reached < last and (
            events := self._store.read(reached, min(BATCH_EVENTS, last - reached))
        ):
            yield from (recorded for recorded in events if recorded.intent_id == self._intent_id)
            reached = events[-1].position


def _fills(head: Head) -> bool:
    """Return whether reading the ledger from its first event costs less than a walk back."""
    return head.version > _KEPT_EVENTS and head.position <= 2 * head.version


def _not_begun(intent_id: UUID, until: int | None) -> InvalidValue:
    return InvalidValue(
        f"intent {intent_id} had not begun" + ("" if until is None else f" at position {until}"),
        hint="bootledger status LEDGER lists what there is",
    )
