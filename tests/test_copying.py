"""Several chunks in flight: what is claimed, and that nobody writes for an owner that left."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Condition, Event, Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replicas import Counts, quiet

from bootledger.basebackup.manifest import MAX_CHUNK_BYTES, Chunk
from bootledger.basebackup.staging import _Syncs
from bootledger.errors import (
    ClosedByOperator,
    CorruptChunk,
    SimulatedCrash,
    SourceUnavailable,
    Stopped,
    Unavailable,
)
from bootledger.files import Files, OpenFile
from bootledger.replica import workers
from bootledger.replica.claims import Claims
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.loop import Outcome, Replication
from bootledger.replica.observer import Observer
from bootledger.replica.operator import Operator
from bootledger.replica.ports import Rejected, unnoticed
from bootledger.replica.settings import Settings
from bootledger.replica.target import Target
from bootledger.simulation.crashing import CrashingFiles
from bootledger.simulation.samples import FileApplier, FileDatabase, ListedSource
from bootledger.statemachine.events import SnapshotChunk
from bootledger.statemachine.progress import Progress
from bootledger.statemachine.ranges import Range
from bootledger.store.memory import MemoryEventStore

NODE = "replica-1"
CHUNK_BYTES = 64
CHUNKS = 40


def snapshot_of(chunks: int = CHUNKS) -> bytes:
    """Return a database as bytes, that many chunks long."""
    records = {b"k": random.Random(1).randbytes(chunks * CHUNK_BYTES - 100)}
    return FileDatabase("sample", 1, 0, records).encode()


class Slow(ListedSource):
    """A source that answers when the test says so, and notes what was asked for."""

    def __init__(self, answer: Callable[[int], None], chunks: int = CHUNKS) -> None:
        super().__init__(snapshot_of(chunks), 0, [], chunk_bytes=CHUNK_BYTES)
        self.answer = answer
        self.asked: list[int] = []

    def read_chunk(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        self.asked.append(offset_bytes // CHUNK_BYTES)
        self.answer(offset_bytes // CHUNK_BYTES)
        return super().read_chunk(token, offset_bytes, length_bytes)


def at_once(_: int) -> None:
    """Answer at once."""


def replicate(
    place: Path,
    source: ListedSource,
    *,
    in_flight: int = 8,
    files: Files | None = None,
    observer: Observer | None = None,
    stop: Callable[[], str | None] = lambda: None,
    max_bytes_per_s: float | None = None,
) -> Outcome:
    """Bring a target of flat files up to date from `source`."""
    files = files or Files()
    with (
        Target.open(place / "target", files, source_database_id="sample", node_id=NODE) as target,
        IntentLog.open(place / "target" / "ledger", files=files, sink=quiet) as log,
    ):
        return Replication(
            NODE,
            log,
            source,
            target,
            partial(FileApplier, files),
            files=files,
            settings=Settings(
                max_in_flight=in_flight,
                stop=stop,
                max_bytes_per_s=max_bytes_per_s,
                clock=lambda: 1,
            ),
            observer=observer,
        ).run()


def events_of(place: Path) -> list[SnapshotChunk]:
    """Return the chunk events of the target's ledger, without pins."""
    with IntentLog.open(place / "target" / "ledger", sink=quiet) as log:
        recorded = [each.event for each in log.store.read(0, 10_000)]
    return [e for e in recorded if isinstance(e, SnapshotChunk) and (e.length_bytes or e.reused)]


def data_of(place: Path, generation: int = 1) -> bytes:
    """Return what lies in the file of a generation."""
    return (place / "target" / f"gen-{generation:04d}" / "data.mdb").read_bytes()


@pytest.fixture
def whole_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many in flight as may be, from the start."""

    class Whole(workers.Window):
        def __init__(self, most: int, *, now_s: float) -> None:
            super().__init__(most, now_s=now_s)
            self.allowed = most

        def arrived(self, size_bytes: int, now_s: float) -> None: ...

    monkeypatch.setattr(workers, "Window", Whole)


class Meeting:
    """Lets nobody go on before so many are there, and counts how many are."""

    def __init__(self, wanted: int, *, linger_s: float = 0.0) -> None:
        self.wanted, self.most, self.linger_s = wanted, 0, linger_s
        self._there = 0
        self._change = Condition()

    def __call__(self, _: int) -> None:
        with self._change:
            self._there += 1
            self.most = max(self.most, self._there)
            self._change.notify_all()
            self._change.wait_for(lambda: self.most >= self.wanted, timeout=60)
        time.sleep(self.linger_s)
        with self._change:
            self._there -= 1


# --- Several at once ----------------------------------------------------------------------------


@pytest.mark.usefixtures("whole_window")
def test_as_many_are_in_flight_as_may_be_and_never_more(tmp_path: Path) -> None:
    """Eight wait for each other at the source; a ninth never joins them; the copy is equal."""
    meeting = Meeting(8)
    source = Slow(meeting)
    replicate(tmp_path, source)
    assert meeting.most == 8
    assert sorted(source.asked) == list(range(CHUNKS))
    assert data_of(tmp_path) == snapshot_of()


@pytest.mark.usefixtures("whole_window")
def test_long_chunks_are_fewer_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded in bytes: the source chooses how long its chunks are, not how many fit."""
    assert Settings(max_in_flight=16).in_flight(MAX_CHUNK_BYTES) == 1
    assert Settings(max_in_flight=16).in_flight(4 * 2**20) == 16
    monkeypatch.setattr("bootledger.replica.settings.IN_FLIGHT_BYTES", 3 * CHUNK_BYTES + 1)
    meeting = Meeting(3, linger_s=0.05)
    replicate(tmp_path, Slow(meeting))
    assert meeting.most == 3


def test_one_in_flight_needs_no_thread(tmp_path: Path) -> None:
    """The default works in the caller's thread alone, chunk by chunk, in order."""
    threads: set[threading.Thread] = set()
    source = Slow(lambda _: threads.add(threading.current_thread()))
    replicate(tmp_path, source, in_flight=1)
    assert threads == {threading.current_thread()}
    assert source.asked == list(range(CHUNKS))
    assert len(events_of(tmp_path)) == CHUNKS


@pytest.mark.usefixtures("whole_window")
def test_what_arrives_while_the_ledger_commits_shares_the_next_event(tmp_path: Path) -> None:
    """The owner is kept busy until all is durable, and claims forty chunks in two rounds.

    With eight in flight a round finds at most nine ranges: eight gaps between them.
    """
    all_there, guard, synced = Event(), threading.Lock(), 0

    class Counting(Files):
        def point(self, name: str) -> None:
            nonlocal synced
            if name == "chunk.synced":
                with guard:
                    synced += 1
                if synced == CHUNKS:
                    all_there.set()

    class Waits(Observer):
        def on_staged(self, staged: Range, progress: Progress) -> None:
            assert all_there.wait(60)

    replicate(tmp_path, Slow(at_once), files=Counting(), observer=Waits())
    events = events_of(tmp_path)
    assert len(events) <= 2 * 9
    assert sum(event.length_bytes for event in events) == len(snapshot_of())


@settings(max_examples=5, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 30), st.booleans())
def test_claims_in_any_order_are_legal_and_end_whole(
    chance: random.Random, batch: int, scattered: bool
) -> None:
    """However scattered chunks become durable: never more islands than the machine allows."""
    order = list(range(300))
    chance.shuffle(order)
    if scattered:
        order = [*range(1, 300, 2), *range(0, 300, 2)]
    log = IntentLog(MemoryEventStore(), clock=lambda: 1)
    with log.begin(NODE, 0, 0, on_exit="suspend") as handle:
        handle.record(
            SnapshotChunk(
                recorded_at_ms=1,
                token="t",
                generation=1,
                offset_bytes=0,
                length_bytes=0,
                size_bytes=300 * 10,
            )
        )
        counts = Counts()
        claims = Claims(handle, Settings(clock=lambda: 1), counts)
        for number, chunk in enumerate(order, start=1):
            claims.add(Range(chunk * 10, chunk * 10 + 10), reused=chance.random() < 0.3)
            if number % batch == 0 or number == 300:
                claims.record()
        snapshot = handle.progress.snapshot
        assert snapshot is not None
        assert snapshot.staged == (Range(0, 3000),)


# --- Errors, stops, deaths ----------------------------------------------------------------------


def late(place: Path, source: Slow, go_on: Event) -> bytes:
    """Let the source answer, wait until every worker is gone, and return the file."""
    go_on.set()
    for thread in threading.enumerate():
        if thread.name.startswith("bootledger-copy"):
            thread.join(60)
            assert not thread.is_alive()
    return data_of(place)


@pytest.mark.usefixtures("whole_window")
@pytest.mark.parametrize("error", [SourceUnavailable("the link is down"), OSError("a bug")])
def test_the_first_error_stops_the_others_and_what_was_durable_is_claimed(
    tmp_path: Path, error: Exception
) -> None:
    """The error goes on as it is, and the next start fetches no more again than was in flight."""

    def answer(chunk: int) -> None:
        if chunk == 20:
            raise error

    source = Slow(answer)
    with pytest.raises(type(error), match=str(error)):
        replicate(tmp_path, source)
    claimed = {
        offset // CHUNK_BYTES
        for event in events_of(tmp_path)
        for offset in range(event.offset_bytes, event.offset_bytes + event.length_bytes)
    }
    assert set(source.asked) - claimed >= {20}
    again = Slow(at_once)
    replicate(tmp_path, again)
    assert not set(again.asked) & claimed
    assert len(set(again.asked) & set(source.asked)) <= 8
    assert data_of(tmp_path) == snapshot_of()


@pytest.mark.usefixtures("whole_window")
def test_a_stop_is_heeded_while_everybody_waits_for_the_network(tmp_path: Path) -> None:
    """The owner leaves although no worker can; what comes afterwards is written nowhere."""
    go_on, waiting = Event(), Meeting(8)

    def answer(chunk: int) -> None:
        if chunk >= 10:
            waiting.most += 1
            go_on.wait(60)

    source = Slow(answer)
    with pytest.raises(Stopped):
        replicate(tmp_path, source, stop=lambda: "enough" if waiting.most >= 8 else None)
    before = data_of(tmp_path)
    assert not go_on.is_set()
    assert late(tmp_path, source, go_on) == before
    assert len(source.asked) == 10 + 8


@pytest.mark.usefixtures("whole_window")
def test_for_an_owner_that_lost_its_intent_nobody_writes_any_more(tmp_path: Path) -> None:
    """Held by an operator in the middle: the owner says so, and its workers drop what comes."""
    go_on, blocked = Event(), threading.Semaphore(0)

    def answer(chunk: int) -> None:
        if chunk >= 10:
            blocked.release()
            go_on.wait(60)

    source, raised = Slow(answer), list[BaseException]()

    def run() -> None:
        try:
            replicate(tmp_path, source)
        except ClosedByOperator as error:
            raised.append(error)

    owner = Thread(target=run)
    owner.start()
    for _ in range(8):
        assert blocked.acquire(timeout=60)
    with IntentLog.open(tmp_path / "target" / "ledger", sink=quiet) as log:
        (intent,) = log.list_unfinished(NODE)
        Operator(log, "ann").hold(intent.intent_id, reason="the disk is swapped")
    owner.join(60)
    assert len(raised) == 1
    before = data_of(tmp_path)
    assert late(tmp_path, source, go_on) == before
    assert before[10 * CHUNK_BYTES :].strip(b"\0") == b""


class ThreadedCrash(CrashingFiles):
    """Counts the points of several threads."""

    def __init__(self, crash: str | None) -> None:
        super().__init__(crash)
        self._guard = threading.RLock()

    def point(self, name: str) -> None:
        with self._guard:
            super().point(name)


@pytest.mark.parametrize("point", ["chunk.verified", "chunk.written", "chunk.synced"])
@pytest.mark.parametrize("count", [1, 40])
def test_a_death_in_a_worker_is_a_death(tmp_path: Path, point: str, count: int) -> None:
    """Nothing is claimed or written afterwards, and the next start ends with the same database."""
    files, source = ThreadedCrash(f"{point}#{count}"), Slow(at_once)
    with pytest.raises(SimulatedCrash):
        replicate(tmp_path, source, files=files)
    files.bury()
    claimed = sum(event.length_bytes for event in events_of(tmp_path))
    assert claimed <= CHUNK_BYTES * (count - 1)
    again = Slow(at_once)
    replicate(tmp_path, again)
    assert data_of(tmp_path) == snapshot_of()
    assert len(again.asked) <= CHUNKS - (count - 1) + 8


def test_a_death_of_the_owner_at_any_point_is_survived_with_several_in_flight(
    tmp_path: Path,
) -> None:
    """At every fifteenth point of the life, whichever thread passes it."""
    for number in range(1, 400, 15):
        place = tmp_path / str(number)
        place.mkdir()
        files = ThreadedCrash(number)
        try:
            replicate(place, Slow(at_once, 12), files=files, in_flight=4)
        except SimulatedCrash:
            files.bury()
        else:
            break
        replicate(place, Slow(at_once, 12), in_flight=4)
        assert data_of(place) == snapshot_of(12)
    assert files.died_at is None


def test_a_failed_sync_fails_for_everybody_whose_bytes_it_was_for(tmp_path: Path) -> None:
    """The system tells one of those who ask; nobody may take the next sync's word for it."""
    both, failing = threading.Barrier(2), Event()

    class Fails(OpenFile):
        def sync(self) -> None:
            failing.set()
            both.wait(60)
            raise Unavailable("input/output error")

    syncs = _Syncs(Fails(tmp_path / "file", -1))
    errors: list[Unavailable] = []

    def sync() -> None:
        try:
            syncs.sync()
        except Unavailable as error:
            errors.append(error)

    threads = [Thread(target=sync) for _ in range(3)]
    for thread in threads:
        thread.start()
    both.wait(60)
    for thread in threads:
        thread.join(60)
    assert len(errors) == 3


def test_who_comes_while_a_sync_runs_is_not_told_that_it_was_for_him(tmp_path: Path) -> None:
    """A sync counts for what was written before it began: the late ones share the next."""
    begun, go_on, count = threading.Semaphore(0), Event(), 0

    class Waits(OpenFile):
        def sync(self) -> None:
            nonlocal count
            count += 1
            begun.release()
            go_on.wait(60)

    syncs = _Syncs(Waits(tmp_path / "file", -1))
    threads = [Thread(target=syncs.sync) for _ in range(5)]
    threads[0].start()
    assert begun.acquire(timeout=60)
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert 2 <= count <= 5


# --- The source ---------------------------------------------------------------------------------


@pytest.mark.parametrize("in_flight", [1, 4])
def test_a_bandwidth_limit_does_not_keep_a_stop_waiting(tmp_path: Path, in_flight: int) -> None:
    """A byte a second: what the first burst does not cover is not asked for, and a stop ends it."""
    source, asked_to_stop = Slow(at_once), time.monotonic() + 0.5
    with pytest.raises(Stopped):
        replicate(
            tmp_path,
            source,
            in_flight=in_flight,
            max_bytes_per_s=1.0,
            stop=lambda: "enough" if time.monotonic() > asked_to_stop else None,
        )
    assert source.asked == []


@pytest.mark.parametrize("in_flight", [1, 4])
def test_a_source_that_checks_is_asked_for_chunks_and_its_rejections_are_told(
    tmp_path: Path, in_flight: int
) -> None:
    """`fetch_chunk` is used where there is one; the observer hears what was dropped."""

    class Checks(Slow):
        def fetch_chunk(self, token: str, chunk: Chunk, rejected: Rejected = unnoticed) -> bytes:
            rejected("a mirror", chunk, "CRC32C")
            return super().read_chunk(token, chunk.offset_bytes, chunk.length_bytes)

    class Hears(Counts):
        def __init__(self) -> None:
            super().__init__()
            self.rejected: list[tuple[str, int]] = []

        def on_rejected(self, place: str, chunk: Chunk, reason: str) -> None:
            self.rejected.append((place, chunk.ordinal))

    hears = Hears()
    replicate(tmp_path, Checks(at_once), in_flight=in_flight, observer=hears)
    assert sorted(hears.rejected) == [("a mirror", chunk) for chunk in range(CHUNKS)]
    assert len(hears.fetched) == CHUNKS
    assert data_of(tmp_path) == snapshot_of()


@pytest.mark.parametrize("in_flight", [1, 4])
def test_a_wrong_chunk_is_not_written_and_not_claimed(tmp_path: Path, in_flight: int) -> None:
    """Of a source that does not check: the run ends with the chunk and the base backup."""

    class Lies(Slow):
        def read_chunk(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
            data = super().read_chunk(token, offset_bytes, length_bytes)
            return bytes(length_bytes) if offset_bytes == 7 * CHUNK_BYTES else data

    with pytest.raises(CorruptChunk, match="chunk 7 at byte 448"):
        replicate(tmp_path, Lies(at_once), in_flight=in_flight)
    assert not any(event.offset_bytes == 448 for event in events_of(tmp_path))
    replicate(tmp_path, Slow(at_once), in_flight=in_flight)
    assert data_of(tmp_path) == snapshot_of()
