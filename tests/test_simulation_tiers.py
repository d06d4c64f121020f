"""The tiers of proof: every single crash and every pair, of a small bootstrap and of a real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from replicas import assert_equal, make_primary, replicate, write_more

from bootledger.files import Files
from bootledger.primary.source import LocalSource
from bootledger.replica.database import Database
from bootledger.replica.ports import Applier, OpenApplier, Source
from bootledger.simulation import Scenario, World, bootstrap, explore_scenario, samples
from bootledger.simulation.bootstrap import NODE

_PAIRS = 40_000
"""More than there are of any scenario here."""


def _primary(world: World) -> Path:
    return world.path / "primary"


def _build(world: World) -> tuple[Source, OpenApplier]:
    """The real primary, which is written to as each life begins, and the real database."""
    write_more(_primary(world), records=3, seed=9)

    def open_applier(directory: Path) -> Applier:
        return Database.open(directory, world.files, name="applier")

    source = LocalSource.open(_primary(world), world.files, chunk_bytes=32 * 1024)
    return source, open_applier


def _prepare(world: World) -> None:
    make_primary(_primary(world), records=20, value_bytes=30)


def _prepare_too_far_behind(world: World) -> None:
    """A replica in service that the log of its primary has left behind."""
    _prepare(world)
    replicate(_primary(world), world.target, node_id=NODE)
    last_lsn = write_more(_primary(world), seed=1)
    with Database.open(_primary(world), Files(), name="primary") as primary:
        primary.prune(last_lsn)


def _writes_go_on(world: World) -> None:
    write_more(_primary(world), records=5, seed=2)


def _ended_well(world: World) -> None:
    assert_equal(_primary(world), world.target)
    assert [each.name for each in world.target.glob("gen-*")] == [world.database.name]
    assert not list(_primary(world).glob("basebackups/*/manifest"))


def local() -> Scenario:
    """A first copy of a primary that is written to meanwhile."""
    return bootstrap(_build, _ended_well, prepare=_prepare, between=_writes_go_on)


def replacement() -> Scenario:
    """A copy that replaces one in service."""
    return bootstrap(_build, _ended_well, prepare=_prepare_too_far_behind)


def test_every_single_crash_of_the_small_bootstrap_is_survived() -> None:
    """And some of the pairs after each, by chance."""
    report = explore_scenario(samples.small(), budget=200)
    report.assert_ok(min_boundaries=40)
    assert report.every_single
    assert report.runs > report.points + 10


@pytest.mark.parametrize("scenario", [local, replacement])
def test_a_real_bootstrap_survives_its_first_crashes(scenario: Callable[[], Scenario]) -> None:
    """The first boundaries of each: all of them are in the crash tier."""
    report = explore_scenario(scenario(), crashes=1, budget=25)
    report.assert_ok(min_boundaries=8)


@pytest.mark.crash
@pytest.mark.parametrize("scenario", [samples.small, local, replacement])
def test_every_single_and_every_pair_is_survived(scenario: Callable[[], Scenario]) -> None:
    """All of them, some ten thousand runs in each."""
    report = explore_scenario(scenario(), budget=_PAIRS, workers=2)
    report.assert_ok(min_boundaries=40)
    assert report.every_single
    assert report.every_pair
