"""Compaction: nothing is lost, nobody can tell, whoever dies or writes meanwhile."""

from __future__ import annotations

import itertools
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from uuid import UUID

import ledgers
import lmdb
import processes
import pytest
import sample_events as sample
from hypothesis import example, given, settings
from hypothesis import strategies as st
from worlds import CrashingFiles, Scenario, every_pair, every_single, fresh_place

from bootledger.environment import close_all
from bootledger.errors import BootledgerError, CorruptRecord, InvalidValue
from bootledger.projections.verification import check_history
from bootledger.replica.compaction import compact
from bootledger.statemachine.events import Complete
from bootledger.store import archive, compaction
from bootledger.store.archive import BLOCK_POSITIONS, decode_block, decode_ranges, encode_block
from bootledger.store.codec import MAX_FRAME_BYTES, encode_event, encode_frame
from bootledger.store.lmdb import LmdbEventStore
from bootledger.store.memory import MemoryEventStore
from bootledger.store.port import Compacted, EventStore, Positions

INTENTS = 360
LATER_MS = 10**6
TOLD = ledgers.interleaved(INTENTS)
IDS = [ledgers.intent(number) for number in range(1, INTENTS + 1)]
HERE = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"


@pytest.fixture
def ledger() -> Iterator[Path]:
    """Where a ledger will be; whatever a test left open is closed after it."""
    with fresh_place() as place:
        yield place / "ledger"
        close_all()


TEMPLATE = tempfile.TemporaryDirectory(prefix="bootledger-template-")


@cache
def template() -> Path:
    """A ledger of three blocks, closed, to be copied."""
    path = Path(TEMPLATE.name) / "ledger"
    store = LmdbEventStore.open(path)
    ledgers.append(store, TOLD)
    store.close()
    assert len(TOLD) > 2 * BLOCK_POSITIONS
    return path


def filled(path: Path) -> LmdbEventStore:
    """A ledger of three blocks."""
    shutil.copytree(template(), path)
    return LmdbEventStore.open(path)


def placed(store: EventStore) -> dict[int, str]:
    """Where each position lies; fails if one lies in two places or nowhere."""
    assert isinstance(store, LmdbEventStore)
    in_log = store._env.read(
        lambda txn, db: {int.from_bytes(key, "big") for key, _ in txn.cursor(db["log"])}
    )
    archived = {p for run in store.archived() for p in range(run.first, run.last + 1)}
    assert not in_log & archived
    assert in_log | archived == set(range(1, store.last_position() + 1))
    return {p: "archive" if p in archived else "log" for p in in_log | archived}


# --- The same answers ---------------------------------------------------------------------------


def test_nothing_that_is_asked_changes_and_the_bytes_shrink(ledger: Path) -> None:
    """Events, histories, heads, index and projection are equal; the events take less room."""
    store = filled(ledger)
    before = ledgers.answers(store, IDS[::12])
    done = compact(store, 0, clock=lambda: LATER_MS)
    assert ledgers.answers(store, IDS[::12]) == before
    assert done.events > len(TOLD) * 0.8
    assert done.saved_bytes > done.log_bytes / 2
    assert done.steps == 3
    assert list(placed(store).values()).count("archive") == done.events
    store.check_records()
    check_history(store)
    store.close()
    assert ledgers.answers(LmdbEventStore.open(ledger), IDS[::12]) == before


def test_what_is_unfinished_or_young_stays_in_the_log(ledger: Path) -> None:
    """Exactly the intents that ended before the time are moved, and all of each."""
    store = filled(ledger)
    ledgers.compact_before(store, 150)
    place = placed(store)
    newest = store.last_position()
    for intent_id in IDS:
        moved = intent_id.int < 150 and intent_id.int % 7 != 0
        places = {place[e.position] for e in store.history(intent_id) if e.position != newest}
        assert places == {"archive" if moved else "log"}


@settings(max_examples=6)
@given(st.lists(st.integers(0, 14), max_size=4))
@example([9, 4, 12])
def test_the_order_of_compactions_does_not_matter(cutoffs: list[int]) -> None:
    """Any times in any order archive what the latest of them does, in both stores alike."""
    told = ledgers.interleaved(12)
    last = max(cutoffs, default=0)
    results = []
    with fresh_place() as place:
        stores: list[EventStore] = [MemoryEventStore(), LmdbEventStore.open(place / "ledger")]
        orders = (cutoffs, sorted(cutoffs))  # in rising order a block is written again and again
        for store, order in zip(stores, orders, strict=True):
            ledgers.append(store, told)
            for before_ms in order:
                ledgers.compact_before(store, before_ms)
            assert ledgers.compact_before(store, last) == 0
            archived = list(store.archived())
            results.append((archived, ledgers.answers(store, IDS[:13])))
            store.close()
        once = MemoryEventStore()
        ledgers.append(once, told)
        ledgers.compact_before(once, last)
        results.append((list(once.archived()), ledgers.answers(once, IDS[:13])))
    assert results[0] == results[1] == results[2]


def test_positions_go_on_after_everything_was_archived(ledger: Path) -> None:
    """Only the newest event stays in the log, and the next one follows it, reopened too."""
    store = LmdbEventStore.open(ledger)
    ledgers.append(store, [(ledgers.intent(1), event) for event in sample.SITUATIONS["completed"]])
    last = store.last_position()
    ledgers.compact_before(store, LATER_MS)
    assert list(store.archived()) == [Positions(1, last - 1)]
    store.close()
    store = LmdbEventStore.open(ledger)
    ledgers.append(store, [(ledgers.intent(2), sample.begin())])
    assert store.last_position() == last + 1
    ledgers.compact_before(store, LATER_MS)
    assert list(store.archived()) == [Positions(1, last)]
    assert [e.position for e in store.history(ledgers.intent(1))] == list(range(last, 0, -1))


def test_a_reader_goes_on_when_a_compaction_comes_between_its_batches(ledger: Path) -> None:
    """A block that was read before more of it was archived is read again."""
    store = LmdbEventStore.open(ledger)
    events = [sample.begin(), *(sample.checkpoint(lsn) for lsn in range(100, 298))]
    told = [(ledgers.intent(1), event) for event in (*events, sample.complete())]
    ledgers.append(store, [*told, (ledgers.intent(2), sample.begin())])
    step = store.compact(150, LATER_MS)
    assert step is not None
    assert step.events == len(told) - 150
    history = store.history(ledgers.intent(1))
    newest = next(history)
    assert ledgers.compact_before(store, LATER_MS) == 150
    assert [e.version for e in (newest, *history)] == list(range(len(told), 0, -1))


def test_a_log_that_lost_everything_is_not_taken_for_an_empty_ledger(ledger: Path) -> None:
    """With the newest event gone, the archive is still there: nobody appends at position 1."""
    store = LmdbEventStore.open(ledger)
    ledgers.append(store, [(ledgers.intent(1), event) for event in sample.SITUATIONS["completed"]])
    ledgers.compact_before(store, LATER_MS)
    last = store.last_position()
    ledgers.edit(store, lambda txn, db: txn.delete(ledgers.key(last), db=db["log"]))
    for ask in (
        store.last_position,
        lambda: ledgers.append(store, [(UUID(int=9), sample.begin())]),
    ):
        with pytest.raises(CorruptRecord, match="lost its newest"):
            ask()


def test_a_ledger_made_before_the_archive_gets_one_when_it_is_opened(ledger: Path) -> None:
    """The database is added, empty; nothing else changes."""
    store = LmdbEventStore.open(ledger)
    ledgers.append(store, ledgers.interleaved(3))
    before = ledgers.answers(store, IDS[:3])
    store.close()
    with lmdb.open(str(ledger), max_dbs=6) as env:
        with env.begin(write=True) as txn:
            txn.drop(env.open_db(b"archive", txn=txn))
        assert env.stat()["entries"] == 5
    store = LmdbEventStore.open(ledger, create=False)
    assert ledgers.answers(store, IDS[:3]) == before
    assert ledgers.compact_before(store, LATER_MS) > 0
    assert ledgers.answers(store, IDS[:3]) == before


def test_an_age_is_counted_back_from_the_clock() -> None:
    """What ended exactly that long ago stays; a nonsensical age is refused; a huge one is legal."""
    store = MemoryEventStore()
    ledgers.append(store, ledgers.interleaved(4))
    assert compact(store, 9, clock=lambda: 10).events == 0
    assert compact(store, 9, clock=lambda: 11).events > 0
    assert compact(store, 10**12, clock=lambda: 10).events == 0
    with pytest.raises(InvalidValue, match="older_than_ms"):
        compact(store, -1)


# --- Refusing damage ----------------------------------------------------------------------------


def test_nothing_damaged_is_moved(ledger: Path) -> None:
    """A flipped bit in a frame stops the compaction at its block; the frame stays where it was."""
    store = filled(ledger)
    position = BLOCK_POSITIONS + 5

    def flip(txn: lmdb.Transaction, db: object) -> None:
        frame = txn.get(ledgers.key(position), db=db["log"])  # as in tables
        txn.put(ledgers.key(position), frame[:-1] + bytes([frame[-1] ^ 1]), db=db["log"])

    ledgers.edit(store, flip)
    with pytest.raises(CorruptRecord, match=f"position {position} "):
        ledgers.compact_before(store, LATER_MS)
    assert max(run.last for run in store.archived()) < BLOCK_POSITIONS
    assert placed(store)[position] == "log"


def test_an_unfinished_intent_that_the_index_lost_is_not_archived(ledger: Path) -> None:
    """Not in the index is not the same as finished: the last event is looked at."""
    store = LmdbEventStore.open(ledger)
    ledgers.append(store, [(ledgers.intent(1), event) for event in sample.HALF])
    ledgers.append(store, [(ledgers.intent(2), sample.begin())])
    ledgers.edit(store, lambda txn, db: txn.drop(db["unfinished"], delete=False))
    with pytest.raises(CorruptRecord, match="unfinished, and the index does not have it"):
        ledgers.compact_before(store, LATER_MS)
    assert list(store.archived()) == []


# --- The record of a block ----------------------------------------------------------------------


def frame(position: int, text: str = "x") -> bytes:
    """A frame of some size."""
    payload = encode_event(sample.begin(node_id=text))
    return encode_frame(position, ledgers.intent(position), 1, 0, payload)


@given(st.sets(st.integers(3 * BLOCK_POSITIONS, 4 * BLOCK_POSITIONS - 1), min_size=1, max_size=40))
def test_a_block_comes_back_from_its_record(positions: set[int]) -> None:
    """Frames and ranges of any positions of a block survive the encoding."""
    frames = {position: frame(position, "n" * (position % 50 + 1)) for position in positions}
    key = archive.block_key(3)
    record = encode_block(3, frames)
    assert decode_block(key, record) == frames
    runs = decode_ranges(key, record)
    assert {p for run in runs for p in range(run.first, run.last + 1)} == positions
    assert all(one.last + 1 < other.first for one, other in itertools.pairwise(runs))


GOLDEN = (
    "53cd8d9c"  # CRC32C over the key and what follows
    "0002"  # two runs
    "00000000000000010000000000000001"
    "00000000000000030000000000000003"
)


def test_the_layout_of_a_block_is_pinned() -> None:
    """What comes before the compressed frames, byte by byte; the frames inflate to themselves."""
    frames = {1: frame(1), 3: frame(3)}
    record = encode_block(0, frames)
    content = frames[1] + frames[3]
    assert record[4:42].hex() == GOLDEN[8:] + len(content).to_bytes(4, "big").hex()
    assert archive.zlib.decompress(record[42:]) == content


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda body: body[:1], "cut short"),
        (lambda body: b"\0\0" + body[2:], "cut short"),
        (lambda body: body[:9] + b"\x05" + body[10:], "claims the positions"),
        (lambda body: body[:17] + b"\0" + body[18:], "claims the positions"),
        (lambda body: body[:37] + b"\0" + body[38:], "does not hold"),
        (lambda body: body[:34] + b"\x7f\xff\xff\xff" + body[38:], "cannot hold"),
        (lambda body: body[:38] + b"no zlib", "cannot be inflated"),
        (lambda body: body[:-9], "does not hold"),
    ],
)
def test_a_block_that_contradicts_itself_is_refused(damage: object, words: str) -> None:
    """Even under a right checksum, nothing is taken on trust, and no bomb is inflated."""
    assert callable(damage)
    key = archive.block_key(0)
    body = encode_block(0, {1: frame(1), 3: frame(3)})[4:]
    with pytest.raises(CorruptRecord, match=words):
        decode_block(key, archive.seal(key, damage(body)))
    assert BLOCK_POSITIONS * MAX_FRAME_BYTES < 4 * 2**20


def test_a_block_with_too_few_or_too_many_frames_is_refused() -> None:
    """The frames must be as many as the positions."""
    key = archive.block_key(0)
    two, one = (
        encode_block(0, frames)[4:] for frames in ({1: frame(1), 3: frame(3)}, {1: frame(1)})
    )
    with pytest.raises(CorruptRecord, match="ends early"):
        decode_block(key, archive.seal(key, two[:34] + one[18:]))
    with pytest.raises(CorruptRecord, match="more than its positions"):
        decode_block(key, archive.seal(key, one[:18] + two[34:]))


def test_a_block_in_the_wrong_place_is_refused() -> None:
    """A sound record under another key is not that block."""
    record = encode_block(0, {1: frame(1)})
    for key in (archive.block_key(1), b"short"):
        with pytest.raises(CorruptRecord):
            decode_ranges(key, record)


# --- Death --------------------------------------------------------------------------------------


def dying(told: Sequence[ledgers.Told]) -> Scenario:
    """Compact a ledger of what is told; at each death, and at the end, nothing may be missing."""

    def prepare(place: Path) -> None:
        store = LmdbEventStore.open(place / "ledger")
        ledgers.append(store, told)
        store.close()

    def compact_it(files: CrashingFiles, place: Path) -> None:
        store = LmdbEventStore.open(place / "ledger", create=False, files=files)
        ledgers.compact_before(store, LATER_MS)
        store.close()

    def whole(place: Path) -> None:
        store = LmdbEventStore.open(place / "ledger", create=False)
        placed(store)
        assert [e.event for e in store.read(0, 10_000)] == [event for _, event in told]
        store.close()

    def compacted(place: Path) -> None:
        whole(place)
        store = LmdbEventStore.open(place / "ledger", create=False)
        assert ledgers.compact_before(store, LATER_MS) == 0
        assert list(store.archived()) == expected(told)
        store.close()

    return Scenario(compact_it, prepare=prepare, after_crash=whole, check=compacted)


def expected(told: Sequence[ledgers.Told]) -> list[Positions]:
    """What a compaction of everything that has ended archives."""
    ended = {intent_id for intent_id, event in told if isinstance(event, Complete)}
    there = [p for p, (intent_id, _) in enumerate(told[:-1], start=1) if intent_id in ended]
    return archive.joined(Positions(p, p) for p in there)


def small_blocks(monkeypatch: pytest.MonkeyPatch, positions: int) -> None:
    """Let a short ledger have many blocks."""
    for module in (archive, compaction):
        monkeypatch.setattr(module, "BLOCK_POSITIONS", positions)


def test_a_compaction_may_die_at_every_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """At any point every position is in one place, and the next compaction ends the work."""
    small_blocks(monkeypatch, 32)
    passed = every_single(dying(ledgers.interleaved(20)), at_least=15)
    assert {f"log.{when}#4" for when in ("writing", "committing", "committed")} <= passed


def test_a_compaction_may_die_at_every_pair_of_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same if the next one dies as well."""
    small_blocks(monkeypatch, 32)
    passed = every_pair(dying(ledgers.interleaved(8)), at_least=10)
    assert "log.committing#2" in passed


def test_a_compaction_that_is_killed_is_finished_by_the_next(ledger: Path) -> None:
    """SIGKILL at random moments, again and again: every event is there, once, in one place."""
    filled(ledger).close()
    chance = random.Random(3)
    for _ in range(2):
        child = processes.start(
            HERE
            + """
from pathlib import Path
import ledgers
from bootledger.store.lmdb import LmdbEventStore
store = LmdbEventStore.open(Path(sys.argv[1]))
print("compacting", flush=True)
position = 0
while step := store.compact(position, 10**6):
    position = step.position
    print(position, flush=True)
sys.stdin.read()
""",
            ledger,
        )
        for _ in range(chance.randint(1, 3)):
            processes.wait_for_line(child)
        processes.kill(child)
        store = LmdbEventStore.open(ledger)
        placed(store)
        store.check_records()
        store.close()
    store = LmdbEventStore.open(ledger)
    ledgers.compact_before(store, LATER_MS)
    assert list(store.archived()) == expected(TOLD)
    assert [e.event for e in store.read(0, 10_000)] == [event for _, event in TOLD]


def test_writers_go_on_while_a_ledger_is_compacted(ledger: Path) -> None:
    """Two processes append, one compacts over and over: nothing is lost, all is in place."""
    LmdbEventStore.open(ledger).close()
    writer = (
        HERE
        + """
from pathlib import Path
import ledgers
from bootledger.store.lmdb import LmdbEventStore
store = LmdbEventStore.open(Path(sys.argv[1]))
first = int(sys.argv[2])
for number in range(first, first + 30, 6):
    ledgers.append(store, ledgers.interleaved(6, first=number), batch=10)
print(sum(1 for _ in store.heads()))
"""
    )
    compactor = (
        HERE
        + """
import time
from pathlib import Path
import ledgers
from bootledger.store.lmdb import LmdbEventStore
store = LmdbEventStore.open(Path(sys.argv[1]))
moved = 0
print("compacting", flush=True)
while not Path(sys.argv[2]).exists():
    time.sleep(0.02)
    moved += ledgers.compact_before(store, 10**6)
print(moved)
"""
    )
    done = ledger.with_name("done")
    compacting = processes.start(compactor, ledger, done)
    processes.wait_for_line(compacting)
    writers = [processes.start(writer, ledger, first) for first in (1, 1001)]
    for one in writers:
        out, err = one.communicate(timeout=120)
        assert one.returncode == 0, err + out
    done.touch()
    out, err = compacting.communicate(timeout=60)
    assert compacting.returncode == 0, err
    store = LmdbEventStore.open(ledger)
    assert int(out.split()[-1]) > 0
    placed(store)
    told = {number: [] for number in (*range(1, 31), *range(1001, 1031))}
    for event in store.read(0, 100_000):
        told[event.intent_id.int].append(event.event)
    expected: dict[int, list[object]] = {number: [] for number in told}
    for first in (*range(1, 31, 6), *range(1001, 1031, 6)):
        for intent_id, event in ledgers.interleaved(6, first=first):
            expected[intent_id.int].append(event)
    assert told == expected
    store.check_records()
    check_history(store)


class StopsInTheMiddle(MemoryEventStore):
    """Fails at the second step."""

    steps = 0

    def compact(self, after_position: int, before_ms: int) -> Compacted | None:
        """Fail once."""
        self.steps += 1
        if self.steps == 2:
            raise BootledgerError("no")
        return super().compact(after_position, before_ms)


def test_a_compaction_tells_how_far_it_is_and_goes_on_where_it_failed() -> None:
    """Progress is told in positions; what a failed compaction moved is moved."""
    store, seen = StopsInTheMiddle(), []
    ledgers.append(store, ledgers.interleaved(6))
    with pytest.raises(BootledgerError):
        compact(store, 0, clock=lambda: LATER_MS)
    moved = sum(run.last - run.first + 1 for run in store.archived())
    done = compact(store, 0, clock=lambda: LATER_MS, watch=lambda *told: seen.append(told))
    assert moved > 0
    assert sum(run.last - run.first + 1 for run in store.archived()) == moved + done.events
    assert [position for position, _ in seen] == sorted({position for position, _ in seen})
    assert {total for _, total in seen} == {store.last_position()}
