"""What is simulated: one life, what is there before the first, and who judges what lies on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, TypeAlias

from bootledger.simulation.facts import Fact
from bootledger.simulation.world import World

Visit: TypeAlias = Callable[[World], None]
"""A caller's part of a run: it is given the world and does, or judges, what it likes there."""


def nothing(_: World) -> None:
    """Do nothing."""


class Broken(AssertionError):
    """A judge's objection: what is not as it must be, and what it is."""


class Judge(Protocol):
    """Watches one run from life to life. Its memory is what the lives so far were promised."""

    def judge(self, path: Path, facts: Sequence[Fact]) -> None:
        """Look at the place after a life, dead or at its end, that said `facts`.

        Raises `Broken`, or whatever reading raises, if something is not as it must be.
        """

    def ended(self, path: Path) -> None:
        """Look at the place once more, after the last life reached its end."""

    def copy(self) -> Self:
        """Return a judge that remembers the same, for a copy of the place."""


class Lenient:
    """A judge that has no objections: the scenario's own checks are all there is."""

    def __init__(self, path: Path) -> None: ...

    def judge(self, path: Path, facts: Sequence[Fact]) -> None:
        """Accept it."""

    def ended(self, path: Path) -> None:
        """Accept it."""

    def copy(self) -> Self:
        """Return itself: it remembers nothing."""
        return self


@dataclass(frozen=True)
class Scenario:
    """One life, repeatable; what is there before the first; and what must hold.

    `run` lives in the world's directory, through the world's files, and dies or returns. Whatever
    it raises else is a violation. Open everything inside of `run`. `between` is called after each
    death, `check` after the life that reached its end; both may look at the place and raise.
    `judge` makes the judge of a run from its prepared place.
    """

    run: Visit
    prepare: Visit = nothing
    between: Visit = nothing
    check: Visit = nothing
    judge: Callable[[Path], Judge] = Lenient
