"""How long a picture of one long history takes, and in which memory.

Run: python benchmarks/pictures.py [EVENTS ...]

Fills a ledger with one intent that checkpoints, dies, and is suspended every thousand events, and
paints it. Anonymous memory: what of LMDB's map is resident is the page cache's.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

from bootledger.cli.painting import painted_history, painted_timeline
from bootledger.projections.course import Course
from bootledger.projections.heads import encode_head
from bootledger.statemachine.events import Begin, Checkpoint, Event, Holder, Resume, Suspend
from bootledger.statemachine.fold import EMPTY, advance
from bootledger.store.lmdb import LmdbEventStore
from bootledger.store.port import Append

INTENT = UUID(int=1)
HOLDER = Holder("host", 1, 1)


def history(event_count: int) -> Iterator[Event]:
    """Yield the events of one bootstrap that goes on and on."""
    yield Begin(recorded_at_ms=1, node_id="n", source_lsn=0, target_lsn_hint=9, holder=HOLDER)
    yield Checkpoint(recorded_at_ms=2, applied_lsn=0, batches=0)
    epoch = 1
    for number in range(3, event_count + 1):
        at_ms = number * 10
        match number % 1000:
            case 500 | 601:
                epoch += 1
                yield Resume(recorded_at_ms=at_ms, epoch=epoch, holder=HOLDER)
            case 600:
                yield Suspend(recorded_at_ms=at_ms, cause="no link", cause_class="network")
            case _:
                yield Checkpoint(recorded_at_ms=at_ms, applied_lsn=number, batches=number)


def fill(store: LmdbEventStore, event_count: int) -> None:
    """Append that history, in batches."""
    batch: list[Append] = []
    progress = EMPTY
    for event in history(event_count):
        after = advance(progress, event)
        batch.append(Append(INTENT, progress.version, event, encode_head(after)))
        progress = after
        if len(batch) == 1000:
            store.append(batch)
            batch = []
    store.append(batch)


def anonymous_kb() -> int:
    """Return how much memory this process has of its own."""
    found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


def main() -> None:
    """Measure and print a table."""
    print(f"{'events':>9} {'picture':>9} {'CPU s':>7} {'memory kB':>10} {'SVG bytes':>10}")
    for event_count in [int(word) for word in sys.argv[1:]] or [1_000, 100_000, 1_000_000]:
        with tempfile.TemporaryDirectory() as work:
            path = Path(work) / "ledger"
            with closing(LmdbEventStore.open(path)) as store:
                fill(store, event_count)
            with closing(LmdbEventStore.open(path)) as store:
                for name, paint in (("history", painted_history), ("timeline", painted_timeline)):
                    began_s = time.process_time()
                    text = paint(INTENT, Course(store, INTENT))
                    took_s = time.process_time() - began_s
                    print(
                        f"{event_count:>9,} {name:>9} {took_s:>7.2f} {anonymous_kb():>10,} "
                        f"{len(text.encode()):>10,}"
                    )


if __name__ == "__main__":
    main()
