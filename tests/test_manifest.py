"""A manifest says what a base backup is, and nothing that contradicts itself passes for one."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from blake3 import blake3
from forgetful_disk import ForgetfulDisk, ForgetfulFiles
from hypothesis import given
from hypothesis import strategies as st

from bootledger.basebackup.manifest import (
    MAX_CHUNK_BYTES,
    Chunk,
    Header,
    Manifest,
    check_path,
    decode,
    encode,
)
from bootledger.basebackup.publishing import (
    describe,
    open_manifest,
    receive_manifest,
    write_manifest,
)
from bootledger.errors import (
    BootledgerError,
    Corrupted,
    CorruptManifest,
    InvalidValue,
    OutOfSpace,
    SimulatedCrash,
    SourceUnavailable,
    Stopped,
    Unavailable,
    UnknownFormat,
)
from bootledger.files import Files
from bootledger.positions import U64_MAX

CONTENT = b"0123456789"
HEADER = Header(
    source_identity="db-1",
    timeline=3,
    start_lsn=41,
    checkpoint_lsn=2**63 + 1,
    path="data.mdb",
    size_bytes=10,
    chunk_bytes=4,
    chunk_count=3,
)
GOLDEN = bytes.fromhex(
    "424c4d414e494600"  # magic "BLMANIF\0"
    "00000001"  # format
    "00000004"  # chunk_bytes
    "00000004"  # bytes of the source identity
    "00000008"  # bytes of the path
    "0000000000000003"  # timeline
    "0000000000000029"  # start LSN
    "8000000000000001"  # checkpoint LSN
    "000000000000000a"  # size in bytes
    "0000000000000003"  # chunks
    "64622d31"  # "db-1"
    "646174612e6d6462"  # "data.mdb"
    "000000000000000000000004063962b9"  # chunk 0: offset, length, CRC32C
    "6298d74d15ea9eb3fc866ac8d97c435be6cea4ef9fbe8b50c105f1c22a71b97f"  # BLAKE3
    "0000000000000004000000046ad50193"  # chunk 1: offset, length, CRC32C
    "bca04ca75edc0f6fb344fc7f259ea663efbf2789ae3294106dc3e44e68f63cb2"  # BLAKE3
    "000000000000000800000002646a3494"  # chunk 2: offset, length, CRC32C
    "c66cbbb0ba778ce71f8662a7fd1e3312346b5bda3827739be37589f3cd68e69f"  # BLAKE3
    "f5eaa5efc966a60d473f80d20d1744151d9faa5118578b8f14af721870d3ef21"  # root digest
)


def chunks_of(content: bytes, chunk_bytes: int) -> list[Chunk]:
    """Return the entries for `content`, cut into chunks of `chunk_bytes`."""
    return [
        Chunk.of(ordinal, offset, content[offset : offset + chunk_bytes])
        for ordinal, offset in enumerate(range(0, len(content), chunk_bytes))
    ]


def encoded(header: Header = HEADER, chunks: list[Chunk] | None = None) -> bytes:
    """Return a whole manifest as bytes, by default that of `CONTENT`."""
    return b"".join(encode(header, chunks_of(CONTENT, 4) if chunks is None else chunks))


def sealed(body: bytes) -> bytes:
    """Return `body` with the root digest that belongs to it: only its meaning can be wrong."""
    return body + blake3(body).digest()


def patched(offset: int, new: bytes) -> bytes:
    """Return the golden manifest with some bytes replaced and the root digest made to fit."""
    body = GOLDEN[:-32]
    return sealed(body[:offset] + new + body[offset + len(new) :])


def test_the_format_is_pinned_by_golden_bytes() -> None:
    """These bytes are the format; changing them takes a new format number."""
    assert encoded() == GOLDEN


def test_the_sums_are_the_published_ones() -> None:
    """CRC32C and BLAKE3 have their check values, so others can verify our chunks."""
    assert Chunk.of(0, 0, b"123456789").crc32c == 0xE3069283
    assert Chunk.of(0, 0, b"").digest.hex().startswith("af1349b9f5f9a1a6a0404dea36dcc949")


def test_golden_bytes_decode_to_what_was_encoded() -> None:
    """Every field, every chunk and the root digest come back as they went in."""
    manifest = decode(GOLDEN)
    assert Header(**{name: getattr(manifest, name) for name in vars(HEADER)}) == HEADER
    assert list(manifest.chunks()) == chunks_of(CONTENT, 4)
    assert manifest.digest == GOLDEN[-32:].hex()


u64 = st.integers(0, U64_MAX)
texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=20)
components = texts.filter(lambda text: not set(text) & {"/", "\\"} and text not in (".", ".."))


@st.composite
def backups(draw: st.DrawFn) -> tuple[Header, list[Chunk]]:
    """Any header with chunks that fit it, of any lengths."""
    pieces = draw(st.lists(st.binary(min_size=1, max_size=8), max_size=12))
    chunks = [Chunk.of(i, sum(map(len, pieces[:i])), piece) for i, piece in enumerate(pieces)]
    start, checkpoint = sorted(draw(st.tuples(u64, u64)))
    header = Header(
        source_identity=draw(texts),
        timeline=draw(u64),
        start_lsn=start,
        checkpoint_lsn=checkpoint,
        path="/".join(draw(st.lists(components, min_size=1, max_size=3))),
        size_bytes=sum(map(len, pieces)),
        chunk_bytes=draw(st.integers(max(map(len, pieces), default=1), MAX_CHUNK_BYTES)),
        chunk_count=len(pieces),
    )
    return header, chunks


@given(backups())
def test_what_was_encoded_is_decoded(backup: tuple[Header, list[Chunk]]) -> None:
    """Decoding is the inverse of encoding, for all u64, all texts and all chunk lengths."""
    header, chunks = backup
    manifest = decode(encoded(header, chunks))
    assert Header(**{name: getattr(manifest, name) for name in vars(header)}) == header
    assert list(manifest.chunks()) == chunks


def test_any_flipped_bit_is_refused() -> None:
    """No bit of a manifest can change unnoticed."""
    for bit in range(len(GOLDEN) * 8):
        damaged = bytearray(GOLDEN)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Corrupted):
            decode(bytes(damaged))


def test_any_cut_is_refused() -> None:
    """No beginning of a manifest passes for a manifest."""
    for length in range(len(GOLDEN)):
        with pytest.raises(CorruptManifest, match="truncated"):
            decode(GOLDEN[:length])


def test_wrong_magic_is_refused() -> None:
    """What does not begin like a manifest is none, however well it is sealed."""
    with pytest.raises(CorruptManifest, match=r"not a manifest: it begins with b'SQLite f'"):
        decode(patched(0, b"SQLite f"))


@pytest.mark.parametrize("version", [0, 2, 2**32 - 1])
def test_another_format_is_refused_as_unknown(version: int) -> None:
    """A format that this version does not know is not guessed at."""
    with pytest.raises(UnknownFormat, match=f"manifest format {version} is unknown"):
        decode(patched(8, version.to_bytes(4, "big")))


def test_trailing_bytes_are_refused() -> None:
    """A manifest ends where it says."""
    with pytest.raises(CorruptManifest, match=r"trailing bytes: 253 bytes, 252 are announced"):
        decode(GOLDEN + b"\0")


def test_a_wrong_root_digest_is_refused() -> None:
    """The digest names both what was told and what the bytes have."""
    with pytest.raises(CorruptManifest, match=r"wrong root digest 0{64}, the bytes have [^0]"):
        decode(GOLDEN[:-32] + bytes(32))


@pytest.mark.parametrize("count", [4, 2**32, 2**63, U64_MAX])
def test_an_absurd_count_is_refused_at_once(count: int) -> None:
    """What is announced but not there costs neither time nor memory."""
    tracemalloc.start()
    try:
        with pytest.raises(CorruptManifest, match=f"truncated: 252 bytes, {124 - 16 + 48 * count}"):
            decode(patched(56, count.to_bytes(8, "big")))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "must not be empty"),
        ("/data.mdb", "must not be absolute"),
        ("../data.mdb", "component '..'"),
        ("a/../../data.mdb", "component '..'"),
        ("./data.mdb", "component '.'"),
        ("a//data.mdb", "component ''"),
        ("a/", "component ''"),
        ("data\0.mdb", "NUL"),
        ("a\\..\\data.mdb", "backslash"),
        ("x" * 1025, "1025 bytes long"),
        ("\udcff.mdb", "not encodable"),
    ],
)
def test_an_unsafe_path_is_refused(path: str, reason: str) -> None:
    """A path that could lead out of its directory never gets into a header."""
    with pytest.raises(InvalidValue, match=reason):
        replace(HEADER, path=path)


@given(st.lists(components, min_size=1, max_size=4))
def test_a_path_of_plain_components_is_accepted_and_stays_inside(parts: list[str]) -> None:
    """Whatever is accepted lies below the directory it is joined to."""
    path = check_path("/".join(parts))
    assert Path("/target/gen-0001").joinpath(path).is_relative_to("/target/gen-0001")
    assert ".." not in Path(path).parts


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source_identity": ""}, "source identity must not be empty"),
        ({"source_identity": "a\0b"}, "source identity must not contain NUL"),
        ({"timeline": -1}, "timeline must lie between"),
        ({"start_lsn": 1.0}, "start_lsn must be an integer"),
        ({"checkpoint_lsn": U64_MAX + 1}, "checkpoint_lsn must lie between"),
        ({"checkpoint_lsn": 40}, "checkpoint LSN 40 is before start LSN 41"),
        ({"size_bytes": True}, "size_bytes must be an integer"),
        ({"chunk_count": -1}, "chunk_count must lie between"),
        ({"chunk_bytes": 0}, "chunk_bytes must lie between 1 and 67108864, not 0"),
        ({"chunk_bytes": MAX_CHUNK_BYTES + 1}, "not 67108865"),
    ],
)
def test_a_header_that_cannot_be_is_refused(change: dict[str, object], reason: str) -> None:
    """A header that exists is within its bounds, and the refusal names what is not."""
    with pytest.raises(InvalidValue, match=reason):
        replace(HEADER, **change)  # wrong on purpose


@pytest.mark.parametrize(
    ("offset", "new", "reason"),
    [
        (40, bytes(8), "checkpoint LSN 0 is before start LSN 41"),
        (12, bytes(4), "chunk_bytes must lie between 1 and 67108864, not 0"),
        (68, b"/ata.mdb", "path must not be absolute"),
        (68, b"data\0mdb", "path must not contain NUL"),
        (68, b"\xff\xffta.mdb", "can't decode byte 0xff"),
        (64, b"\0\0\0\0", "source identity must not contain NUL"),
        (68, b"a/../mdb", "component '..'"),
    ],
)
def test_a_header_that_cannot_be_is_refused_when_decoded(
    offset: int, new: bytes, reason: str
) -> None:
    """A right digest does not make a wrong header right."""
    with pytest.raises(CorruptManifest, match=reason):
        decode(patched(offset, new))


A, B, C = chunks_of(CONTENT, 4)


@pytest.mark.parametrize(
    ("chunks", "reason"),
    [
        ([A, C], "chunk 1: a gap: begins at byte 8, the one before ends at byte 4"),
        ([B, C], "chunk 0: a gap: begins at byte 4, the one before ends at byte 0"),
        ([A, C, B], "chunk 1: a gap: begins at byte 8"),
        ([A, B, A, C], "chunk 2: out of order: begins at byte 0, the one before at byte 4"),
        ([A, A, B, C], "chunk 1: overlap: begins at byte 0, the one before ends at byte 4"),
        ([A, B._replace(offset_bytes=3), C], "chunk 1: overlap: begins at byte 3"),
        ([A, B._replace(length_bytes=0), C], "chunk 1: empty"),
        ([A, B._replace(length_bytes=5), C], "chunk 1: 5 bytes long, 4 are allowed"),
        ([A, B], "the chunks end at byte 8, the file at byte 10"),
        ([], "the chunks end at byte 0, the file at byte 10"),
        ([A, B, C, Chunk.of(3, 10, b"!")], "the chunks end at byte 11, the file at byte 10"),
        ([A._replace(offset_bytes=U64_MAX), B, C], f"chunk 0: a gap: begins at byte {U64_MAX}"),
    ],
)
def test_a_table_that_does_not_hold_the_file_is_refused(chunks: list[Chunk], reason: str) -> None:
    """Every byte lies in exactly one chunk, in order; the first chunk that breaks it is named."""
    with pytest.raises(CorruptManifest) as refusal:
        decode(encoded(replace(HEADER, chunk_count=len(chunks)), chunks))
    assert str(refusal.value).startswith(reason)


def test_an_empty_backup_has_no_chunks() -> None:
    """Zero bytes are zero chunks, and not one empty chunk."""
    empty = replace(HEADER, size_bytes=0, chunk_count=0)
    assert list(decode(encoded(empty, [])).chunks()) == []
    with pytest.raises(CorruptManifest, match="chunk 0: empty"):
        decode(encoded(replace(empty, chunk_count=1), [Chunk.of(0, 0, b"")]))


@pytest.mark.parametrize("ordinal", [-1, 3, U64_MAX])
def test_a_chunk_that_is_not_there_is_refused(ordinal: int) -> None:
    """Ordinals do not wrap around."""
    with pytest.raises(InvalidValue, match=f"there is no chunk {ordinal}: the manifest has 3"):
        decode(GOLDEN).chunk(ordinal)


@given(backups(), st.lists(st.integers(0, 100), unique=True, max_size=10))
def test_covering_yields_exactly_the_chunks_that_are_touched(
    backup: tuple[Header, list[Chunk]], bounds: list[int]
) -> None:
    """A chunk is yielded once if it shares a byte with any range, in order, and else not."""
    pairs = sorted(bounds)
    ranges = list(zip(pairs[::2], pairs[1::2], strict=False))
    touched = [
        chunk
        for chunk in backup[1]
        if any(set(range(*chunk.range)) & set(range(*bytes_)) for bytes_ in ranges)
    ]
    assert list(decode(encoded(*backup)).covering(ranges)) == touched


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"012", "3 bytes, expected 4"),
        (b"01234", "5 bytes, expected 4"),
        (b"0124", "CRC32C [0-9a-f]{8}, expected 063962b9"),
    ],
)
def test_a_chunk_tells_why_bytes_are_not_its_own(data: bytes, reason: str) -> None:
    """The objection names what came and what was expected."""
    assert re.fullmatch(reason, A.objection(data) or "")


def test_a_chunk_accepts_its_own_bytes_only_with_both_sums() -> None:
    """The same CRC32C is not enough: identity is the BLAKE3."""
    assert A.objection(b"0123") is None
    assert A.objection(memoryview(b"0123")) is None
    other = A._replace(digest=bytes(32))
    assert (other.objection(b"0123") or "").startswith("BLAKE3 ")


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    """A data file that holds `CONTENT`."""
    path = tmp_path / "data.mdb"
    path.write_bytes(CONTENT)
    return path


def described(data_file: Path, files: Files, *, chunk_bytes: int = 4) -> Manifest:
    """Return the manifest of `data_file` in the golden circumstances."""
    with files.open(data_file) as file:
        return describe(
            file,
            source_identity="db-1",
            timeline=3,
            start_lsn=41,
            checkpoint_lsn=2**63 + 1,
            path="data.mdb",
            files=files,
            manifest_path=data_file.with_name("manifest"),
            chunk_bytes=chunk_bytes,
        )


def test_a_described_file_has_the_manifest_that_encoding_gives(data_file: Path) -> None:
    """The streamed file is the golden bytes, and what is returned lies over that file."""
    with described(data_file, Files()) as manifest:
        assert manifest.digest == GOLDEN[-32:].hex()
        assert list(manifest.chunks()) == chunks_of(CONTENT, 4)
    assert data_file.with_name("manifest").read_bytes() == GOLDEN


@given(content=st.binary(max_size=40), chunk_bytes=st.integers(1, 12))
def test_any_file_is_described_whole(
    content: bytes, chunk_bytes: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever the sizes, the chunks put together are the file."""
    data_file = tmp_path_factory.mktemp("described") / "data.mdb"
    data_file.write_bytes(content)
    with described(data_file, Files(), chunk_bytes=chunk_bytes) as manifest:
        assert list(manifest.chunks()) == chunks_of(content, chunk_bytes)
        assert manifest.size_bytes == len(content)


def test_a_closed_manifest_is_unmapped_and_refuses_to_be_read(data_file: Path) -> None:
    """Closing ends the mapping; what is asked for afterwards is an error and not old memory."""
    manifest = described(data_file, Files())
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert str(data_file.with_name("manifest")) in maps.read_text()
    manifest.close()
    manifest.close()
    with pytest.raises(ValueError, match="released"):
        manifest.chunk(0)
    if maps.exists():
        assert str(data_file.with_name("manifest")) not in maps.read_text()


@pytest.mark.parametrize("content", [b"", b"BLMA", GOLDEN[:-1], GOLDEN[:8] + b"\xff" + GOLDEN[9:]])
def test_a_damaged_manifest_file_is_refused_with_its_path(tmp_path: Path, content: bytes) -> None:
    """An operator reads which file it is, and that it is not a network that failed."""
    path = tmp_path / "manifest"
    path.write_bytes(content)
    with pytest.raises(Corrupted, match=re.escape(str(path))):
        open_manifest(path)


def test_a_missing_manifest_is_unavailable(tmp_path: Path) -> None:
    """Absent is not corrupt."""
    with pytest.raises(Unavailable, match="No such file"):
        open_manifest(tmp_path / "manifest")


def test_another_manifest_than_the_expected_one_gets_no_name(tmp_path: Path) -> None:
    """A valid manifest of something else is refused, when written and when opened."""
    path = tmp_path / "manifest"
    with pytest.raises(CorruptManifest, match=f"root digest {GOLDEN[-32:].hex()}, expected 00"):
        write_manifest(path, [GOLDEN], Files(), digest="00")
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(GOLDEN)
    with pytest.raises(CorruptManifest, match="expected 00"):
        open_manifest(path, digest="00")
    open_manifest(path, digest=GOLDEN[-32:].hex()).close()


def test_what_fails_on_the_way_leaves_the_old_manifest(tmp_path: Path) -> None:
    """A source that breaks off, or sends nonsense, changes nothing and leaves nothing."""

    def breaks_off() -> Iterator[bytes]:
        yield GOLDEN[:100]
        raise SourceUnavailable("the link broke")

    path = tmp_path / "manifest"
    path.write_bytes(GOLDEN)
    with pytest.raises(SourceUnavailable):
        write_manifest(path, breaks_off(), Files())
    with pytest.raises(CorruptManifest, match="not a manifest"):
        write_manifest(path, [b"<html>502 Bad Gateway</html>" * 9], Files())
    assert [p.name for p in tmp_path.iterdir()] == ["manifest"]
    assert path.read_bytes() == GOLDEN


BIG = Header(
    source_identity="db",
    timeline=1,
    start_lsn=1,
    checkpoint_lsn=2,
    path="data.mdb",
    size_bytes=80_000,
    chunk_bytes=1,
    chunk_count=80_000,
)


class Elsewhere:
    """A manifest of several pieces that somebody else has: what it was asked for, and breaks."""

    def __init__(self, *, breaks_at: int | None = None) -> None:
        self.encoded = b"".join(encode(BIG, (Chunk.of(n, n, b"x") for n in range(80_000))))
        self.digest = self.encoded[-32:].hex()
        self.breaks_at, self.asked = breaks_at, list[int]()

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        self.asked.append(offset_bytes)
        if offset_bytes and offset_bytes == self.breaks_at:
            raise SourceUnavailable("the link broke")
        return self.encoded[offset_bytes : offset_bytes + length_bytes]


def test_a_manifest_that_broke_off_goes_on_where_it_was(tmp_path: Path) -> None:
    """No piece comes twice; a stop between two pieces breaks off in the same way."""
    there, path = Elsewhere(breaks_at=2**21), tmp_path / "manifest"
    with pytest.raises(SourceUnavailable):
        receive_manifest(path, there.read, Files(), digest=there.digest)
    assert not path.exists()

    def stop() -> None:
        raise Stopped("enough")

    with pytest.raises(Stopped):
        receive_manifest(path, there.read, Files(), digest=there.digest, pause=stop)
    assert there.asked == [0, 2**20, 2**21]
    there.breaks_at = None
    receive_manifest(path, there.read, Files(), digest=there.digest).close()
    assert there.asked == [0, 2**20, 2**21, 2**21, 3 * 2**20]
    assert path.read_bytes() == there.encoded
    assert [p.name for p in tmp_path.iterdir()] == ["manifest"]


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"\0" * 9_000_000, GOLDEN])
def test_what_lies_there_instead_of_a_part_is_fetched_anew(tmp_path: Path, damage: bytes) -> None:
    """Whatever was left behind under that name, the manifest that was pinned comes of it."""
    there, path = Elsewhere(), tmp_path / "manifest"
    (tmp_path / ".manifest.tmp").write_bytes(damage)
    receive_manifest(path, there.read, Files(), digest=there.digest).close()
    assert path.read_bytes() == there.encoded
    (tmp_path / ".manifest.tmp").write_bytes(there.encoded[:2000] + bytes(2**20))
    receive_manifest(path, there.read, Files(), digest=there.digest).close()
    assert path.read_bytes() == there.encoded


def _claiming(**claims: int) -> bytes:
    return next(encode(SimpleNamespace(**{**vars(BIG), **claims}), ()))


@pytest.mark.parametrize(
    ("start", "expected", "words"),
    [
        (bytes(100), CorruptManifest, "not a manifest"),
        (_claiming(chunk_count=2**63) + b"dbdata.mdb", CorruptManifest, "cannot be"),
        (_claiming(chunk_bytes=2**27) + b"dbdata.mdb", CorruptManifest, "bytes in a chunk"),
        (
            _claiming(size_bytes=2**50, chunk_count=2**50) + b"dbdata.mdb",
            CorruptManifest,
            "announced",
        ),
    ],
)
def test_nothing_of_what_cannot_be_a_manifest_is_written(
    tmp_path: Path, start: bytes, expected: type[Exception], words: str
) -> None:
    """The first piece decides; an endless stream of anything ends there."""
    asked = []

    def endless(offset_bytes: int, length_bytes: int) -> bytes:
        asked.append(offset_bytes)
        return (b"" if offset_bytes else start).ljust(length_bytes + 1, b"\0")

    with pytest.raises(expected, match=words):
        receive_manifest(tmp_path / "manifest", endless, Files())
    assert asked == [0]
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_without_room_is_not_begun(tmp_path: Path) -> None:
    """More than the disk has is refused before anything of it is written."""
    start = _claiming(size_bytes=2**50, chunk_count=2**50) + b"dbdata.mdb"
    with pytest.raises(OutOfSpace):
        receive_manifest(tmp_path / "manifest", lambda _, n: start.ljust(n, b"\0"), Files())
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_shrinks_while_it_is_described_is_refused(data_file: Path) -> None:
    """A file that somebody writes to has no manifest."""

    class Shrinking(Files):
        def point(self, name: str) -> None:
            if name == "manifest.describing":
                data_file.write_bytes(CONTENT[:5])

    with pytest.raises(InvalidValue, match="shrank from 10 to 5 bytes"):
        described(data_file, Shrinking())
    assert [p.name for p in data_file.parent.iterdir()] == ["data.mdb"]


@pytest.mark.parametrize("chunk_bytes", [0, -1, MAX_CHUNK_BYTES + 1])
def test_an_impossible_chunk_size_is_refused(data_file: Path, chunk_bytes: int) -> None:
    """Nothing is read or written for a chunk size out of bounds."""
    with pytest.raises(InvalidValue, match="chunk_bytes must lie between"):
        described(data_file, Files(), chunk_bytes=chunk_bytes)
    assert [p.name for p in data_file.parent.iterdir()] == ["data.mdb"]


class DiesAt(Files):
    """Passes `lives` points and dies at the next one, and at every one after it."""

    def __init__(self, lives: int) -> None:
        self.lives = lives

    def point(self, name: str) -> None:
        """Die once the lives are used up."""
        if self.lives <= 0:
            raise SimulatedCrash(name)
        self.lives -= 1


def test_a_manifest_that_exists_is_whole_at_every_crash(data_file: Path) -> None:
    """At each point there is no manifest or the whole one; doing it again gives the whole one."""
    path = data_file.with_name("manifest")
    crashes = 0
    while True:
        try:
            described(data_file, DiesAt(crashes)).close()
        except SimulatedCrash:
            assert not path.exists() or path.read_bytes() == GOLDEN
            described(data_file, Files()).close()
            assert sorted(p.name for p in data_file.parent.iterdir()) == ["data.mdb", "manifest"]
            assert path.read_bytes() == GOLDEN
            path.unlink()
            crashes += 1
        else:
            break
    assert crashes == 7


def test_a_loss_of_power_takes_neither_a_manifest_nor_what_it_describes(data_file: Path) -> None:
    """Once a manifest has its name, its bytes are on the disk, and those of the data file are."""
    data_file.write_bytes(bytes(len(CONTENT)))
    disk = ForgetfulDisk()
    files = ForgetfulFiles(Files(), disk)
    with files.open(data_file) as file:
        file.write_at(0, CONTENT)
    described(data_file, files).close()
    disk.lose_power(data_file.parent)
    open_manifest(data_file.with_name("manifest"), digest=GOLDEN[-32:].hex()).close()
    assert data_file.read_bytes() == CONTENT


def test_a_manifest_in_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """No directory is made up."""
    with pytest.raises(BootledgerError, match="No such file"):
        write_manifest(tmp_path / "missing" / "manifest", [GOLDEN], Files())


def test_memory_does_not_grow_with_the_number_of_chunks(tmp_path: Path) -> None:
    """20,000 chunks are written, checked and searched in less memory than their table has."""
    count = 20_000
    header = replace(HEADER, size_bytes=count, chunk_count=count)
    chunks = (Chunk(i, i, 1, 0, bytes(32)) for i in range(count))
    tracemalloc.start()
    try:
        with write_manifest(tmp_path / "manifest", encode(header, chunks), Files()) as manifest:
            assert next(manifest.covering([(17_777, 17_778)])).ordinal == 17_777
            assert sum(chunk.length_bytes for chunk in manifest.chunks()) == count
        assert tracemalloc.get_traced_memory()[1] < 2**18
    finally:
        tracemalloc.stop()
