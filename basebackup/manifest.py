"""The manifest of a base backup: one file, cut into chunks that are checked one by one.

A manifest stays in its encoded form. The table has entries of fixed width, so a `Manifest` is a
small value over the bytes (or a mapped file), and looking at one chunk decodes one entry: the
1.3 million chunks of 10 TB are 62 MB that nobody has to hold as objects.

A chunk has two sums. CRC32C notices damage; BLAKE3 is the chunk's identity. The root digest is the
BLAKE3 of everything before it, header and table, and so the identity of the whole base backup.
The layout is written down in docs/format.md and pinned by golden bytes in the tests.

Pure: no clock, no disk, no randomness.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple, Self

from blake3 import blake3
from crc32c import crc32c

from bootledger.errors import CorruptManifest, InvalidValue, UnknownFormat
from bootledger.positions import TEXT_MAX_BYTES, check_text, check_u64
from bootledger.statemachine.ranges import Range

MAGIC = b"BLMANIF\0"
FORMAT = 1
DATA_NAME = "data.mdb"
"""The file that a base backup of a database consists of."""
MANIFEST_NAME = "manifest"
"""The file beside it that says what it consists of."""
MAX_CHUNK_BYTES = 64 * 2**20
"""Longest chunk there may be: a chunk is held in memory whole, on either side."""

_HEADER = Struct(">8sIIIIQQQQQ")
_ENTRY = Struct(">QII32s")
_EXTENT = Struct(">QI36x")
"""The offset and the length of an entry, without its sums."""
_DIGEST_BYTES = 32


class Chunk(NamedTuple):
    """One entry of the table: where a chunk lies and what its bytes sum up to."""

    ordinal: int
    offset_bytes: int
    length_bytes: int
    crc32c: int
    digest: bytes

    @classmethod
    def of(cls, ordinal: int, offset_bytes: int, data: bytes) -> Self:
        """Return the entry that describes `data`."""
        return cls(ordinal, offset_bytes, len(data), crc32c(data), blake3(data).digest())

    @property
    def range(self) -> Range:
        """The bytes of the file that this chunk holds."""
        return Range(self.offset_bytes, self.offset_bytes + self.length_bytes)

    def objection(self, data: bytes | memoryview) -> str | None:
        """Return why `data` is not this chunk, with what was expected, or None if it is."""
        if len(data) != self.length_bytes:
            return f"{len(data)} bytes, expected {self.length_bytes}"
        if (crc := crc32c(data)) != self.crc32c:
            return f"CRC32C {crc:08x}, expected {self.crc32c:08x}"
        if (digest := blake3(data).digest()) != self.digest:
            return f"BLAKE3 {digest.hex()}, expected {self.digest.hex()}"
        return None


@dataclass(frozen=True)
class Header:
    """What a base backup is, apart from its bytes.

    It is a copy of the database `source_identity` on `timeline`. Copying began at `start_lsn`; the
    copy is consistent at `checkpoint_lsn`, and holds exactly the changes up to there. `path` is
    where the file belongs, relative to the directory of the database. No chunk is longer than
    `chunk_bytes`.

    Checked when it is made: raises `InvalidValue` that names the field and its value.
    """

    source_identity: str
    timeline: int
    start_lsn: int
    checkpoint_lsn: int
    path: str
    size_bytes: int
    chunk_bytes: int
    chunk_count: int

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, or could be written outside of its directory."""
        check_text(self.source_identity, "source identity")
        check_path(self.path)
        for name in ("timeline", "start_lsn", "checkpoint_lsn", "size_bytes", "chunk_count"):
            check_u64(getattr(self, name), name)
        if self.checkpoint_lsn < self.start_lsn:
            raise InvalidValue(
                f"checkpoint LSN {self.checkpoint_lsn} is before start LSN {self.start_lsn}"
            )
        if not 0 < check_u64(self.chunk_bytes, "chunk_bytes") <= MAX_CHUNK_BYTES:
            raise InvalidValue(
                f"chunk_bytes must lie between 1 and {MAX_CHUNK_BYTES}, not {self.chunk_bytes}"
            )


@dataclass(frozen=True)
class Manifest(Header):
    """A header and its table of chunks, still encoded. Made by `decode`, which has checked it.

    `digest` is the root digest in hex. Close it if it lies over a mapped file; afterwards its
    chunks cannot be asked for any more (`ValueError`).
    """

    table: memoryview
    digest: str

    def chunk(self, ordinal: int) -> Chunk:
        """Return the chunk at `ordinal`, counted from 0. Raises `InvalidValue` if there is none."""
        if not 0 <= ordinal < self.chunk_count:
            raise InvalidValue(f"there is no chunk {ordinal}: the manifest has {self.chunk_count}")
        return Chunk(ordinal, *_ENTRY.unpack_from(self.table, ordinal * _ENTRY.size))

    def chunks(self) -> Iterator[Chunk]:
        """Yield every chunk, in order."""
        return map(self.chunk, range(self.chunk_count))

    def covering(self, ranges: Iterable[tuple[int, int]]) -> Iterator[Chunk]:
        """Yield the chunks that hold at least one byte of `ranges`, in order, each of them once.

        The ranges are half-open, none is empty, and they come in order; they are taken one by one,
        as the chunks are.
        """
        ordinal = 0
        for start_bytes, end_bytes in ranges:
            first = bisect_right(range(self.chunk_count), start_bytes, key=self._end_bytes)
            ordinal = max(ordinal, first)
            while ordinal < self.chunk_count:
                chunk = self.chunk(ordinal)
                if chunk.offset_bytes >= end_bytes:
                    break
                yield chunk
                ordinal += 1

    def _end_bytes(self, ordinal: int) -> int:
        offset, length = _EXTENT.unpack_from(self.table, ordinal * _EXTENT.size)
        return int(offset + length)

    def close(self) -> None:
        """Let go of the encoded bytes. Harmless when repeated."""
        self.table.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_path(path: str) -> str:
    """Return `path` if it is relative and stays inside of the directory that it is joined to.

    Slashes separate its components on every system. Raises `InvalidValue` otherwise.
    """
    check_text(path, "path")
    if "\\" in path:
        raise InvalidValue(f"path must not contain a backslash: {path!r}")
    if path.startswith("/"):
        raise InvalidValue(f"path must not be absolute: {path!r}")
    for component in path.split("/"):
        if component in ("", ".", ".."):
            raise InvalidValue(f"path must not have the component {component!r}: {path!r}")
    return path


def encode(header: Header, chunks: Iterable[Chunk]) -> Iterator[bytes]:
    """Yield the encoded manifest piece by piece; the chunks are taken one by one.

    The chunks are written as they are. Whoever keeps the result decodes it first: `decode` refuses
    whatever should not have been encoded.
    """
    identity, path = header.source_identity.encode(), header.path.encode()
    head = _HEADER.pack(
        MAGIC,
        FORMAT,
        header.chunk_bytes,
        len(identity),
        len(path),
        header.timeline,
        header.start_lsn,
        header.checkpoint_lsn,
        header.size_bytes,
        header.chunk_count,
    )
    root = blake3()
    entries = (_ENTRY.pack(*chunk[1:]) for chunk in chunks)
    for piece in itertools.chain((head, identity, path), entries):
        root.update(piece)
        yield piece
    yield root.digest()


def decode(buffer: bytes | memoryview) -> Manifest:
    """Return the manifest encoded in `buffer`, which it keeps and does not copy.

    Everything is checked: the frame, the root digest, the header and the table. Time is linear in
    the bytes that are there, whatever they claim; memory is constant.

    Raises `UnknownFormat` if a newer version wrote it, `CorruptManifest` that names the offending
    value, and the chunk where there is one.
    """
    view = memoryview(buffer)
    head = _head_of(view)
    path_start, table_start, table_end = head.path_start, head.table_start, head.table_end
    if len(view) != (announced := table_end + _DIGEST_BYTES):
        wrong_end = "truncated" if len(view) < announced else "trailing bytes"
        raise CorruptManifest(f"{wrong_end}: {len(view)} bytes, {announced} are announced")
    digest = blake3(view[:table_end]).hexdigest()
    if digest != (told := view[table_end:].hex()):
        raise CorruptManifest(f"wrong root digest {told}, the bytes have {digest}")
    try:
        manifest = Manifest(
            source_identity=str(view[_HEADER.size : path_start], "utf-8"),
            timeline=head.timeline,
            start_lsn=head.start_lsn,
            checkpoint_lsn=head.checkpoint_lsn,
            path=str(view[path_start:table_start], "utf-8"),
            size_bytes=head.size_bytes,
            chunk_bytes=head.chunk_bytes,
            chunk_count=head.chunk_count,
            table=view[table_start:table_end],
            digest=digest,
        )
    except (InvalidValue, UnicodeDecodeError) as wrong:
        raise CorruptManifest(str(wrong)) from wrong
    validate(manifest)
    return manifest


def announced_bytes(start: bytes | memoryview) -> int:
    """Return how long the encoded manifest is that begins with `start`.

    What no manifest can claim is refused: raises as `decode`.
    """
    head = _head_of(memoryview(start))
    names_bytes = head.table_start - _HEADER.size
    if names_bytes > 2 * TEXT_MAX_BYTES or not 0 < head.chunk_bytes <= MAX_CHUNK_BYTES:
        raise CorruptManifest(f"{names_bytes} bytes of names, {head.chunk_bytes} bytes in a chunk")
    if not -(-head.size_bytes // head.chunk_bytes) <= head.chunk_count <= head.size_bytes:
        what = f"{head.chunk_count} chunks of up to {head.chunk_bytes} bytes"
        raise CorruptManifest(f"{what} cannot be {head.size_bytes} bytes")
    return head.table_end + _DIGEST_BYTES


class _Head(NamedTuple):
    """The fixed part of an encoded manifest, and where the others end."""

    chunk_bytes: int
    path_start: int
    table_start: int
    table_end: int
    timeline: int
    start_lsn: int
    checkpoint_lsn: int
    size_bytes: int
    chunk_count: int


def _head_of(view: memoryview) -> _Head:
    if bytes(view[: len(MAGIC)]) != MAGIC[: len(view)]:
        raise CorruptManifest(f"not a manifest: it begins with {bytes(view[: len(MAGIC)])!r}")
    if len(view) < _HEADER.size:
        raise CorruptManifest(f"truncated: {len(view)} bytes, the header alone has {_HEADER.size}")
    (_, version, chunk_bytes, identity_bytes, path_bytes, *numbers) = _HEADER.unpack_from(view)
    if version != FORMAT:
        raise UnknownFormat(
            f"manifest format {version} is unknown, this version reads format {FORMAT}",
            hint="use the version of bootledger that the source uses",
        )
    path_start = _HEADER.size + identity_bytes
    table_start = path_start + path_bytes
    table_end = table_start + numbers[-1] * _ENTRY.size
    return _Head(chunk_bytes, path_start, table_start, table_end, *numbers)


def validate(manifest: Manifest) -> None:
    """Refuse a table whose chunks do not hold every byte of the file exactly once, in order.

    Raises `CorruptManifest` that names the first offending chunk.
    """
    start = end = 0
    for ordinal, (offset, length) in enumerate(_EXTENT.iter_unpack(manifest.table)):
        if offset != end or not 0 < length <= manifest.chunk_bytes:
            reason = _misplaced(offset, length, start, end, manifest.chunk_bytes)
            raise CorruptManifest(f"chunk {ordinal}: {reason}")
        start, end = offset, offset + length
    if end != manifest.size_bytes:
        raise CorruptManifest(
            f"the chunks end at byte {end}, the file at byte {manifest.size_bytes}"
        )


def _misplaced(offset: int, length: int, start: int, end: int, chunk_bytes: int) -> str:
    """Return what is wrong with a chunk that follows one from `start` to `end`."""
    if length == 0:
        return "empty"
    if length > chunk_bytes:
        return f"{length} bytes long, {chunk_bytes} are allowed"
    if offset > end:
        return f"a gap: begins at byte {offset}, the one before ends at byte {end}"
    if offset < start:
        return f"out of order: begins at byte {offset}, the one before at byte {start}"
    return f"overlap: begins at byte {offset}, the one before ends at byte {end}"
