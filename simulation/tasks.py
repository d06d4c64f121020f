"""The pieces that an exploration is cut into: each plays some schedules and says what it found.

A task knows nothing of the others, so that any number of workers gives the same report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from blake3 import blake3

from bootledger.simulation.crashing import Where
from bootledger.simulation.engines import ENGINES, Life
from bootledger.simulation.facts import Passed
from bootledger.simulation.reports import Violation, violation
from bootledger.simulation.runs import Run, fresh_run
from bootledger.simulation.scenario import Scenario
from bootledger.simulation.schedules import point_name
from bootledger.simulation.stories import tell

MAX_VIOLATIONS = 20
"""Most violations that one task keeps: more of them say nothing new."""


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

    def play(self, run: Run, schedule: Sequence[Where], *, lived: int = 0) -> None:
        """Play one schedule in `run`, of which `lived` lives were counted before."""
        try:
            run.play(schedule)
        except Exception as error:  # noqa: BLE001 - whatever the simulated code, or a check, raises
            story = tell(run.lives, f"WRONG: {error}")
            self._violations.append(violation(run.deaths, error, story))
        self._runs += 1
        self._lives += len(run.lives) - lived
        self._boundaries.update(point_name(token) for token in run.deaths[lived:])
        self.follow = points_of(run.lives[-1]) if run.lives else ()
        self._trace.update(repr((run.deaths, self.follow)).encode())

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


def points_of(life: Life) -> tuple[str, ...]:
    """Return the tokens of the points that a life passed."""
    return tuple(fact.token for fact in life.facts if isinstance(fact, Passed))


def play_one(plan: Plan, schedule: Sequence[Where], *, tells: bool = False) -> Found:
    """Play one schedule from the beginning, and tell its story if that is wanted."""
    tally = _Tally(plan)
    with fresh_run(plan.scenario, ENGINES[plan.engine], plan.seed) as run:
        tally.play(run, schedule)
    found = tally.found()
    if not tells:
        return found
    wrong = next((violation.story for violation in found.violations), None)
    return found._replace(story=wrong or tell(run.lives, "everything is as it must be"))


def play_pairs(plan: Plan, first: str, seconds: Sequence[str]) -> Found:
    """Die at `first`, and then, in a copy of what that left, at each of `seconds`."""
    tally = _Tally(plan)
    with fresh_run(plan.scenario, ENGINES[plan.engine], plan.seed) as ruin:
        ruin.live(first)
        for second in seconds:
            with ruin.copied() as run:
                tally.play(run, (second,), lived=1)
            if tally.full:
                break
    return tally.found()


def play_random(plan: Plan, crashes: int, points: int, task: int, runs: int) -> Found:
    """Play `runs` schedules of up to `crashes` crashes at random points."""
    tally = _Tally(plan)
    chance = Random(f"{plan.seed} {task}")
    for _ in range(runs):
        schedule = [chance.randint(1, points) for _ in range(chance.randint(1, crashes))]
        with fresh_run(plan.scenario, ENGINES[plan.engine], plan.seed) as run:
            tally.play(run, schedule)
        if tally.full:
            break
    return tally.found()
