"""One run: lives in one place, each but the last ended by a crash, judged after every one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bootledger.errors import InvalidValue
from bootledger.simulation.crashing import Where
from bootledger.simulation.engines import Engine, Life, live_and_copy, live_in_process
from bootledger.simulation.places import copy_place, fresh_place
from bootledger.simulation.scenario import Judge, Scenario
from bootledger.simulation.world import World


class Run:
    """A run that has come so far: `lives` were lived in `place`, and `judge` remembers them.

    What is `ahead` was lived there, too, and comes next: nobody has looked at it yet.
    """

    def __init__(
        self, scenario: Scenario, engine: Engine, seed: int, place: Path, judge: Judge
    ) -> None:
        self.place = place
        self.lives: list[Life] = []
        self._scenario = scenario
        self._engine = engine
        self._seed = seed
        self._judge = judge
        self.ahead: Life | None = None

    @property
    def deaths(self) -> tuple[str, ...]:
        """The tokens of the points where lives ended so far."""
        return tuple(life.died_at for life in self.lives if life.died_at is not None)

    def live(self, crash: Where | None) -> bool:
        """Live once more, and have it judged; return whether it ended before its end.

        That is by a death at `crash`, or because a planted fault stopped it.
        A life that does not come to its crash reaches its end, and then everything is checked.
        Raises whatever the life, the judge or the checks have to object.
        """
        life, self.ahead = self.ahead, None
        if life is None:
            number = len(self.lives) + 1
            life = self._engine(self._scenario.run, self.place, number, self._seed, crash)
        return self.take_in(life)

    def take_in(self, life: Life) -> bool:
        """Have judged what a life left in the place, wherever it was lived; see `live`."""
        self.lives.append(life)
        if life.error is not None:
            raise life.error
        self._judge.judge(self.place, life.facts)
        if not life.ended:
            visit("between", self._scenario.between, self.place, self._seed)
            return True
        self._judge.ended(self.place)
        visit("check", self._scenario.check, self.place, self._seed)
        return False

    def play(self, schedule: Sequence[Where]) -> None:
        """Live and die by `schedule`, one crash a life, and then to the end."""
        for crash in (*schedule, None):
            if not self.live(crash):
                return

    @contextmanager
    def copied(self) -> Iterator[Run]:
        """Give a copy of this run, place and memory, for the length of the block."""
        with fresh_place() as place:
            copy_place(self.place, place)
            yield self._like_this(place)

    @contextmanager
    def futures(self, crashes: Sequence[str]) -> Iterator[Iterator[Run]]:
        """Give a copy of this run for each of the points, to be played to a death there, and on.

        In this process the life that dies is lived once for all of them: the copies are made on its
        way.
        """
        with ExitStack() as places:
            copies = {crash: places.enter_context(fresh_place()) for crash in crashes}
            lives: dict[str, Life] = {}
            if self._engine is live_in_process:
                with self.copied() as run:
                    number = len(self.lives) + 1
                    lives = live_and_copy(self._scenario.run, run.place, number, self._seed, copies)
            yield (self._future(place, lives.get(crash)) for crash, place in copies.items())

    def _future(self, place: Path, ahead: Life | None) -> Run:
        if ahead is None:
            copy_place(self.place, place)
        run = self._like_this(place)
        run.ahead = ahead
        return run

    def _like_this(self, place: Path) -> Run:
        run = Run(self._scenario, self._engine, self._seed, place, self._judge.copy())
        run.lives = list(self.lives)
        return run


@contextmanager
def fresh_run(scenario: Scenario, engine: Engine, seed: int) -> Iterator[Run]:
    """Make a place, prepare it, and give the run that has no lives yet."""
    with fresh_place() as place:
        visit("prepare", scenario.prepare, place, seed)
        yield Run(scenario, engine, seed, place, scenario.judge(place))


def visit(name: str, part: Callable[[World], object], place: Path, seed: int) -> None:
    """Let a caller's part of the scenario at the place, in a world where nobody dies.

    Raises `InvalidValue` if it returns anything: a verdict that nobody reads, or a generator, of
    which nothing has run.
    """
    world = World(place, life=0, seed=seed)
    try:
        returned = part(world)
    finally:
        world.bury()
    if returned is not None:
        raise InvalidValue(f"{name} returned {returned!r}; it has to raise what it objects to")
