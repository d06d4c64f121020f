"""The manifest of a RedDB base backup: one snapshot, cut into parts that are files of their own.

| size | field |
|---|---|
| 8 | `RDBASE01` |
| 2 | version: 1 |
| 8, 8, 8 | timeline, start LSN, checkpoint LSN |
| text | where the snapshot belongs |
| 8, 4 | length of the snapshot, CRC-32 of it |
| 4 | number of chunks, 1 to 1,000,000 |
| 4, 8, 8, 4, text | for each chunk: ordinal, offset, length, CRC-32, where its part lies |
| 4 | CRC-32 of everything before |

Integers are little-endian; a text is its length (4 bytes) and UTF-8; CRC-32 is the one of IEEE. The
older form ends after the snapshot's CRC-32: the snapshot is its own and only part.

Unlike bootledger's own manifest this one cannot be used where it lies, because its entries have no
fixed width: a million chunks are a million small tuples. What is decoded is never more than the
bytes that are there, whatever they claim.

Pure: no clock, no disk, no randomness.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from struct import Struct
from typing import NamedTuple, Self

from bootledger.basebackup.reddb_errors import InvalidOperation
from bootledger.errors import InvalidValue
from bootledger.positions import U64_MAX

MAGIC = b"RDBASE01"
VERSION = 1
MAX_CHUNKS = 1_000_000
"""A manifest that announces more is refused before the first is looked at."""

_VERSION = Struct("<H")
_PLAN = Struct("<QQQ")
_SNAPSHOT = Struct("<QI")
_CHUNK = Struct("<IQQII")
"""The numbers of a chunk, and the length of the path that follows."""
_U32 = Struct("<I")


class BaseBackupPlan(NamedTuple):
    """Which base backup: of the database on `timeline`, begun at one LSN, consistent at another."""

    timeline: int
    start_lsn: int
    checkpoint_lsn: int

    def check(self) -> None:
        """Raise `InvalidOperation` if the copy would be consistent before it began."""
        if self.checkpoint_lsn < self.start_lsn:
            raise InvalidOperation(
                f"checkpoint LSN {self.checkpoint_lsn} is before start LSN {self.start_lsn}"
            )


class BaseBackupChunkRef(NamedTuple):
    """A chunk of the snapshot, and where the part that holds it lies below the parts' root."""

    ordinal: int
    snapshot_offset: int
    chunk_bytes: int
    checksum: int
    relative_path: str

    def objection(self, length_bytes: int, checksum: int) -> str | None:
        """Return why something of this length and CRC-32 is not the chunk, or None if it is."""
        if length_bytes != self.chunk_bytes:
            return f"{length_bytes} bytes, expected {self.chunk_bytes}"
        if checksum != self.checksum:
            return f"CRC-32 {checksum:#010x}, expected {self.checksum:#010x}"
        return None


@dataclass(frozen=True)
class PrimaryReplicaBaseBackupManifest:
    """What a base backup consists of. `decode`, `new` and `incremental` return only valid ones.

    Made directly it may be anything: `validate` says whether it can be believed.
    """

    timeline: int
    start_lsn: int
    checkpoint_lsn: int
    snapshot_relative_path: str
    snapshot_bytes: int
    snapshot_checksum: int
    chunks: tuple[BaseBackupChunkRef, ...]

    @classmethod
    def new(
        cls, backup: BaseBackupPlan, relative_path: str, snapshot_bytes: int, checksum: int
    ) -> Self:
        """Return the manifest of a snapshot that is its own and only part.

        Raises `InvalidOperation` as `incremental`.
        """
        whole = BaseBackupChunkRef(0, 0, snapshot_bytes, checksum, relative_path)
        return cls.incremental(backup, relative_path, snapshot_bytes, checksum, (whole,))

    @classmethod
    def incremental(
        cls,
        backup: BaseBackupPlan,
        relative_path: str,
        snapshot_bytes: int,
        checksum: int,
        chunks: Iterable[BaseBackupChunkRef],
    ) -> Self:
        """Return the manifest of a snapshot that was cut into `chunks`.

        Raises `InvalidOperation` if it would be consistent before it began, or as `validate`.
        """
        backup.check()
        manifest = cls(*backup, relative_path, snapshot_bytes, checksum, tuple(chunks))
        manifest.validate()
        return manifest

    @classmethod
    def decode(cls, buffer: bytes | memoryview) -> Self:
        """Return the manifest encoded in `buffer`, which is not kept.

        Raises `InvalidOperation` that names the offending value. The CRC-32 comes first, then the
        fields in their order, then what they mean together. Time and memory are linear in the bytes
        that are there.
        """
        reader = _Reader(_unsealed(memoryview(buffer)))
        if (magic := reader.take(len(MAGIC))) != MAGIC:
            raise InvalidOperation(f"not a base backup manifest: it begins with {bytes(magic)!r}")
        (version,) = reader.unpack(_VERSION)
        if version != VERSION:
            raise InvalidOperation(
                f"manifest version {version} is unknown, this reads version {VERSION}"
            )
        backup = BaseBackupPlan(*reader.unpack(_PLAN))
        relative_path = reader.text(*reader.unpack(_U32))
        snapshot_bytes, checksum = reader.unpack(_SNAPSHOT)
        if not reader.left_bytes:
            return cls.new(backup, relative_path, snapshot_bytes, checksum)
        (count,) = reader.unpack(_U32)
        if count > MAX_CHUNKS:
            raise InvalidOperation(f"{count} chunks are announced, {MAX_CHUNKS} are allowed")
        chunks = [reader.chunk() for _ in range(count)]
        if reader.left_bytes:
            raise InvalidOperation(f"trailing bytes: {reader.left_bytes} after the last chunk")
        return cls.incremental(backup, relative_path, snapshot_bytes, checksum, chunks)

    def encode(self) -> bytes:
        """Return the manifest as `decode` reads it, always in the form with a table of chunks.

        It is written as it is: `decode` refuses what should not have been encoded. Raises
        `InvalidValue` for a number or a path that the format cannot hold.
        """
        try:
            body = b"".join(self._pieces())
        except (struct.error, UnicodeEncodeError) as error:
            raise InvalidValue(f"the manifest cannot be encoded: {error}") from error
        return body + _U32.pack(zlib.crc32(body))

    def _pieces(self) -> Iterator[bytes]:
        yield MAGIC
        yield _VERSION.pack(VERSION)
        yield _PLAN.pack(self.timeline, self.start_lsn, self.checkpoint_lsn)
        yield _text(self.snapshot_relative_path)
        yield _SNAPSHOT.pack(self.snapshot_bytes, self.snapshot_checksum)
        yield _U32.pack(len(self.chunks))
        for chunk in self.chunks:
            path = chunk.relative_path.encode()
            yield _CHUNK.pack(*chunk[:-1], len(path))
            yield path

    def validate(self) -> None:
        """Refuse what contradicts itself, or what would lie outside of the parts' root.

        The chunks come in the order of their ordinals, from 0, and hold every byte of the snapshot
        once. Paths are relative and never go up. Raises `InvalidOperation` that names the first
        offending chunk.
        """
        if reason := leads_out(self.snapshot_relative_path):
            raise InvalidOperation(f"the snapshot has {reason}")
        if not self.chunks:
            raise InvalidOperation("a base backup has at least one chunk, this one has none")
        end = 0
        for position, chunk in enumerate(self.chunks):
            if chunk.ordinal != position:
                raise InvalidOperation(
                    f"chunk {chunk.ordinal} stands in the place of chunk {position}"
                )
            if chunk.snapshot_offset != end:
                raise InvalidOperation(
                    f"chunk {position} begins at byte {chunk.snapshot_offset}, expected {end}"
                )
            if reason := leads_out(chunk.relative_path):
                raise InvalidOperation(f"chunk {position} has {reason}")
            end = min(end + chunk.chunk_bytes, U64_MAX)
        if end != self.snapshot_bytes:
            raise InvalidOperation(
                f"the chunks end at byte {end}, the snapshot at byte {self.snapshot_bytes}"
            )

    def chunk(self, ordinal: int) -> BaseBackupChunkRef:
        """Return the first chunk of that ordinal. Raises `InvalidOperation` if there is none."""
        if (chunk := self._by_ordinal.get(ordinal)) is None:
            raise InvalidOperation(
                f"there is no chunk {ordinal}: the manifest has {len(self.chunks)}"
            )
        return chunk

    @cached_property
    def tmp_paths(self) -> frozenset[tuple[str, ...]]:
        """The components of the paths that end in `.tmp`, as RedDB's temporary files do."""
        paths = (chunk.relative_path for chunk in self.chunks)
        return frozenset(components(path) for path in paths if path.endswith(".tmp"))

    @cached_property
    def _by_ordinal(self) -> dict[int, BaseBackupChunkRef]:
        return {chunk.ordinal: chunk for chunk in reversed(self.chunks)}


def leads_out(path: str) -> str | None:
    """Return why a path does not stay below the directory it is joined to, or None if it does."""
    if path.startswith("/"):
        return f"an absolute path: {path[:80]!r}"
    if ".." in path and ".." in path.split("/"):
        return f"a path with the component '..': {path[:80]!r}"
    return None


def components(path: str) -> tuple[str, ...]:
    """Return the names that a path goes through; two paths with the same ones are the same."""
    return tuple(name for name in path.split("/") if name not in ("", "."))


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _U32.pack(len(encoded)) + encoded


def _unsealed(view: memoryview) -> memoryview:
    """Return what the CRC-32 at the end of `view` covers, if it is right."""
    if len(view) < _U32.size:
        raise InvalidOperation(f"too short for a manifest: {len(view)} bytes")
    body = view[: -_U32.size]
    (told,) = _U32.unpack_from(view, len(body))
    if (found := zlib.crc32(body)) != told:
        raise InvalidOperation(f"wrong CRC-32 {told:#010x}, the bytes have {found:#010x}")
    return body


class _Reader:
    """Takes one field after another, and never more than there is."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._at = 0

    @property
    def left_bytes(self) -> int:
        return len(self._view) - self._at

    def take(self, length_bytes: int) -> memoryview:
        start, end = self._at, self._at + length_bytes
        if end > len(self._view):
            raise InvalidOperation(
                f"truncated: {length_bytes} bytes are announced at byte {start}, "
                f"{self.left_bytes} are left"
            )
        self._at = end
        return self._view[start:end]

    def unpack(self, fields: Struct) -> tuple[int, ...]:
        return fields.unpack(self.take(fields.size))

    def chunk(self) -> BaseBackupChunkRef:
        ordinal, offset, length_bytes, checksum, path_bytes = self.unpack(_CHUNK)
        path = self.text(path_bytes)
        return BaseBackupChunkRef(ordinal, offset, length_bytes, checksum, path)

    def text(self, length_bytes: int) -> str:
        try:
            return str(self.take(length_bytes), "utf-8")
        except UnicodeDecodeError as error:
            raise InvalidOperation(
                f"the text that ends at byte {self._at} is not UTF-8: {error}"
            ) from error
