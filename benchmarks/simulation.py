"""How many crash-and-recover runs a second the simulation makes, beside the bare lives in them.

Run: python benchmarks/simulation.py [RUNS]

Each run is the small bootstrap, cut short at one point, judged, lived to its end and judged again.
The limit is as many whole lives without crash, judge or checks, one after the other, in this
process: a run is about one of them in two parts, so the ratio says what recovery and judging cost.
Wall-clock time, which neighbours disturb; quote the ratio.
"""

from __future__ import annotations

import sys
import time

from bootledger.simulation import explore_scenario, samples
from bootledger.simulation.engines import live_in_process
from bootledger.simulation.places import fresh_place


def bare_lives_per_s(lives: int) -> float:
    """Return how many whole lives a second are lived, with nobody looking."""
    run = samples.small().run
    began_s = time.monotonic()
    for _ in range(lives):
        with fresh_place() as place:
            life = live_in_process(run, place, 1, 0, None)
            assert life.error is None
    return lives / (time.monotonic() - began_s)


def main() -> None:
    """Measure and print."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 140
    limit = bare_lives_per_s(runs)
    print(f"limit      {limit:7.1f} lives/s, bare")
    for workers in (1, 2):
        report = explore_scenario(samples.small(), crashes=1, budget=runs, workers=workers)
        report.assert_ok()
        ratio = report.runs_per_s / limit
        print(f"{workers} workers  {report.runs_per_s:7.1f} runs/s, {ratio:.2f} of the limit")


if __name__ == "__main__":
    main()
