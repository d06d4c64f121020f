"""What is recorded and recovered in the tests of power loss: small lives of the real product."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from ledgers import interleaved

from bootledger.files import Files
from bootledger.projections.heads import encode_head
from bootledger.simulation.powerloss import (
    Acknowledge,
    CannotTrace,
    Report,
    Trace,
    record,
)
from bootledger.statemachine.fold import EMPTY, advance
from bootledger.statemachine.progress import Progress
from bootledger.store.lmdb import LmdbEventStore
from bootledger.store.port import Append

Run = Callable[[Path, Acknowledge], None]


def recorded(run: Run, place: Path) -> Trace:
    """Record `run(place, acknowledge)`, or skip the test, loudly, where nothing can be traced."""
    with cannot_trace_skips():
        return record(lambda acknowledge: run(place, acknowledge), place)


@contextmanager
def cannot_trace_skips() -> Iterator[None]:
    """Skip the test, loudly, where nothing can be traced."""
    try:
        yield
    except CannotTrace as error:
        pytest.skip(f"NO POWER LOSS WAS SIMULATED ON THIS MACHINE: {error}")


def survived(report: Report) -> Report:
    """Assert that a report has no violation, and return it."""
    assert not report.violated, (report.violated, report.violations[:5])
    return report


# --- A ledger -------------------------------------------------------------------------------------


def appends(count: int) -> list[Append]:
    """That many events of intents that go on side by side, each with the fold that it leads to."""
    folds: dict[UUID, Progress] = {}
    items: list[Append] = []
    for intent_id, event in interleaved(count // 3 + 3, every_unfinished=3)[:count]:
        before = folds.get(intent_id, EMPTY)
        folds[intent_id] = after = advance(before, event)
        items.append(Append(intent_id, before.version, event, encode_head(after)))
    assert len(items) == count
    return items


class Ledger:
    """A life that appends events one by one, and a recovery that knows what must be there."""

    def __init__(self, count: int, *, files: Files | None = None) -> None:
        self._items = appends(count + 2)
        self._count = count
        self._files = files or Files()

    def run(self, place: Path, acknowledge: Acknowledge) -> None:
        """Append all events but the last two, and say each position."""
        store = LmdbEventStore.open(place / "ledger", files=self._files)
        acknowledge(b"0")
        for item in self._items[: self._count]:
            (position,) = store.append([item])
            acknowledge(b"%d" % position)
        store.close()

    def recover(self, place: Path, acknowledged: Sequence[bytes]) -> None:
        """Find every event that was acknowledged, at most one more, and append the next two."""
        store = LmdbEventStore.open(place / "ledger", create=not acknowledged)
        found = self._check(store)
        promised = int(acknowledged[-1]) if acknowledged else 0
        assert promised <= found <= promised + 1, f"{found} events, {promised} acknowledged"
        for item in self._items[found : found + 2]:
            store.append([item])
        store.close()
        store = LmdbEventStore.open(place / "ledger", create=False)
        assert self._check(store) == found + 2
        store.close()

    def _check(self, store: LmdbEventStore) -> int:
        found = store.read(0, len(self._items) + 1)
        expected = self._items[: len(found)]
        assert [(each.intent_id, each.version, each.event) for each in found] == [
            (item.intent_id, item.expected_version + 1, item.event) for item in expected
        ]
        ends = {item.intent_id: item.head for item in expected}
        assert {head.intent_id: head.data for head in store.heads()} == ends
        return len(found)
