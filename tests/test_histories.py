"""Two histories with the same LSNs: a primary that was put back while its replica was connected."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from keepers import World, last_lsn
from replicas import NODE, make_primary, write_more
from servers import Server, server
from test_following import follow

from bootledger.errors import DivergedHistory
from bootledger.files import Files
from bootledger.primary.service import Primary, Retention
from bootledger.replica.database import Database
from bootledger.replica.histories import last_of
from bootledger.replica.http.source import HttpSource
from bootledger.replica.keeping import Keeper
from bootledger.replica.observer import Observer
from bootledger.replica.ports import LastChange, Source
from bootledger.replica.readers import open_current

pytestmark = pytest.mark.xdist_group("histories")


@dataclass
class Served(World):
    """A primary that is served by a process of its own."""

    served: Server = field(kw_only=True)

    def open_source(self) -> Source:
        return HttpSource.open(self.served.address, slot=NODE)


def put_back(world: World, *, by: int, then: int) -> None:
    """Kill the primary, put it back by some changes, write others, and start it again."""
    assert isinstance(world, Served)
    world.served.kill()
    with Database.open(world.primary, Files(), name="primary") as primary:
        identity = primary.identity()
        changes = primary.changes(0, 10_000)
    shutil.rmtree(world.primary)
    Database.create(world.primary, Files(), database_id=identity.database_id)
    with Database.open(world.primary, Files(), name="primary") as primary:
        primary.apply(changes[:-by])
        primary.write([(b"another %d" % i, b"history") for i in range(then)])
    world.served.start()


def test_a_primary_that_is_put_back_between_two_questions_of_a_follower_is_found(
    tmp_path: Path,
) -> None:
    """Same address, database and timeline, and by then more changes: only their content differs."""
    make_primary(tmp_path / "primary", records=40)
    with server(tmp_path / "primary") as served:
        world = Served(tmp_path, served=served)

        def replace(_: World) -> None:
            put_back(world, by=3, then=9)

        with pytest.raises(DivergedHistory, match="change 65 of the replica is not the one"):
            follow(world, [lambda it: write_more(it.primary, records=25) and None, replace])
    _check_nothing_foreign(world)


@pytest.mark.crash
def test_a_primary_that_is_put_back_while_a_bootstrap_catches_up_is_found(tmp_path: Path) -> None:
    """The same between two batches of the catching up."""
    make_primary(tmp_path / "primary", records=40)
    with server(tmp_path / "primary") as served:
        world = Served(tmp_path, served=served)
        world.run(Keeper.bring_up_to_date)
        write_more(world.primary, records=30)

        class PutsBack(Observer):
            done = False

            def on_applied(self, applied_lsn: int, target_lsn: int) -> None:
                if not self.done and applied_lsn < target_lsn:
                    self.done = True
                    put_back(world, by=25, then=60)

        world.observer = PutsBack()
        with pytest.raises(DivergedHistory, match="change 50 of the replica is not the one"):
            world.run(Keeper.bring_up_to_date)
    _check_nothing_foreign(world)


def _check_nothing_foreign(world: World) -> None:
    with (
        open_current(world.target) as place,
        Database.open(place, Files(), name="it") as replica,
    ):
        assert replica.get(b"another 0") is None


def test_what_the_change_at_a_slot_is_compared_with_is_kept(tmp_path: Path) -> None:
    """Nothing else is to be kept, and yet the primary can tell whose history it is."""
    make_primary(tmp_path / "primary", records=40)
    with Primary.open(
        tmp_path / "primary", Files(), retention=Retention(keep_changes=0)
    ) as primary:
        last = last_of(primary.changes(0, 30, None))
        primary.hold_slot(NODE, last.lsn)
        primary.enforce()
        kept = primary.changes(last.lsn - 1, 1, None)
        assert last_of(kept) == last
        assert primary.info().pruned_lsn == last.lsn - 1
        right = primary.changes(last.lsn, 50, NODE, after_digest=last.digest)
        assert len(right) == last_lsn(tmp_path / "primary") - last.lsn
        with pytest.raises(DivergedHistory, match="not the one"):
            primary.changes(last.lsn, 50, NODE, after_digest="0" * 64)


def test_another_history_acknowledges_nothing(tmp_path: Path) -> None:
    """Whoever has other changes has not what is kept for the slot."""
    make_primary(tmp_path / "primary", records=40)
    with server(tmp_path / "primary") as served:
        with HttpSource.open(served.address, slot=NODE) as source:
            source.changes(5, 1)
            with pytest.raises(DivergedHistory):
                source.changes_following(LastChange(20, "0" * 64), 10)
        served.stop()
    with Primary.open(tmp_path / "primary", Files()) as primary:
        (slot,) = primary.slots()
    assert slot.acknowledged_lsn == 5
