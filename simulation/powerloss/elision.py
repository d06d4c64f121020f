"""Which syncs are needed: take one away, and see whether a loss of power is survived still.

This tests the tests: a sync that nobody misses is either redundant, for a reason that can be
written down, or it guards something that nothing looks at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bootledger.simulation.powerloss.disk import Rules
from bootledger.simulation.powerloss.image import PAGE_BYTES
from bootledger.simulation.powerloss.judging import DEFAULT_HANG_S, Report, judge
from bootledger.simulation.powerloss.states import DEFAULT_BUDGET, States
from bootledger.simulation.powerloss.trace import Trace
from bootledger.simulation.powerloss.workers import Recover


@dataclass(frozen=True)
class Elided:
    """A sync that was taken away, by its name in `Trace.syncs`, and what came of it."""

    name: str
    report: Report

    @property
    def survived(self) -> bool:
        """Whether nothing was amiss without it."""
        return not self.report.violated


def elided(
    trace: Trace,
    recover: Recover,
    rules: Rules = Rules.STRICT,
    block_bytes: int = PAGE_BYTES,
    *,
    budget: int = DEFAULT_BUDGET,
    seed: int = 0,
    stop_after: int | None = 1,
    workers: int = 2,
    hang_s: float = DEFAULT_HANG_S,
) -> Iterator[Elided]:
    """Judge `trace` without each of its syncs in turn.

    Only disks that the whole trace cannot leave are judged; `budget` bounds them for each sync.
    """
    sound = States(trace, rules, block_bytes, budget=budget, seed=seed)
    for name, index in trace.syncs():
        without = trace.without_sync(index)
        states = States(without, rules, block_bytes, budget=budget, seed=seed, sound=sound)
        yield Elided(
            name, judge(states, recover, stop_after=stop_after, workers=workers, hang_s=hang_s)
        )
