"""A bootstrap as a machine of Hypothesis: crashes and faults are its rules, in any order.

    from hypothesis import settings
    from bootledger.simulation import samples
    from bootledger.simulation.stateful import BootstrapMachine

    class MyMachine(BootstrapMachine):
        def build(self, world):
            return samples.build(world)

        def check(self, world):
            samples.check(world)

    TestMyBootstrap = MyMachine.TestCase
    TestMyBootstrap.settings = settings(deadline=None, max_examples=10, stateful_step_count=15)

A rule either lives a life, or plants what the next life will meet. After every life the disk is
judged (`bootledger.simulation.promises`), and after one that reached its end by `check`, too. At
the end of each example what is held is released, and one more life, without any fault, has to reach
its end. What may be said of an intent, and when, is read from the table of the state machine.
"""

from __future__ import annotations

import errno
from contextlib import ExitStack
from typing import ClassVar, get_args

from hypothesis import currently_in_test_context, event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from bootledger.replica.ports import OpenApplier, Source
from bootledger.simulation.bootstrap import bootstrap
from bootledger.simulation.crashing import Where
from bootledger.simulation.faults import (
    BadChunk,
    ClockGoesBack,
    DiskFails,
    Fault,
    Faults,
    LogPruned,
    SnapshotGone,
    Spoilt,
    has_staged,
    unfinished,
)
from bootledger.simulation.faulty_source import faulty
from bootledger.simulation.interference import (
    VERBS,
    OperatorActs,
    SecondResumer,
    Verb,
    legal_verbs,
)
from bootledger.simulation.kit import points_of
from bootledger.simulation.runs import fresh_run
from bootledger.simulation.scenario import Broken, nothing
from bootledger.simulation.schedules import Schedule
from bootledger.simulation.stories import tell
from bootledger.simulation.world import World
from bootledger.statemachine.progress import Progress

_HOUR_MS = 3_600_000
_MOST_BITS = 2**20
_SPOILT: tuple[Spoilt, ...] = get_args(Spoilt)


def _points() -> st.SearchStrategy[str]:
    """The points that a life passes, the first ones first."""
    return st.runner().flatmap(lambda machine: st.sampled_from(machine.points()))


def _legal() -> st.SearchStrategy[Verb]:
    """What an operator may say of the unfinished intent."""
    return st.runner().flatmap(lambda machine: st.sampled_from(machine.verbs()))


_numbers = st.integers(1, 4)


class BootstrapMachine(RuleBasedStateMachine):
    """Subclass it with `build` and `check`; `prepare` and `between` as in `explore`.

    Whatever it objects to is raised with the story of the run as a note. Tests count what was met
    in `faults.happened`; Hypothesis's own statistics (`--hypothesis-show-statistics`) show it, too.
    """

    seed: ClassVar[int] = 0
    """The chance of the worlds; that of the rules is Hypothesis's."""
    _known_points: ClassVar[dict[type, Schedule]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.faults = Faults()
        self._intents: list[Progress] = []
        self._broken = False
        self._scenario = bootstrap(
            faulty(self.build, self.faults),
            self.check,
            prepare=self.prepare,
            between=self.between,
        )
        self.points()
        self._open = ExitStack()
        self._run = self._open.enter_context(fresh_run(self._scenario, self.faults.live, self.seed))

    # --- What a subclass says -----------------------------------------------------------------
    # `build` and `check` are not abstract for Python: Hypothesis has a metaclass of its own.

    def build(self, world: World) -> tuple[Source, OpenApplier]:
        """Make source and applier for one life: a `Build`."""
        raise NotImplementedError("a BootstrapMachine needs a `build`")

    def check(self, world: World) -> None:
        """Look at `world.database` after a life that reached its end, and raise if it is wrong."""
        raise NotImplementedError("a BootstrapMachine needs a `check`")

    def prepare(self, world: World) -> None:
        """Make what is there before the first life."""
        nothing(world)

    def between(self, world: World) -> None:
        """Do what happens elsewhere after a life that did not reach its end."""
        nothing(world)

    # --- What rules choose from ---------------------------------------------------------------

    def points(self) -> Schedule:
        """Return the points of a life without faults, learned from one."""
        kind = type(self)
        if not self._known_points.get(kind):
            self._known_points[kind] = points_of(self._scenario, seed=self.seed)
        return self._known_points[kind]

    def verbs(self) -> tuple[Verb, ...]:
        """Return what an operator may say now, by the table; nothing if no intent is unfinished."""
        return legal_verbs(self._intents[0]) if self._intents else ()

    # --- Lives --------------------------------------------------------------------------------

    @rule(point=_points())
    def dies(self, point: str) -> None:
        """Start once more, and die at a point; or reach the end, if the life does not pass it."""
        self._live(point)

    @rule()
    def lives(self) -> None:
        """Start once more, with whatever was planted."""
        self._live(None)

    # --- Faults of the next life --------------------------------------------------------------

    @rule(how=st.sampled_from(_SPOILT), number=_numbers)
    def source_sends_a_bad_chunk(self, how: Spoilt, number: int) -> None:
        """One of the next life's chunks is not what it should be."""
        self.faults.plant(BadChunk(how, number))

    @rule(number=_numbers)
    def source_loses_the_snapshot(self, number: int) -> None:
        """The base backup is gone when the next life reads from it."""
        self.faults.plant(SnapshotGone(number))

    @rule(number=_numbers)
    def source_prunes_its_log(self, number: int) -> None:
        """The changes are gone when the next life asks for them."""
        self.faults.plant(LogPruned(number))

    @rule(point=_points(), code=st.sampled_from((errno.EIO, errno.ENOSPC)))
    def disk_fails(self, point: str, code: int) -> None:
        """At a point of the next life the disk fails, or is full."""
        self.faults.plant(DiskFails(point, code))

    @rule(hours=st.integers(1, 48))
    def clock_goes_back(self, hours: int) -> None:
        """The next life reads an earlier time than those before it."""
        self.faults.plant(ClockGoesBack(hours * _HOUR_MS))

    @rule(point=_points())
    def second_resumer_tries(self, point: str) -> None:
        """In the middle of the next life, another process wants the same bootstrap."""
        self.faults.plant(SecondResumer(point))

    @rule(point=_points(), verb=st.sampled_from(VERBS))
    def operator_interrupts(self, point: str, verb: Verb) -> None:
        """In the middle of the next life, an operator decides."""
        self.faults.plant(OperatorActs(point, verb))

    # --- Between lives ------------------------------------------------------------------------

    @precondition(lambda self: any(has_staged(progress) for progress in self._intents))
    @rule(pick=st.integers(0, _MOST_BITS))
    def bit_of_a_staged_chunk_flips(self, pick: int) -> None:
        """A bit of what is called staged is not what it was."""
        self.faults.flip_bit(self._run.place, pick)

    @precondition(lambda self: self.verbs())
    @rule(verb=_legal())
    def operator_says(self, verb: Verb) -> None:
        """Nobody is at work, and an operator decides."""
        self._say(verb)

    # --- How ----------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Release what is held, and live to the end without any fault."""
        try:
            if not self._broken:
                self.faults.clear()
                if any(progress.held for progress in self._intents):
                    self._say("release")
                if self._live(None):
                    raise Broken("the last life met no fault, and did not reach its end")
            for fault in self.faults.happened if currently_in_test_context() else ():
                event(_name(fault))
        finally:
            self._open.close()

    def _live(self, crash: Where | None) -> bool:
        try:
            stopped = self._run.live(crash)
        except BaseException as error:  # whatever it is goes on, with the story
            self._broken = True  # so that the teardown does not live on from here
            error.add_note("\n".join(tell(self._run.lives, f"WRONG: {error}")))
            raise
        self._intents = unfinished(self._run.place)
        return stopped

    def _say(self, verb: Verb) -> None:
        try:
            self.faults.say(self._run.place, verb, life=len(self._run.lives) + 1)
        except BaseException:  # as above
            self._broken = True
            raise
        self._intents = unfinished(self._run.place)


def _name(fault: Fault) -> str:
    how = getattr(fault, "how", getattr(fault, "verb", ""))
    return f"{type(fault).__name__} {how}".strip()
