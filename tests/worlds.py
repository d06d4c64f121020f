"""Crashes in process: a world that is poisoned at a point, and every way to die in a scenario.

A scenario is a function `run(files, place)`: one life of one process that works in the directory
`place` through `files`. It dies at a named point by `SimulatedCrash`. From then on every point, and
so every durable step, raises it again, and no lock can be taken: what Python still runs of the dead
(`finally`, `__exit__`) writes nothing. Then the operating system's part is done (locks are let go,
LMDB environments closed), and `run` lives again in the same place, with a fresh `CrashingFiles`.

    def run(files: CrashingFiles, place: Path) -> None:
        with Target.open(place / "target", files, ...) as target:
            target.promote(2)

    scenario = Scenario(run, check=it_is_promoted)
    every_single(scenario, at_least=10)
    every_pair(scenario, at_least=10)
    play(scenario, ["current.written#1", "current.renamed#1"])  # one schedule, by its tokens

A failure names its schedule of crashes in a note; `play` repeats it. Open everything inside of
`run`: what was opened outside of it is closed by the first death, too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from bootledger.errors import SimulatedCrash
from bootledger.files import Files
from bootledger.simulation.crashing import CrashingFiles, Where
from bootledger.simulation.places import copy_place, fresh_place


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


def record(scenario: Scenario) -> list[str]:
    """Live once, without a crash, and return the tokens of the points that were passed."""
    files = CrashingFiles()
    with fresh_place() as place:
        scenario.prepare(place)
        _live(scenario, files, place)
        scenario.check(place)
    return files.passed


def play(scenario: Scenario, schedule: Sequence[Where]) -> list[str]:
    """Live and die by `schedule`, one crash a life, and return where each life ended.

    The life after the last crash must end; one that never comes to its crash is the last.
    """
    deaths: list[str] = []
    try:
        with fresh_place() as place:
            scenario.prepare(place)
            for crash in (*schedule, None):
                files = CrashingFiles(crash)
                if not _live(scenario, files, place):
                    break
                deaths.append(str(files.died_at))
                scenario.after_crash(place)
            scenario.check(place)
    except BaseException as error:
        error.add_note(f"crashes: {deaths}, of the schedule {list(schedule)}")
        raise
    return deaths


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

    def relived(first: int) -> Iterator[list[str]]:
        for second in itertools.count(1):
            yield (deaths := play(scenario, [first, second]))
            if len(deaths) < 2:
                return

    def copied(first: int) -> Iterator[list[str]]:
        with fresh_place() as ruin:
            scenario.prepare(ruin)
            files = CrashingFiles(first)
            if not _live(scenario, files, ruin):
                return
            scenario.after_crash(ruin)
            again = replace(scenario, prepare=lambda place: copy_place(ruin, place))
            for second in itertools.count(1):
                try:
                    deaths = play(again, [second])
                except BaseException as error:
                    error.add_note(f"all after a first crash at {files.died_at}")
                    raise
                yield [str(files.died_at), *deaths]
                if not deaths:
                    return

    number, parts = part
    pairs = copied if copies else relived
    return _explore(itertools.count(1 + number, parts), pairs, at_least)


def _live(scenario: Scenario, files: CrashingFiles, place: Path) -> bool:
    """Run one life; return whether it died."""
    try:
        scenario.run(files, place)
    except SimulatedCrash:
        return True
    finally:
        files.bury()
    assert files.died_at is None, f"went on living after it died at {files.died_at}"
    return False


def _explore(
    first: Iterable[int], play_all: Callable[[int], Iterable[list[str]]], at_least: int
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
