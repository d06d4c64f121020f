"""Draws the pictures under docs/pictures: `python tests/pictures.py`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import UUID

from ledgers import append

sys.path.append(str(Path(__file__).parent.parent / "examples"))

import sqlite_applier as example

from bootledger.cli.painting import painted_history, painted_timeline
from bootledger.diagrams.chart import chart_of_table
from bootledger.diagrams.sequence import svg_sequence
from bootledger.diagrams.svg import svg
from bootledger.projections.course import Course
from bootledger.simulation import replay
from bootledger.simulation.bootstrap import bootstrap
from bootledger.simulation.scenes import LANES, scenes
from bootledger.statemachine.events import (
    Begin,
    Checkpoint,
    Complete,
    Event,
    Holder,
    Promote,
    Resume,
    SnapshotChunk,
    Suspend,
)
from bootledger.store.memory import MemoryEventStore

PLACE = Path(__file__).parent.parent / "docs" / "pictures"
INTENT = UUID("0190a0a0-0000-7000-8000-000000000001")
COUNTEREXAMPLE = "lsn.committed#3"
_BEGAN_MS = 1_790_000_000_000
_CHUNK_BYTES = 2**20
_CHUNKS = 48
_SNAPSHOT_LSN, _LAST_LSN = 1200, 2400
_DEATHS = (17, 31)
"""After so many chunks the owner dies."""


def history() -> Iterator[Event]:
    """The events of a bootstrap with three deaths and one broken link, every time the same."""
    clock = Clock()
    yield Begin(
        recorded_at_ms=_BEGAN_MS,
        node_id="replica-1",
        source_lsn=_SNAPSHOT_LSN,
        target_lsn_hint=_LAST_LSN,
        holder=holder(1),
    )
    epoch = 1
    for number in range(_CHUNKS):
        yield SnapshotChunk(
            recorded_at_ms=clock.after(900 + number % 5 * 130),
            token="backup-7",
            generation=1,
            offset_bytes=number * _CHUNK_BYTES,
            length_bytes=_CHUNK_BYTES,
            size_bytes=_CHUNKS * _CHUNK_BYTES if number == 0 else None,
            snapshot_lsn=_SNAPSHOT_LSN if number == 0 else None,
        )
        if number in _DEATHS:
            epoch += 1
            yield Resume(recorded_at_ms=clock.after(8000), epoch=epoch, holder=holder(epoch))
    for batch, lsn in enumerate(range(_SNAPSHOT_LSN, _LAST_LSN + 1, 100)):
        yield Checkpoint(recorded_at_ms=clock.after(700), applied_lsn=lsn, batches=batch)
        if batch == 4:
            yield Suspend(
                recorded_at_ms=clock.after(2500), cause="the link broke", cause_class="network"
            )
            epoch += 1
            yield Resume(recorded_at_ms=clock.after(15_000), epoch=epoch, holder=holder(epoch))
    yield Promote(recorded_at_ms=clock.after(1800), generation=1, applied_lsn=_LAST_LSN)
    yield Resume(recorded_at_ms=clock.after(6000), epoch=epoch + 1, holder=holder(epoch + 1))
    yield Complete(recorded_at_ms=clock.after(400), total_records=1100, duration_ms=1)


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now_ms = _BEGAN_MS

    def after(self, wait_ms: int) -> int:
        """The time that much later."""
        self.now_ms += wait_ms
        return self.now_ms


def holder(epoch: int) -> Holder:
    """The owner of an epoch."""
    return Holder("replica-1.example", 4000 + epoch, _BEGAN_MS)


def store_of(*events: Event) -> MemoryEventStore:
    """A ledger that holds one intent with these events."""
    store = MemoryEventStore()
    append(store, [(INTENT, event) for event in events])
    return store


def counterexample() -> str:
    """What a simulation finds in the example's applier with the bug, as a sequence diagram."""
    scenario = bootstrap(partial(example.build, example.ForgetfulApplier), example.check)
    report = replay(scenario, COUNTEREXAMPLE)
    return svg_sequence(f"after a crash at {COUNTEREXAMPLE}", LANES, scenes(report.story))


def pictures() -> dict[str, str]:
    """Every committed picture, by the name of its file."""
    course = Course(store_of(*history()), INTENT)
    return {
        "bootstrap.svg": svg(chart_of_table()),
        "history.svg": painted_history(INTENT, course),
        "timeline.svg": painted_timeline(INTENT, course),
        "counterexample.svg": counterexample(),
    }


if __name__ == "__main__":
    PLACE.mkdir(exist_ok=True)
    for name, text in pictures().items():
        (PLACE / name).write_text(text)
