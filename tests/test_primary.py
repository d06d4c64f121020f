from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from database_model import IN_CHILD, create, digest_at, fill, operations, stream
from processes import kill, run, start, wait_for_line
from worlds import CrashingFiles, Scenario, every_pair, every_single

from bootledger.basebackup.manifest import MAX_CHUNK_BYTES
from bootledger.basebackup.publishing import open_manifest
from bootledger.environment import MIB
from bootledger.errors import (
    CorruptRecord,
    InvalidValue,
    LogWindowLost,
    SimulatedCrash,
    SnapshotLost,
    SourceUnavailable,
)
from bootledger.files import Files
from bootledger.positions import U64_MAX
from bootledger.primary.backups import BaseBackups
from bootledger.primary.source import LocalSource
from bootledger.replica.database import Database
from bootledger.replica.ports import Pin, Source

INTENT = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A primary that holds the stream up to LSN 300."""
    with create(tmp_path / "primary", last=300) as database:
        yield database


@pytest.fixture
def source(database: Database) -> Iterator[LocalSource]:
    """The primary as a source."""
    with LocalSource.open(database.path, Files()) as source:
        yield source


def published(primary: Path) -> list[str]:
    """Return the tokens of the base backups of a primary, and of leftovers."""
    root = primary / "basebackups"
    return sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []


def check_backup(directory: Path) -> int:
    """Check a published base backup, bytes and records, and return its LSN."""
    data = (directory / "data.mdb").read_bytes()
    with open_manifest(directory / "manifest") as manifest:
        for chunk in manifest.chunks():
            assert chunk.objection(data[slice(*chunk.range)]) is None
        assert len(data) == manifest.size_bytes
        lsn = manifest.checkpoint_lsn
    with Database.open(directory, Files(), name="basebackup") as copy:
        assert copy.digest() == (lsn, digest_at(lsn))
        assert copy.changes(copy.pruned_lsn(), lsn + 1) == stream(copy.pruned_lsn() + 1, lsn)
    assert (directory / "data.mdb").read_bytes() == data
    return lsn


def fetch(source: Source, pin: Pin, directory: Path) -> None:
    """Fetch a base backup through the port, in odd pieces, into `directory`."""
    for name, read, size_bytes in (
        ("data.mdb", source.read_chunk, pin.size_bytes),
        ("manifest", source.read_manifest, pin.manifest_size_bytes),
    ):
        step = 12_345
        parts = [read(pin.token, at, step) for at in range(0, size_bytes + step, step)]
        assert len(b"".join(parts)) == size_bytes
        (directory / name).write_bytes(b"".join(parts))


# --- publishing ---------------------------------------------------------------------------------


def test_a_base_backup_holds_exactly_the_changes_up_to_its_lsn(tmp_path: Path) -> None:
    """Published again and again while another process writes, each is one state of the primary."""
    create(tmp_path / "primary").close()
    writer = start(
        IN_CHILD + "with Database.open(Path(sys.argv[1]), Files(), name='primary') as database:\n"
        "    while (last := database.last_lsn()) >= 0:\n"
        "        database.write(operations(last + 1, last + 7))\n"
        "        print(last + 7, flush=True)\n",
        tmp_path / "primary",
    )
    lsns = [0]
    with LocalSource.open(tmp_path / "primary", Files()) as source:
        for generation in range(1, 9):
            while (said := int(wait_for_line(writer))) < lsns[-1] + 21:
                pass
            pin = source.pin(INTENT, generation)
            assert pin.lsn >= said
            assert check_backup(tmp_path / "primary/basebackups" / pin.token) == pin.lsn
            lsns.append(pin.lsn)
        kill(writer)
        assert lsns == sorted(set(lsns))
        # Transactions are whole: each of the writer's has seven changes.
    assert [lsn % 7 for lsn in lsns] == [0] * 9


def test_what_is_fetched_through_the_port_is_a_replica_and_a_primary(
    source: LocalSource, database: Database, tmp_path: Path
) -> None:
    """A base backup plus the changes after it is the primary; it can be replicated from in turn."""
    pin = source.pin(INTENT, 1)
    database.write(operations(301, 700))
    (tmp_path / "replica").mkdir()
    fetch(source, pin, tmp_path / "replica")
    assert check_backup(tmp_path / "replica") == pin.lsn == 300
    with Database.open(tmp_path / "replica", Files(), name="applier") as replica:
        while changes := source.changes(replica.applied_lsn(), 90):
            replica.apply(changes)
        assert replica.identity() == source.identity() == database.identity()
        assert replica.digest() == database.digest() == (700, digest_at(700))

    with LocalSource.open(tmp_path / "replica", Files()) as second:
        assert second.last_lsn() == 700
        assert second.changes(0, 1000) == stream(1, 700)
        again = second.pin(INTENT, 1)
        assert check_backup(tmp_path / "replica/basebackups" / again.token) == 700


def test_the_same_intent_and_generation_is_the_same_base_backup(
    source: LocalSource, database: Database
) -> None:
    """Asked again, by another process too, the first answer stands; a new generation is new."""
    first = source.pin(INTENT, 1)
    database.write(operations(301, 310))
    assert source.pin(INTENT, 1) == first
    told = run(
        IN_CHILD + "with LocalSource.open(Path(sys.argv[1]), Files()) as source:"
        "\n    print(source.pin(sys.argv[2], 1))",
        database.path,
        INTENT,
    )
    assert told.strip() == repr(first)
    second = source.pin(INTENT, 2)
    assert (first.lsn, second.lsn) == (300, 310)
    assert published(database.path) == [first.token, second.token]
    assert first.timeline == second.timeline == 1


def test_two_processes_that_pin_at_once_publish_one_base_backup(tmp_path: Path) -> None:
    """They are serialised: both get the same answer, and one directory exists."""
    with create(tmp_path / "primary", last=300) as database:
        fill(database, 16)
    code = IN_CHILD + (
        "with LocalSource.open(Path(sys.argv[1]), Files()) as source:\n"
        "    print('open', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    print(source.pin(sys.argv[2], 1), flush=True)\n"
    )
    children = [start(code, tmp_path / "primary", INTENT) for _ in range(3)]
    for child in children:
        wait_for_line(child)
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    answers = {child.communicate(timeout=60)[0] for child in children}
    assert [child.returncode for child in children] == [0, 0, 0]
    assert len(answers) == 1
    assert published(tmp_path / "primary") == [f"{INTENT}.1"]


def test_a_publication_in_progress_makes_others_wait_and_then_say_who(
    database: Database, tmp_path: Path
) -> None:
    """Nobody waits for ever; what is published already needs no waiting."""
    backups = BaseBackups(database, Files(), wait_s=0.05)
    done = backups.pin(INTENT, 1)
    lock = Files().lock(database.path / "basebackups/publishing.lock")
    with lock.acquire(words="pid 1234"):
        assert backups.pin(INTENT, 1) == done
        with pytest.raises(SourceUnavailable, match="pid 1234"):
            backups.pin(INTENT, 2)
        backups.release(done.token)
        with pytest.raises(SnapshotLost):
            backups.path(done.token, "data.mdb")
    assert backups.pin(INTENT, 2).lsn == 300
    assert published(database.path) == [f"{INTENT}.2"]


# --- dying --------------------------------------------------------------------------------------


def _publish_and_release(files: CrashingFiles, place: Path) -> None:
    with (
        LocalSource.open(place / "primary", files) as source,
        Database.open(place / "primary", files, name="primary") as database,
    ):
        if (last := database.last_lsn()) == 50:
            source.pin(INTENT, 1)
            database.write(operations(last + 1, 60))
        assert source.pin(INTENT, 2).lsn == 60
        source.release(f"{INTENT}.1")


def _every_backup_is_whole(place: Path) -> None:
    for token in published(place / "primary"):
        if (place / "primary/basebackups" / token / "manifest").exists():
            check_backup(place / "primary/basebackups" / token)


def _only_the_last_is_left(place: Path) -> None:
    assert published(place / "primary") == [f"{INTENT}.2"]
    assert check_backup(place / "primary/basebackups" / f"{INTENT}.2") == 60


DYING = Scenario(
    run=_publish_and_release,
    prepare=lambda place: create(place / "primary", last=50).close(),
    after_crash=_every_backup_is_whole,
    check=_only_the_last_is_left,
)


def test_publishing_and_releasing_survive_a_crash_at_every_point() -> None:
    """What exists is whole at any moment, and the next life ends with what was asked for."""
    deaths = every_single(DYING, at_least=15)
    assert {"basebackup.copying#1", "basebackup.copied#2", "manifest.renamed#1"} <= deaths


def _publish_alone(files: CrashingFiles, place: Path) -> None:
    with LocalSource.open(place / "primary", files) as source:
        source.pin(INTENT, 2)


def test_publishing_survives_two_crashes() -> None:
    """Wiping the leftovers of a death may itself be cut short."""
    alone = Scenario(
        run=_publish_alone,
        prepare=lambda place: create(place / "primary", last=60).close(),
        after_crash=_every_backup_is_whole,
        check=_only_the_last_is_left,
    )
    every_pair(alone, at_least=10)


def test_a_publication_that_is_killed_is_wiped_and_done_again(tmp_path: Path) -> None:
    """SIGKILL at any moment of the copy leaves nothing that passes for a base backup."""
    chance = random.Random(3)
    with create(tmp_path / "primary", last=300) as database:
        database.write((b"%d" % n, chance.randbytes(MIB)) for n in range(12))
        sums = database.digest()
    code = IN_CHILD + (
        "with LocalSource.open(Path(sys.argv[1]), Files()) as source:\n"
        "    print('open', flush=True)\n"
        "    pin = source.pin(sys.argv[2], int(sys.argv[3]))\n"
        "    print(pin.lsn, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    copies = tmp_path / "primary/basebackups"
    for generation in range(1, 5):
        child = start(code, tmp_path / "primary", INTENT, generation)
        wait_for_line(child)
        data = copies / f"{INTENT}.{generation}/data.mdb"
        wanted = chance.randrange(12 * MIB)
        while not data.exists() or data.stat().st_size < wanted:
            assert child.poll() is None
        kill(child)
        with LocalSource.open(tmp_path / "primary", Files()) as source:
            pin = source.pin(INTENT, generation)
            (tmp_path / "replica").mkdir()
            fetch(source, pin, tmp_path / "replica")
        with Database.open(tmp_path / "replica", Files(), name="applier") as replica:
            assert replica.digest() == sums
        shutil.rmtree(tmp_path / "replica")
    assert len(published(tmp_path / "primary")) == 4


# --- releasing, and tokens ----------------------------------------------------------------------


def test_a_released_base_backup_is_gone_by_name(source: LocalSource, database: Database) -> None:
    """Its bytes are deleted, asking for them says so, and releasing again is harmless."""
    kept, gone = source.pin(INTENT, 1), source.pin(INTENT, 2)
    source.release(gone.token)
    source.release(gone.token)
    assert published(database.path) == [kept.token]
    for read in (source.read_chunk, source.read_manifest):
        with pytest.raises(SnapshotLost, match=gone.token):
            read(gone.token, 0, 10)
    assert len(source.read_chunk(kept.token, 0, 10)) == 10


class _Errand(Files):
    """Real files; at one point, something else happens."""

    def __init__(self, name: str, errand: Callable[[], object]) -> None:
        self._name = name
        self._errand = errand

    def point(self, name: str) -> None:
        """Run the errand at its point."""
        if name == self._name:
            self._errand()


def test_what_is_released_during_a_publication_is_wiped_at_its_end(
    source: LocalSource, database: Database
) -> None:
    """Whoever releases does not wait for a long copy; the room is given back nevertheless."""
    gone = source.pin(INTENT, 1).token
    errand = _Errand("basebackup.copying", lambda: source.release(gone))
    kept = BaseBackups(database, errand).pin(INTENT, 2).token
    assert published(database.path) == [kept]


def test_a_release_that_dies_half_way_leaves_no_base_backup(
    source: LocalSource, database: Database
) -> None:
    """Wherever deleting stops, what is left does not pass for whole."""
    token = source.pin(INTENT, 1).token
    data = database.path / "basebackups" / token / "data.mdb"

    class Dying(Files):
        def remove(self, path: Path) -> None:
            if path.is_dir():
                data.unlink()
                raise SimulatedCrash("half of the directory is gone")
            super().remove(path)

    with pytest.raises(SimulatedCrash):
        BaseBackups(database, Dying()).release(token)
    with pytest.raises(SnapshotLost):
        source.read_manifest(token, 0, 1)
    assert check_backup(database.path / "basebackups" / source.pin(INTENT, 1).token) == 300


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "../..",
        "../x.1",
        "a/b.1",
        "a.1\n",
        "A.1",
        "a.b",
        "a\0.1",
        "a.1/..",
        None,
        7,
        "snapshot:replica-1:10:9000",
        "a" * 65 + ".1",
        f"{INTENT}.1.1",
        "publishing.lock",
        "\xe9.1",
        "a.\u0661",
    ],
)
def test_what_is_no_token_never_becomes_a_path(source: LocalSource, token: str) -> None:
    """It is another source's: there is nothing to read, and nothing to release."""
    pin = source.pin(INTENT, 1)
    for use in (
        lambda: source.read_chunk(token, 0, 1),
        lambda: source.read_manifest(token, 0, 1),
    ):
        with pytest.raises(SnapshotLost, match="no base backup"):
            use()
    source.release(token)
    assert source.read_manifest(pin.token, 0, 1)


@pytest.mark.parametrize("intent_id", ["", ".", "..", "a/b", "a.b", "A", "a\n", "a" * 65, None])
def test_an_intent_id_that_cannot_be_a_name_is_refused(
    source: LocalSource, database: Database, intent_id: str
) -> None:
    """Nothing is written for it."""
    with pytest.raises(InvalidValue):
        source.pin(intent_id, 1)
    assert published(database.path) == []


@pytest.mark.parametrize("bad", [-1, 1.0, True, None, "1", U64_MAX + 1])
def test_offsets_lengths_and_generations_are_whole_numbers(source: LocalSource, bad: int) -> None:
    """Refused at the boundary; so is more at once than a chunk may have."""
    token = source.pin(INTENT, 1).token
    for use in (
        lambda: source.pin(INTENT, bad),
        lambda: source.read_chunk(token, bad, 1),
        lambda: source.read_chunk(token, 0, bad),
        lambda: source.read_chunk(token, 0, MAX_CHUNK_BYTES + 1),
    ):
        with pytest.raises(InvalidValue):
            use()


def test_beyond_the_end_there_are_no_bytes(source: LocalSource) -> None:
    """A read ends where the file does, also at offsets that no file can have."""
    pin = source.pin(INTENT, 1)
    assert len(source.read_chunk(pin.token, pin.size_bytes - 3, 10)) == 3
    assert source.read_chunk(pin.token, pin.size_bytes, 10) == b""
    assert source.read_chunk(pin.token, U64_MAX, 10) == b""
    assert source.read_manifest(pin.token, pin.manifest_size_bytes, 1) == b""


# --- the primary is not what it was -------------------------------------------------------------


def test_a_primary_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    """Missing: try again later. Something else: a clear error."""
    with pytest.raises(SourceUnavailable, match="no primary"):
        LocalSource.open(tmp_path / "missing", Files())
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidValue, match="no database"):
        LocalSource.open(tmp_path / "empty", Files())
    (tmp_path / "file").write_bytes(b"text")
    with pytest.raises(InvalidValue, match="no database"):
        LocalSource.open(tmp_path / "file", Files())
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk/data.mdb").write_bytes(b"junk" * 4096)
    with pytest.raises(CorruptRecord):
        LocalSource.open(tmp_path / "junk", Files())


@pytest.mark.parametrize("replaced", [False, True])
def test_a_primary_that_leaves_its_place_is_unavailable(tmp_path: Path, replaced: bool) -> None:
    """A file that was deleted or replaced is not read on as if nothing had happened."""
    create(tmp_path / "primary", last=20).close()
    with LocalSource.open(tmp_path / "primary", Files()) as source:
        pin = source.pin(INTENT, 1)
        (tmp_path / "primary").rename(tmp_path / "moved")
        if replaced:
            create(tmp_path / "primary", last=5).close()
        for use in (
            source.identity,
            source.last_lsn,
            lambda: source.pin(INTENT, 2),
            lambda: source.read_chunk(pin.token, 0, 1),
            lambda: source.read_manifest(pin.token, 0, 1),
            lambda: source.changes(0, 1),
            lambda: source.release(pin.token),
        ):
            with pytest.raises(SourceUnavailable):
                use()
    assert published(tmp_path / "moved") == [pin.token]


def test_a_pruned_log_is_a_lost_window(source: LocalSource, database: Database) -> None:
    """A base backup outlives the log that led to it, and has lost the same window."""
    database.prune(200)
    with pytest.raises(LogWindowLost):
        source.changes(199, 10)
    assert source.changes(200, 10) == stream(201, 210)
    assert check_backup(database.path / "basebackups" / source.pin(INTENT, 1).token) == 300


# --- memory -------------------------------------------------------------------------------------


def test_publishing_keeps_memory_flat(tmp_path: Path) -> None:
    """A database whose records lie anywhere in its file is copied in far less than its size."""
    with create(tmp_path / "primary") as database:
        fill(database, 128)
    peak_bytes, size_bytes = run(
        IN_CHILD + "from processes import peak_resident_bytes\n"
        "import os\n"
        "with LocalSource.open(Path(sys.argv[1]), Files()) as source:\n"
        "    pin = source.pin(sys.argv[2], 1)\n"
        "    print(peak_resident_bytes(os.getpid()), pin.size_bytes)\n",
        tmp_path / "primary",
        INTENT,
    ).split()
    assert int(size_bytes) > 256 * MIB
    assert int(peak_bytes) < 100 * MIB
