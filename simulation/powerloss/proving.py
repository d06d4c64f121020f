"""The proof of the engine that loses power: durability bugs in an otherwise sound life are seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial

from bootledger.simulation.places import fresh_place
from bootledger.simulation.powerloss.bootstrap import Bootstrap
from bootledger.simulation.powerloss.judging import Violation, judge
from bootledger.simulation.powerloss.planted import PLANTED, Planted
from bootledger.simulation.powerloss.states import States
from bootledger.simulation.powerloss.strace import record

_BUDGET = 600
"""Of the disks that a mistake adds. Every moment has its share, and the first states tell most."""


@dataclass(frozen=True)
class Caught:
    """A planted bug and the first violation by it, None if there was none; how often judged.

    `again` is what came of judging the token of the violation alone: the same, if all is well.
    """

    name: str
    violation: Violation | None
    again: Violation | None
    judged: int

    @property
    def seen(self) -> bool:
        """Whether it was caught, and its token leads to it again."""
        words = None if self.again is None else self.again.words
        return self.violation is not None and self.violation.words == words


def plant(planted: Sequence[Planted] = PLANTED, *, workers: int = 2) -> Iterator[Caught]:
    """Record one replication, spoil it with each of the bugs, and judge what the bug adds.

    Raises `CannotTrace` where nothing can be recorded, `NothingToPlant` for a bug that finds
    nothing to spoil.
    """
    life = Bootstrap()
    with fresh_place() as place:
        life.prepare(place)
        trace = record(partial(life.run, place), place)
        sound = States(trace, budget=_BUDGET)
        for bug in planted:
            states = States(bug.plant(trace), budget=_BUDGET, sound=sound)
            found = judge(states, life.recover, workers=workers, stop_after=1)
            violation = again = None
            if found.violations:
                (violation,) = found.violations
                repeated = judge(states, life.recover, workers=1, only=[violation.token])
                again = next(iter(repeated.violations), None)
            yield Caught(bug.name, violation, again, found.judged)


@cache
def prove_engine() -> dict[str, bool]:
    """Return by its name whether each of the planted bugs is seen; worked out once a process."""
    return {caught.name: caught.seen for caught in plant()}
