"""Copies of sources without a log, for tests: make them, look at them, and run them in a child."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from random import Random

from replicas import Counts, quiet

from bootledger.files import Files
from bootledger.replica.http.access import Access
from bootledger.replica.loop import Outcome
from bootledger.replica.observer import Observer
from bootledger.replica.ports import OpenApplier, Source
from bootledger.replica.readers import data_file, open_current
from bootledger.replica.settings import Settings
from bootledger.replica.sources.appliers import OpenSqliteCopy, open_file_copy
from bootledger.replica.sources.copying import copy
from bootledger.replica.sources.file import FileSource
from bootledger.replica.sources.http_file import HttpFileSource
from bootledger.replica.sources.http_range import RangeReader
from bootledger.replica.sources.sqlite import SqliteSource

NODE = "copy-1"
CHUNK_BYTES = 10_000

COPY_IN_A_CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import copies
kind, place, target, chunk_bytes = sys.argv[2:6]
print("up", flush=True)
source = copies.source_of(kind, place, Path(target), chunk_bytes=int(chunk_bytes))
print(copies.copied(source, Path(target)).generation, flush=True)
"""
"""To be run with the directory of the tests, a kind, a place, a target, and a size of chunks."""


def some_bytes(count: int, *, seed: int = 0) -> bytes:
    """Return bytes that repeat nowhere."""
    return Random(seed).randbytes(count)


def source_of(
    kind: str, place: str, target: Path, *, chunk_bytes: int = CHUNK_BYTES, in_flight: int = 1
) -> FileSource | HttpFileSource | SqliteSource:
    """Return a source of what lies at `place`, with its spool in the target."""
    spool, files = target / "spool", Files()
    if kind == "http":
        reader = RangeReader(place, Access(), connections=in_flight, first_pause_s=0.01)
        return HttpFileSource(reader, spool, files, chunk_bytes=chunk_bytes, in_flight=in_flight)
    made = SqliteSource if kind == "sqlite" else FileSource
    return made(Path(place), spool, files, chunk_bytes=chunk_bytes)


def copied(
    source: Source,
    target: Path,
    *,
    observer: Observer | None = None,
    settings: Settings | None = None,
    open_applier: OpenApplier | None = None,
) -> Outcome:
    """Bring the copy up to date once, without a word, and close the source."""
    if open_applier is None:
        open_applier = OpenSqliteCopy() if isinstance(source, SqliteSource) else open_file_copy
    with closing(source):
        return copy(
            source,
            target,
            NODE,
            open_applier=open_applier,
            observer=observer,
            settings=settings,
            sink=quiet,
        )


def end(child: subprocess.Popen[str]) -> None:
    """Kill a child if it still runs, and take it off the process table."""
    child.kill()
    child.communicate(timeout=60)


def copy_of(target: Path) -> bytes:
    """Return all of the copy in service."""
    with open_current(target) as directory:
        return data_file(directory).read_bytes()


class Changes(Counts):
    """Counts, and does something once that many chunks have been staged."""

    def __init__(self, after: int, then: object) -> None:
        super().__init__()
        self._after = after
        self._then = then

    def on_staged(self, staged: object, progress: object) -> None:
        self._after -= 1
        if self._after == 0:
            assert callable(self._then)
            self._then()


def make_database(path: Path, *, rows: int = 300, wal: bool = True) -> None:
    """Create a SQLite database with rows whose sum is kept beside them, by every transaction."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'DELETE'}")
        database.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, n INTEGER, pad BLOB)")
        database.execute("CREATE TABLE total (n INTEGER)")
        database.execute("CREATE INDEX by_n ON rows (n)")
        database.execute("INSERT INTO total VALUES (0)")
        write_rows(database, rows)


def write_rows(database: sqlite3.Connection, rows: int) -> None:
    """Add rows in one transaction, and their sum to the total."""
    database.execute("BEGIN IMMEDIATE")
    for n in range(rows):
        database.execute("INSERT INTO rows (n, pad) VALUES (?, ?)", (n, os.urandom(300)))
    database.execute("UPDATE total SET n = n + ?", (sum(range(rows)),))
    database.execute("COMMIT")


def totals(path: Path) -> tuple[int, int, int]:
    """Return what the rows add up to, what the total says, and how many rows there are."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        ((added, count),) = database.execute("SELECT sum(n), count(*) FROM rows")
        ((total,),) = database.execute("SELECT n FROM total")
        (integrity,) = database.execute("PRAGMA integrity_check").fetchone()
    assert integrity == "ok"
    return added, total, count
