"""20,000 bytes turned over: what is then read is reported as damage, or is what it was.

Never a wrong answer. Most flips are of bytes in memory, where they are cheap; a sample goes through
real files and LMDB environments.
"""

from __future__ import annotations

import random
import re
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from uuid import UUID

import lmdb
import pytest
import sample_events
from replicas import NODE, quiet
from worlds import fresh_place

from bootledger.basebackup import manifest as manifests
from bootledger.basebackup.manifest import Chunk, Header, Manifest
from bootledger.basebackup.publishing import open_manifest
from bootledger.basebackup.reddb_manifest import (
    BaseBackupChunkRef,
    BaseBackupPlan,
    PrimaryReplicaBaseBackupManifest,
)
from bootledger.basebackup.reddb_marker import ReplicaRebootstrapReadyMarker
from bootledger.basebackup.reddb_parts import (
    read_snapshot_parts,
    recover_staged_chunk_parts,
    stage_chunk_part,
)
from bootledger.basebackup.staging import Candidate
from bootledger.errors import Corrupted
from bootledger.files import Files
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.ports import Change
from bootledger.replica.records import decode_change, encode_change
from bootledger.sealing import seal
from bootledger.statemachine.ranges import Range
from bootledger.store import archive, codec, records
from bootledger.store.codec import decode_frame, encode_event, encode_frame, frame_bytes
from bootledger.store.port import Head, SavedProjection

INTENT = UUID(int=0x1234567890ABCDEF1234567890ABCDEF)
KEY = INTENT.bytes
BULK = {
    "frames": 8000,
    "archive": 1500,
    "small records": 3000,
    "changes": 2000,
    "manifest": 2000,
    "staged chunk": 1000,
    "RedDB manifest": 1500,
    "RedDB part": 500,
    "RedDB marker": 500,
}
"""How many flips each kind of bytes gets; 20,000 in all."""

Read = Callable[[bytes], object]
"""Reads bytes; raises `Corrupted`, or returns what they say."""


def flipped(data: bytes, chance: random.Random) -> bytes:
    """Return `data` with one byte changed: every other time by one bit only."""
    at = chance.randrange(len(data))
    turned = chance.choice((1 << chance.randrange(8), chance.randrange(1, 256)))
    return data[:at] + bytes([data[at] ^ turned]) + data[at + 1 :]


def judged(data: bytes, read: Read, count: int, chance: random.Random) -> Counter[str]:
    """Flip `count` times, read, and return how often that was reported, harmless or wrong."""
    sound = read(data)
    verdicts: Counter[str] = Counter()
    for _ in range(count):
        try:
            found = read(flipped(data, chance))
        except Corrupted:
            verdicts["reported"] += 1
        else:
            verdicts["harmless" if found == sound else "wrong"] += 1
    return verdicts


# --- What is read -------------------------------------------------------------------------------


def frames() -> Iterator[tuple[bytes, Read]]:
    """Yield a frame of each kind of event, and how it is read at its position."""
    for position, event in enumerate(sample_events.one_of_each(), start=2**33):
        frame = encode_frame(position, INTENT, 7, position - 3, encode_event(event))
        yield frame, partial(decode_frame, position)


def archived() -> Iterator[tuple[bytes, Read]]:
    """Yield a block of the archive, and how its ranges and its frames are read."""
    block = {
        position: encode_frame(position, INTENT, 7, 1, encode_event(event))
        for position, event in enumerate(sample_events.one_of_each(), start=1030)
    }
    key = archive.block_key(1)

    def read(record: bytes) -> object:
        found = archive.decode_block(key, record)
        return archive.decode_ranges(key, record), [decode_frame(*item) for item in found.items()]

    yield archive.encode_block(1, block), read


def small_records() -> Iterator[tuple[bytes, Read]]:
    """Yield a head, an entry of the index, a projection and a number, under their keys."""
    head = Head(INTENT, NODE, 41, 4711, b"progress" * 30)
    index_key = records.index_key(NODE, INTENT)
    yield records.encode_head(head), partial(records.decode_head, KEY)
    yield seal(index_key, b""), partial(records.decode_index, index_key)
    saved = SavedProjection(815, b"state" * 20)
    yield records.encode_projection(b"name", saved), partial(records.decode_projection, b"name")
    number = partial(records.decode_number, b"format", what="the format")
    yield records.encode_number(b"format", 1), number


def changes() -> Iterator[tuple[bytes, Read]]:
    """Yield records of the change log: one that puts and one that deletes."""
    for lsn, value in ((9, b"some value " * 9), (10, None)):
        yield encode_change(Change(lsn, b"the key", value)), partial(decode_change, lsn)


DATA = random.Random(1).randbytes(2500)
CHUNKS = tuple(Chunk.of(n, n * 1000, DATA[n * 1000 : n * 1000 + 1000]) for n in range(3))


@cache
def encoded_manifest() -> bytes:
    """Return the encoded manifest of `DATA`."""
    header = Header("db-1", 1, 5, 9, "data.mdb", len(DATA), 1000, len(CHUNKS))
    return b"".join(manifests.encode(header, CHUNKS))


def read_manifest(data: bytes) -> object:
    """Return all that a manifest says."""
    with manifests.decode(data) as found:
        return _said(found)


def _said(manifest: Manifest) -> tuple[object, ...]:
    header = [getattr(manifest, name) for name in Header.__dataclass_fields__]
    return (*header, manifest.digest, *manifest.chunks())


def manifest() -> Iterator[tuple[bytes, Read]]:
    """Yield a manifest of three chunks."""
    yield encoded_manifest(), read_manifest


def staged_chunk() -> Iterator[tuple[bytes, Read]]:
    """Yield the bytes of a chunk, held against its entry."""
    (chunk, *_) = CHUNKS

    def read(data: bytes) -> object:
        if reason := chunk.objection(data):
            raise Corrupted(reason)
        return data

    yield DATA[:1000], read


REDDB = PrimaryReplicaBaseBackupManifest.incremental(
    BaseBackupPlan(3, 17, 42),
    "main.rdb",
    len(DATA),
    zlib.crc32(DATA),
    tuple(
        BaseBackupChunkRef(
            c.ordinal,
            c.offset_bytes,
            c.length_bytes,
            zlib.crc32(DATA[c.offset_bytes : c.range.end_bytes]),
            f"parts/{c.ordinal}.part",
        )
        for c in CHUNKS
    ),
)


def reddb_manifest() -> Iterator[tuple[bytes, Read]]:
    """Yield RedDB's manifest of the same three chunks."""
    yield REDDB.encode(), PrimaryReplicaBaseBackupManifest.decode


def reddb_part() -> Iterator[tuple[bytes, Read]]:
    """Yield the bytes of a part, held against RedDB's manifest."""
    part = REDDB.chunk(1)

    def read(data: bytes) -> object:
        if reason := part.objection(len(data), zlib.crc32(data)):
            raise Corrupted(reason)
        return data

    yield DATA[1000:2000], read


PENDING = "/srv/replica/main.rebootstrap.pending.rdb"


def reddb_marker() -> Iterator[tuple[bytes, Read]]:
    """Yield a ready marker as it is written."""
    marker = ReplicaRebootstrapReadyMarker(PENDING, 123456789, 7)
    yield marker.sealed().encode(), ReplicaRebootstrapReadyMarker.decode


KINDS: dict[str, Callable[[], Iterator[tuple[bytes, Read]]]] = {
    "frames": frames,
    "archive": archived,
    "small records": small_records,
    "changes": changes,
    "manifest": manifest,
    "staged chunk": staged_chunk,
    "RedDB manifest": reddb_manifest,
    "RedDB part": reddb_part,
    "RedDB marker": reddb_marker,
}


def flip_all(kind: str, count: int) -> Counter[str]:
    """Flip `count` times in what there is of a kind, in turn."""
    chance, samples = random.Random(f"flips of {kind}"), list(KINDS[kind]())
    verdicts: Counter[str] = Counter()
    for number, (data, read) in enumerate(samples):
        share = count // len(samples) + (number < count % len(samples))
        verdicts += judged(data, read, share, chance)
    return verdicts


def test_of_20000_flips_none_gives_a_wrong_answer() -> None:
    """Every kind of record and file of ours, and RedDB's: damage is reported, or changes nothing.

    Where there is a checksum over every byte, each flip is reported.
    """
    verdicts = {kind: flip_all(kind, count) for kind, count in BULK.items()}
    assert sum(map(Counter.total, verdicts.values())) == 20_000
    assert {kind: found["wrong"] for kind, found in verdicts.items()} == dict.fromkeys(BULK, 0)
    harmless = {kind: found["harmless"] for kind, found in verdicts.items() if found["harmless"]}
    # The name of the marker's checksum has no other: without it, the marker is one of RedDB's own.
    assert set(harmless) == {"RedDB marker"}
    assert harmless["RedDB marker"] < BULK["RedDB marker"] // 5


@pytest.mark.parametrize(
    ("kind", "where", "fault"),
    [
        ("frames", f"{codec.__name__}._frame_crc", lambda position, frame: frame[8:12]),
        ("small records", f"{records.__name__}.unseal", lambda key, record, what: record[4:]),
        ("staged chunk", f"{Chunk.__module__}.Chunk.objection", lambda chunk, data: None),
        ("RedDB part", f"{BaseBackupChunkRef.__module__}.BaseBackupChunkRef.objection", None),
    ],
)
def test_without_its_checksum_a_flip_gives_a_wrong_answer(
    kind: str, where: str, fault: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count can go up: each check that is left out lets wrong answers through."""
    if kind == "frames":
        monkeypatch.setattr(where, _whatever_the_frame_says)
    else:
        monkeypatch.setattr(where, fault or (lambda chunk, length, checksum: None))
    assert flip_all(kind, 200)["wrong"] > 10


def _whatever_the_frame_says(position: int, frame: bytes) -> int:
    return int.from_bytes(frame[8:12], "big")


# --- Real files ---------------------------------------------------------------------------------


@pytest.fixture
def place() -> Iterator[Path]:
    """Give an empty directory, in memory if the machine can."""
    with fresh_place() as path:
        yield path


def make_ledger(path: Path) -> None:
    """Make a ledger of several intents, finished and not."""
    with IntentLog.open(path, sink=quiet, clock=lambda: 1) as log:
        for node in ("a", "b", "c"):
            handle = log.begin(node, 5, 9)
            for lsn in range(1, 4):
                handle.checkpoint_snapshot_transfer("token", lsn * 100, lsn, 0)
            handle.checkpoint(9, 1)
            if node == "b":
                handle.complete(1, 1)
            handle.close()
    # Copied without the pages that are no longer used, in which a flip would be harmless.
    with lmdb.open(str(path), max_dbs=16) as env:
        env.copy(str(path.parent), compact=True)
    (path.parent / "data.mdb").replace(path / "data.mdb")


def everything(path: Path) -> object:
    """Return all that a ledger says: heads, histories, decisions."""
    with IntentLog.open(path, sink=quiet, create=False) as log:
        heads = list(log.store.heads())
        events = list(log.store.read(0, 1000))
        histories = [list(log.store.history(head.intent_id)) for head in heads]
        decisions = [log.decide(node) for node in ("a", "b", "c", "nobody")]
        return heads, events, histories, decisions, log.list_unfinished()


def sealed_places(path: Path, data: bytes) -> list[tuple[int, int]]:
    """Return where in the data file frames and heads lie: start and end of each."""
    with IntentLog.open(path, sink=quiet, create=False) as log:
        heads = [records.encode_head(head) for head in log.store.heads()]
    frames_at = [match.start() for match in re.finditer(b"BLEV", data)]
    found = [(data.find(head), len(head)) for head in heads]
    found += [(start, frame_bytes(data, start)) for start in frames_at]
    assert min(start for start, _ in found) > 0
    return [(start, start + length) for start, length in found]


def test_flips_in_a_real_ledger_are_reported_or_harmless(place: Path) -> None:
    """Through LMDB: what lies in its file in frames and heads is read as it was, or not at all."""
    make_ledger(place / "ledger")
    sound = everything(place / "ledger")
    data = (place / "ledger" / "data.mdb").read_bytes()
    places, chance = sealed_places(place / "ledger", data), random.Random(5)
    verdicts: Counter[str] = Counter()
    for _ in range(60):
        start, end = chance.choice(places)
        damaged = data[:start] + flipped(data[start:end], chance) + data[end:]
        shutil.rmtree(place / "damaged", ignore_errors=True)
        shutil.copytree(place / "ledger", place / "damaged")
        (place / "damaged" / "data.mdb").write_bytes(damaged)
        try:
            verdicts["harmless" if everything(place / "damaged") == sound else "wrong"] += 1
        except Corrupted:
            verdicts["reported"] += 1
    assert verdicts["wrong"] == 0
    assert verdicts["reported"] == 60, verdicts


def test_flips_in_real_files_are_reported_or_dropped(place: Path) -> None:
    """A manifest on disk, a candidate's staged bytes, and RedDB's parts."""
    chance, files = random.Random(6), Files()
    (place / "manifest").write_bytes(encoded_manifest())
    with open_manifest(place / "manifest") as sound:
        with Candidate(place / "gen", sound, files) as candidate:
            candidate.prepare()
            for chunk in CHUNKS:
                candidate.stage(chunk, DATA[chunk.offset_bytes : chunk.range.end_bytes])
        for _ in range(100):
            broken = flipped(DATA, chance)
            (place / "gen" / "data.mdb").write_bytes(broken)
            (bad,) = (n for n in range(3) if broken[n * 1000 :][:1000] != DATA[n * 1000 :][:1000])
            with Candidate(place / "gen", sound, files) as candidate:
                lost = candidate.damaged((Range(0, len(DATA)),))
            assert lost == (CHUNKS[bad].range,)
    for _ in range(100):
        (place / "damaged").write_bytes(flipped(encoded_manifest(), chance))
        with pytest.raises(Corrupted):
            open_manifest(place / "damaged")
    for ordinal in range(3):
        data = DATA[ordinal * 1000 :][:1000]
        for _ in range(15):
            for each, chunk in enumerate(CHUNKS):
                part = DATA[chunk.offset_bytes : chunk.range.end_bytes]
                stage_chunk_part(REDDB, place / "parts", each, part, files)
            part_path = place / "parts" / REDDB.chunk(ordinal).relative_path
            part_path.write_bytes(flipped(data, chance))
            with pytest.raises(Corrupted):
                list(read_snapshot_parts(REDDB, place / "parts"))
            assert recover_staged_chunk_parts(REDDB, place / "parts", files) == {0, 1, 2} - {
                ordinal
            }
