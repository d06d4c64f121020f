"""The pieces that an exploration is cut into: each plays some schedules and says what it found.

A task knows nothing of the others, so that any number of workers gives the same report.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple

from blake3 import blake3

from bootledger.simulation.crashing import Where
from bootledger.simulation.engines import ENGINES, Life
from bootledger.simulation.facts import encode_fact
from bootledger.simulation.reports import Violation, violation
from bootledger.simulation.runs import Run, fresh_run
from bootledger.simulation.scenario import Scenario
from bootledger.simulation.schedules import Schedule, point_name
from bootledger.simulation.shrinking import Failure, shrink
from bootledger.simulation.stories import tell

MAX_VIOLATIONS = 20
"""Most violations that one task keeps: more of them say nothing new."""
_FUTURES = 16
"""Most copies of a place that lie about at once."""


class Found(NamedTuple):
    """What one task did: `follow` are the points of the last life, for the next stage.

    `story` is what happened, if that was asked for.
    """

    runs: int = 0
    lives: int = 0
    boundaries: dict[str, int] = {}  # noqa: RUF012 - never changed
    violations: tuple[Violation, ...] = ()
    follow: tuple[str, ...] = ()
    trace: bytes = b""
    story: tuple[str, ...] = ()


def _never() -> bool:
    return False


class Plan(NamedTuple):
    """What is explored, and how. `halted` says whether what is left need not be played."""

    scenario: Scenario
    engine: str
    seed: int
    halted: Callable[[], bool] = _never


class _Tally:
    """Adds up what the runs of one task come to."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._runs = 0
        self._lives = 0
        self._boundaries: Counter[str] = Counter()
        self._violations: list[Violation] = []
        self._trace = blake3()
        self.follow: tuple[str, ...] = ()

    @property
    def full(self) -> bool:
        """Whether enough violations are known, or nobody waits for more."""
        return len(self._violations) >= MAX_VIOLATIONS or self._plan.halted()

    def play(self, run: Run, schedule: Sequence[Where], *, lived: int = 0) -> Failure | None:
        """Play one schedule in `run`, of which `lived` lives were counted before."""
        failure = _play(run, schedule)
        if failure is not None:
            self._violations.append(failure.violation)
        new = run.lives[lived:]
        self._runs += 1
        self._lives += len(new)
        self._boundaries.update(point_name(token) for token in run.deaths[lived:])
        self.follow = run.lives[-1].points if run.lives else ()
        for life in new:
            self._trace.update(_spoken(life, run.place))
        return failure

    def play_fresh(self, schedule: Sequence[Where]) -> Failure | None:
        """Play one schedule from the beginning."""
        with fresh_run(self._plan.scenario, ENGINES[self._plan.engine], self._plan.seed) as run:
            return self.play(run, schedule)

    def shrink(self, failure: Failure) -> None:
        """Put the smallest failure that can be made of the last one into its place."""
        smallest = shrink(failure, partial(_replay, self._plan))
        self._violations[-1] = smallest.violation

    def found(self) -> Found:
        """Return the sum."""
        return Found(
            self._runs,
            self._lives,
            self._boundaries,
            tuple(self._violations),
            self.follow,
            self._trace.digest(),
        )


def _play(run: Run, schedule: Sequence[Where]) -> Failure | None:
    try:
        run.play(schedule)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 - whatever the simulated code, or a check, raises
        found = violation(run.deaths, error, tell(run.lives, f"WRONG: {error}"))
        return Failure(found, tuple(run.lives))
    return None


def _replay(plan: Plan, schedule: Schedule) -> Failure | None:
    with fresh_run(plan.scenario, ENGINES[plan.engine], plan.seed) as run:
        return _play(run, schedule)


def _spoken(life: Life, place: Path) -> bytes:
    """Return all that a life said, whichever directory it worked in."""
    said = b"".join(encode_fact(fact) for fact in life.facts)
    return said.replace(os.fsencode(place), b"PLACE")


def play_one(plan: Plan, schedule: Sequence[Where], *, tells: bool = False) -> Found:
    """Play one schedule from the beginning, and tell its story if that is wanted."""
    tally = _Tally(plan)
    with fresh_run(plan.scenario, ENGINES[plan.engine], plan.seed) as run:
        failure = tally.play(run, schedule)
    found = tally.found()
    if not tells:
        return found
    story = tell(run.lives, "everything is as it must be")
    return found._replace(story=failure.violation.story if failure else story)


def play_pairs(plan: Plan, first: str, seconds: Sequence[str]) -> Found:
    """Die at `first`, and then, in a copy of what that left, at each of `seconds`."""
    tally = _Tally(plan)
    with fresh_run(plan.scenario, ENGINES[plan.engine], plan.seed) as ruin:
        ruin.live(first)
        for at in range(0, len(seconds), _FUTURES):
            some = seconds[at : at + _FUTURES]
            with ruin.futures(some) as futures:
                for second, run in zip(some, futures, strict=True):
                    tally.play(run, (second,), lived=1)
                    if tally.full:
                        return tally.found()
    return tally.found()


def play_random(plan: Plan, crashes: int, points: int, task: int, runs: int) -> Found:
    """Play `runs` schedules of up to `crashes` crashes at random points; a failure is made small.

    The first one ends the task: the others would be made of the same fault.
    """
    tally = _Tally(plan)
    chance = Random(f"{plan.seed} {task}")
    for _ in range(runs):
        schedule = [chance.randint(1, points) for _ in range(chance.randint(1, crashes))]
        failure = tally.play_fresh(schedule)
        if failure is not None:
            tally.shrink(failure)
            break
    return tally.found()
