from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import processes
import pytest
from copies import (
    COPY_IN_A_CHILD,
    copied,
    copy_of,
    end,
    make_database,
    source_of,
    totals,
    write_rows,
)
from replicas import Counts

from bootledger.errors import CorruptRecord, DivergedHistory, SourceUnavailable, Stopped
from bootledger.files import Files
from bootledger.replica.ports import Change, OpenApplier, Source
from bootledger.replica.readers import data_file, open_current
from bootledger.replica.settings import Settings
from bootledger.replica.sources.appliers import OpenSqliteCopy
from bootledger.replica.sources.sqlite import SqliteSource
from bootledger.simulation import World, explore

HAMMER = """
import sqlite3, sys, time
sys.path.insert(0, sys.argv[1])
import copies
database = sqlite3.connect(sys.argv[2], isolation_level=None, timeout=60)
print("up", flush=True)
while True:
    copies.write_rows(database, 5)
    time.sleep(0.002)
"""


@contextmanager
def hammered(path: Path) -> Iterator[None]:
    """Have another process commit to the database, as fast as it can, for the length of a block."""
    writer = processes.start(HAMMER, Path(__file__).parent, path)
    try:
        assert processes.wait_for_line(writer) == "up"
        yield
    finally:
        processes.kill(writer)


def recover(path: Path) -> None:
    """Do what its application does after a death: roll back what was half written."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("SELECT count(*) FROM rows").fetchone()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Make the database that is copied, in WAL mode."""
    path = tmp_path / "app.db"
    make_database(path)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Say where the copy goes."""
    return tmp_path / "target"


def copied_totals(target: Path) -> tuple[int, int, int]:
    """Return what the copy in service adds up to."""
    with open_current(target) as directory:
        return totals(data_file(directory))


@pytest.mark.parametrize("wal", [True, False], ids=["wal", "rollback"])
def test_a_copy_made_under_writes_is_one_version(tmp_path: Path, target: Path, wal: bool) -> None:
    """Rows and their total, written in one transaction, agree in each copy; integrity holds."""
    database = tmp_path / "app.db"
    make_database(database, wal=wal)
    before = totals(database)
    counts = [before[2]]
    with hammered(database):
        for _ in range(2):
            outcome = copied(source_of("sqlite", str(database), target, chunk_bytes=2**17), target)
            added, total, count = copied_totals(target)
            assert added == total
            counts.append(count)
    assert counts == sorted(set(counts))  # each copy has what was there when its run began
    assert outcome.generation == 2
    recover(database)
    copied(source_of("sqlite", str(database), target, chunk_bytes=2**17), target)
    assert copied_totals(target) == totals(database)


def test_the_snapshot_is_not_begun_anew_by_writes(database: Path, target: Path) -> None:
    """What is committed between two steps of the backup is not in it, and does not restart it."""
    target.mkdir()
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        write_rows(writer, 40_000)
        before = totals(database)
        steps: list[int] = []

        def write() -> None:
            steps.append(1)
            assert len(steps) < 500, "it begins anew again and again"
            write_rows(writer, 10)

        with source_of("sqlite", str(database), target, chunk_bytes=2**20) as source:
            source.pin("intent", 1, pause=write)
            assert totals(source._spool.data_path) == before
    pages = database.stat().st_size // 4096
    assert 5 < len(steps) < pages / 2048 + pages / 256 + 10


def test_what_did_not_change_is_not_copied_again(database: Path, target: Path) -> None:
    """Reading a database, even by this source, is not a change; a commit in the WAL is one."""
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        first = copied(source_of("sqlite", str(database), target), target)
        totals(database)
        second = copied(source_of("sqlite", str(database), target), target)
        assert not second.copied
        assert second.applied_lsn == first.applied_lsn
        write_rows(writer, 3)
        third = copied(source_of("sqlite", str(database), target), target)
        assert third.copied
        assert third.applied_lsn > first.applied_lsn
        assert copied_totals(target) == totals(database)


def test_a_snapshot_survives_writes_and_a_stop(database: Path, target: Path) -> None:
    """Stopped in the copy, with commits meanwhile: what it had is kept, then it is brought up."""
    stop = iter([None] * 12)
    with pytest.raises(Stopped):
        copied(
            source_of("sqlite", str(database), target),
            target,
            settings=Settings(stop=lambda: next(stop, "enough")),
        )
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        write_rows(writer, 5)
    outcome = copied(source_of("sqlite", str(database), target), target)
    assert outcome.epochs == 2
    assert copied_totals(target) == totals(database)


def test_of_a_newer_snapshot_only_what_changed_is_fetched(database: Path, tmp_path: Path) -> None:
    """Pages keep their place: with a spool that is copied from, few chunks differ."""
    target = tmp_path / "target"
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        write_rows(writer, 3000)
        copied(source_of("sqlite", str(database), target, chunk_bytes=2**15), target)
        write_rows(writer, 1)
    seen = Counts()
    source = source_of("sqlite", str(database), target, chunk_bytes=2**15)
    source.hand_over = lambda *_: None  # as on another file system
    copied(source, target, observer=seen)
    assert copied_totals(target) == totals(database)
    size = data_file(target / "gen-0002").stat().st_size
    assert 0 < len(seen.fetched) * 2**15 < size / 4


def test_a_copy_can_be_read_where_nothing_can_be_written(database: Path, target: Path) -> None:
    """It is in rollback mode, whatever the source is in: no files appear beside it."""
    copied(source_of("sqlite", str(database), target), target)
    assert copied_totals(target) == totals(database)
    with open_current(target) as directory:
        names = sorted(path.name for path in directory.iterdir())
    assert names == ["app.db", "intent", "manifest", "readers.lock"]
    assert copy_of(target)[18:20] == b"\x01\x01"


def test_a_damaged_copy_is_not_promoted(database: Path, target: Path) -> None:
    """A source whose pages are damaged is copied faithfully, and refused before it is in service.

    With `thorough`, an index that does not agree with its table too.
    """
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        writer.execute("PRAGMA writable_schema = ON")
        writer.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, '(n)', '(n, pad)') WHERE name = 'by_n'"
        )
    with pytest.raises(CorruptRecord, match="not sound"):
        copied(
            source_of("sqlite", str(database), target),
            target,
            open_applier=OpenSqliteCopy(thorough=True),
        )
    assert (target / "CURRENT").read_text() == "none\n"


def test_what_is_no_database_is_refused(tmp_path: Path, target: Path) -> None:
    """A file of something else is damaged as a database, in words."""
    (tmp_path / "app.db").write_bytes(b"something else " * 500)
    with pytest.raises(CorruptRecord, match="not a sound database"):
        copied(source_of("sqlite", str(tmp_path / "app.db"), target), target)


def test_a_locked_database_suspends_in_words(tmp_path: Path, target: Path) -> None:
    """Who holds it exclusively is waited for, and then named as the reason."""
    database = tmp_path / "app.db"
    make_database(database, wal=False)
    source = SqliteSource(database, target / "spool", Files(), busy_s=0.05)
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SourceUnavailable, match="locked") as caught:
            copied(source, target)
    assert "end that transaction" in caught.value.hint


def test_what_a_dead_writer_left_is_for_its_application(tmp_path: Path, target: Path) -> None:
    """A hot journal is not rolled back by this source, which changes nothing: it says so."""
    database = tmp_path / "app.db"
    make_database(database, wal=False)
    processes.run_and_die(
        """
        import sqlite3, sys
        database = sqlite3.connect(sys.argv[1], isolation_level=None)
        database.execute("PRAGMA cache_size = 1")
        database.execute("BEGIN")
        database.execute("UPDATE rows SET n = n + 1, pad = randomblob(300)")
        """,
        database,
    )
    with pytest.raises(SourceUnavailable, match="cannot be read") as caught:
        copied(source_of("sqlite", str(database), target), target)
    assert "open it with its application" in caught.value.hint
    recover(database)
    copied(source_of("sqlite", str(database), target), target)
    assert copied_totals(target) == totals(database)


def test_a_copy_takes_no_changes(database: Path, target: Path) -> None:
    """Its applier counts rows and refuses changes: nobody writes into a copy."""
    copied(source_of("sqlite", str(database), target), target)
    with open_current(target) as directory, closing(OpenSqliteCopy()(directory)) as applier:
        assert applier.record_count() == 301
        with pytest.raises(DivergedHistory):
            applier.apply([Change(1, b"k", b"v")])


def prepare(world: World) -> None:
    """Make the database that is copied."""
    make_database(world.path / "app.db", rows=3)


def write(world: World) -> None:
    """Commit more rows."""
    with closing(sqlite3.connect(world.path / "app.db", isolation_level=None)) as database:
        write_rows(database, 2)


def check(world: World) -> None:
    """Compare the copy in service with the database."""
    assert totals(data_file(world.database)) == totals(world.path / "app.db")


def build(world: World) -> tuple[Source, OpenApplier]:
    """Make the parts of one life."""
    source = SqliteSource(
        world.path / "app.db",
        world.path / "spool",
        world.files,
        identity="app",  # a world may lie anywhere
        chunk_bytes=2**13,
        settle_s=0,
    )
    return source, OpenSqliteCopy()


@pytest.mark.parametrize(
    "budget", [25, pytest.param(25_000, marks=pytest.mark.crash)], ids=["sample", "all"]
)
def test_a_crash_with_a_commit_after_it_leads_to_the_newest_rows(budget: int) -> None:
    """Wherever it dies, the next start ends with what was committed before it: a sample, or all."""
    report = explore(build, check, prepare=prepare, between=write, crashes=1, budget=budget)
    report.assert_ok()
    if report.every_single:
        assert {"snapshot.making", "snapshot.renamed", "spool.renamed"} <= set(report.boundaries)
    assert report.every_single == (budget > report.points)


@pytest.mark.crash
def test_pairs_of_crashes_lead_to_the_newest_rows() -> None:
    """Two deaths, and commits after each."""
    report = explore(build, check, prepare=prepare, between=write, crashes=2, budget=600)
    report.assert_ok()
    assert report.every_single


@pytest.mark.parametrize(
    "waits_s",
    [(0.05,), pytest.param([n / 100 for n in range(20)], marks=pytest.mark.crash)],
    ids=["short", "long"],
)
def test_killed_for_real_under_writes_it_ends_with_one_version(
    tmp_path: Path, target: Path, waits_s: Sequence[float]
) -> None:
    """SIGKILL at many moments while another process commits: the copy is sound and agrees."""
    database = tmp_path / "app.db"
    make_database(database, rows=3000)
    tests = Path(__file__).parent
    with hammered(database):
        for wait_s in waits_s:
            child = processes.start(COPY_IN_A_CHILD, tests, "sqlite", database, target, 2**16)
            assert processes.wait_for_line(child) == "up"
            time.sleep(wait_s)
            end(child)
        copied(source_of("sqlite", str(database), target, chunk_bytes=2**16), target)
        added, total, count = copied_totals(target)
        assert added == total
        assert count >= 3000
    recover(database)
    copied(source_of("sqlite", str(database), target, chunk_bytes=2**16), target)
    assert copied_totals(target) == totals(database)
