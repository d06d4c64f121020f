"""A SQLite database, copied while it is written to, and killed with SIGKILL in the middle.

    python examples/copy_sqlite.py                  # with a writer that it starts itself
    python examples/copy_sqlite.py DATABASE TARGET  # your own: run it again whenever you like

The writer moves money between accounts, so every version of the database holds the same sum: a copy
that mixed two of them would not.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from itertools import count
from pathlib import Path

from bootledger.files import Files
from bootledger.replica.readers import data_file, open_current
from bootledger.replica.sources.appliers import OpenSqliteCopy
from bootledger.replica.sources.copying import copy
from bootledger.replica.sources.spool import SPOOL_NAME
from bootledger.replica.sources.sqlite import SqliteSource

ACCOUNTS = 2000
CHUNK_BYTES = 2**16


def bring_up_to_date(database: Path, target: Path) -> int:
    """Copy what was committed before now, if it is not there yet; return the generation."""
    with SqliteSource(database, target / SPOOL_NAME, Files(), chunk_bytes=CHUNK_BYTES) as source:
        return copy(source, target, "copy-1", open_applier=OpenSqliteCopy()).generation


def make(path: Path) -> None:
    """Create a database of accounts, in WAL mode."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE accounts (id INTEGER PRIMARY KEY, money INT, note BLOB)")
        rows = ((n, 100, bytes(500)) for n in range(ACCOUNTS))
        database.executemany("INSERT INTO accounts VALUES (?, ?, ?)", rows)


def write_for_ever(path: Path) -> None:
    """Move money to and fro."""
    with closing(sqlite3.connect(path, timeout=60)) as database:
        print("writing", flush=True)
        for n in count():
            with database:
                for change, account in ((1, n * 7 % ACCOUNTS), (-1, n * 11 % ACCOUNTS)):
                    database.execute(
                        "UPDATE accounts SET money = money + ? WHERE id = ?", (change, account)
                    )
            time.sleep(0.001)


def money_in(path: Path) -> int:
    """Return what all accounts hold together."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        ((money,),) = database.execute("SELECT sum(money) FROM accounts")
        return int(money)


def show(place: Path) -> None:
    """Copy under writes, with kills, then compare."""
    database, target = place / "app.db", place / "copy"
    make(database)
    me = [sys.executable, __file__]
    writer = subprocess.Popen(  # noqa: S603 - this very file
        [*me, "--write", str(database)], stdout=subprocess.PIPE
    )
    try:
        if writer.stdout is not None:
            writer.stdout.readline()
        for _ in range(2):
            child = subprocess.Popen([*me, str(database), str(target)])  # noqa: S603 - so is this
            while not any(target.glob("gen-*")) and child.poll() is None:
                time.sleep(0.001)
            child.kill()
            child.wait()
        print("killed twice in the middle, with the writer going on")
        generation = bring_up_to_date(database, target)
    finally:
        writer.kill()
        writer.communicate()
    with open_current(target) as directory:
        sound = money_in(data_file(directory)) == 100 * ACCOUNTS
    print(f"generation {generation}: {'one version' if sound else 'MIXED'}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        write_for_ever(Path(sys.argv[2]))
    elif sys.argv[1:]:
        bring_up_to_date(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as name:
            show(Path(name))
