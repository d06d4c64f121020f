"""An embedder's own applier on SQLite, with a bug that a simulation finds; and the mended one.

    python examples/sqlite_applier.py            # the bug: its token, and the story of it
    python examples/sqlite_applier.py mended     # nothing is found, and a blind check would show

The bug is an ordinary one. The applied LSN and the rows are written in two transactions, and the
process may die between them: then the LSN says that the rows are there, and nobody ever sends them
again.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bootledger.basebackup.manifest import DATA_NAME
from bootledger.replica.ports import Applier, Change, OpenApplier, Source, SourceIdentity
from bootledger.simulation import Report, World, explore
from bootledger.simulation.samples import ListedSource

IDENTITY = SourceIdentity("sqlite-example", timeline=1)
SNAPSHOT_LSN = 10
CHANGES = [
    Change(lsn, b"key-%d" % (lsn % 7), None if lsn % 9 == 0 else b"value %d" % lsn)
    for lsn in range(1, 31)
]


class SqliteApplier:
    """Keeps the rows in one table and the applied LSN in another; rows and LSN are one commit."""

    def __init__(self, point: Callable[[str], None], directory: Path) -> None:
        self.point = point
        self.database = sqlite3.connect(directory / DATA_NAME, isolation_level=None)

    def identity(self) -> SourceIdentity:
        """Return which database this is a copy of."""
        return IDENTITY

    def applied_lsn(self) -> int:
        """Return the LSN up to which the rows are there."""
        ((lsn,),) = self.database.execute("SELECT lsn FROM applied")
        return int(lsn)

    def apply(self, changes: Sequence[Change]) -> None:
        """Write rows and LSN in one transaction."""
        with transaction(self.database):
            self.write_rows(changes)
            self.point("rows.written")
            self.database.execute("UPDATE applied SET lsn = ?", (changes[-1].lsn,))

    def write_rows(self, changes: Sequence[Change]) -> None:
        """Write what is new of the changes."""
        for change in changes:
            if change.lsn > self.applied_lsn():
                self.database.execute("DELETE FROM rows WHERE key = ?", (change.key,))
                if change.value is not None:
                    self.database.execute("INSERT INTO rows VALUES (?, ?)", change[1:])

    def record_count(self) -> int:
        """Return how many rows there are."""
        ((count,),) = self.database.execute("SELECT count(*) FROM rows")
        return int(count)

    def close(self) -> None:
        """Give the database back; what was not committed is gone."""
        self.database.close()


class ForgetfulApplier(SqliteApplier):
    """The same with the bug: first the LSN, then the rows, each in a transaction of its own."""

    def apply(self, changes: Sequence[Change]) -> None:
        """Write the LSN, then the rows."""
        new = [change for change in changes if change.lsn > self.applied_lsn()]
        with transaction(self.database):
            self.database.execute("UPDATE applied SET lsn = ?", (changes[-1].lsn,))
        self.point("lsn.committed")
        with transaction(self.database):
            for change in new:
                self.database.execute("DELETE FROM rows WHERE key = ?", (change.key,))
                if change.value is not None:
                    self.database.execute("INSERT INTO rows VALUES (?, ?)", change[1:])


class transaction:  # noqa: N801 - reads like the statement that it is
    """`with transaction(database):` commits at its end, or rolls back."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database

    def __enter__(self) -> None:
        self.database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.database.execute("COMMIT" if kind is None else "ROLLBACK")


def database_at(lsn: int) -> sqlite3.Connection:
    """Return a database in memory that holds the changes up to an LSN."""
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.execute("CREATE TABLE rows (key BLOB PRIMARY KEY, value BLOB)")
    database.execute("CREATE TABLE applied (lsn INTEGER)")
    database.execute("INSERT INTO applied VALUES (?)", (lsn,))
    for change in CHANGES[:lsn]:
        database.execute("DELETE FROM rows WHERE key = ?", (change.key,))
        if change.value is not None:
            database.execute("INSERT INTO rows VALUES (?, ?)", change[1:])
    return database


SOURCE = ListedSource(
    database_at(SNAPSHOT_LSN).serialize(), SNAPSHOT_LSN, CHANGES, database_id=IDENTITY.database_id
)


def build(kind: type[SqliteApplier], world: World) -> tuple[Source, OpenApplier]:
    """Make the parts of one life."""
    opener: Callable[[Path], Applier] = partial(kind, world.point)
    return SOURCE, opener


def check(world: World) -> None:
    """Compare every row with what the changes add up to."""
    select = "SELECT key, value FROM rows ORDER BY key"
    found = sqlite3.connect(world.database / DATA_NAME)
    rows, expected = list(found.execute(select)), list(database_at(30).execute(select))
    found.close()
    assert rows == expected, f"{len(rows)} rows, not the {len(expected)} that were sent"  # noqa: S101 - a check says it with assert


def simulate(kind: type[SqliteApplier]) -> Report:
    """Crash at every single point; for the mended one, plant faults as well."""
    sound = kind is SqliteApplier
    return explore(partial(build, kind), check, crashes=1, prove=sound)


if __name__ == "__main__":
    report = simulate(SqliteApplier if sys.argv[1:] == ["mended"] else ForgetfulApplier)
    if (worst := report.smallest) is not None:
        print(f"after crashes at {worst.token}: {worst.what}", *worst.story, sep="\n")
        sys.exit(1)
    print(f"{report.runs} runs, nothing found; planted and seen: {', '.join(report.planted)}")
