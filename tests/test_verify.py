"""Verification: each damage, made for real, is found by its layer and named by its position."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar
from uuid import UUID

import ledgers
import lmdb
import processes
import pytest
import sample_events as sample
from click.testing import Result
from lmdb.verify import verify
from typer.testing import CliRunner
from worlds import fresh_place

from bootledger import environment_check
from bootledger.cli.app import app
from bootledger.cli.errors import ExitCode
from bootledger.cli.verify import FILE, HISTORY, RECORDS, Finding, Layer, check_ledger, meaning
from bootledger.environment import Databases, Transaction, close_all
from bootledger.errors import Corrupted, CorruptRecord, OutOfSpace, StoreBusy
from bootledger.files import Files
from bootledger.projections.heads import encode_head
from bootledger.projections.latest import LatestIntents
from bootledger.projections.runner import catch_up
from bootledger.projections.verification import check_history
from bootledger.sealing import seal
from bootledger.shared_environment import write_lock
from bootledger.statemachine.events import Event
from bootledger.statemachine.fold import fold
from bootledger.store import archive, records
from bootledger.store.codec import decode_frame, encode_event, encode_frame
from bootledger.store.lmdb import LmdbEventStore
from bootledger.store.memory import MemoryEventStore
from bootledger.store.port import Head, SavedProjection

T = TypeVar("T")

INTENTS = 30
TOLD = ledgers.interleaved(INTENTS)
LAST = len(TOLD)
ENDED, UNFINISHED = ledgers.intent(25), ledgers.intent(28)
HERE = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"


def positions(intent_id: UUID) -> list[int]:
    """Where the events of an intent stand."""
    return [position for position, (other, _) in enumerate(TOLD, start=1) if other == intent_id]


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A sound ledger: 30 intents, those before the 20th archived, a projection in the middle."""
    with fresh_place() as place:
        yield _made(place / "ledger")


def _made(path: Path) -> Path:
    store = LmdbEventStore.open(path)
    ledgers.append(store, TOLD[: LAST // 2])
    catch_up(store, LatestIntents())
    rest = LmdbEventStore.open(path)
    _append_rest(rest)
    ledgers.compact_before(store, 20)
    rest.close()
    store.close()
    return path


def _append_rest(store: LmdbEventStore) -> None:
    """Append the second half of what is told, on top of the first."""
    whole = MemoryEventStore()
    ledgers.append(whole, TOLD)
    begun: dict[UUID, list[Event]] = {}
    batch = []
    for recorded in whole.read(0, LAST):
        history = begun.setdefault(recorded.intent_id, [])
        history.append(recorded.event)
        if recorded.position > LAST // 2:
            batch.append(
                ledgers.Append(
                    recorded.intent_id,
                    recorded.version - 1,
                    recorded.event,
                    encode_head(fold(history)),
                )
            )
    store.append(batch)


@pytest.fixture
def ledger(template: Path) -> Iterator[Path]:
    """A copy to be damaged; whatever a test left open is closed after it."""
    with fresh_place() as place:
        shutil.copytree(template, place / "ledger")
        yield place / "ledger"
        close_all()


def findings(path: Path) -> list[Finding]:
    """What each layer turned out to be."""
    return list(check_ledger(path, quiet=True))


def damaged(path: Path, work: Callable[[Transaction, Databases], object]) -> Finding:
    """Edit the ledger, verify it, and return the damage, which must be found."""
    store = LmdbEventStore.open(path)
    ledgers.edit(store, work)
    store.close()
    last = findings(path)[-1]
    assert last.damage is not None, "nothing was found"
    return last


# --- Sound --------------------------------------------------------------------------------------


def test_a_sound_ledger_is_sound_in_all_three_layers(ledger: Path) -> None:
    """All is counted, archive included, and verifying changes nothing."""
    before = (ledger / "data.mdb").read_bytes()
    one, two, three = findings(ledger)
    assert (one.damage, two.damage, three.damage) == (None, None, None)
    archived = two.counts["archived"]
    assert 0 < archived < LAST
    assert two.counts == {"events": LAST, "archived": archived, "intents": INTENTS}
    assert three.counts == {"events": LAST, "intents": INTENTS, "unfinished": 4}
    assert (ledger / "data.mdb").read_bytes() == before


def test_an_empty_ledger_is_sound(tmp_path: Path) -> None:
    """There is nothing in it, and nothing wrong with it."""
    LmdbEventStore.open(tmp_path / "ledger").close()
    assert [finding.damage for finding in findings(tmp_path / "ledger")] == [None] * 3


# --- Layer 1: the file --------------------------------------------------------------------------

PAGE_BYTES = 4096


def overwrite(path: Path, offset_bytes: int, data: bytes) -> None:
    """Write over a file in place."""
    with path.open("r+b") as file:
        file.seek(offset_bytes)
        file.write(data)


def cut(path: Path) -> None:
    """Leave half of a file."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def zero_the_middle(path: Path) -> None:
    """Zero a third of a file's pages."""
    pages = path.stat().st_size // PAGE_BYTES
    overwrite(path, pages // 3 * PAGE_BYTES, bytes(pages // 3 * PAGE_BYTES))


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        zero_the_middle,
        lambda path: overwrite(path, 0, bytes(PAGE_BYTES)),
        lambda path: overwrite(path, PAGE_BYTES, bytes(PAGE_BYTES)),
        lambda path: overwrite(path, 0, b"no database" * 5000),
        lambda path: path.write_bytes(b""),
    ],
    ids=["cut", "zeros in the middle", "meta 0 gone", "meta 1 gone", "another file", "empty"],
)
def test_a_damaged_file_is_found_before_anything_opens_it(
    ledger: Path, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layer 1 says so and nothing of LMDB touches the file."""
    damage(ledger / "data.mdb")
    before = (ledger / "data.mdb").read_bytes()
    monkeypatch.setattr(lmdb, "open", lambda *_, **__: pytest.fail("it was opened"))
    (finding,) = findings(ledger)
    assert (finding.layer, type(finding.damage)) == (FILE, CorruptRecord)
    assert "Nothing in the file can be trusted" in meaning(finding)
    assert (ledger / "data.mdb").read_bytes() == before


def test_the_file_is_checked_while_no_writer_writes(ledger: Path) -> None:
    """A writer of another process is waited for, and named when it takes too long."""
    child = processes.start(
        """
import sys
from pathlib import Path
from bootledger.files import Files
with Files().lock(Path(sys.argv[1]) / "write.lock").acquire():
    print("locked", flush=True)
    sys.stdin.read()
""",
        ledger,
    )
    try:
        processes.wait_for_line(child)
        with pytest.raises(StoreBusy, match=f"pid {child.pid}"):
            LmdbEventStore.check_file(ledger, wait_s=0.1)
    finally:
        processes.kill(child)
    LmdbEventStore.check_file(ledger, wait_s=0.1)


def test_no_writer_waits_for_the_walk_through_the_pages(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is walked is a copy: a writer without any patience appends in the middle of the walk."""
    store = LmdbEventStore.open(ledger)
    walked: list[str] = []

    def walk(path: str) -> list[str]:
        with write_lock(ledger, Files(), wait_s=0):
            pass
        ledgers.append(store, ledgers.interleaved(3, first=1000))
        walked.append(path)
        return verify(path)

    monkeypatch.setattr(environment_check, "_problems_of", walk)
    before = store.last_position()
    LmdbEventStore.check_file(ledger, wait_s=0)
    assert walked
    assert store.last_position() > before
    store.close()


def test_nothing_is_left_of_the_copy(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It never has a name: not in the middle of the walk, not after a walk that raised."""
    monkeypatch.setattr(tempfile, "tempdir", str(ledger))
    before = set(ledger.iterdir()) | {ledger / "write.lock"}

    def walk(path: str) -> list[str]:
        assert Path(path).read_bytes() == (ledger / "data.mdb").read_bytes()
        assert set(ledger.iterdir()) == before
        raise KeyboardInterrupt

    monkeypatch.setattr(environment_check, "_problems_of", walk)
    with pytest.raises(KeyboardInterrupt):
        LmdbEventStore.check_file(ledger)
    assert set(ledger.iterdir()) == before


def test_what_is_written_while_it_is_copied_is_in_the_copy(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy is the file at the moment of the lock, whatever changed after the first pass."""
    store = LmdbEventStore.open(ledger)

    @contextlib.contextmanager
    def lock_after_a_write(path: Path, files: Files, wait_s: float) -> Iterator[None]:
        ledgers.append(store, ledgers.interleaved(50, first=1000))
        with write_lock(path, files, wait_s):
            yield

    def walk(path: str) -> list[str]:
        assert Path(path).read_bytes() == (ledger / "data.mdb").read_bytes()
        return verify(path)

    monkeypatch.setattr(environment_check, "write_lock", lock_after_a_write)
    monkeypatch.setattr(environment_check, "_problems_of", walk)
    LmdbEventStore.check_file(ledger)
    store.close()


def test_a_copy_without_room_is_refused_in_words(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither beside the file nor in the temporary directory: both are named, and what to do."""
    monkeypatch.setattr(environment_check, "SPARE_BYTES", 2**62)
    with pytest.raises(OutOfSpace, match=f"{ledger} nor {tempfile.gettempdir()}") as refused:
        LmdbEventStore.check_file(ledger)
    assert "TMPDIR" in str(refused.value.hint)


# --- Layer 2: the records -----------------------------------------------------------------------


def get(txn: Transaction, db: Databases, table: str, key: bytes) -> bytes:
    """The record under a key, which is there."""
    record = txn.get(key, db=db[table])
    assert record is not None
    return record


def flipped(record: bytes, at: int = -1) -> bytes:
    """The record with one bit changed."""
    changed = bytearray(record)
    changed[at] ^= 1
    return bytes(changed)


def flip(table: str, key: bytes | None = None) -> Callable[[Transaction, Databases], None]:
    """Change one bit of a record: the last one of the table unless a key is named."""

    def work(txn: Transaction, db: Databases) -> None:
        with txn.cursor(db[table]) as cursor:
            assert cursor.last() if key is None else cursor.set_key(key)
            txn.put(cursor.key(), flipped(cursor.value()), db=db[table])

    return work


def swap(one: int, other: int) -> Callable[[Transaction, Databases], None]:
    """Let two frames of the log change places."""

    def work(txn: Transaction, db: Databases) -> None:
        first, second = (get(txn, db, "log", ledgers.key(at)) for at in (one, other))
        txn.put(ledgers.key(one), second, db=db["log"])
        txn.put(ledgers.key(other), first, db=db["log"])

    return work


def rewrite(
    position: int,
    *,
    event: Event | None = None,
    version: int | None = None,
    previous: int | None = None,
    payload: bytes | None = None,
) -> Callable[[Transaction, Databases], None]:
    """Put another frame with a right checksum at a position of the log."""

    def work(txn: Transaction, db: Databases) -> None:
        old = decode_frame(position, get(txn, db, "log", ledgers.key(position)))
        frame = encode_frame(
            position,
            old.intent_id,
            old.version if version is None else version,
            old.previous_position if previous is None else previous,
            encode_event(event or old.event) if payload is None else payload,
        )
        txn.put(ledgers.key(position), frame, db=db["log"])

    return work


def copy_out_of_the_archive(txn: Transaction, db: Databases) -> None:
    """Let an archived frame stand in the log too."""
    key = archive.block_key(0)
    frames = archive.decode_block(key, get(txn, db, "archive", key))
    position = min(frames)
    txn.put(ledgers.key(position), frames[position], db=db["log"])


def lose_the_log(txn: Transaction, db: Databases) -> None:
    """Delete every frame of the log."""
    txn.drop(db["log"], delete=False)


def archive_beyond_the_end(txn: Transaction, db: Databases) -> None:
    """Put a frame into the archive that the log has not reached."""
    position = 5 * archive.BLOCK_POSITIONS
    frame = encode_frame(position, UUID(int=1), 1, 0, encode_event(sample.begin()))
    record = archive.encode_block(5, {position: frame})
    txn.put(archive.block_key(5), record, db=db["archive"])


IN_LOG = positions(UNFINISHED)


class Case(NamedTuple):
    """A damage, the position that it is named by, and words of what is said."""

    work: Callable[[Transaction, Databases], object]
    position: int | None
    words: str


RECORD_CASES = {
    "a flipped bit in a frame": Case(flip("log", ledgers.key(IN_LOG[2])), IN_LOG[2], "checksum"),
    "a flipped bit in the archive": Case(flip("archive"), 1, "block 0 of the archive"),
    "a flipped bit in a head": Case(flip("heads"), None, "the head of intent"),
    "a flipped bit in the index": Case(flip("unfinished"), None, "index of unfinished"),
    "a flipped bit in a projection": Case(flip("projections"), None, "the projection"),
    "a flipped bit in meta": Case(flip("meta", b"created_at_ms"), None, "created_at_ms"),
    "a flipped bit in the format": Case(flip("meta", b"format"), None, "the format"),
    "two frames in each other's place": Case(swap(IN_LOG[1], IN_LOG[2]), IN_LOG[1], "wrong place"),
    "a position that is missing": Case(
        lambda txn, db: txn.delete(ledgers.key(IN_LOG[3]), db=db["log"]), IN_LOG[3], "missing"
    ),
    "a position in log and archive": Case(copy_out_of_the_archive, 1, "in the archive"),
    "an archive beyond the end": Case(
        archive_beyond_the_end, 5 * archive.BLOCK_POSITIONS, "the log ends at"
    ),
    "a log that is gone": Case(lose_the_log, None, "lost its newest events"),
    "a wrong version": Case(rewrite(IN_LOG[2], version=9), IN_LOG[2], "event 9 of intent"),
    "a wrong way back": Case(rewrite(IN_LOG[2], previous=IN_LOG[0]), IN_LOG[2], "points back to"),
    "a sound frame around nothing": Case(
        rewrite(IN_LOG[2], payload=b"\xc1"), IN_LOG[2], "no event"
    ),
    "a sound frame around no event": Case(
        rewrite(IN_LOG[2], payload=b"\x81\xa4kind\xa6resume"), IN_LOG[2], "no event"
    ),
    "a key that is no position": Case(
        lambda txn, db: txn.put(b"\0", b"frame", db=db["log"]), None, "cannot be a position"
    ),
}


@pytest.mark.parametrize("name", RECORD_CASES)
def test_a_damaged_record_is_found_by_the_second_layer(ledger: Path, name: str) -> None:
    """It is named by its position, if it has one, and what is still to be trusted is said."""
    case = RECORD_CASES[name]
    finding = damaged(ledger, case.work)
    assert finding.layer is RECORDS
    assert finding.damage is not None
    assert case.words in str(finding.damage)
    if case.position is not None:
        assert finding.damage.position == case.position
    assert meaning(finding)


# --- Layer 3: the history -----------------------------------------------------------------------


def put_head(head: Head) -> Callable[[Transaction, Databases], None]:
    """Write a head with a right checksum."""

    def work(txn: Transaction, db: Databases) -> None:
        txn.put(head.intent_id.bytes, records.encode_head(head), db=db["heads"])

    return work


def older_head(intent_id: UUID, number: int) -> Callable[[Transaction, Databases], None]:
    """The head as it was one event earlier."""
    events = [event for other, event in TOLD if other == intent_id][:-1]
    head = Head(
        intent_id,
        f"node-{number % 7}",
        len(events),
        positions(intent_id)[-2],
        encode_head(fold(events)),
    )
    return put_head(head)


def other_fold(intent_id: UUID, number: int) -> Callable[[Transaction, Databases], None]:
    """The head of another history of the same length."""
    events = [event for other, event in TOLD if other == intent_id]
    other = fold([sample.begin(node_id="another"), *events[1:]])
    at = positions(intent_id)[-1]
    return put_head(Head(intent_id, f"node-{number % 7}", len(events), at, encode_head(other)))


def index(node: str, intent_id: UUID, *, there: bool) -> Callable[[Transaction, Databases], None]:
    """Put an entry into the index, or take it out."""

    def work(txn: Transaction, db: Databases) -> None:
        key = records.index_key(node, intent_id)
        if there:
            txn.put(key, seal(key, b""), db=db["unfinished"])
        else:
            assert txn.delete(key, db=db["unfinished"])

    return work


def projection(position: int, state: bytes) -> Callable[[Transaction, Databases], None]:
    """Save a projection with a right checksum."""
    key = LatestIntents.name.encode()
    record = records.encode_projection(key, SavedProjection(position, state))
    return lambda txn, db: txn.put(key, record, db=db["projections"])


def state_at(position: int) -> bytes:
    """The projection after so many events."""
    store, fold_it = MemoryEventStore(), LatestIntents()
    ledgers.append(store, TOLD)
    state = fold_it.initial()
    for recorded in store.read(0, position):
        state = fold_it.fold(state, recorded)
    return fold_it.encode(state)


NOBODY = UUID(int=999)
ENDED_AT, OPEN_AT = positions(ENDED)[-1], positions(UNFINISHED)[-1]

HISTORY_CASES = {
    "an event that the table refuses": Case(
        rewrite(IN_LOG[1], event=sample.promote()), IN_LOG[1], "breaks the rules"
    ),
    "an older head of an unfinished intent": Case(older_head(UNFINISHED, 28), OPEN_AT, "the head"),
    "an older head of a finished intent": Case(older_head(ENDED, 25), ENDED_AT, "the head"),
    "a head that tells another history": Case(other_fold(ENDED, 25), ENDED_AT, "not the fold"),
    "a head that is no fold": Case(
        put_head(Head(ENDED, "node-4", 6, ENDED_AT, b"\x01\xc1")), ENDED_AT, "unreadable"
    ),
    "a head that is missing": Case(
        lambda txn, db: txn.delete(ENDED.bytes, db=db["heads"]), ENDED_AT, "has no head"
    ),
    "a head too many": Case(
        put_head(Head(NOBODY, "node-1", 1, 3, b"\x01")), 3, "that is another one"
    ),
    "a head too many, beyond the end": Case(
        put_head(Head(NOBODY, "node-1", 1, LAST + 9, b"\x01")), LAST + 9, "that is another one"
    ),
    "an index entry that is missing": Case(
        index("node-0", UNFINISHED, there=False), OPEN_AT, "does not have it"
    ),
    "an index entry of a finished intent": Case(
        index("node-4", ENDED, there=True), ENDED_AT, "has ended or never began"
    ),
    "an index entry of an intent that never was": Case(
        index("node-1", NOBODY, there=True), None, "does not agree"
    ),
    "a projection of another position": Case(
        projection(LAST // 2, state_at(LAST // 2 - 1)), LAST // 2, "is not what a replay"
    ),
    "a projection that has seen the future": Case(
        projection(LAST + 1, state_at(LAST)), LAST, "the ledger ends at"
    ),
    "a projection that is not one": Case(projection(7, b"\xc1"), 7, "unreadable"),
    "a projection of nothing that is something": Case(
        projection(0, state_at(1)), 0, "is not what a replay"
    ),
}


@pytest.mark.parametrize("name", HISTORY_CASES)
def test_a_contradiction_is_found_by_the_third_layer(ledger: Path, name: str) -> None:
    """Every record is sound by itself, and together they cannot be true: the replay says where."""
    case = HISTORY_CASES[name]
    finding = damaged(ledger, case.work)
    assert finding.layer is HISTORY
    assert finding.damage is not None
    assert case.words in str(finding.damage)
    if case.position is not None:
        assert finding.damage.position == case.position
    assert "they contradict each other" in meaning(finding)


# --- Flipped bytes ------------------------------------------------------------------------------


class Inside:
    """An environment that is one transaction, which nobody commits."""

    def __init__(self, path: Path, txn: Transaction, db: Databases) -> None:
        self.path = path
        self._inside = (txn, db)

    def read(self, work: Callable[[Transaction, Databases], T]) -> T:
        """Run the work inside."""
        return work(*self._inside)


def test_a_flipped_bit_of_any_record_is_reported(tmp_path: Path) -> None:
    """3,000 bits of keys and values of all six databases: none goes unnoticed."""
    chance = random.Random(7)
    path = tmp_path / "ledger"
    real = LmdbEventStore.open(path)
    ledgers.append(real, ledgers.interleaved(3, every_unfinished=2))
    catch_up(real, LatestIntents())
    ledgers.compact_before(real, 2)
    all_records = real._env.read(
        lambda txn, db: [(name, *item) for name in db for item in txn.cursor(db[name])]
    )
    assert {name for name, _, _ in all_records} == {
        *("log", "archive", "heads", "unfinished", "projections", "meta")
    }
    unnoticed = []
    for _ in range(3000):
        name, key, value = chance.choice(all_records)
        bit = chance.randrange(8 * (len(key) + len(value)))
        changed = bytearray(key + value)
        changed[bit // 8] ^= 1 << bit % 8
        with real._env._shared.inside() as (env, db), env.begin(write=True) as txn:
            txn.delete(key, db=db[name])
            txn.put(bytes(changed[: len(key)]), bytes(changed[len(key) :]), db=db[name])
            store = LmdbEventStore(Inside(path, txn, db), Files())
            try:
                store.check_records()
                check_history(store)
            except Corrupted:
                pass
            else:
                unnoticed.append((name, key, bit))
            txn.abort()
    assert unnoticed == []
    real.close()


def test_a_flipped_bit_of_the_file_is_reported_or_harmless(ledger: Path, template: Path) -> None:
    """Anywhere in the file: either a layer reports it, or every answer is what it was."""
    chance = random.Random(11)
    ids = [ledgers.intent(number) for number in range(1, INTENTS + 1)]
    store = LmdbEventStore.open(ledger)
    before = ledgers.answers(store, ids)
    store.close()
    good = (template / "data.mdb").read_bytes()
    reported = 0
    for _ in range(60):
        bad = bytearray(good)
        bit = chance.randrange(8 * len(good))
        bad[bit // 8] ^= 1 << bit % 8
        (ledger / "data.mdb").write_bytes(bad)
        if findings(ledger)[-1].damage:
            reported += 1
            continue
        store = LmdbEventStore.open(ledger)
        assert ledgers.answers(store, ids) == before, f"bit {bit}"
        store.close()
    assert 0 < reported < 60


# --- Meanwhile ----------------------------------------------------------------------------------


def test_a_ledger_is_verified_while_it_is_written_and_compacted(ledger: Path) -> None:
    """Neither appends nor compactions of another process are taken for damage."""
    child = processes.start(
        HERE
        + """
from pathlib import Path
import ledgers
from bootledger.store.lmdb import LmdbEventStore
store = LmdbEventStore.open(Path(sys.argv[1]))
first = 1000
print("writing", flush=True)
while True:
    ledgers.append(store, ledgers.interleaved(5, first=first), batch=7)
    first += 5
    ledgers.compact_before(store, first - 10)
""",
        ledger,
    )
    try:
        processes.wait_for_line(child)
        events: list[int] = []
        while len(events) < 5 or events[-1] <= max(events[0], LAST):
            last = findings(ledger)[-1]
            assert last.damage is None
            events.append(last.counts["events"])
            assert len(events) < 200, "the writer writes nothing"
    finally:
        processes.kill(child)


# --- The command --------------------------------------------------------------------------------


def command(*arguments: object) -> Result:
    """Run `bootledger` to its end."""
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_the_command_tells_people_and_scripts(ledger: Path) -> None:
    """A sound ledger is 0; a damaged one says what, what it means, what to do, and its layer."""
    sound = command("verify", ledger)
    assert (sound.exit_code, sound.stdout.count("sound"), sound.stderr) == (0, 3, "")
    damaged(ledger, flip("log", ledgers.key(IN_LOG[2])))
    told = command("verify", ledger)
    assert told.exit_code == ExitCode.DAMAGED_RECORDS == 12
    for words in (f"position {IN_LOG[2]}", "means", "can be trusted", "to do", "Restore it"):
        assert words in told.stdout
    said = json.loads(command("verify", ledger, "--json").stdout)
    assert said["sound"] is False
    assert [layer["sound"] for layer in said["layers"]] == [True, False]
    assert said["layers"][1]["damage"]["position"] == IN_LOG[2]


def test_what_a_newer_version_wrote_is_not_called_damaged(ledger: Path) -> None:
    """An event that this version does not know: it says so, and which version to use."""
    store = LmdbEventStore.open(ledger)
    ledgers.edit(store, rewrite(IN_LOG[2], payload=b"\x81\xa4kind\xa3new"))
    store.close()
    told = command("verify", ledger)
    assert told.exit_code == ExitCode.CORRUPTED
    assert "UnknownFormat" in told.stderr
    assert "DAMAGED" not in told.stdout


@pytest.mark.parametrize(("layer", "code"), [(FILE, 11), (RECORDS, 12), (HISTORY, 13)])
def test_each_layer_has_its_exit_code(layer: Layer, code: int) -> None:
    """Scripts can tell apart a broken disk, a broken record and a broken history."""
    assert layer.exit_code == code


def test_what_is_no_ledger_is_refused(tmp_path: Path) -> None:
    """Nothing there is not a damage, and nothing appears."""
    assert command("verify", tmp_path / "nothing").exit_code == ExitCode.REFUSED
    assert list(tmp_path.iterdir()) == []


def test_an_export_counts_what_it_wrote(
    ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that another process appends before the first line is read are in it, and counted."""
    real = Files.replace_from

    def late(self: Files, path: Path, pieces: Iterator[bytes], *, name: str) -> None:
        store = LmdbEventStore.open(ledger)
        ledgers.append(store, ledgers.interleaved(3, first=1000))
        store.close()
        real(self, path, pieces, name=name)

    monkeypatch.setattr(Files, "replace_from", late)
    out = tmp_path / "events"
    told = json.loads(command("export", ledger, "-o", out, "--json").stdout)
    assert told["events"] == len(out.read_bytes().splitlines()) - 2 > LAST
