"""What chance found, made small: fewer crashes first, then earlier ones. The same every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, TypeAlias

from bootledger.simulation.engines import Life
from bootledger.simulation.reports import Violation
from bootledger.simulation.schedules import Schedule

MOST_TRIES = 300
"""Runs that are spent on making one violation small."""


class Failure(NamedTuple):
    """A run that ended wrong: the violation, and the lives that led to it."""

    violation: Violation
    lives: Sequence[Life]

    @property
    def schedule(self) -> Schedule:
        """Where its lives died."""
        return tuple(life.died_at for life in self.lives if life.died_at is not None)


Try: TypeAlias = Callable[[Schedule], Failure | None]
"""Plays a schedule; None if it ended well."""


def shrink(failure: Failure, play: Try) -> Failure:
    """Return the smallest failure that can be found from this one in `MOST_TRIES` runs.

    A failure is smaller if it has fewer crashes; or as many, and one of them is earlier. It need
    not be the same objection: whatever goes wrong on fewer words is the better thing to look at.
    """
    left = MOST_TRIES
    smaller = True
    while smaller and left > 0:
        smaller = False
        for schedule in islice(_simpler(failure), left):
            left -= 1
            found = play(schedule)
            if found is not None:
                failure, smaller = found, True
                break
    return failure


def _simpler(failure: Failure) -> Iterator[Schedule]:
    """Yield schedules that are simpler by one step, the simplest first."""
    schedule = failure.schedule
    for number in range(len(schedule)):
        yield (*schedule[:number], *schedule[number + 1 :])
    for number, life in enumerate(failure.lives[: len(schedule)]):
        for earlier in life.points[:-1]:
            yield (*schedule[:number], earlier, *schedule[number + 1 :])
