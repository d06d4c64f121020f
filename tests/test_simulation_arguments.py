"""What an embedder may get wrong: it is refused at the door, or named where it happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from bootledger.errors import InvalidValue
from bootledger.simulation import (
    Broken,
    CrashBug,
    Scenario,
    World,
    bootstrap,
    explore,
    explore_scenario,
    points_of,
    replay,
    samples,
)
from bootledger.simulation.samples import sample_source


def _two_steps(world: World) -> None:
    world.point("one.done")
    world.point("two.done")


SOUND = Scenario(_two_steps)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"engine": "gdb"}, "no engine 'gdb'"),
        ({"budget": 0}, "budget 0"),
        ({"workers": 0}, "workers 0"),
        ({"crashes": -1}, "crashes -1"),
        ({"seed": "7"}, "'7' is no seed"),
        ({"prepare": 7}, "prepare 7 cannot be called"),
    ],
)
def test_bad_arguments_are_refused(bad: dict[str, object], words: str) -> None:
    """With the wrong value in the message, before anything is run."""
    with pytest.raises(InvalidValue, match=words):
        explore(samples.build, samples.check, **{"budget": 1, **bad})


def test_what_is_no_function_is_refused() -> None:
    """By the name of the part, with a hint, before anything is run."""
    with pytest.raises(InvalidValue, match="build None cannot be called") as caught:
        explore(None, samples.check)
    assert "bootstrap(build, check)" in str(caught.value.hint)
    with pytest.raises(InvalidValue, match="check None cannot be called"):
        bootstrap(samples.build, None)


def test_what_is_no_scenario_is_refused() -> None:
    """A build in its place is told what to make of it; so is what is no token, or no seed."""
    for call in (explore_scenario, points_of, partial(replay, token="a#1")):
        with pytest.raises(InvalidValue, match="is no scenario") as caught:
            call(samples.build)
        assert caught.value.hint == "give it bootstrap(build, check)"
    with pytest.raises(InvalidValue, match="None is no token"):
        replay(samples.small(), None)
    with pytest.raises(InvalidValue, match="'7' is no seed"):
        points_of(samples.small(), seed="7")


@pytest.mark.parametrize("made", [None, (1, 2, 3), sample_source()])
def test_a_build_returns_a_pair(made: object) -> None:
    """Anything else is named, with what it should be."""
    scenario = bootstrap(lambda _: made, samples.check)
    with pytest.raises(InvalidValue, match=r"it has to return \(source, open_applier\)"):
        points_of(scenario)


def test_a_build_returns_what_opens_an_applier() -> None:
    """The applier itself is none."""
    scenario = bootstrap(lambda _: (sample_source(), "x"), samples.check)
    with pytest.raises(InvalidValue, match="open_applier 'x' cannot be called"):
        points_of(scenario)


def _yields(world: World) -> Iterator[None]:
    """Would object, if anybody ran it."""
    yield
    raise Broken("never read")


@pytest.mark.parametrize("wrong", [lambda _: False, lambda _: True, _yields])
def test_a_part_that_returns_something_is_refused(wrong: Callable[[World], None]) -> None:
    """A verdict that nobody reads is a violation, and so is a generator of which nothing ran."""

    def run(world: World) -> None:
        world.point("a")

    for parts, token in (({"check": wrong}, ""), ({"between": wrong}, "a#1")):
        report = explore_scenario(Scenario(run, **parts), crashes=1)
        assert report.smallest is not None
        assert report.smallest.token == token
        assert "; it has to raise" in report.smallest.what
    with pytest.raises(InvalidValue, match="prepare returned"):
        explore_scenario(Scenario(run, prepare=wrong))


@pytest.mark.parametrize("name", ["", "a b", "a#1", "a,b", "a/b", "a\n"])
def test_a_point_that_no_token_could_name_is_refused(name: str) -> None:
    """Where it is passed, with the name: nobody could replay a death there."""
    with pytest.raises(InvalidValue, match="is no name of a point"):
        points_of(Scenario(lambda world: world.point(name)))


@pytest.mark.parametrize("token", ["7", "chunk.synced", "a#0", "a#1,,b#1", "a #1"])
def test_a_token_that_is_none_is_refused(token: str) -> None:
    """The part that is no point is named, with a hint of how one looks."""
    with pytest.raises(InvalidValue, match="is no point") as caught:
        replay(samples.small(), token)
    assert "chunk.synced#3" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("token", "missed"), [("xx#4", "xx#4"), ("one.done#1,xx#4", "xx#4"), ("a#1,b#1", "a#1")]
)
def test_a_token_whose_point_no_life_reached_is_refused(token: str, missed: str) -> None:
    """Nothing was shown: not that all is as it must be. Unless it may miss."""
    scenario = SOUND
    with pytest.raises(InvalidValue, match=f"no life came to {missed}"):
        replay(scenario, token)
    replay(scenario, token, may_miss=True).assert_ok()


def test_a_replay_needs_no_other_deaths() -> None:
    """One death is what was asked for; a number of distinct points still counts if it is given."""
    report = replay(SOUND, "one.done#1")
    report.assert_ok()
    with pytest.raises(CrashBug, match="only 1 distinct points, not 2"):
        report.assert_ok(min_boundaries=2)


@pytest.mark.parametrize(
    ("engine", "words"), [("gdb", "no engine 'gdb'"), ("powerloss", "'a#1' names no disk")]
)
def test_a_token_is_not_replayed_by_an_engine_that_cannot(engine: str, words: str) -> None:
    """Neither by one that there is not, nor as a disk if it is a point."""
    with pytest.raises(InvalidValue, match=words):
        replay(samples.small(), "a#1", engine=engine)
