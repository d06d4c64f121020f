"""Judging: recover every state in a worker that may die of it, and report what did not hold."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from bootledger.simulation.powerloss.private import can_mount
from bootledger.simulation.powerloss.states import State, States
from bootledger.simulation.powerloss.workers import Pool, Recover, Work

MOST_VIOLATIONS = 1000
"""So many violations are told one by one; more are only counted."""
DEFAULT_HANG_S = 30.0

_BATCH = 16


@dataclass(frozen=True, order=True)
class Violation:
    """A state that was not survived: its number in the order of all, its token, what was said."""

    number: int
    token: str
    words: str


@dataclass(frozen=True)
class Report:
    """What came of judging the states of a trace.

    `judged` different states were recovered, of `legal` choices (which lead to the same state more
    than once); `violated` of them were not survived, and `violations` are the first of those, in
    the order of the states.
    """

    judged: int
    legal: int
    exhaustive: bool
    violated: int
    violations: tuple[Violation, ...]
    duration_s: float
    workers: int

    @property
    def states_per_s(self) -> float:
        """How many states were recovered and judged in a second."""
        return self.judged / max(self.duration_s, 1e-9)


def judge(
    states: States,
    recover: Recover,
    *,
    workers: int = 2,
    stop_after: int | None = None,
    only: Iterable[str] | None = None,
    hang_s: float = DEFAULT_HANG_S,
) -> Report:
    """Recover every state at the place where the trace was recorded, and return what came of it.

    `recover` is called in forked workers, each with a private file system in memory at that place,
    so the directory itself is not touched. Where the machine allows no private mounts, there is one
    worker, and it writes over what lies in the directory.

    An exception, a death by a signal (SIGBUS, SIGSEGV, an abort) and more than `hang_s` seconds for
    one state are violations; the worker is replaced. With `stop_after`, no further state is begun
    after so many violations. With `only`, the states of these tokens alone. The violations are the
    same at each run, in the same order.
    """
    states.trace.place.mkdir(parents=True, exist_ok=True)
    workers = workers if can_mount() else 1
    source = states if only is None else map(states.replay, only)
    began_s = time.perf_counter()
    tally = _Tally(stop_after)
    with Pool(states, recover, workers, hang_s, private=can_mount()) as pool:
        again: deque[list[Work]] = deque()
        batches = _batches(source)
        waiting = next(batches, None)
        while True:
            while (worker := pool.idle()) is not None:
                if again:
                    worker.give(again.popleft())
                elif waiting is not None and not tally.enough:
                    worker.give(waiting)
                    waiting = next(batches, None)
                else:
                    break
            if not pool.busy():
                break
            for batch, verdict in pool.verdicts():
                done, rest = batch[: verdict.judged], batch[verdict.judged :]
                tally.count(done, verdict.words)
                if rest:
                    again.append(rest)
    return tally.report(states, time.perf_counter() - began_s, workers, whole=only is None)


class _Tally:
    def __init__(self, stop_after: int | None) -> None:
        self.judged = 0
        self.violated = 0
        self.violations: list[Violation] = []
        self._stop_after = stop_after

    @property
    def enough(self) -> bool:
        return self._stop_after is not None and self.violated >= self._stop_after

    def report(self, states: States, duration_s: float, workers: int, *, whole: bool) -> Report:
        violations = sorted(self.violations)[: self._stop_after or MOST_VIOLATIONS]
        judged, violated = self.judged, self.violated
        if self.enough:  # what was judged beyond is a matter of who was faster
            judged, violated = violations[-1].number + 1, len(violations)
        return Report(
            judged,
            states.legal,
            whole and not self.enough and states.exhaustive,
            violated,
            tuple(violations),
            duration_s,
            workers,
        )

    def count(self, done: list[Work], words: str | None) -> None:
        self.judged += len(done)
        if words is None:
            return
        self.violated += 1
        self.violations.append(Violation(done[-1].number, done[-1].token, words))
        if len(self.violations) >= 2 * MOST_VIOLATIONS:
            self.violations = sorted(self.violations)[:MOST_VIOLATIONS]


def _batches(source: Iterable[State]) -> Iterator[list[Work]]:
    work = (
        Work(number, state.token, state.moment, state.kept) for number, state in enumerate(source)
    )
    while batch := list(islice(work, _BATCH)):
        yield batch
