from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keepers import World, last_lsn, link_down, prune
from replicas import assert_equal, make_primary, replicate, write_more
from worlds import CrashingFiles, Scenario, every_single, play, record

from bootledger.errors import (
    DivergedHistory,
    InvalidValue,
    OlderTimeline,
    SourceChanged,
    Stopped,
)
from bootledger.files import Files
from bootledger.replica.database import Database
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.keeping import Keeper
from bootledger.replica.ports import OpenApplier
from bootledger.replica.readers import open_current, read_current
from bootledger.replica.settings import Settings
from bootledger.replica.target import LEDGER_NAME

Action = Callable[[World], None]


def write(world: World) -> None:
    """Write some more, with a key that is written again and again."""
    write_more(world.primary, records=25, seed=last_lsn(world.primary) % 3)


def lose_the_log(world: World) -> None:
    """Write and forget it, before anybody can have read it."""
    write(world)
    prune(world.primary)


def cut_the_link(world: World) -> None:
    """Let the next questions come to nothing."""
    world.weather.failures += link_down(3)


def rest(world: World) -> None:
    """Let time pass."""


def follow(world: World, script: list[Action]) -> None:
    """Keep the replica, doing what is next in the script at every nap, until it has everything."""

    def act() -> None:
        if script:
            script.pop(0)(world)

    world.time.act = act
    world.stop = lambda: "enough" if not script and world.caught_up else None
    world.run(Keeper.follow)


def scenario(script: list[Action]) -> Scenario:
    """A primary that is written to by `script`, and a replica that follows until it is over."""

    def run(files: CrashingFiles, place: Path) -> None:
        follow(World(place, files=files), script)

    def check(place: Path) -> None:
        assert_equal(place / "primary", place / "replica")

    return Scenario(
        run, prepare=lambda place: make_primary(place / "primary", records=40), check=check
    )


def writing_until(enough: int) -> Scenario:
    """A primary that is written to until it has so many changes, and a replica that follows."""

    def run(files: CrashingFiles, place: Path) -> None:
        world = World(place, files=files)

        def act() -> None:
            if last_lsn(world.primary) < enough:
                write(world)

        world.time.act = act
        world.stop = lambda: (
            "enough" if world.caught_up and last_lsn(world.primary) >= enough else None
        )
        world.run(Keeper.follow)

    return replace(scenario([]), run=run)


@pytest.mark.crash
def test_a_replica_that_follows_survives_every_death_and_is_equal_in_the_end() -> None:
    """Each point of a life that bootstraps and follows: the next life goes on, nothing twice."""
    every_single(writing_until(120), at_least=40)


def test_a_replica_goes_on_following_after_a_death_at_any_point_of_it() -> None:
    """The short form: every point after the promotion, of a life that applies two batches."""
    life = writing_until(60)
    points = record(life)
    promoted = max(n for n, token in enumerate(points, 1) if token.startswith("current."))
    following = [n for n, token in enumerate(points, 1) if n > promoted and "applier" in token]
    assert len(following) >= 4
    for death in following:
        assert len(play(life, [death])) == 1


@settings(max_examples=12, deadline=None)
@given(
    script=st.lists(
        st.sampled_from([write, write, lose_the_log, cut_the_link, rest]), min_size=1, max_size=8
    ),
    deaths=st.lists(st.integers(1, 120), max_size=3),
)
def test_whatever_happens_the_replica_ends_equal_and_acknowledges_only_what_is_durable(
    script: list[Action], deaths: list[int]
) -> None:
    """Writes, prunes, outages and deaths in any order; the world checks each acknowledgement."""
    played = scenario(list(script))
    with played.begun() as run:
        for death in deaths:
            run.live(death)
        if len(run.deaths) == len(deaths):
            run.live(None)


def test_a_stop_while_following_ends_it_with_what_was_applied(tmp_path: Path) -> None:
    """Nobody's failure: the outcome says how far it is, and no event was written meanwhile."""
    make_primary(tmp_path / "primary", records=40)
    replicate(tmp_path / "primary", tmp_path / "replica")
    world = World(tmp_path)
    positions: list[int] = []

    def look(_: World) -> None:
        with IntentLog.open(world.target / LEDGER_NAME) as log:
            positions.append(log.store.last_position())

    follow_script: list[Action] = [look, write, write, rest, look]
    outcome = _outcome(world, follow_script)
    assert outcome == last_lsn(world.primary) == 90
    assert positions[0] == positions[1]


def _outcome(world: World, script: list[Action]) -> int:
    def act() -> None:
        if script:
            script.pop(0)(world)

    world.time.act = act
    world.stop = lambda: "enough" if not script and world.caught_up else None
    return world.run(Keeper.follow).applied_lsn


def test_a_replica_whose_log_is_lost_begins_a_new_generation_and_goes_on(tmp_path: Path) -> None:
    """Too far behind while it followed: a base backup, a promotion, and the log again."""
    make_primary(tmp_path / "primary", records=40)
    world = World(tmp_path)
    follow(world, [write, lose_the_log, write])
    assert read_current(world.target) == 2
    assert_equal(world.primary, world.target)


def fail_over(world: World, timeline: int, *, records: int | None = None) -> None:
    """Put another primary in the place of this one: the same database, on another timeline."""
    with Database.open(world.primary, Files(), name="primary") as primary:
        database_id = primary.identity().database_id
    shutil.rmtree(world.primary)
    Database.create(world.primary, Files(), database_id=database_id, timeline=timeline)
    write_more(world.primary, records=records or 30, seed=9)


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("records", [5, 300])
def test_a_newer_timeline_is_taken_up_with_a_new_generation(
    tmp_path: Path, records: int, by_name: bool
) -> None:
    """After a failover, whether its log is shorter or longer, LSNs mean something else.

    Also if nothing breaks: another one answers under the same name, and only says who it is.
    """
    make_primary(tmp_path / "primary", records=40)
    world = World(tmp_path, by_name=by_name)
    follow(world, [write, rest, lambda it: fail_over(it, 2, records=records), rest, write])
    assert read_current(world.target) == 2
    with open_current(world.target) as place, Database.open(place, Files(), name="it") as database:
        assert database.identity().timeline == 2
    assert_equal(world.primary, world.target)


def test_an_older_timeline_is_refused(tmp_path: Path) -> None:
    """A primary whose place was taken has nothing to say any more."""
    make_primary(tmp_path / "primary", records=40)
    world = World(tmp_path)
    follow(world, [lambda it: fail_over(it, 2), rest])
    before = read_current(world.target)
    fail_over(world, 1)
    with pytest.raises(OlderTimeline, match="still on 1"):
        world.run(Keeper.follow)
    assert read_current(world.target) == before


def test_another_database_under_the_same_address_is_refused(tmp_path: Path) -> None:
    """Somebody else answers."""
    make_primary(tmp_path / "primary", records=40)
    world = World(tmp_path)

    def replace(it: World) -> None:
        shutil.rmtree(it.primary)
        make_primary(it.primary, records=60)

    with pytest.raises((SourceChanged, DivergedHistory)):
        follow(world, [write, replace, rest, rest])


def rewrite_history(world: World) -> None:
    """Put the primary back by some changes, and write others instead: LSNs show nothing."""
    with Database.open(world.primary, Files(), name="primary") as primary:
        identity = primary.identity()
        changes = primary.changes(0, 10_000)
    shutil.rmtree(world.primary)
    Database.create(world.primary, Files(), database_id=identity.database_id)
    with Database.open(world.primary, Files(), name="primary") as primary:
        primary.apply(changes[:-3])
        primary.write([(b"another %d" % i, b"history") for i in range(5)])


def test_a_history_that_parted_is_found_where_lsns_agree(tmp_path: Path) -> None:
    """The last change of the replica is compared with the source's when it connects again."""
    make_primary(tmp_path / "primary", records=40)
    world = World(tmp_path)
    with pytest.raises(DivergedHistory, match="not the one"):
        follow(world, [write, rewrite_history, rest, rest, rest])
    with pytest.raises(DivergedHistory, match="not the one"):
        replicate(world.primary, world.target)


def test_a_history_that_was_pruned_cannot_be_compared_and_is_trusted(tmp_path: Path) -> None:
    """The change that would tell is gone on one side: LSN and timeline have to do."""
    make_primary(tmp_path / "primary", records=40)
    world = World(tmp_path)
    follow(world, [write, lambda it: prune(it.primary), rest])
    follow(World(tmp_path), [write])
    assert_equal(world.primary, world.target)


def test_a_primary_that_was_put_back_is_refused(tmp_path: Path) -> None:
    """The replica holds more than its source: a person must look."""
    make_primary(tmp_path / "primary", records=40)
    shutil.copytree(tmp_path / "primary", tmp_path / "old")
    world = World(tmp_path)
    follow(world, [write])
    shutil.rmtree(world.primary)
    shutil.copytree(tmp_path / "old", world.primary)
    with pytest.raises(DivergedHistory, match="holds LSN 65"):
        world.run(Keeper.follow)


def test_a_replica_keeps_as_many_of_its_own_changes_as_it_is_told_to(tmp_path: Path) -> None:
    """Whatever it does not need is forgotten, also what an earlier life left; records stay."""
    make_primary(tmp_path / "primary", records=40)
    follow(World(tmp_path), [write, write, rest])
    assert _pruned_lsn(World(tmp_path)) == 0
    world = World(tmp_path, keep_changes=7)
    follow(world, [rest, write, rest, rest])
    assert _pruned_lsn(world) == last_lsn(world.primary) - 7
    follow(world, [write])  # its last change is still compared with the source's
    assert_equal(world.primary, world.target)


def test_a_replica_that_prunes_survives_a_death_at_any_point_of_it() -> None:
    """The next life forgets the rest, and nothing that was not applied."""

    def run(files: CrashingFiles, place: Path) -> None:
        follow(World(place, files=files, keep_changes=5), [write, rest, rest])

    life = replace(scenario([]), run=run)
    points = record(life)
    promoted = max(n for n, token in enumerate(points, 1) if token.startswith("current."))
    pruning = [n for n, token in enumerate(points, 1) if n > promoted and "applier" in token]
    assert len(pruning) >= 6
    for death in pruning:
        assert len(play(life, [death])) == 1


def test_keeping_some_changes_is_refused_where_there_is_no_log(tmp_path: Path) -> None:
    """An applier that only applies cannot forget: that is said, and nothing is followed."""
    make_primary(tmp_path / "primary", records=40)
    world = World(tmp_path, keep_changes=5, applier=no_log)
    with pytest.raises(InvalidValue, match="no log of its own"):
        follow(world, [write])


@pytest.mark.parametrize("keep", [0, -1])
def test_the_last_change_is_kept_in_any_case(keep: int) -> None:
    """It is what tells two histories apart."""
    with pytest.raises(InvalidValue, match="keep_changes"):
        Settings(keep_changes=keep)


class OnlyApplies:
    """A database whose log nobody can see."""

    def __init__(self, database: Database) -> None:
        self.identity = database.identity
        self.applied_lsn = database.applied_lsn
        self.apply = database.apply
        self.record_count = database.record_count
        self.close = database.close


def no_log(files: Files) -> OpenApplier:
    """Return what opens databases without a log."""
    return lambda directory: OnlyApplies(Database.open(directory, files, name="applier"))


def _pruned_lsn(world: World) -> int:
    with open_current(world.target) as place, Database.open(place, Files(), name="it") as database:
        return database.pruned_lsn()


def test_a_stop_in_a_bootstrap_is_no_end_of_following(tmp_path: Path) -> None:
    """Whoever stops a copy has no replica that is up to date."""
    make_primary(tmp_path / "primary", records=40)
    world = World(tmp_path, stop=lambda: "SIGTERM")
    with pytest.raises(Stopped):
        world.run(Keeper.follow)
