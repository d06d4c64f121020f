"""Every crash on purpose: a dry run, each single crash, each pair, then chance.

A stage begins only if the one before it found nothing: its violations would be longer words for the
same faults.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from random import Random
from threading import Timer
from typing import TypeAlias

from blake3 import blake3

from bootledger.environment import close_all
from bootledger.simulation.forks import die_with
from bootledger.simulation.memory import expect_openings
from bootledger.simulation.places import fresh_place, make_places_in
from bootledger.simulation.reports import Report
from bootledger.simulation.schedules import Schedule, point_name
from bootledger.simulation.tasks import Found, Plan, play_one, play_pairs, play_random

_RANDOM_RUNS = 50
"""Random runs in one task."""
_PAIRS_CRASHES = 2
_LET_END_S = 2.0
"""How long workers have to end when an exploration is cut short, before they are killed."""

Told: TypeAlias = Callable[[Report], None]
"""Told of the report as it is so far, again and again. What it raises ends the exploration."""
Task: TypeAlias = Callable[[Plan], Found]


class Explorer:
    """Explores one scenario, and adds up what was found in `report`."""

    def __init__(self, plan: Plan, *, budget: int, workers: int, told: Told | None = None) -> None:
        self.report = Report(engine=plan.engine, seed=plan.seed)
        self._plan = plan
        self._budget = budget
        self._workers = workers
        self._told = told or (lambda _: None)
        self._trace = blake3()
        self._began_s = time.monotonic()

    def explore(self, crashes: int) -> Report:
        """Play every schedule of up to `crashes` crashes, as far as the budget goes."""
        self._began_s = time.monotonic()
        with _workers(self._plan, self._workers) as run_all:
            self._stages(crashes, run_all)
        whole = (True, self.report.every_single, self.report.every_pair)
        self.report.exhaustive = 0 <= crashes < len(whole) and whole[crashes]
        self.report.trace = self._trace.hexdigest()
        return self.report

    def play(self, schedule: Schedule) -> Report:
        """Play one schedule, and keep its story."""
        found = self._add(play_one(self._plan, schedule, tells=True))
        self.report.story = found.story
        return self.report

    def _stages(self, crashes: int, run_all: Callable[[Iterable[Task]], Iterator[Found]]) -> None:
        (dry,) = (self._add(found) for found in run_all([partial(play_one, schedule=())]))
        self.report.points = len(dry.follow)
        if self._stop(crashes, at_least=1):
            return

        firsts = dry.follow[: self._left]
        singles = [partial(play_one, schedule=(first,)) for first in firsts]
        follow = {
            first: found.follow
            for first, found in zip(firsts, map(self._add, run_all(singles)), strict=True)
        }
        self.report.every_single = len(firsts) == len(dry.follow)
        if self._stop(crashes, at_least=_PAIRS_CRASHES):
            return

        share = self._left // max(len(firsts), 1)
        chosen = {first: _chosen(seconds, share, first) for first, seconds in follow.items()}
        pairs = [partial(play_pairs, first=first, seconds=s) for first, s in chosen.items() if s]
        for found in run_all(pairs):
            self._add(found)
        self.report.every_pair = self.report.every_single and chosen == follow
        # Where all pairs were played, chance has something new to say only with more crashes.
        if self._stop(crashes, at_least=_PAIRS_CRASHES + self.report.every_pair):
            return

        sizes = _split(self._left, _RANDOM_RUNS)
        chance = [
            partial(play_random, crashes=crashes, points=len(dry.follow), task=task, runs=runs)
            for task, runs in enumerate(sizes)
        ]
        for found in run_all(chance):
            self._add(found)

    @property
    def _left(self) -> int:
        return max(0, self._budget - self.report.runs)

    def _stop(self, crashes: int, *, at_least: int) -> bool:
        return bool(self.report.violations) or crashes < at_least or not self._left

    def _add(self, found: Found) -> Found:
        report = self.report
        report.runs += found.runs
        report.lives += found.lives
        report.crashes += sum(found.boundaries.values())
        report.boundaries = dict(
            sorted((Counter(report.boundaries) + Counter(found.boundaries)).items())
        )
        report.violations.extend(found.violations)
        report.duration_s = time.monotonic() - self._began_s
        self._trace.update(found.trace)
        self._told(report)
        return found


def _chosen(seconds: Sequence[str], most: int, first: str) -> tuple[str, ...]:
    """Return up to `most` of the points, in order: one of each name, then whichever chance takes.

    All of them if they are not more. `first` seeds the chance.
    """
    if len(seconds) <= most:
        return tuple(seconds)
    by_name = {point_name(token): token for token in reversed(seconds)}
    others = [token for token in seconds if by_name[point_name(token)] != token]
    Random(first).shuffle(others)
    taken = set([*by_name.values(), *others][:most])
    return tuple(token for token in seconds if token in taken)


def _split(total: int, size: int) -> list[int]:
    """Return how many go into each task, if none takes more than `size`."""
    return [min(size, total - start) for start in range(0, total, size)]


@contextmanager
def _workers(plan: Plan, count: int) -> Iterator[Callable[[Iterable[Task]], Iterator[Found]]]:
    """Give what does tasks, in order, by `count` processes; by this one if that is 1."""
    if count == 1:
        yield lambda tasks: (task(plan) for task in tasks)
        return
    close_all()  # LMDB's environments do not survive a fork
    context = multiprocessing.get_context("fork")  # a scenario is code: it cannot be sent
    halt = context.Event()
    with fresh_place() as room:
        known = (plan, halt, os.getpid(), room)
        pool = ProcessPoolExecutor(count, mp_context=context, initializer=_remember, initargs=known)
        try:
            yield partial(pool.map, _do)
        finally:
            halt.set()  # whatever is at work when the exploration is cut short need not be done
            workers = list(pool._processes.values())  # noqa: SLF001 - Python 3.14 has kill_workers
            killer = Timer(_LET_END_S, _kill, [workers])
            killer.start()
            pool.shutdown(cancel_futures=True)
            killer.cancel()


def _kill(workers: Iterable[BaseProcess]) -> None:
    for worker in workers:
        worker.kill()


_remembered: list[Plan] = []
"""In a worker: the plan that it was forked for."""


def _remember(plan: Plan, halt: Event, parent: int, room: Path) -> None:
    die_with(parent)
    make_places_in(room)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells everybody: the parent decides
    for ours in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(ours, signal.SIG_DFL)
    expect_openings()
    gc.freeze()
    _remembered.append(plan._replace(halted=halt.is_set))


def _do(task: Task) -> Found:
    return task(_remembered[-1])
