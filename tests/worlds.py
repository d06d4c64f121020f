"""The crash kit for tests of one part: a life that is given its files and its place, no bootstrap.

    def run(files: CrashingFiles, place: Path) -> None:
        with Target.open(place / "target", files, ...) as target:
            target.promote(2)

    scenario = Scenario(run, check=it_is_promoted)
    every_single(scenario, at_least=10)
    every_pair(scenario, at_least=10)
    play(scenario, ["current.written#1", "current.renamed#1"])  # one schedule, by its tokens

Lives and deaths are those of `bootledger.simulation`. What is wrong is raised as it is, with its
schedule of crashes in a note; `play` repeats it. Open everything inside of `run`: what was opened
outside of it is closed by the first death, too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from bootledger import simulation
from bootledger.errors import SimulatedCrash
from bootledger.files import Files
from bootledger.simulation.crashing import CrashingFiles, Where
from bootledger.simulation.engines import live_in_process
from bootledger.simulation.places import fresh_place
from bootledger.simulation.runs import Run, fresh_run

__all__ = [
    "CrashingFiles",
    "DiesAt",
    "Look",
    "Scenario",
    "every_pair",
    "every_single",
    "fresh_place",
    "play",
    "record",
]


class DiesAt(Files):
    """Dead from the point of that name on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False

    def point(self, name: str) -> None:
        """Die here if this is the one, and at every point after it."""
        self.dead = self.dead or name == self.name
        if self.dead:
            raise SimulatedCrash(name)


Look: TypeAlias = Callable[[Path], None]


def _nothing(_: Path) -> None: ...


@dataclass(frozen=True)
class Scenario:
    """One life; what is there before the first, what holds after each death, and at the end."""

    run: Callable[[CrashingFiles, Path], None]
    prepare: Look = _nothing
    after_crash: Look = _nothing
    check: Look = _nothing

    def begun(self) -> AbstractContextManager[Run]:
        """Prepare a place for the length of the block, and give the run without a life yet."""
        return fresh_run(
            simulation.Scenario(
                lambda world: self.run(world.files, world.path),
                prepare=lambda world: self.prepare(world.path),
                between=lambda world: self.after_crash(world.path),
                check=lambda world: self.check(world.path),
            ),
            live_in_process,
            seed=0,
        )


def record(scenario: Scenario) -> Sequence[str]:
    """Live once, without a crash, and return the tokens of the points that were passed."""
    with scenario.begun() as run:
        run.live(None)
        return run.lives[0].points


def play(scenario: Scenario, schedule: Sequence[Where]) -> Sequence[str]:
    """Live and die by `schedule`, one crash a life, and return where each life ended.

    The life after the last crash must end; one that never comes to its crash is the last.
    """
    with scenario.begun() as run:
        return _played(run, schedule)


def every_single(scenario: Scenario, *, at_least: int) -> set[str]:
    """Crash at each point of a life in turn; the next life must end, and the checks must hold.

    Returns the tokens at which a life ended; fails if they are fewer than `at_least`.
    """
    return _explore(itertools.count(1), lambda first: [play(scenario, [first])], at_least)


def every_pair(
    scenario: Scenario, *, at_least: int, part: tuple[int, int] = (0, 1), copies: bool = True
) -> set[str]:
    """Crash at each point of a life, and then at each point of the life that follows.

    `part=(2, 4)` does the third quarter of the first crashes, for tests that share the work. The
    first life is the same for every second crash: it is lived once, and what it left is copied,
    unless the scenario keeps something outside of its place (`copies=False`).
    """

    def relived(first: int) -> Iterator[Sequence[str]]:
        for second in itertools.count(1):
            yield (deaths := play(scenario, [first, second]))
            if len(deaths) < 2:
                return

    def copied(first: int) -> Iterator[Sequence[str]]:
        with scenario.begun() as ruin:
            with _noted(ruin, [first]):
                died = ruin.live(first)
            for second in itertools.count(1) if died else ():
                with ruin.copied() as run:
                    yield (deaths := _played(run, [second]))
                if len(deaths) < 2:
                    return

    number, parts = part
    pairs = copied if copies else relived
    return _explore(itertools.count(1 + number, parts), pairs, at_least)


def _played(run: Run, schedule: Sequence[Where]) -> Sequence[str]:
    with _noted(run, [*run.deaths, *schedule]):
        run.play(schedule)
    return run.deaths


@contextmanager
def _noted(run: Run, schedule: Sequence[Where]) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        error.add_note(f"crashes: {list(run.deaths)}, of the schedule {list(schedule)}")
        raise


def _explore(
    first: Iterable[int], play_all: Callable[[int], Iterable[Sequence[str]]], at_least: int
) -> set[str]:
    """Play all schedules that begin with each of `first`, until a life ends before its crash."""
    boundaries: set[str] = set()
    for crash in first:
        all_deaths = list(play_all(crash))
        boundaries.update(*all_deaths)
        if not any(all_deaths):
            break
    assert len(boundaries) >= at_least, f"only {len(boundaries)} boundaries: {sorted(boundaries)}"
    return boundaries
