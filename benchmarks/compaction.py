"""What compaction and verification cost on a long ledger, and what they leave.

Fills a ledger with EVENTS events (most intents finished), then in processes of their own: verifies
it, compacts it, verifies it again; with the time of a resume decision before and after. Times are
of the CPU of that process, besides the wall clock, because machines are shared.

    python benchmarks/compaction.py [EVENTS]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from resume_decision import DECIDE, fill

from bootledger.store.lmdb import LmdbEventStore

MEASURE = """
import resource, sys, time
from pathlib import Path
from bootledger.projections.verification import check_history
from bootledger.replica.compaction import compact
from bootledger.store.lmdb import LmdbEventStore
path = Path(sys.argv[1])
def timed(what, work):
    began, cpu = time.perf_counter(), time.process_time()
    result = work()
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"  {what:8} {wall:7.1f} s, CPU {cpu:6.1f} s, at most {peak} MiB resident: {result}")
if sys.argv[2] == "verify":
    timed("layer 1", lambda: LmdbEventStore.check_file(path))
    store = LmdbEventStore.open(path)
    timed("layer 2", store.check_records)
    timed("layer 3", lambda: check_history(store))
else:
    store = LmdbEventStore.open(path)
    steps = []
    def watch(position, last):
        steps.append(time.perf_counter())
    timed("compact", lambda: compact(store, 0, watch=watch))
    longest = max(b - a for a, b in zip(steps, steps[1:]))
    print(f"  the longest of {len(steps)} transactions: {longest * 1e3:.0f} ms")
"""


def run(code: str, *arguments: object) -> str:
    """Run a piece of Python in a process of its own and return what it printed."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def show(path: Path) -> None:
    """Print the size of the ledger, how long a decision takes, and what a verification takes."""
    size = (path / "data.mdb").stat().st_size
    decided = sorted(float(run(DECIDE, path).split()[1]) for _ in range(5))[2]
    print(f"  {size / 2**20:.0f} MiB, a resume decision in {decided:.2f} ms")
    print(run(MEASURE, path, "verify"), end="", flush=True)


def main() -> None:
    """Measure and print."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "ledger"
        with closing(LmdbEventStore.open(path)) as store:
            fill(store, events)
            newest = store.last_position()
        print(f"{newest:,} events", flush=True)
        show(path)
        print("compacting", flush=True)
        print(run(MEASURE, path, "compact"), end="", flush=True)
        show(path)


if __name__ == "__main__":
    main()
