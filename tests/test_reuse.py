"""What is here already is not fetched: of a copy that was given up, and of what is in service."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replicas import (
    NODE,
    Counts,
    assert_equal,
    make_primary,
    replicate,
    stop_in_the_copy,
    write_more,
)
from worlds import CrashingFiles, Scenario, every_pair, every_single, fresh_place, play, record

from bootledger.basebackup.manifest import Chunk
from bootledger.basebackup.publishing import open_manifest
from bootledger.errors import SimulatedCrash, Stopped
from bootledger.files import Files
from bootledger.replica.database import Database
from bootledger.replica.inheritance import inherit
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.readers import READERS_LOCK_NAME, read_current
from bootledger.replica.settings import Settings
from bootledger.replica.target import LEDGER_NAME, Target
from bootledger.statemachine import plan
from bootledger.statemachine.events import SnapshotChunk
from bootledger.statemachine.progress import Progress, Snapshot
from bootledger.statemachine.ranges import Range

CHUNK_BYTES = 4096


class Reuses(Counts):
    """Looks, before a chunk is staged, where its bytes were: an oracle of what must be fetched.

    `fetched` and `reused` are those of the last generation.
    """

    def __init__(self, target: Path, *, stop_after: int = 1_000_000) -> None:
        super().__init__()
        self.reused: list[Range] = []
        self.needless: list[Range] = []
        self._target = target
        self._left = stop_after
        self.generation = 0

    def on_step(self, step: plan.Step, progress: Progress) -> None:
        super().on_step(step, progress)
        if isinstance(step, plan.Fetch) and step.snapshot.generation != self.generation:
            self.generation = step.snapshot.generation
            self.fetched.clear()
            self.reused.clear()

    def on_fetched(self, fetched: Range) -> None:
        super().on_fetched(fetched)
        if self._is_here(fetched):
            self.needless.append(fetched)

    def on_reused(self, reused: Range) -> None:
        self.reused.append(reused)

    def on_staged(self, staged: Range, progress: Progress) -> None:
        self._left -= 1

    def __call__(self) -> str | None:
        return "stopped" if self._left <= 0 else None

    def _is_here(self, wanted: Range) -> bool:
        """Whether any file of the target holds, at that place, what the newest manifest wants."""
        directories = sorted(self._target.glob("gen-*"))
        with open_manifest(directories[-1] / "manifest") as manifest:
            (chunk,) = manifest.covering((wanted,))
        return any(lies_in(directory / "data.mdb", chunk) for directory in directories)


def lies_in(file: Path, chunk: Chunk) -> bool:
    """Whether the chunk's bytes lie at their place; zeros may be room that was only set aside."""
    if not file.exists():
        return False
    with file.open("rb") as opened:
        opened.seek(chunk.offset_bytes)
        data = opened.read(chunk.length_bytes)
    return chunk.objection(data) is None and data.strip(b"\0") != b""


def copy(place: Path, observer: Reuses, *, in_flight: int = 1) -> None:
    """Replicate in small chunks, unless the observer stops it."""
    replicate(
        place / "primary",
        place / "replica",
        settings=Settings(max_in_flight=in_flight, stop=observer, clock=lambda: 1),
        observer=observer,
        chunk_bytes=CHUNK_BYTES,
    )


def lose_the_snapshot(primary: Path) -> None:
    """Delete every base backup, and every change so far."""
    shutil.rmtree(primary / "basebackups", ignore_errors=True)


def forget_the_log(primary: Path) -> None:
    """Prune every change."""
    with Database.open(primary, Files(), name="primary") as database:
        database.prune(database.last_lsn())


# --- Exactly what changed -----------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.sampled_from(["write", "lose", "rewrite"])),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([1, 4]),
)
def test_fetched_is_exactly_what_is_nowhere(course: list[tuple[int, str]], in_flight: int) -> None:
    """Random stops, changes and lost snapshots: no needless fetch, no second one, and all equal."""
    with fresh_place() as place:
        make_primary(place / "primary", records=150, value_bytes=100)
        for seed, (stop_after, what) in enumerate(course, start=1):
            observer = Reuses(place / "replica", stop_after=stop_after)
            with contextlib.suppress(Stopped):
                copy(place, observer)
            assert observer.needless == []
            if what != "lose":
                write_more(place / "primary", records=15, seed=seed if what == "write" else 0)
            if what == "lose" or read_current(place / "replica") is not None:
                forget_the_log(place / "primary")
            lose_the_snapshot(place / "primary")
        observer = Reuses(place / "replica")
        copy(place, observer, in_flight=in_flight)
        assert len(set(observer.fetched)) == len(observer.fetched)
        if in_flight == 1:
            assert observer.needless == []
        assert not set(observer.fetched) & set(observer.reused)
        assert_equal(place / "primary", place / "replica")


def test_after_a_small_change_little_is_fetched_and_the_events_say_so(tmp_path: Path) -> None:
    """A whole copy is given up and replaced: its pages that stayed are `reused`, not fetched."""
    make_primary(tmp_path / "primary", records=150)
    first = Reuses(tmp_path / "replica", stop_after=15)
    with pytest.raises(Stopped):
        copy(tmp_path, first)
    write_more(tmp_path / "primary", records=1)
    lose_the_snapshot(tmp_path / "primary")
    second = Reuses(tmp_path / "replica")
    copy(tmp_path, second)
    assert len(second.reused) >= 10
    with IntentLog.open(tmp_path / "replica" / LEDGER_NAME) as log:
        events = [each.event for each in log.store.read(0, 10_000)]
    chunks = [e for e in events if isinstance(e, SnapshotChunk) and e.generation == 2]
    told = [part for event in chunks for part in event.reused]
    assert told == second.reused
    assert [
        Range(e.offset_bytes, e.offset_bytes + e.length_bytes) for e in chunks if e.length_bytes
    ] == second.fetched
    assert_equal(tmp_path / "primary", tmp_path / "replica")


@pytest.mark.parametrize("in_flight", [1, 8])
def test_of_a_replacement_only_what_changed_is_fetched(tmp_path: Path, in_flight: int) -> None:
    """The pages of the database in service are read as bytes, and it stays as it is."""
    make_primary(tmp_path / "primary", records=150)
    copy(tmp_path, Reuses(tmp_path / "replica"))
    write_more(tmp_path / "primary", records=1, seed=0)
    forget_the_log(tmp_path / "primary")
    observer = Reuses(tmp_path / "replica")
    copy(tmp_path, observer, in_flight=in_flight)
    assert len(observer.reused) > len(observer.fetched)
    assert_equal(tmp_path / "primary", tmp_path / "replica")


def test_a_candidate_that_changes_were_applied_to_is_inherited_too(tmp_path: Path) -> None:
    """The log window is lost while catching up: the restored database is a copy like any other."""
    make_primary(tmp_path / "primary", records=150)

    class Late(Reuses):
        def on_step(self, step: plan.Step, progress: Progress) -> None:
            if isinstance(step, plan.CatchUp) and progress.generation == 1:
                write_more(tmp_path / "primary", records=3)
                forget_the_log(tmp_path / "primary")
            super().on_step(step, progress)

    observer = Late(tmp_path / "replica")
    copy(tmp_path, observer)
    assert read_current(tmp_path / "replica") == 2
    assert len(observer.reused) >= 10
    assert_equal(tmp_path / "primary", tmp_path / "replica")


# --- The file of the copy that was given up ------------------------------------------------------


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    """An empty target that this process owns."""
    with Target.open(tmp_path / "target", Files(), source_database_id="db", node_id=NODE) as opened:
        yield opened


MINE, OTHER = UUID(int=1), UUID(int=2)


def candidate(target: Target, generation: int, intent_id: UUID, data: bytes) -> Path:
    """Make a generation with a data file."""
    directory = target.create_generation(generation, intent_id)
    (directory / "data.mdb").write_bytes(data)
    return directory / "data.mdb"


@pytest.mark.parametrize("size_bytes", [3, 10, 20])
def test_the_file_moves_and_is_cut_to_its_new_size(target: Target, size_bytes: int) -> None:
    """There is one file before and one after; it never has more than the snapshot's bytes."""
    old = candidate(target, 1, MINE, b"0123456789")
    inherit(target, MINE, Snapshot("t", 2, size_bytes=size_bytes), Files())
    inherit(target, MINE, Snapshot("t", 2, size_bytes=size_bytes), Files())
    assert not old.exists()
    assert (target.directory(2) / "data.mdb").read_bytes() == b"0123456789"[:size_bytes]


def test_what_is_not_the_intents_own_abandoned_candidate_is_not_touched(target: Target) -> None:
    """Another intent's, one that was promoted once, one in service, and one that does not say."""
    service = candidate(target, 1, MINE, b"in service")
    target.promote(1)
    files = [
        service,
        candidate(target, 2, OTHER, b"another's"),
        promoted := candidate(target, 3, MINE, b"promoted once"),
        damaged := candidate(target, 4, MINE, b"who knows"),
        candidate(target, 6, MINE, b"newer"),
    ]
    (promoted.parent / READERS_LOCK_NAME).touch()
    (damaged.parent / "intent").write_bytes(b"?\n")
    before = [file.read_bytes() for file in files]
    inherit(target, MINE, Snapshot("t", 5, size_bytes=4), Files())
    assert [file.read_bytes() for file in files] == before
    assert not target.directory(5).exists()


def test_a_candidate_that_has_a_file_keeps_it(target: Target) -> None:
    """What was staged for the new snapshot is not written over by the old file."""
    candidate(target, 1, MINE, b"old")
    new = candidate(target, 2, MINE, b"new")
    inherit(target, MINE, Snapshot("t", 2, size_bytes=3), Files())
    assert new.read_bytes() == b"new"


def test_a_pin_without_a_size_inherits_nothing(target: Target) -> None:
    """It came with an imported log: what lies about is left to the housekeeping."""
    old = candidate(target, 1, MINE, b"old")
    inherit(target, MINE, Snapshot("t", 2), Files())
    assert old.read_bytes() == b"old"


# --- Every crash --------------------------------------------------------------------------------


def given_up(place: Path) -> None:
    """A copy was stopped in the middle, and its base backup is lost; the database went on."""
    make_primary(place / "primary", records=20, value_bytes=30)
    stop_in_the_copy(place / "primary", place / "replica", chunks=2)
    write_more(place / "primary", records=2)
    lose_the_snapshot(place / "primary")


def one_life(files: CrashingFiles, place: Path) -> None:
    """One start of the replication, which may end at any point."""
    counts = Reuses(place / "replica")
    replicate(
        place / "primary",
        place / "replica",
        files=files,
        settings=Settings(batch_changes=10, clock=lambda: 1),
        observer=counts,
    )
    assert counts.needless == []


def one_file(place: Path) -> None:
    """There is never room taken for two copies: the file is at the one place or at the other."""
    files = list((place / "replica").glob("gen-*/data.mdb"))
    assert len(files) == 1


def ended_well(place: Path) -> None:
    """The replica equals the primary, and one generation is left."""
    assert_equal(place / "primary", place / "replica")
    with IntentLog.open(place / "replica" / LEDGER_NAME) as log:
        assert log.list_unfinished() == []
    assert len(list((place / "replica").glob("gen-*"))) == 1


GIVEN_UP = Scenario(one_life, prepare=given_up, after_crash=one_file, check=ended_well)


@pytest.mark.parametrize("point", ["candidate.renaming#1", "candidate.renamed#1"])
def test_a_start_after_a_crash_between_pin_and_rename_still_inherits(
    tmp_path: Path, point: str
) -> None:
    """The pin is durable, the move is not: the file is used all the same."""
    given_up(tmp_path)
    files = CrashingFiles(point)
    with pytest.raises(SimulatedCrash):
        one_life(files, tmp_path)
    files.bury()
    observer = Reuses(tmp_path / "replica")
    replicate(tmp_path / "primary", tmp_path / "replica", observer=observer)
    assert observer.reused
    ended_well(tmp_path)


def test_a_crash_at_every_fifth_point_loses_no_file_of_a_copy_that_was_given_up() -> None:
    """A sample of them: one file, nothing needless fetched, and an equal replica."""
    points = len(record(GIVEN_UP))
    assert points >= 60
    for number in range(3, points, 5):
        assert len(play(GIVEN_UP, [number])) == 1


@pytest.mark.crash
def test_a_crash_at_any_point_loses_no_file_of_a_copy_that_was_given_up() -> None:
    """Every single point: one file, nothing needless fetched, and an equal replica."""
    boundaries = every_single(GIVEN_UP, at_least=60)
    assert {f"candidate.{at}#1" for at in ("renaming", "renamed", "synced")} <= boundaries


@pytest.mark.crash
@pytest.mark.parametrize("part", range(4))
def test_two_crashes_at_any_points_lose_no_file_of_a_copy_that_was_given_up(part: int) -> None:
    """Every pair of them."""
    every_pair(GIVEN_UP, part=(part, 4), at_least=15)
