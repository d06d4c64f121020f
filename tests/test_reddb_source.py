from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import processes
import pytest
from replicas import NODE, assert_equal, make_primary, quiet, write_more
from worlds import CrashingFiles, Scenario, every_pair, every_single, fresh_place

from bootledger.basebackup.reddb_errors import InvalidOperation
from bootledger.basebackup.reddb_layout import basebackup_chunk_relative_path
from bootledger.basebackup.reddb_manifest import (
    BaseBackupChunkRef,
    BaseBackupPlan,
    PrimaryReplicaBaseBackupManifest,
)
from bootledger.basebackup.reddb_spool import Spool
from bootledger.basebackup.reddb_stream import WalRecord, WalStreamChunk, WalStreamOpen
from bootledger.basebackup.reddb_wire import BaseBackupChunk, BaseBackupRequest
from bootledger.errors import (
    Corrupted,
    CorruptRecord,
    LogWindowLost,
    SnapshotLost,
    SourceChanged,
    SourceUnavailable,
    TargetBusy,
)
from bootledger.files import Files
from bootledger.replica.database import Database
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.loop import Outcome, Replication
from bootledger.replica.ports import Change, SourceIdentity
from bootledger.replica.reddb_download import MOST_FRUITLESS
from bootledger.replica.reddb_source import RedDbLog, RedDbSource
from bootledger.replica.settings import Settings
from bootledger.replica.target import LEDGER_NAME, Target

CHUNK_BYTES = 16 * 1024
IDENTITY = SourceIdentity("0197a5a0-0000-7000-8000-000000000001", 1)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory in memory: what is tested here is not the disk."""
    with fresh_place() as place:
        yield place


def manifest_of(
    data: bytes, *, lsn: int, chunk_bytes: int = CHUNK_BYTES, timeline: int = 1
) -> PrimaryReplicaBaseBackupManifest:
    """The manifest that a RedDB primary would make of `data`."""
    plan = BaseBackupPlan(timeline, 0, lsn)
    chunks = [
        BaseBackupChunkRef(
            ordinal,
            offset,
            len(part := data[offset : offset + chunk_bytes]),
            zlib.crc32(part),
            basebackup_chunk_relative_path(plan, ordinal),
        )
        for ordinal, offset in enumerate(range(0, max(len(data), 1), chunk_bytes))
    ]
    return PrimaryReplicaBaseBackupManifest.incremental(
        plan, "whole.snapshot", len(data), zlib.crc32(data), chunks
    )


@dataclass
class Primary:
    """A RedDB primary with one base backup. `change` may change an answer before it is sent."""

    data: bytes
    manifest: PrimaryReplicaBaseBackupManifest
    change: Callable[[int, BaseBackupChunk], BaseBackupChunk] = lambda _, answer: answer
    requests: list[tuple[int, str | None]] = field(default_factory=list)

    def __call__(self, request: BaseBackupRequest) -> str:
        """Answer a request."""
        number = len(self.requests)
        self.requests.append((request.snapshot_offset, request.snapshot_token))
        return self.change(number, self.answer(request.snapshot_offset)).encode()

    def answer(self, offset: int) -> BaseBackupChunk:
        """The answer to a request for that offset, as it should be."""
        found = [c for c in self.manifest.chunks if c.snapshot_offset == offset]
        answer = BaseBackupChunk(
            replica_id=NODE,
            slot_restart_lsn=0,
            snapshot_token=f"snapshot:{NODE}:{self.manifest.checkpoint_lsn}:9",
            basebackup_available=True,
            basebackup_manifest=self.manifest.encode(),
        )
        for chunk in found:
            end = chunk.snapshot_offset + chunk.chunk_bytes
            answer = replace(
                answer,
                basebackup_chunk_ordinal=chunk.ordinal,
                basebackup_chunk=self.data[chunk.snapshot_offset : end],
            )
        return answer


def primary_of(data: bytes, **more: int) -> Primary:
    """A primary whose base backup is `data`."""
    return Primary(data, manifest_of(data, **{"lsn": 50, "chunk_bytes": 8, **more}))


def open_source(
    primary: Callable[[BaseBackupRequest], str | bytes], spool: Path, **more: object
) -> RedDbSource:
    """A source of that primary that waits for nobody."""
    options = {"files": Files(), "identity": IDENTITY, "sleep": lambda _: None, **more}
    return RedDbSource.open(ask=primary, spool=spool, **options)


def read_all(source: RedDbSource) -> bytes:
    """Pin, and read the whole base backup back."""
    pin = source.pin("intent", 1)
    pieces = (source.read_chunk(pin.token, at, 7) for at in range(0, pin.size_bytes + 7, 7))
    return b"".join(pieces)


DATA = bytes(range(45))


# --- the download -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 8, 9, 45])
@pytest.mark.parametrize("chunk_bytes", [1, 8, 64])
def test_a_base_backup_is_downloaded_and_read_back(
    tmp_path: Path, size: int, chunk_bytes: int
) -> None:
    """Whatever it was cut into, in as many requests as there are chunks."""
    primary = primary_of(DATA[:size], chunk_bytes=chunk_bytes)
    with open_source(primary, tmp_path / "spool") as source:
        assert read_all(source) == DATA[:size]
        assert read_all(source) == DATA[:size]
    assert len(primary.requests) == len(primary.manifest.chunks)
    assert [token for _, token in primary.requests].count(None) == 1


def test_a_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """After an error, in another process or not, only what is missing is asked for."""
    primary = primary_of(DATA)

    def break_down(number: int, answer: BaseBackupChunk) -> BaseBackupChunk:
        if number == 3:
            raise ConnectionResetError("reset")
        return answer

    primary.change = break_down
    with (
        open_source(primary, tmp_path / "spool") as source,
        pytest.raises(SourceUnavailable, match="reset"),
    ):
        source.pin("intent", 1)
    with open_source(primary, tmp_path / "spool") as source:
        assert read_all(source) == DATA
    assert [offset for offset, _ in primary.requests] == [0, 8, 16, 24, 24, 32, 40]


def test_a_crash_anywhere_costs_what_was_in_flight() -> None:
    """Wherever the process dies, the base backup is whole in the end, one chunk asked for twice."""
    primaries: dict[Path, Primary] = {}

    def run(files: CrashingFiles, place: Path) -> None:
        primary = primaries.setdefault(place, primary_of(DATA))
        with open_source(primary, place / "spool", files=files) as source:
            assert read_all(source) == DATA

    def check(place: Path) -> None:
        primary = primaries.pop(place)
        assert len(primary.requests) <= len(primary.manifest.chunks) + 1

    every_single(Scenario(run, check=check), at_least=40)


def test_what_was_damaged_in_the_spool_is_downloaded_again(tmp_path: Path) -> None:
    """Before the whole was there, and after it was published: that chunk, and no other."""
    primary = primary_of(DATA)
    with open_source(primary, tmp_path / "spool") as source:
        first = source.pin("intent", 1)
    parts = sorted((tmp_path / "spool" / "parts").rglob("*.redchunk"))
    parts[2].write_bytes(b"damaged!")
    del primary.requests[:]
    with open_source(primary, tmp_path / "spool") as source:
        with pytest.raises(SnapshotLost):
            source.read_chunk(first.token, 0, 8)
        assert source.pin("intent", 2) == first
        assert read_all(source) == DATA
    assert [offset for offset, _ in primary.requests] == [16]


def test_another_chunk_than_the_one_asked_for_is_progress(tmp_path: Path) -> None:
    """It is staged, and the first gap is asked for again."""
    primary = primary_of(DATA)
    primary.change = lambda number, answer: primary.answer(40) if number == 1 else answer
    with open_source(primary, tmp_path / "spool") as source:
        assert read_all(source) == DATA
    assert [offset for offset, _ in primary.requests] == [0, 8, 8, 16, 24, 32]


@pytest.mark.parametrize("again", [True, False])
def test_a_primary_that_sends_nothing_new_is_not_asked_for_ever(
    tmp_path: Path, again: bool
) -> None:
    """RedDB asks without end; here a few answers, with pauses that grow, are an error."""
    primary = primary_of(DATA)
    without = {"basebackup_chunk": None, "basebackup_chunk_ordinal": None}

    def nothing_new(number: int, answer: BaseBackupChunk) -> BaseBackupChunk:
        if not number:
            return answer
        return primary.answer(0) if again else replace(answer, **without)

    primary.change = nothing_new
    pauses: list[float] = []
    with (
        open_source(primary, tmp_path / "spool", sleep=pauses.append) as source,
        pytest.raises(SourceUnavailable, match="nothing new"),
    ):
        source.pin("intent", 1)
    assert len(primary.requests) == MOST_FRUITLESS + 1
    assert pauses == sorted(pauses)
    assert 10 < sum(pauses) < 60


def test_a_new_base_backup_in_the_middle_is_an_error_and_then_the_one_that_is_copied(
    tmp_path: Path,
) -> None:
    """Bytes of two base backups never mix, and nothing of the old one stays."""
    old, new = primary_of(DATA), primary_of(DATA[::-1], lsn=51)
    old.change = lambda number, answer: new.answer(8) if number == 1 else answer
    with (
        open_source(old, tmp_path / "spool") as source,
        pytest.raises(SourceUnavailable, match="changed"),
    ):
        source.pin("intent", 1)
    with open_source(new, tmp_path / "spool") as source:
        assert read_all(source) == DATA[::-1]
    assert len(list((tmp_path / "spool" / "parts").rglob("*.redchunk"))) == 6


def test_a_primary_without_a_base_backup_is_asked_anew_next_time(tmp_path: Path) -> None:
    """What was staged stays, and is used if it is the same base backup again."""
    primary = primary_of(DATA)
    primary.change = lambda number, answer: (
        replace(answer, basebackup_available=False) if number == 2 else answer
    )
    with (
        open_source(primary, tmp_path / "spool") as source,
        pytest.raises(SourceUnavailable, match="no base backup"),
    ):
        source.pin("intent", 1)
    with open_source(primary, tmp_path / "spool") as source:
        assert read_all(source) == DATA
    assert primary.requests[3] == (0, None)
    assert [offset for offset, _ in primary.requests[4:]] == [16, 24, 32, 40]


def test_a_whole_that_is_wrong_is_refused_and_the_primary_asked_anew(tmp_path: Path) -> None:
    """Each part is right and the whole is not: the next start looks for another base backup."""
    bad = primary_of(DATA)
    bad.manifest = replace(bad.manifest, snapshot_checksum=1)
    for _ in range(2):
        with (
            open_source(bad, tmp_path / "spool") as source,
            pytest.raises(InvalidOperation, match="CRC-32"),
        ):
            source.pin("intent", 1)
    assert len(bad.requests) == len(bad.manifest.chunks) + 1
    good = primary_of(DATA)
    with open_source(good, tmp_path / "spool") as source:
        assert read_all(source) == DATA


def test_an_empty_base_backup_is_refused(tmp_path: Path) -> None:
    """No database is empty."""
    with (
        open_source(primary_of(b""), tmp_path / "spool") as source,
        pytest.raises(InvalidOperation, match="empty"),
    ):
        source.pin("intent", 1)


def test_a_base_backup_of_another_timeline_is_refused(tmp_path: Path) -> None:
    """The caller says which timeline it is; what contradicts that is not staged."""
    with (
        open_source(primary_of(DATA, timeline=2), tmp_path / "spool") as source,
        pytest.raises(SourceChanged, match="timeline 2"),
    ):
        source.pin("intent", 1)
    assert list((tmp_path / "spool" / "parts").iterdir()) == []


def test_a_spool_has_one_owner(tmp_path: Path) -> None:
    """A second process, or handle, is refused while the first has it."""
    with open_source(primary_of(DATA), tmp_path / "spool"), pytest.raises(TargetBusy):
        Spool.open(tmp_path / "spool", Files())
    Spool.open(tmp_path / "spool", Files()).close()


def test_every_flipped_byte_in_a_spool_is_reported_or_mended(tmp_path: Path) -> None:
    """No flip anywhere in it leads to other bytes than the primary's."""
    primary = primary_of(DATA, chunk_bytes=16)
    with open_source(primary, tmp_path / "spool") as source:
        source.pin("intent", 1)
    files = [path for path in (tmp_path / "spool").rglob("*") if path.is_file()]
    flips = [(path, at) for path in files for at in range(0, path.stat().st_size, 7)]
    assert len(flips) > 80
    for path, at in flips:
        shutil.rmtree(tmp_path / "flipped", ignore_errors=True)
        shutil.copytree(tmp_path / "spool", tmp_path / "flipped")
        flipped = tmp_path / "flipped" / path.relative_to(tmp_path / "spool")
        data = bytearray(flipped.read_bytes())
        data[at] ^= 0x10
        flipped.write_bytes(data)
        try:
            with open_source(primary, tmp_path / "flipped") as source:
                assert read_all(source) == DATA
        except Corrupted:
            continue


def test_releasing_empties_the_spool(tmp_path: Path) -> None:
    """Only of the base backup that is named; again, harmlessly."""
    with open_source(primary_of(DATA), tmp_path / "spool") as source:
        pin = source.pin("intent", 1)
        source.release("another")
        assert source.read_chunk(pin.token, 0, 3) == DATA[:3]
        for _ in range(2):
            source.release(pin.token)
        with pytest.raises(SnapshotLost):
            source.read_chunk(pin.token, 0, 3)
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["lock"]


def left_in(spool: Path) -> list[Path]:
    """The files of a spool, without its lock."""
    return [path for path in spool.rglob("*") if path.is_file() and path.name != "lock"]


@pytest.mark.parametrize("explore", [every_single, every_pair])
def test_a_crash_while_releasing_leaves_nothing_behind(
    explore: Callable[..., set[str]],
) -> None:
    """Whenever it dies: what is published is whole, and the next release empties the spool."""
    primary = primary_of(DATA, chunk_bytes=16)
    with fresh_place() as scratch, open_source(primary, scratch / "spool") as source:
        token = source.pin("intent", 1).token

    def prepare(place: Path) -> None:
        with open_source(primary, place / "spool") as source:
            source.pin("intent", 1)

    def release(files: CrashingFiles, place: Path) -> None:
        with open_source(primary, place / "spool", files=files) as source:
            source.release(token)

    def published_means_whole(place: Path) -> None:
        with closing(Spool.open(place / "spool", Files())) as spool:
            if (published := spool.published()) is not None:
                published.close()
                assert spool.missing() == []

    def check(place: Path) -> None:
        assert left_in(place / "spool") == []

    explore(Scenario(release, prepare, published_means_whole, check), at_least=5)


def test_releasing_what_is_gone_leaves_another_download_alone(tmp_path: Path) -> None:
    """What is half there has no token yet; the one of an older base backup is not its."""
    with open_source(primary_of(DATA), tmp_path / "spool") as source:
        old = source.pin("intent", 1).token
        source.release(old)
    newer = primary_of(DATA[::-1], lsn=51)
    newer.change = lambda number, answer: replace(answer, basebackup_available=number < 3)
    with open_source(newer, tmp_path / "spool") as source:
        with pytest.raises(SourceUnavailable):
            source.pin("intent", 2)
        source.release(old)
    assert len(list((tmp_path / "spool" / "parts").rglob("*.redchunk"))) == 3


def test_a_manifest_that_lost_its_origin_is_not_that_of_the_next_base_backup(
    tmp_path: Path,
) -> None:
    """Whoever removes a damaged origin leaves our manifest there: it vouches for nothing else."""
    with open_source(primary_of(DATA), tmp_path / "spool") as source:
        source.pin("intent", 1)
    (tmp_path / "spool" / "origin").unlink()
    newer = primary_of(DATA[::-1], lsn=51)
    with closing(Spool.open(tmp_path / "spool", Files())) as spool:
        spool.adopt(newer.manifest.encode(), None)
        assert spool.published() is None


class Stopped(Exception):
    """Somebody asked for a pause."""


def test_a_pause_is_asked_for_at_every_part_that_is_read_again(tmp_path: Path) -> None:
    """While the spool is looked through and described; a stop in between costs nothing."""
    primary = primary_of(DATA)
    with open_source(primary, tmp_path / "spool") as source:
        pin = source.pin("intent", 1)
    parts, asked = len(primary.manifest.chunks), len(primary.requests)
    pauses: list[int] = []

    def pause(last: int) -> None:
        pauses.append(len(primary.requests))
        if len(pauses) == last:
            raise Stopped

    for last in (1, parts, parts + 1, parts + 2):  # checked as published, then as staged, described
        if last > parts:
            (tmp_path / "spool" / "manifest").unlink(missing_ok=True)
        pauses.clear()
        with open_source(primary, tmp_path / "spool") as source:
            if last <= parts + 1:
                with pytest.raises(Stopped):
                    source.pin("intent", 1, partial(pause, last))
            else:
                assert source.pin("intent", 1, partial(pause, last)) == pin
        assert len(pauses) == min(last, parts + 1)
    assert len(primary.requests) == asked


def test_no_part_is_read_through_a_link_out_of_the_spool(tmp_path: Path) -> None:
    """Not even by the reader of what was published and checked before."""
    with open_source(primary_of(DATA), tmp_path / "spool") as source:
        pin = source.pin("intent", 1)
        part = min((tmp_path / "spool" / "parts").rglob("*.redchunk"))
        part.rename(tmp_path / "elsewhere")
        part.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(InvalidOperation, match="leads out"):
            source.read_chunk(pin.token, 0, 8)


# --- the log ------------------------------------------------------------------------------------


def piece_of(**more: object) -> Callable[[WalStreamOpen], str]:
    """A primary that answers every question about its log with the same piece."""
    return lambda _: WalStreamChunk(**{"current_lsn": 9, **more}).encode()


def with_log(spool: Path, ask: Callable[[WalStreamOpen], str]) -> RedDbSource:
    """A source with a log whose records are keys."""
    log = RedDbLog(ask, lambda data: (data, None))
    return open_source(primary_of(DATA), spool, log=log)


def test_changes_are_what_the_caller_reads_out_of_the_records(tmp_path: Path) -> None:
    """RedDB's payloads carry bytes; what they mean is for the caller to say."""
    records = (WalRecord(8, b"a"), WalRecord(9, b"b"))
    with with_log(tmp_path / "spool", piece_of(records=records)) as source:
        assert source.last_lsn() == 9
        assert source.changes(7, 10) == [Change(8, b"a", None), Change(9, b"b", None)]


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ('{"current_lsn":9,"needs_rebootstrap":true}', LogWindowLost),
        ('{"current_lsn":9,"oldest_available_lsn":9}', LogWindowLost),
        ('{"current_lsn":9,"catchup_mode":"reclone"}', LogWindowLost),
        ('{"current_lsn":9,"records":[{"lsn":7,"data":"00"}]}', CorruptRecord),
        ('{"current_lsn":9,"records":[{"lsn":8}]}', Corrupted),
        ("nope", Corrupted),
    ],
)
def test_a_log_that_is_not_enough_says_so(
    tmp_path: Path, payload: str, error: type[Exception]
) -> None:
    """Too old, to be copied anew, out of order, or not to be read."""
    with with_log(tmp_path / "spool", lambda _: payload) as source, pytest.raises(error):
        source.changes(7, 10)


def test_without_a_log_only_a_newer_base_backup_helps(tmp_path: Path) -> None:
    """The first question tells the LSN, and its answer is not asked for again."""
    primary = primary_of(DATA)
    with open_source(primary, tmp_path / "spool") as source:
        assert source.last_lsn() == 50
        assert source.changes(50, 10) == ()
        with pytest.raises(LogWindowLost):
            source.changes(49, 10)
        assert not (tmp_path / "spool" / "origin").exists()
        assert read_all(source) == DATA
    assert len(primary.requests) == len(primary.manifest.chunks)


# --- end to end ---------------------------------------------------------------------------------


def backup_of(database: Path, place: Path) -> Primary:
    """A RedDB primary whose base backup is a database of ours, as it is now."""
    with Database.open(database, Files(), name="primary") as opened:
        lsn, timeline = opened.last_lsn(), opened.identity().timeline
    place.mkdir(exist_ok=True)
    data = (database / "data.mdb").read_bytes()
    return Primary(data, manifest_of(data, lsn=lsn, timeline=timeline))


def bring_up(primary: Primary, database: Path, place: Path, *, follows: bool = True) -> Outcome:
    """Replicate through RedDB's payloads into `place`, with the log of the database if wanted."""
    with Database.open(database, Files(), name="primary") as opened:
        identity = opened.identity()
        log = RedDbLog(partial(serve_log, opened), read_record) if follows else None
        files = Files()
        with (
            open_source(primary, place / "spool", identity=identity, log=log) as source,
            Target.open(
                place / "target", files, source_database_id=identity.database_id, node_id=NODE
            ) as target,
            IntentLog.open(place / "target" / LEDGER_NAME, files=files, sink=quiet) as ledger,
        ):
            return Replication(
                NODE,
                ledger,
                source,
                target,
                partial(Database.open, files=files, name="applier"),
                files=files,
                settings=Settings(batch_changes=10),
            ).run()


def serve_log(database: Database, request: WalStreamOpen) -> str:
    """Answer as a primary whose records are `key NUL value`, or a key alone."""
    try:
        found = database.changes(request.since_lsn, request.max_count)
    except LogWindowLost:
        found = []
    return WalStreamChunk(
        current_lsn=database.last_lsn(),
        records=tuple(
            WalRecord(c.lsn, c.key if c.value is None else c.key + b"\0" + c.value) for c in found
        ),
        oldest_available_lsn=database.pruned_lsn() + 1,
    ).encode()


def read_record(data: bytes) -> tuple[bytes, bytes | None]:
    """Read a record of `serve_log`."""
    key, nul, value = data.partition(b"\0")
    return key, value if nul else None


def test_a_redd_b_base_backup_becomes_a_replica_that_follows(tmp_path: Path) -> None:
    """Copied through payloads, caught up through the log's payloads, equal in the end."""
    make_primary(tmp_path / "database")
    primary = backup_of(tmp_path / "database", tmp_path / "replica")
    write_more(tmp_path / "database", seed=1)
    outcome = bring_up(primary, tmp_path / "database", tmp_path / "replica")
    assert (outcome.copied, outcome.generation) == (True, 1)
    assert_equal(tmp_path / "database", tmp_path / "replica" / "target")
    assert [path.name for path in (tmp_path / "replica" / "spool").iterdir()] == ["lock"]

    last_lsn = write_more(tmp_path / "database", seed=2)
    outcome = bring_up(primary, tmp_path / "database", tmp_path / "replica")
    assert (outcome.copied, outcome.applied_lsn) == (False, last_lsn)
    assert_equal(tmp_path / "database", tmp_path / "replica" / "target")


def test_without_a_log_each_newer_base_backup_is_a_generation(tmp_path: Path) -> None:
    """The same base backup again copies nothing; a newer one is copied beside the old database."""
    make_primary(tmp_path / "database")
    place = tmp_path / "replica"
    primary = backup_of(tmp_path / "database", place)
    for copied in (True, False):
        outcome = bring_up(primary, tmp_path / "database", place, follows=False)
        assert (outcome.copied, outcome.generation) == (copied, 1)
    write_more(tmp_path / "database", seed=1)
    newer = backup_of(tmp_path / "database", place)
    outcome = bring_up(newer, tmp_path / "database", place, follows=False)
    assert (outcome.copied, outcome.generation) == (True, 2)
    assert_equal(tmp_path / "database", place / "target")


def test_a_base_backup_that_the_log_does_not_go_on_from_is_not_copied_for_ever(
    tmp_path: Path,
) -> None:
    """The primary is told to make a newer one; with that it goes on, in the same intent."""
    make_primary(tmp_path / "database")
    place = tmp_path / "replica"
    old = backup_of(tmp_path / "database", place)
    last_lsn = write_more(tmp_path / "database", seed=1)
    with Database.open(tmp_path / "database", Files(), name="primary") as opened:
        opened.prune(last_lsn)
    for _ in range(2):
        del old.requests[:]
        with pytest.raises(SourceUnavailable, match="does not go on"):
            bring_up(old, tmp_path / "database", place)
    assert old.requests == [(0, None)]
    outcome = bring_up(backup_of(tmp_path / "database", place), tmp_path / "database", place)
    assert (outcome.epochs, outcome.generation) == (3, 2)
    assert_equal(tmp_path / "database", place / "target")


LIFE = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_reddb_source as t
database, place, dies_at = Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
primary = t.backup_of(database, place)
asked = os.open(place / "asked", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def change(number, answer):
    if number == dies_at:
        os.kill(os.getpid(), signal.SIGKILL)
    os.write(asked, b"%d\\n" % (answer.basebackup_chunk_ordinal or 0))
    return answer
primary.change = change
print(t.bring_up(primary, database, place).epochs)
"""


def test_killed_in_the_middle_it_goes_on_with_the_same_intent(tmp_path: Path) -> None:
    """Killed twice for real; what was answered is not asked for again, and the end is equal."""
    make_primary(tmp_path / "database")
    place = tmp_path / "replica"
    chunks = len(backup_of(tmp_path / "database", place).manifest.chunks)
    assert chunks > 8
    arguments = (Path(__file__).parent, tmp_path / "database", place)
    for dies_at in (3, 2):
        child = processes.start(LIFE, *arguments, dies_at)
        _, errors = child.communicate(timeout=120)
        assert child.returncode == -9, errors
    assert int(processes.run(LIFE, *arguments, -1)) == 3
    asked = (place / "asked").read_text().split()
    # Killed before it had the answer: nothing came twice.
    assert sorted(map(int, asked)) == list(range(chunks))
    with IntentLog.open(place / "target" / LEDGER_NAME, sink=quiet) as ledger:
        assert ledger.list_unfinished() == []
        assert len({entry.intent_id for entry in ledger.store.read(0, 1000)}) == 1
    assert_equal(tmp_path / "database", place / "target")


def test_a_spool_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    """And says what to do about it."""
    with open_source(primary_of(DATA), tmp_path / "spool") as source:
        source.pin("intent", 1)
    (tmp_path / "spool" / "origin").write_bytes(b"xxxx")
    with pytest.raises(CorruptRecord) as wrong:
        open_source(primary_of(DATA), tmp_path / "spool")
    assert "remove it" in wrong.value.hint
