"""How long a start takes to know where to resume, at a thousand and at a million events.

Run: python benchmarks/resume_decision.py

Fills a ledger with histories of finished intents and a few unfinished ones, then lets fresh
processes open it and decide. Printed beside it: what reading the history would take.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from uuid import UUID

from bootledger.projections.heads import encode_head
from bootledger.projections.latest import LatestIntents
from bootledger.projections.runner import rebuild
from bootledger.statemachine.events import Begin, Checkpoint, Complete, Event, Holder
from bootledger.statemachine.fold import EMPTY, advance
from bootledger.store.lmdb import LmdbEventStore
from bootledger.store.port import Append

CHECKPOINTS = 8
RUNS = 7
DECIDE = """
import sys, time
from bootledger.replica.intent_log import IntentLog
began = time.perf_counter()
with IntentLog.open(sys.argv[1]) as log:
    opened = time.perf_counter()
    decision = log.decide("node-0")
    decided = time.perf_counter()
    print((opened - began) * 1e3, (decided - opened) * 1e3, decision.point.last_applied_lsn)
"""


def history(node_id: str, *, finished: bool) -> list[Event]:
    """Return the events of one bootstrap."""
    events: list[Event] = [
        Begin(
            recorded_at_ms=1,
            node_id=node_id,
            source_lsn=0,
            target_lsn_hint=9,
            holder=Holder("host", 1, 1),
        )
    ]
    events += [
        Checkpoint(recorded_at_ms=2, applied_lsn=lsn, batches=lsn)
        for lsn in range(1, CHECKPOINTS + 1)
    ]
    if finished:
        events.append(Complete(recorded_at_ms=3, total_records=1, duration_ms=1))
    return events


def fill(store: LmdbEventStore, event_count: int) -> None:
    """Append whole histories, in batches, until the ledger holds that many events."""
    batch: list[Append] = []
    appended = number = 0
    while appended + len(batch) < event_count:
        progress, intent_id = EMPTY, UUID(int=number)
        for event in history(f"node-{number % 1000}", finished=number >= 3):
            progress_after = advance(progress, event)
            batch.append(Append(intent_id, progress.version, event, encode_head(progress_after)))
            progress = progress_after
        number += 1
        if len(batch) >= 1000:
            appended += len(batch)
            store.append(batch)
            batch = []
    store.append(batch)


def main() -> None:
    """Measure and print a table."""
    print(f"{'events':>9} {'open ms':>9} {'decide ms':>10} {'replay ms':>10}")
    for event_count in (1_000, 100_000, 1_000_000):
        with tempfile.TemporaryDirectory() as work:
            path = Path(work) / "ledger"
            with closing(LmdbEventStore.open(path)) as store:
                fill(store, event_count)
            answers = [
                subprocess.run(
                    [sys.executable, "-c", DECIDE, path], capture_output=True, text=True, check=True
                ).stdout.split()
                for _ in range(RUNS)
            ]
            assert all(int(lsn) == CHECKPOINTS for _, _, lsn in answers)
            with closing(LmdbEventStore.open(path)) as store:
                began = time.perf_counter()
                rebuild(store, LatestIntents())
                replay_ms = (time.perf_counter() - began) * 1e3
            open_ms = statistics.median(float(answer[0]) for answer in answers)
            decide_ms = statistics.median(float(answer[1]) for answer in answers)
            print(f"{event_count:>9,} {open_ms:>9.2f} {decide_ms:>10.2f} {replay_ms:>10.0f}")


if __name__ == "__main__":
    main()
