"""What an exploration found: numbers, and each violation as a token that repeats it."""

from __future__ import annotations

import msgspec

from bootledger.simulation.raising import words_of_error
from bootledger.simulation.schedules import Schedule, words_of

DEFAULT_MIN_BOUNDARIES = 20


class CrashBug(AssertionError):
    """A simulation found what must not be, or could not see enough to tell."""


class Violation(msgspec.Struct, frozen=True):
    """One run that ended wrong.

    `token` repeats it (`bootledger.simulation.replay`); empty: it goes wrong without any crash.
    `what` is the objection, `story` what happened, step by step.
    """

    token: str
    what: str
    story: tuple[str, ...] = ()


class Report(msgspec.Struct, kw_only=True):
    """What an exploration did and found.

    `runs` were made, with `lives` and `crashes` in them; `boundaries` counts the deaths at each
    named point. `every_single` and `every_pair` say whether all of them were played, or a part;
    `exhaustive`, whether everything that was asked for was, without chance.
    `trace` is a digest of every point that was passed in every run: the same seed, the same trace.
    `planted` says of each planted fault whether the caller's check saw it, and of each durability
    bug, where the power-loss engine was proved, whether that did. `story` is what
    happened, step by step, where one schedule was replayed.

    Where power was lost: `states` is how many choices the rules allow of what reached the disk,
    `distinct_states` how many different disks were recovered and judged, `exhaustive` whether no
    other is possible; `boundaries` then counts what was being synced at the moment of the loss.
    """

    engine: str
    seed: int
    runs: int = 0
    lives: int = 0
    crashes: int = 0
    points: int = 0
    boundaries: dict[str, int] = {}
    every_single: bool = False
    every_pair: bool = False
    exhaustive: bool = False
    states: int = 0
    distinct_states: int = 0
    violations: list[Violation] = []
    planted: dict[str, bool] = {}
    trace: str = ""
    story: tuple[str, ...] = ()
    duration_s: float = 0.0

    @property
    def runs_per_s(self) -> float:
        """How many runs were made in a second."""
        return self.runs / self.duration_s if self.duration_s else 0.0

    @property
    def smallest(self) -> Violation | None:
        """The violation with the fewest crashes, the first found of them; None if there is none."""
        return min(self.violations, key=lambda found: found.token.count("#"), default=None)

    def assert_ok(self, *, min_boundaries: int | None = None) -> None:
        """Raise `CrashBug` if anything was wrong, or was not looked at.

        That is: a violation (the message is its token and its story), a planted fault that the
        caller's check accepted, or fewer than `min_boundaries` distinct names of points at which
        lives ended: a simulation that hardly crashes proves nothing. Without a number,
        `DEFAULT_MIN_BOUNDARIES` are asked of an exploration, none of a replay.
        """
        if min_boundaries is None:
            min_boundaries = 0 if self.story else DEFAULT_MIN_BOUNDARIES
        if (worst := self.smallest) is not None:
            where = f"after crashes at {worst.token}" if worst.token else "without any crash"
            raise CrashBug("\n".join((f"{where}: {worst.what}", *worst.story)))
        if blind := [fault for fault, seen in self.planted.items() if not seen]:
            raise CrashBug(f"the check cannot see {', '.join(blind)}: it accepted a run with it")
        if len(self.boundaries) < min_boundaries:
            raise CrashBug(
                f"lives ended at only {len(self.boundaries)} distinct points, "
                f"not {min_boundaries}: {', '.join(sorted(self.boundaries))}"
            )


def violation(schedule: Schedule, error: BaseException, story: tuple[str, ...]) -> Violation:
    """Return the violation that `error` stands for."""
    return Violation(words_of(schedule), words_of_error(error), story)
