"""What is recorded and recovered in the tests of power loss: small lives of the real product."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from uuid import UUID

import lmdb
import msgspec
import pytest
import sample_events as sample
from ledgers import Told, compact_before, intent, interleaved

from bootledger.files import Files
from bootledger.projections.heads import encode_head
from bootledger.simulation.powerloss import Acknowledge, CannotTrace, Report, Trace, record
from bootledger.statemachine.events import Event
from bootledger.statemachine.fold import EMPTY, advance
from bootledger.statemachine.progress import Progress
from bootledger.store.lmdb import LmdbEventStore
from bootledger.store.port import Append

Run = Callable[[Path, Acknowledge], None]
Steps = Sequence[Sequence[Append]]
"""What is appended to a ledger, transaction by transaction."""

LMDB_ENGINES = {"0.9": 0, "1.0": 1}
"""The engines that py-lmdb has, and what it calls them."""

_LONG_AFTER_MS = 10**6


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


def survived(report: Report, what: object = "") -> Report:
    """Assert that a report has no violation, and return it."""
    assert not report.violated, (what, report.violated, report.violations[:5])
    return report


def create_with(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let new environments be of that engine of LMDB; the product itself names 0.9."""
    real = lmdb.open

    def open_with(path: str, **options: object) -> lmdb.Environment:
        if "lib_version" in options:
            options["lib_version"] = LMDB_ENGINES[engine]
        return real(path, **options)

    monkeypatch.setattr(lmdb, "open", open_with)


# --- A ledger -------------------------------------------------------------------------------------


def one_by_one(count: int) -> Steps:
    """That many events of intents that go on side by side, each in a transaction of its own."""
    told = interleaved(count // 3 + 3, every_unfinished=3)[:count]
    assert len(told) == count
    return [[item] for item in _items(told)]


def by_chance(seed: object, count: int = 40) -> Steps:
    """Some `count` events by chance, one to three at a time.

    Intents of four nodes go on side by side through every situation that there is, to all kinds of
    ends or to none; some events and heads need a page of their own.
    """
    chance = random.Random(str(seed))
    going: dict[UUID, list[Event]] = {}
    told: list[Told] = []
    while len(told) < count:
        open_ids = [intent_id for intent_id, left in going.items() if left]
        if not open_ids or chance.random() < 0.2:
            new_id = intent(len(going) + 1)
            labels = {each: "x" * chance.randrange(900) for each in chance.choice(("", "a", "abc"))}
            begin = sample.begin(node_id=f"node-{chance.randrange(4)}")
            begin = msgspec.structs.replace(begin, labels=labels)
            _, *rest = chance.choice([each for each in sample.SITUATIONS.values() if each])
            going[new_id] = [begin, *rest]
            open_ids.append(new_id)
        chosen = chance.choice(open_ids)
        told.append((chosen, going[chosen].pop(0)))
    items = list(_items(told))
    steps: list[list[Append]] = []
    while items:
        size = chance.choice((1, 1, 2, 3))
        steps.append(items[:size])
        del items[:size]
    return steps


def _items(told: Iterable[Told]) -> Iterable[Append]:
    """Each event with the fold that it leads to."""
    folds: dict[UUID, Progress] = {}
    for intent_id, event in told:
        before = folds.get(intent_id, EMPTY)
        folds[intent_id] = after = advance(before, event)
        yield Append(intent_id, before.version, event, encode_head(after))


class Ledger:
    """A life that appends step by step, and a recovery that knows what must be there.

    It is compacted before each of the steps in `compacted_before`.
    """

    def __init__(
        self,
        steps: Steps,
        *,
        compacted_before: Collection[int] = (),
        files: Files | None = None,
    ) -> None:
        self._steps = steps
        self._compacted_before = compacted_before
        self._files = files or Files()
        self._items = [item for step in steps for item in step]
        self._ends = [0, *accumulate(map(len, steps))]

    def run(self, place: Path, acknowledge: Acknowledge) -> None:
        """Append all steps but the last two, and say after each how many there are."""
        store = LmdbEventStore.open(place / "ledger", files=self._files)
        acknowledge(b"0")
        for number, step in enumerate(self._steps[:-2]):
            if number in self._compacted_before:
                compact_before(store, _LONG_AFTER_MS)
            store.append(step)
            acknowledge(b"%d" % (number + 1))
        store.close()

    def recover(self, place: Path, acknowledged: Sequence[bytes]) -> None:
        """Find every step that was acknowledged, at most one more, and append the next two."""
        store = LmdbEventStore.open(place / "ledger", create=not acknowledged)
        found = self._check(store)
        promised = int(acknowledged[-1]) if acknowledged else 0
        assert promised <= found <= promised + 1, f"{found} steps, {promised} acknowledged"
        for step in self._steps[found : found + 2]:
            store.append(step)
        store.close()
        store = LmdbEventStore.open(place / "ledger", create=False)
        assert self._check(store) == found + 2
        store.close()

    def _check(self, store: LmdbEventStore) -> int:
        """Return how many whole steps are there, and nothing else."""
        found = store.read(0, len(self._items) + 1)
        expected = self._items[: len(found)]
        assert [(each.intent_id, each.version, each.event) for each in found] == [
            (item.intent_id, item.expected_version + 1, item.event) for item in expected
        ]
        ends = {item.intent_id: item.head for item in expected}
        assert {head.intent_id: head.data for head in store.heads()} == ends
        return self._ends.index(len(found))
