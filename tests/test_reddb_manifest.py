"""RedDB's manifest: its bytes exactly, and nothing that contradicts itself passes for one."""

from __future__ import annotations

import json
import re
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from struct import pack

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bootledger.basebackup.reddb_errors import (
    File,
    FileIo,
    InvalidOperation,
    Io,
    ReplicaBaseBackupError,
)
from bootledger.basebackup.reddb_layout import (
    PrimaryReplicaFilePlan,
    atomic_temp_path,
    rebootstrap_pending_path,
    with_extension,
)
from bootledger.basebackup.reddb_manifest import (
    MAX_CHUNKS,
    BaseBackupChunkRef,
    BaseBackupPlan,
    PrimaryReplicaBaseBackupManifest,
)
from bootledger.errors import Corrupted, InvalidValue, Unavailable
from bootledger.positions import U64_MAX

Manifest = PrimaryReplicaBaseBackupManifest
VECTORS = Path(__file__).parent / "vectors"
PLAN = BaseBackupPlan(timeline=3, start_lsn=2**53 + 1, checkpoint_lsn=2**63 + 1)
CHUNKS = (
    BaseBackupChunkRef(0, 0, 4, 0x11223344, "p/0"),
    BaseBackupChunkRef(1, 4, 2, 0x55667788, "p/1"),
)
MANIFEST = Manifest.incremental(PLAN, "s", 6, 0xCAFEBABE, CHUNKS)
GOLDEN = bytes.fromhex(
    "5244424153453031"  # "RDBASE01"
    "0100"  # version
    "0300000000000000"  # timeline
    "0100000000002000"  # start LSN
    "0100000000000080"  # checkpoint LSN
    "0100000073"  # "s"
    "0600000000000000"  # length of the snapshot
    "bebafeca"  # its CRC-32
    "02000000"  # chunks
    "00000000000000000000000004000000000000004433221103000000702f30"  # chunk 0
    "01000000040000000000000002000000000000008877665503000000702f31"  # chunk 1
    "e1d37260"  # CRC-32
)


def sealed(body: bytes) -> bytes:
    """Return `body` with the CRC-32 that belongs to it: only its meaning can be wrong."""
    return body + pack("<I", zlib.crc32(body))


def patched(offset: int, new: bytes) -> bytes:
    """Return the golden manifest with some bytes replaced and the CRC-32 made to fit."""
    body = GOLDEN[:-4]
    return sealed(body[:offset] + new + body[offset + len(new) :])


def refused(data: bytes, reason: str) -> None:
    """Assert that `data` does not decode, for that reason."""
    with pytest.raises(InvalidOperation, match=reason):
        Manifest.decode(data)


# --- the format ---------------------------------------------------------------------------------


def test_the_format_is_pinned_by_golden_bytes() -> None:
    """These bytes are RedDB's format."""
    assert MANIFEST.encode() == GOLDEN
    assert Manifest.decode(GOLDEN) == MANIFEST


u64 = st.integers(0, U64_MAX)
u32 = st.integers(0, 2**32 - 1)
paths = st.text(max_size=12).filter(lambda p: p[:1] != "/" and ".." not in p.split("/"))


@st.composite
def manifests(draw: st.DrawFn) -> PrimaryReplicaBaseBackupManifest:
    """Any manifest that RedDB takes for a valid one; sums end at the largest number."""
    sizes = draw(st.lists(u64 | st.integers(0, 9), min_size=1, max_size=6))
    chunks, end = [], 0
    for ordinal, size in enumerate(sizes):
        chunks.append(BaseBackupChunkRef(ordinal, end, size, draw(u32), draw(paths)))
        end = min(end + size, U64_MAX)
    start, checkpoint = sorted(draw(st.tuples(u64, u64)))
    plan = BaseBackupPlan(draw(u64), start, checkpoint)
    return Manifest.incremental(plan, draw(paths), end, draw(u32), chunks)


@given(manifests())
def test_what_was_encoded_is_decoded(manifest: PrimaryReplicaBaseBackupManifest) -> None:
    """Decoding is the inverse of encoding, for every number and every path."""
    encoded = manifest.encode()
    assert Manifest.decode(encoded) == manifest
    assert Manifest.decode(memoryview(encoded)).encode() == encoded


def test_the_older_form_is_one_chunk_that_is_the_whole() -> None:
    """A manifest may end before its table: the snapshot is its own part then."""
    whole = BaseBackupChunkRef(0, 0, 6, 0xCAFEBABE, "s")
    assert Manifest.decode(sealed(GOLDEN[:51])).chunks == (whole,)
    assert Manifest.new(PLAN, "s", 6, 0xCAFEBABE).chunks == (whole,)


def test_any_flipped_bit_is_refused() -> None:
    """No bit of a manifest can change unnoticed."""
    for bit in range(len(GOLDEN) * 8):
        damaged = bytearray(GOLDEN)
        damaged[bit // 8] ^= 1 << bit % 8
        refused(bytes(damaged), "wrong CRC-32")


def test_any_cut_is_refused() -> None:
    """No beginning of a manifest passes for one, even if its CRC-32 is made to fit."""
    for length in range(len(GOLDEN)):
        refused(GOLDEN[:length], "wrong CRC-32|too short")
    for length in set(range(len(GOLDEN) - 4)) - {51}:
        refused(sealed(GOLDEN[:length]), "truncated")


@given(st.binary(max_size=80), st.integers(0, len(GOLDEN)), st.integers(0, 40))
@example(b"\xff" * 8, 39, 8)
def test_whatever_the_bytes_they_decode_or_are_refused(new: bytes, at: int, cut: int) -> None:
    """Mutated bytes raise nothing but our errors, and what does decode is valid."""
    body = GOLDEN[:-4]
    try:
        manifest = Manifest.decode(sealed(body[:at] + new + body[at + cut :]))
    except InvalidOperation:
        return
    manifest.validate()
    assert Manifest.decode(manifest.encode()) == manifest


# --- refusals, one by one -----------------------------------------------------------------------


def test_too_few_bytes_are_refused() -> None:
    """Without room for a CRC-32 there is nothing to check."""
    refused(b"RDB", "too short for a manifest: 3 bytes")


def test_a_wrong_checksum_is_refused() -> None:
    """Both sums are named."""
    refused(GOLDEN[:-4] + bytes(4), "wrong CRC-32 0x00000000, the bytes have 0x6072d3e1")


def test_wrong_magic_is_refused() -> None:
    """What does not begin like a manifest is none, however well it is sealed."""
    refused(patched(0, b"RDBASE02"), "begins with b'RDBASE02'")


@pytest.mark.parametrize("version", [0, 2, 65535])
def test_another_version_is_refused(version: int) -> None:
    """A version that this one does not know is not guessed at."""
    refused(patched(8, pack("<H", version)), f"version {version} is unknown")


def test_trailing_bytes_are_refused() -> None:
    """A manifest ends where it says."""
    refused(sealed(GOLDEN[:-4] + b"\0\0"), "trailing bytes: 2 after the last chunk")


def test_a_checkpoint_before_the_start_is_refused() -> None:
    """A copy cannot be consistent before it began."""
    refused(patched(26, pack("<Q", 7)), f"checkpoint LSN 7 is before start LSN {2**53 + 1}")


def test_no_chunk_at_all_is_refused() -> None:
    """Even an empty snapshot has one chunk."""
    refused(sealed(GOLDEN[:51] + bytes(4)), "this one has none")


def test_text_that_is_not_utf8_is_refused() -> None:
    """A path is text."""
    refused(patched(38, b"\xff"), "is not UTF-8")


def changed(**fields: object) -> PrimaryReplicaBaseBackupManifest:
    """Return the manifest with its second chunk changed."""
    return replace(MANIFEST, chunks=(CHUNKS[0], CHUNKS[1]._replace(**fields)))


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (changed(ordinal=7), "chunk 7 stands in the place of chunk 1"),
        (changed(ordinal=0), "chunk 0 stands in the place of chunk 1"),
        (changed(snapshot_offset=5), "chunk 1 begins at byte 5, expected 4"),
        (changed(snapshot_offset=3), "chunk 1 begins at byte 3, expected 4"),
        (changed(relative_path="/etc/passwd"), "chunk 1 has an absolute path: '/etc/passwd'"),
        (changed(relative_path="a/../../b"), r"chunk 1 has a path with the component '\.\.'"),
        (changed(relative_path=".."), r"chunk 1 has a path with the component '\.\.'"),
        (changed(chunk_bytes=3), "the chunks end at byte 7, the snapshot at byte 6"),
        (replace(MANIFEST, snapshot_bytes=5), "end at byte 6, the snapshot at byte 5"),
        (replace(MANIFEST, snapshot_relative_path="/s"), "the snapshot has an absolute path"),
        (replace(MANIFEST, snapshot_relative_path="s/.."), "the snapshot has a path with"),
    ],
)
def test_what_contradicts_itself_is_refused(
    manifest: PrimaryReplicaBaseBackupManifest, reason: str
) -> None:
    """By `validate`, and so by whoever decodes it."""
    with pytest.raises(InvalidOperation, match=reason):
        manifest.validate()
    refused(manifest.encode(), reason)


def test_the_order_of_the_checks_is_theirs() -> None:
    """Every number that RedDB names in a refusal is in ours as well: the same check refused."""
    cases = json.loads((VECTORS / "manifest" / "invalid.json").read_text())
    numbers = 0
    for case in cases:
        message = case.get("error", {}).get("message", "")
        with pytest.raises(InvalidOperation) as caught:
            Manifest.decode(bytes.fromhex(case["hex"]))
        if message.startswith("invalid utf-8"):
            continue
        told = set(re.findall(r"0x[0-9a-f]+|\b\d+\b", message))
        assert told <= set(re.findall(r"0x[0-9a-f]+|\b\d+\b", str(caught.value))), case["name"]
        numbers += len(told)
    assert numbers > 10


# --- absurd numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, MAX_CHUNKS, MAX_CHUNKS + 1, 2**32 - 1])
def test_an_absurd_count_is_refused_at_once(count: int) -> None:
    """What is announced but not there costs neither time nor memory."""
    data = patched(51, pack("<I", count))
    tracemalloc.start()
    try:
        refused(data, f"{count} chunks are announced" if count > MAX_CHUNKS else "truncated")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_sums_end_at_the_largest_number() -> None:
    """Two chunks of 2**63 bytes and a bit more claim as much as a number can hold, as in RedDB."""
    chunks = [
        BaseBackupChunkRef(0, 0, 2**63, 0, "a"),
        BaseBackupChunkRef(1, 2**63, 2**64 - 1, 0, "b"),
    ]
    manifest = Manifest.incremental(PLAN, "s", U64_MAX, 0, chunks)
    assert Manifest.decode(manifest.encode()) == manifest


@pytest.mark.parametrize(
    "manifest",
    [
        replace(MANIFEST, timeline=2**64),
        replace(MANIFEST, start_lsn=-1),
        replace(MANIFEST, snapshot_checksum=2**32),
        replace(MANIFEST, snapshot_relative_path="\udcff"),
        changed(checksum=2**32),
        changed(relative_path="\ud800"),
    ],
)
def test_what_the_format_cannot_hold_is_not_encoded(
    manifest: PrimaryReplicaBaseBackupManifest,
) -> None:
    """A number is never cut to fit, nor a path."""
    with pytest.raises(InvalidValue, match="cannot be encoded"):
        manifest.encode()


def test_a_chunk_is_found_by_its_ordinal() -> None:
    """The first one, if a manifest that nobody validated has several."""
    assert MANIFEST.chunk(1) is CHUNKS[1]
    twice = changed(ordinal=0)
    assert twice.chunk(0) is twice.chunks[0]
    with pytest.raises(InvalidOperation, match="there is no chunk 2: the manifest has 2"):
        MANIFEST.chunk(2)


# --- errors and names ---------------------------------------------------------------------------


def test_errors_say_who_must_act() -> None:
    """What was sent is wrong: stop and look. The disk is: try again. Both are the files' word."""
    assert issubclass(InvalidOperation, (File, Corrupted))
    assert issubclass(InvalidOperation, Corrupted)
    assert issubclass(FileIo, Unavailable)
    assert issubclass(FileIo, Io)
    for kind in (InvalidOperation, FileIo):
        assert issubclass(kind, File)
        assert issubclass(kind, ReplicaBaseBackupError)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/d/main.rdb", "/d/main.tmp"),
        ("/d/main", "/d/main.tmp"),
        ("/d/my.db.rdb", "/d/my.db.tmp"),
        ("/d/main.", "/d/main.tmp"),
        ("/d/.hidden", "/d/.hidden.tmp"),
        ("/d/..x", "/d/..tmp"),
        ("/d/..", "/d/.."),
        ("/", "/"),
        ("", "."),
    ],
)
def test_an_extension_is_what_follows_the_last_dot(path: str, expected: str) -> None:
    """As in Rust's `Path::with_extension`, from which RedDB's names come."""
    assert atomic_temp_path(Path(path)) == Path(expected)


def test_side_cars_lie_beside_the_data_file() -> None:
    """Their whole extension is replaced, dots included."""
    path = rebootstrap_pending_path(Path("rel/main.rdb"))
    assert path == Path("rel/main.rebootstrap.pending.rdb")
    assert with_extension(path, "x") == Path("rel/main.rebootstrap.pending.x")


def write(path: Path, data: bytes) -> None:
    """Make a file and its directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _damaged(path: Path) -> None:
    write(path, GOLDEN[:-1])


def _directory(path: Path) -> None:
    path.mkdir(parents=True)


@pytest.mark.parametrize(("obstacle", "kind"), [(_damaged, InvalidOperation), (_directory, FileIo)])
def test_one_manifest_that_cannot_be_read_fails_the_list(
    tmp_path: Path, obstacle: Callable[[Path], None], kind: type[File]
) -> None:
    """And it is named: nobody decides by a list that something is missing from."""
    plan = PrimaryReplicaFilePlan(tmp_path)
    write(plan.basebackup_dir / "a.redbase", GOLDEN)
    write(plan.basebackup_dir / "a.redbase.tmp", b"not one of them")
    write(plan.basebackup_dir / ".redbase", b"nor this")
    assert plan.list_basebackups() == [MANIFEST]
    obstacle(plan.basebackup_dir / "b.redbase")
    with pytest.raises(kind, match=r"b\.redbase"):
        plan.list_basebackups()
