"""A loss of power at any moment of a life: what the scenario makes of each disk that may be left.

One life is recorded, system call by system call. On every disk that the rules allow, the next life
is lived to its end, in a process that may die of it, and is judged like any other: what the
recorded life had been told by then must be there. With two crashes the life that follows is
recorded in turn, and loses its power, too.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path

from blake3 import blake3

from bootledger.errors import InvalidValue
from bootledger.simulation import powerloss
from bootledger.simulation.engines import Life, live_in_process
from bootledger.simulation.exploring import Told
from bootledger.simulation.facts import Began, Fact, Passed, decode_fact, encode_fact
from bootledger.simulation.places import fresh_place
from bootledger.simulation.powerloss.disk import Rules
from bootledger.simulation.powerloss.image import PAGE_BYTES
from bootledger.simulation.powerloss.nested import nested
from bootledger.simulation.powerloss.states import States
from bootledger.simulation.powerloss.strace import Acknowledge, record
from bootledger.simulation.powerloss.trace import Trace
from bootledger.simulation.reports import Report, Violation
from bootledger.simulation.runs import Run, visit
from bootledger.simulation.scenario import Judge
from bootledger.simulation.stories import tell
from bootledger.simulation.tasks import MAX_VIOLATIONS, Plan
from bootledger.simulation.world import World

LOST = "power.lost"
"""Where a life ended whose power was lost."""

_SECTOR_BYTES = 512
_MODELS = ((Rules.STRICT, PAGE_BYTES), (Rules.STRICT, _SECTOR_BYTES), (Rules.EXT4, PAGE_BYTES))
_FIRSTS = 40
"""How many of the disks that the first loss may leave are recovered under the recorder."""
_SECONDS = 10
"""Of each of these recoveries so many disks are judged at least: to record it costs as much."""
_TWICE = 2


class LossExplorer:
    """Explores the losses of power of one scenario, and adds up what was found in `report`."""

    def __init__(
        self, plan: Plan, *, budget: int = 1, workers: int, told: Told | None = None
    ) -> None:
        self.report = Report(engine="powerloss", seed=plan.seed, exhaustive=True)
        self._plan = plan
        self._budget = budget
        self._workers = workers
        self._told = told or (lambda _: None)
        self._digest = blake3()
        self._began_s = time.monotonic()

    def explore(self, crashes: int) -> Report:
        """Judge up to `budget` disks; with more than one crash, a part are of second losses.

        Raises `CannotTrace` where nothing can be recorded.
        """
        self._began_s = time.monotonic()
        with fresh_place() as place:
            trace, judge = self._record(place)
            parts = len(_MODELS) + (crashes >= _TWICE)
            for done, (rules, block_bytes) in enumerate(_MODELS):
                share = (self._budget - self.report.runs) // (parts - done)
                self._judge(self._states(trace, rules, block_bytes, share), judge)
            left = self._budget - self.report.runs
            if crashes >= _TWICE and left and not self.report.violations:
                self._twice(trace, judge, left)
        self.report.trace = self._digest.hexdigest()
        return self.report

    def play(self, token: str) -> Report:
        """Judge the one disk that `token` names. Raises `InvalidValue` if it names none."""
        first, _, second = token.partition(",")
        rules, block_bytes = _model(first)
        with fresh_place() as place:
            trace, judge = self._record(place)
            states = self._states(trace, rules, block_bytes, self._budget)
            if second:
                self._twice(trace, judge, self._budget, only=(first, second))
            else:
                self._judge(states, judge, only=(first,))
        wrong = self.report.smallest
        self.report.story = wrong.story if wrong else ("everything is as it must be",)
        return self.report

    def _record(self, place: Path) -> tuple[Trace, Judge]:
        plan = self._plan
        visit("prepare", plan.scenario.prepare, place, plan.seed)
        judge = plan.scenario.judge(place)
        return record(partial(self._live, 1, place), place), judge

    def _live(self, life: int, place: Path, acknowledge: Acknowledge) -> None:
        def hear(fact: Fact) -> None:
            if not isinstance(fact, Passed):  # where it had come is told by what it had synced
                acknowledge(encode_fact(fact))

        self._plan.scenario.run(World(place, life=life, seed=self._plan.seed, hear=hear))

    def _states(self, trace: Trace, rules: Rules, block_bytes: int, budget: int) -> States:
        return States(trace, rules, block_bytes, budget=budget, seed=self._plan.seed)

    def _judge(self, states: States, judge: Judge, *, only: Sequence[str] | None = None) -> None:
        recover = partial(self._recover, judge)
        found = powerloss.judge(
            states, recover, workers=self._workers, stop_after=MAX_VIOLATIONS, only=only
        )
        self._add(found, states)

    def _twice(
        self,
        trace: Trace,
        judge: Judge,
        budget: int,
        *,
        only: tuple[str, str] | None = None,
    ) -> None:
        states = self._states(trace, Rules.STRICT, PAGE_BYTES, _FIRSTS if only is None else budget)
        recover = partial(self._recover, judge)
        for second in nested(
            states,
            partial(self._live, 2),
            recover,
            firsts=min(_FIRSTS, -(-budget // _SECONDS)),
            budget=budget,
            seed=self._plan.seed,
            workers=self._workers,
            only=only,
        ):
            self._add(second.report, second.states, second.first)

    def _recover(self, judge: Judge, place: Path, acknowledged: Sequence[bytes]) -> None:
        """Live on to the end on the disk in `place`. Raises `_NotSurvived`, with the story."""
        run = Run(self._plan.scenario, live_in_process, self._plan.seed, place, judge.copy())
        facts = [_fact_of(data) for data in acknowledged]
        # Only the last of the lives left a disk to look at: the judge hears all of them at once.
        last_began = max(at for at, fact in enumerate(facts) if isinstance(fact, Began))
        before = [Life(facts[:last_began], LOST)] if last_began else []
        run.lives.extend(before)
        try:
            run.take_in(Life(facts, LOST))
            run.live(None)
        except Exception as error:  # whatever a life raises is what did not survive
            what = f"{type(error).__name__}: {error}"
            lives = [*before, Life(facts[last_began:], LOST), *run.lives[len(before) + 1 :]]
            raise _NotSurvived("\n".join((what, *tell(lives, what)))) from error

    def _add(self, found: powerloss.Report, states: States, first: str = "") -> None:
        report = self.report
        report.runs += found.judged
        report.lives += found.judged
        report.crashes += found.judged
        report.states += states.legal
        report.distinct_states += found.judged
        report.exhaustive &= found.exhaustive
        for moment in states.moments:
            report.boundaries[moment.cause] = report.boundaries.get(moment.cause, 0) + 1
        for violation in found.violations:
            what, *story = violation.words.removeprefix(f"{_NotSurvived.__name__}: ").split("\n")
            token = f"{first},{violation.token}" if first else violation.token
            report.violations.append(Violation(token, what, tuple(story)))
        self._digest.update(repr((first, found.judged, found.legal, found.violations)).encode())
        report.duration_s = time.monotonic() - self._began_s
        self._told(report)


_fact_of = lru_cache(maxsize=4096)(decode_fact)  # each disk of a moment had the same promises


class _NotSurvived(AssertionError):
    """What was wrong in the first line, and the story of how it came to that in the others."""


def is_loss(token: str) -> bool:
    """Return whether a token is of a loss of power, not of points at which lives die."""
    return "/" in token


def _model(token: str) -> tuple[Rules, int]:
    rules, _, rest = token.partition("/")
    block, _, _ = rest.partition("/")
    try:
        return Rules(rules), int(block)
    except ValueError as error:
        raise InvalidValue(
            f"{token!r} names no disk", hint="a token looks like strict/4096/sync#12:keep=1f"
        ) from error
