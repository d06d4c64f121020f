"""The real thing as samples: a primary in LMDB that is written to, its base backups, its replica.

Everything that `bootledger.replicate` uses takes part: `Database` on both sides, `LocalSource`,
base backups under tokens. The application that goes on writing does so in the middle of the copy
and after every death, on its own: its writes do not die with the replica's process.
"""

from __future__ import annotations

from functools import partial

from bootledger.files import Files
from bootledger.primary.source import LocalSource
from bootledger.replica.database import Database
from bootledger.replica.ports import OpenApplier, Pause, Pin, Source, go_on
from bootledger.simulation.bootstrap import bootstrap
from bootledger.simulation.ports import ForwardingSource
from bootledger.simulation.scenario import Broken, Scenario
from bootledger.simulation.world import World

CHUNK_BYTES = 8192

_DATABASE_ID = "01890a5d-ac96-774b-bcce-b302099a8057"  # the same in each run
_KEYS = 13  # so few that some are written more than once after the base backup
_FIRST_WRITES, _MORE_WRITES = 60, 4


class BusySource(ForwardingSource):
    """A local primary that is written to while it is copied, before it gives each chunk."""

    def __init__(self, world: World) -> None:
        super().__init__(
            LocalSource.open(world.path / "primary", world.files, chunk_bytes=CHUNK_BYTES)
        )
        self._world = world

    def pin(self, intent_id: str, generation: int, pause: Pause = go_on) -> Pin:
        """Ask the primary, and have it written to: the snapshot is behind at once."""
        pin = super().pin(intent_id, generation, pause)
        write(self._world, _MORE_WRITES)
        return pin

    def read_chunk(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Have the primary written to, and ask it."""
        write(self._world, 1)
        return super().read_chunk(token, offset_bytes, length_bytes)


def local() -> Scenario:
    """Return the bootstrap of an empty target from a primary that is written to meanwhile."""
    return bootstrap(_build, _check, prepare=_make_primary, between=_write_more)


def replacement() -> Scenario:
    """Return the replacement of a replica in service: the changes that it needs are gone.

    The lives begin with generation 1 in service and too far behind; generation 2 takes its place.
    """
    return bootstrap(_build, _check, prepare=_leave_behind, between=_write_more)


def write(world: World, count: int) -> None:
    """Be the application: write `count` transactions to the primary, some of them deletions.

    What is written depends on the LSN alone, so that each repetition writes the same.
    """
    with _primary(world) as primary:
        for lsn in range(primary.last_lsn() + 1, primary.last_lsn() + 1 + count):
            value = None if lsn % 11 == 0 else b"%d " % lsn * 40
            primary.write([(b"key-%02d" % (lsn % _KEYS), value)])


def _build(world: World) -> tuple[Source, OpenApplier]:
    return BusySource(world), partial(Database.open, files=world.files, name="applier")


def _check(world: World) -> None:
    with _primary(world) as primary, Database.open(world.database, Files(), name="reader") as copy:
        expected, found = primary.digest(), copy.digest()
    if found != expected:
        raise Broken(f"LSN and digest of the replica are {found}, of the primary {expected}")


def _make_primary(world: World) -> None:
    Database.create(world.path / "primary", Files(), database_id=_DATABASE_ID)
    write(world, _FIRST_WRITES)


def _write_more(world: World) -> None:
    write(world, _MORE_WRITES)


def _leave_behind(world: World) -> None:
    _make_primary(world)
    bootstrap(_build, _check).run(world)
    write(world, 2 * _MORE_WRITES)
    with _primary(world) as primary:
        primary.prune(primary.last_lsn() - _MORE_WRITES)


def _primary(world: World) -> Database:
    return Database.open(world.path / "primary", Files(), name="application")
