from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from crc32c import crc32c
from database_model import IN_CHILD, create, digest, digest_at, operations, records, stream
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import kill, run, start, wait_for_line

from bootledger.environment import MIB
from bootledger.errors import (
    Corrupted,
    CorruptRecord,
    DivergedHistory,
    InvalidValue,
    LogWindowLost,
    UnknownFormat,
)
from bootledger.files import Files
from bootledger.positions import U64_MAX
from bootledger.replica.database import Database
from bootledger.replica.ports import Change, SourceIdentity
from bootledger.replica.records import (
    KEY_MAX_BYTES,
    VALUE_MAX_BYTES,
    decode_change,
    encode_change,
    encode_number,
)
from bootledger.sealing import seal

DATABASE_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    with create(tmp_path / "db") as database:
        yield database


# --- one format, two ways to write it -----------------------------------------------------------

keys = st.sampled_from([b"\0", b"a", b"a\0", b"b", b"k" * KEY_MAX_BYTES])
values = st.none() | st.binary(max_size=20) | st.just(b"large" * 2000)
batches = st.lists(st.lists(st.tuples(keys, values), max_size=8), max_size=6)


@given(batches, st.lists(st.integers(min_value=1, max_value=7), min_size=1))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_what_is_written_and_what_is_applied_are_the_same_database(
    written: list[list[tuple[bytes, bytes | None]]], cuts: list[int]
) -> None:
    """However operations are split, primary, replica and a dict hold the same records."""
    flat = [operation for batch in written for operation in batch]
    with (
        tempfile.TemporaryDirectory() as place,
        create(Path(place, "p")) as primary,
        create(Path(place, "r")) as replica,
    ):
        lsns = [primary.write(batch) for batch in written]
        applied = turn = 0
        while changes := primary.changes(applied, cuts[turn % len(cuts)]):
            replica.apply(changes)
            applied, turn = changes[-1].lsn, turn + 1

        assert lsns[-1:] == ([len(flat)] if written else [])
        assert primary.digest() == (len(flat), digest(records(flat)))
        assert replica.digest() == primary.digest()
        assert dict(replica.items()) == records(flat)
        assert replica.record_count() == len(records(flat))
        if flat:
            log = [Change(n, *operation) for n, operation in enumerate(flat, start=1)]
            assert replica.changes(0, len(flat)) == log


def test_items_come_sorted_and_whole_over_many_transactions(database: Database) -> None:
    """A scan is cut into short transactions; nothing is lost or doubled at the seams."""
    held = {b"%05d" % n: bytes(n % 7) for n in range(2500)}
    held[b"k" * KEY_MAX_BYTES] = b"the longest key"
    database.write(held.items())
    assert list(database.items()) == sorted(held.items())
    assert database.get(b"00042") == bytes(0)
    assert database.get(b"00043") == bytes(1)
    assert database.get(b"not there") is None


def test_writers_of_two_processes_share_one_gapless_log(tmp_path: Path) -> None:
    """LSNs are assigned inside of the transaction, so that two writers never take the same."""
    with create(tmp_path / "db") as database:
        child = start(
            IN_CHILD + "with Database.open(Path(sys.argv[1]), Files(), name='primary') as database:"
            "\n    print('open', flush=True)"
            "\n    for n in range(200): database.write([(b'child', b'%d' % n)])",
            database.path,
        )
        wait_for_line(child)
        for n in range(200):
            database.write([(b"parent", b"%d" % n)])
        _, err = child.communicate(timeout=60)
        assert child.returncode == 0, err

        log = database.changes(0, 1000)
        assert [change.lsn for change in log] == list(range(1, 401))
        for key in (b"child", b"parent"):
            assert [c.value for c in log if c.key == key] == [b"%d" % n for n in range(200)]


# --- exactly once -------------------------------------------------------------------------------


def test_every_change_is_applied_exactly_once_across_kills(tmp_path: Path) -> None:
    """Killed at any moment, the records are those of the applied LSN, and no less than was said."""
    chance = random.Random(7)
    last = 1500
    create(tmp_path / "db").close()
    code = IN_CHILD + (
        "with Database.open(Path(sys.argv[1]), Files(), name='applier') as database:\n"
        "    while (applied := database.applied_lsn()) < int(sys.argv[2]):\n"
        "        batch = stream(max(1, applied - 3), applied + 5)\n"  # overlaps what is applied
        "        database.apply(batch)\n"
        "        print(batch[-1].lsn, flush=True)\n"
        "    print('done', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    applied = kills = 0
    while applied < last:
        child = start(code, tmp_path / "db", last)
        said = ""
        for _ in range(chance.randrange(1, 80)):
            if (line := wait_for_line(child)) == "done":
                break
            said = line
        kill(child)
        kills += 1
        with Database.open(tmp_path / "db", Files(), name="applier") as database:
            applied = database.applied_lsn()
            assert applied >= int(said or applied)
            assert database.digest() == (applied, digest_at(applied))
            assert database.changes(0, last) == stream(1, applied)
    assert kills >= 5


def test_changes_that_are_applied_already_are_skipped(database: Database) -> None:
    """A batch that was applied, and a change that comes twice in a batch, change nothing."""
    database.apply(stream(1, 20))
    database.apply(stream(1, 20))
    database.apply([*stream(15, 25), *stream(18, 30)])
    assert database.digest() == (30, digest_at(30))
    assert database.changes(0, 100) == stream(1, 30)


@pytest.mark.parametrize("skipped", [21, 25])
def test_a_gap_applies_nothing_of_its_batch(database: Database, skipped: int) -> None:
    """A missing change before or inside of a batch is `DivergedHistory` that names it."""
    database.apply(stream(1, 20))
    with pytest.raises(DivergedHistory, match=f"change {skipped} is missing"):
        database.apply([change for change in stream(21, 30) if change.lsn != skipped])
    assert database.digest() == (20, digest_at(20))
    assert database.changes(0, 100) == stream(1, 20)


def test_a_map_that_is_too_small_grows(tmp_path: Path) -> None:
    """A transaction that does not fit is done again in a larger map, once."""
    create(tmp_path / "db").close()
    with Database.open(
        tmp_path / "db", Files(), name="primary", map_size_bytes=128 * 1024
    ) as database:
        held = {b"%d" % n: bytes([n]) * 40_000 for n in range(100)}
        assert database.write(held.items()) == 100
        assert database.write([(b"0", None)]) == 101
        del held[b"0"]
        assert database.digest() == (101, digest(held))
        assert (database.path / "data.mdb").stat().st_size > 2 * MIB


# --- the change log -----------------------------------------------------------------------------


def test_changes_are_bounded_in_number_and_in_bytes_but_never_none(database: Database) -> None:
    """A change larger than the bound comes alone instead of never."""
    sizes = [10, 500, 10, 10, 10]
    database.write((b"k", bytes(size)) for size in sizes)
    assert [c.lsn for c in database.changes(0, 2)] == [1, 2]
    assert [c.lsn for c in database.changes(0, 9, max_bytes=40)] == [1]
    assert [c.lsn for c in database.changes(1, 9, max_bytes=40)] == [2]
    assert [c.lsn for c in database.changes(2, 9, max_bytes=33)] == [3, 4, 5]
    assert database.changes(5, 9) == []


def test_a_position_beyond_the_end_is_no_end_of_the_log(database: Database) -> None:
    """Whoever is ahead of this database must hear of it, rather than wait for ever."""
    database.write(operations(1, 5))
    with pytest.raises(DivergedHistory, match=r"after LSN 6 .* the last LSN is 5"):
        database.changes(6, 10)
    with pytest.raises(DivergedHistory):
        database.changes(U64_MAX, 10)


def test_what_is_pruned_is_lost_by_name_and_the_rest_is_served(database: Database) -> None:
    """Pruning forgets changes, never records, in more than one transaction."""
    with create(database.path.with_name("long"), last=2600) as long:
        long.prune(2300)
        assert long.pruned_lsn() == 2300
        with pytest.raises(LogWindowLost, match="2299"):
            long.changes(2299, 10)
        assert long.changes(2300, 1000) == stream(2301, 2600)
        assert long.digest() == (2600, digest_at(2600))
        long.prune(100)
        assert long.pruned_lsn() == 2300
        long.prune(2600)
        assert long.changes(2600, 10) == []
        assert long.write(operations(2601, 2601)) == 2601
        assert long.changes(2600, 10) == stream(2601, 2601)
        with pytest.raises(InvalidValue, match="2602"):
            long.prune(2602)


# --- what is not sound --------------------------------------------------------------------------


def test_the_record_of_a_change_has_these_bytes() -> None:
    """The format is a promise; see docs/format.md."""
    assert encode_number(258).hex() == "0000000000000102"
    for change, record in (
        (Change(258, b"key", b"value"), "0d 54 3f 7e 01 00 03 6b 65 79 76 61 6c 75 65"),
        (Change(258, b"key", b""), "42 83 27 71 01 00 03 6b 65 79"),
        (Change(258, b"key", None), "76 3f ec ab 02 00 03 6b 65 79"),
    ):
        assert encode_change(change).hex(" ") == record
        assert decode_change(258, bytes.fromhex(record)) == change
    body = bytes.fromhex("0000000000000102 01 0003") + b"keyvalue"
    assert encode_change(Change(258, b"key", b"value"))[:4] == crc32c(body).to_bytes(4, "big")
    assert seal(b"last_lsn", encode_number(258)).hex(" ") == "2e 7e 53 11 00 00 00 00 00 00 01 02"


@pytest.mark.parametrize("change", [Change(7, b"key", b"value"), Change(7, b"key", None)])
def test_any_flipped_bit_of_a_change_is_seen(change: Change) -> None:
    """So is a record that is cut short, that grew, or that stands under another LSN."""
    record = encode_change(change)
    damaged = [
        record[:i] + bytes([record[i] ^ 1 << bit]) + record[i + 1 :]
        for i in range(len(record))
        for bit in range(8)
    ]
    damaged += [record[:i] for i in range(len(record))]
    damaged += [record + b"\0", b""]
    for wrong in damaged:
        with pytest.raises(CorruptRecord):
            decode_change(7, wrong)
    with pytest.raises(CorruptRecord):
        decode_change(8, record)
    with pytest.raises(CorruptRecord):
        decode_change(7, None)


def test_a_byte_that_changed_on_disk_is_corruption_not_data(database: Database) -> None:
    """A change is checked when it is read, and the changes before it are still served."""
    database.write(operations(1, 10))
    database.write([(b"marked", b"the value that rots")])
    database.write(operations(12, 20))
    path = database.path
    database.close()
    content = (path / "data.mdb").read_bytes()
    record = encode_change(Change(11, b"marked", b"the value that rots"))
    assert record in content
    (path / "data.mdb").write_bytes(content.replace(record, record[:-1] + b"!"))
    with Database.open(path, Files(), name="primary") as rotten:
        assert rotten.changes(0, 10) == stream(1, 10)
        for after_lsn in (0, 10):
            with pytest.raises(CorruptRecord, match="change 11 fails"):
                rotten.changes(after_lsn, 20)


@pytest.mark.parametrize("name", ["format", "database_id", "timeline", "last_lsn"])
def test_what_a_database_says_of_itself_is_sealed(database: Database, name: str) -> None:
    """A damaged or missing fact is an error to whoever needs it, never a zero."""
    path = database.path
    fact = name.encode()
    database._environment.write(lambda txn, db: txn.put(fact, bytes(12), db=db["meta"]))
    with pytest.raises(CorruptRecord, match=name):
        _use(path)
    database._environment.write(lambda txn, db: txn.delete(fact, db=db["meta"]))
    with pytest.raises(CorruptRecord, match=name):
        _use(path)


def _use(path: Path) -> None:
    with Database.open(path, Files(), name="primary") as database:
        database.last_lsn()


def test_a_newer_format_is_refused(database: Database) -> None:
    """Refused rather than guessed."""
    newer = seal(b"format", encode_number(2))
    database._environment.write(lambda txn, db: txn.put(b"format", newer, db=db["meta"]))
    with pytest.raises(UnknownFormat, match="format 2"):
        _use(database.path)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    """Missing, something else, junk, and an LMDB environment of somebody else."""
    with pytest.raises(InvalidValue, match="no database"):
        _use(tmp_path / "missing")
    (tmp_path / "file").write_bytes(b"text")
    with pytest.raises(InvalidValue, match="no database"):
        _use(tmp_path / "file")
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk/data.mdb").write_bytes(b"junk" * 4096)
    with pytest.raises(Corrupted):
        _use(tmp_path / "junk")
    run(
        "import lmdb, sys\nwith lmdb.open(sys.argv[1]) as env, env.begin(write=True) as txn:"
        "\n    txn.put(b'a', b'b')",
        tmp_path / "foreign",
    )
    with pytest.raises(InvalidValue, match="of another kind"):
        _use(tmp_path / "foreign")


# --- creating, opening, refusing ----------------------------------------------------------------


def test_a_new_database_is_empty_and_has_an_identity_of_its_own(tmp_path: Path) -> None:
    """The id is given or made up, and stays."""
    Database.create(tmp_path / "given", Files(), database_id=DATABASE_ID, timeline=3)
    with Database.open(tmp_path / "given", Files(), name="primary") as database:
        assert database.identity() == SourceIdentity(DATABASE_ID, 3)
        assert (database.last_lsn(), database.pruned_lsn(), database.record_count()) == (0, 0, 0)
        assert database.write([]) == 0
        assert database.changes(0, 10) == []
        assert list(database.items()) == []
    with create(tmp_path / "one") as one, create(tmp_path / "two") as two:
        assert one.identity() != two.identity()
        assert one.identity().timeline == 1


def test_creating_never_touches_what_is_there(tmp_path: Path) -> None:
    """A database, a file or a directory with something in it stay as they are."""
    with create(tmp_path / "db", last=5) as database:
        with pytest.raises(InvalidValue, match="already"):
            Database.create(tmp_path / "db", Files())
        assert database.digest() == (5, digest_at(5))
    (tmp_path / "file").write_bytes(b"text")
    with pytest.raises(InvalidValue):
        Database.create(tmp_path / "file", Files())
    assert (tmp_path / "file").read_bytes() == b"text"
    with pytest.raises(InvalidValue, match="not a directory"):
        Database.create(tmp_path / "no/parent", Files())


@pytest.mark.parametrize("wrong", ["", "x", DATABASE_ID.upper(), f"{{{DATABASE_ID}}}", 7])
def test_a_database_id_is_a_uuid(tmp_path: Path, wrong: str) -> None:
    """One id has one spelling; anything else creates nothing."""
    with pytest.raises(InvalidValue, match="UUID"):
        Database.create(tmp_path / "db", Files(), database_id=wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [0, -1, 1.0, True, U64_MAX + 1])
def test_a_timeline_is_a_number_from_one_up(tmp_path: Path, wrong: int) -> None:
    """Nothing is created for one that is not."""
    with pytest.raises(InvalidValue):
        Database.create(tmp_path / "db", Files(), timeline=wrong)
    assert list(tmp_path.iterdir()) == []


def test_opening_and_reading_leaves_every_byte_alone(tmp_path: Path) -> None:
    """A candidate that a manifest covers can be looked at without becoming another one."""
    create(tmp_path / "db", last=200).close()
    data = tmp_path / "db/data.mdb"
    before = data.read_bytes(), data.stat().st_mtime_ns
    with Database.open(tmp_path / "db", Files(), name="applier") as database:
        assert database.applied_lsn() == 200
        assert len(database.identity().database_id) == len(DATABASE_ID)
        assert database.record_count() == len(records(operations(1, 200)))
        assert database.changes(150, 10) == stream(151, 160)
        database.apply([])
    assert (data.read_bytes(), data.stat().st_mtime_ns) == before


GOOD = (b"good", b"value")


@pytest.mark.parametrize(
    "wrong",
    [
        (b"", b"v"),
        (bytes(KEY_MAX_BYTES + 1), b"v"),
        (bytearray(b"k"), b"v"),
        ("k", b"v"),
        (None, b"v"),
        (b"k", "v"),
        (b"k", 5),
        (b"k", memoryview(b"v")),
        (b"k", bytes(VALUE_MAX_BYTES + 1)),
        (b"k",),
        (b"k", b"v", b"w"),
    ],
    ids=lambda wrong: repr(wrong)[:20],
)
def test_a_record_that_cannot_be_stored_refuses_its_whole_batch(
    database: Database, wrong: tuple[bytes, bytes]
) -> None:
    """Written or applied: a clear error, and nothing of the batch is there."""
    with pytest.raises(InvalidValue):
        database.write([GOOD, wrong])
    with pytest.raises(InvalidValue):
        database.apply([Change(1, *GOOD), (2, *wrong)])
    assert database.digest() == (0, digest({}))
    assert database.changes(0, 10) == []


def test_the_longest_key_and_the_largest_value_are_stored(database: Database) -> None:
    """The bounds are what is allowed, not the first thing that is refused."""
    key, value = b"k" * KEY_MAX_BYTES, b"v" * VALUE_MAX_BYTES
    assert database.write([(key, value), (b"e", b"")]) == 2
    assert database.get(key) == value
    assert database.changes(0, 10) == [Change(1, key, value)]
    assert database.changes(1, 10) == [Change(2, b"e", b"")]


@pytest.mark.parametrize("lsn", [0, -1, 1.0, True, "1", None, U64_MAX, U64_MAX + 1])
def test_an_lsn_is_a_whole_number_from_one_up(database: Database, lsn: int) -> None:
    """No float is rounded into an LSN, and no negative one wraps around."""
    with pytest.raises(InvalidValue):
        database.apply([Change(lsn, *GOOD)])
    assert database.last_lsn() == 0


@pytest.mark.parametrize("bad", [-1, 1.0, True, None, U64_MAX + 1])
def test_a_question_with_a_number_that_is_none_is_refused(database: Database, bad: int) -> None:
    """So is a limit of nothing, whose answer would look like the end of the log."""
    for ask in (
        lambda: database.changes(bad, 1),
        lambda: database.changes(0, bad),
        lambda: database.changes(0, 0),
        lambda: database.changes(0, 1, max_bytes=0),
        lambda: database.prune(bad),
        lambda: database.get(b""),
    ):
        with pytest.raises(InvalidValue):
            ask()


# --- memory -------------------------------------------------------------------------------------


def test_copying_a_database_change_by_change_keeps_memory_flat(tmp_path: Path) -> None:
    """Reading 100 MB of log and applying it all over another database stays far below that."""
    with create(tmp_path / "p") as primary:
        for n in range(100):
            rest = random.Random(n)
            primary.write((rest.randbytes(8), rest.randbytes(65536)) for _ in range(16))
        create(tmp_path / "r").close()
        peak = run(
            IN_CHILD + "from processes import peak_resident_bytes\n"
            "import os\n"
            "with (\n"
            "    LocalSource.open(Path(sys.argv[1]), Files()) as source,\n"
            "    Database.open(Path(sys.argv[2]), Files(), name='applier') as database,\n"
            "):\n"
            "    while batch := source.changes(database.applied_lsn(), 1000):\n"
            "        database.apply(batch)\n"
            "    assert len(list(key for key, _ in database.items())) == 1600\n"
            "    print(peak_resident_bytes(os.getpid()))\n",
            tmp_path / "p",
            tmp_path / "r",
        )
        assert int(peak) < 110 * MIB
        with Database.open(tmp_path / "r", Files(), name="applier") as replica:
            assert replica.digest() == primary.digest()
