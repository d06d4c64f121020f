"""How many crash-and-recover runs a second the simulation makes, beside the bare lives in them.

Run: python benchmarks/simulation.py [RUNS]

The small bootstrap (6 chunks, 20 changes, a real ledger, on tmpfs) dies at every point, and then at
every pair of points, and is judged after each life: RUNS of these runs, all of them if it is not
said. The limit, measured before and after in the same process, is one whole life without crash,
judge or checks. CPU time counts this process and its workers, and is what to compare: neighbours
disturb the runs a second, of which the target is for a machine of two processors at rest.
"""

from __future__ import annotations

import os
import sys
import time

from bootledger.simulation import explore_scenario, samples
from bootledger.simulation.engines import live_in_process
from bootledger.simulation.memory import expect_openings
from bootledger.simulation.places import fresh_place

WORKERS = 2
TARGET_RUNS_PER_S = 500
LIVES = 50
EVERY_PAIR = 100_000


def least_life_ms() -> float:
    """Return the least CPU time of a whole life with nobody looking, in milliseconds."""
    run = samples.small().run
    took_ns: list[int] = []
    for _ in range(LIVES):
        with fresh_place() as place:
            began_ns = time.process_time_ns()
            life = live_in_process(run, place, 1, 0, None)
            took_ns.append(time.process_time_ns() - began_ns)
            assert life.error is None
    return min(took_ns) / 1e6


def cpu_s() -> float:
    """Return the CPU time of this process and of the workers that it had."""
    return sum(os.times()[:4])


def main() -> None:
    """Measure and print."""
    budget = int(sys.argv[1]) if len(sys.argv) > 1 else EVERY_PAIR
    expect_openings()
    before_ms = least_life_ms()
    began_cpu_s = cpu_s()
    report = explore_scenario(samples.small(), crashes=2, budget=budget, workers=WORKERS)
    run_ms = (cpu_s() - began_cpu_s) / report.runs * 1e3
    life_ms = min(before_ms, least_life_ms())
    report.assert_ok()
    whole = "every single and every pair" if report.exhaustive else "a part of the pairs"
    print(f"{report.runs} runs, {report.points} points, {whole}, {WORKERS} workers")
    print(f"one bare life  {life_ms:7.2f} ms CPU")
    print(f"one run        {run_ms:7.2f} ms CPU, {run_ms / life_ms:.2f} bare lives")
    print(f"runs           {report.runs_per_s:7.1f} /s, target {TARGET_RUNS_PER_S}")
    print(f"limit          {WORKERS / life_ms * 1e3:7.1f} bare lives/s on {WORKERS} processors")


if __name__ == "__main__":
    main()
