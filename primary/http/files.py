"""Base backups as files to be sent: found and opened, with what their answer says of them.

Blocking: called in threads.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import zstandard

from bootledger.basebackup.manifest import DATA_NAME, MANIFEST_NAME
from bootledger.errors import SnapshotLost
from bootledger.files import translated
from bootledger.primary.http.ranges import Selected, select
from bootledger.primary.http.sending import FilePart
from bootledger.primary.service import Primary
from bootledger.replica.seal import SEALED_PART_MAX_BYTES

_ROOT_DIGEST_BYTES = 32
_SAMPLE_BYTES = 64 * 1024
_WORTH_IT = 0.9
_LEVEL = 1


@dataclass(frozen=True)
class Found:
    """A file of a base backup, open; `tag` is its strong entity tag, quoted."""

    file: BinaryIO
    size_bytes: int
    tag: str
    selected: Selected
    digest: str | None = None
    small: bytes | None = None

    @property
    def body(self) -> bytes | FilePart:
        """What was asked for of it, in memory if it is to be sealed."""
        if not self.selected.length_bytes:
            return b""
        return self.part if self.small is None else self.small

    @property
    def part(self) -> FilePart:
        """What was asked for of it."""
        return FilePart(self.file, self.selected.offset_bytes, self.selected.length_bytes)


def find(primary: Primary, token: str, name: str, headers: Mapping[str, str]) -> Found:
    """Return the file of that name, and which part of it the headers ask for.

    Raises `SnapshotLost` if there is no such base backup.
    """
    manifest = primary.backup_file(token, MANIFEST_NAME)
    with _open(manifest) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        root = os.pread(file.fileno(), _ROOT_DIGEST_BYTES, max(0, size_bytes - _ROOT_DIGEST_BYTES))
    tag = f'"{root.hex()}"'
    file = _open(primary.backup_file(token, name))
    try:
        size_bytes = os.fstat(file.fileno()).st_size
        selected = select(headers, tag, size_bytes)
        digest = None
        if name == DATA_NAME and selected.length_bytes:
            digest = digest_of(primary, token, selected.offset_bytes, selected.length_bytes)
        small = None
        if name == MANIFEST_NAME and 0 < selected.length_bytes <= SEALED_PART_MAX_BYTES:
            small = os.pread(file.fileno(), selected.length_bytes, selected.offset_bytes)
    except BaseException:  # an interrupt, too; it goes on
        file.close()
        raise
    return Found(file, size_bytes, tag, selected, digest, small)


def digest_of(primary: Primary, token: str, offset_bytes: int, length_bytes: int) -> str | None:
    """Return the sums of a chunk as a header says them, None if this is not exactly one chunk."""
    chunk = primary.chunk_at(token, offset_bytes, length_bytes)
    return chunk and f"crc32c={chunk.crc32c:08x}, blake3={chunk.digest.hex()}"


def compressed(part: FilePart) -> bytes | None:
    """Return the part as a Zstandard frame, None if a sample or the whole says it does not pay."""
    fd, length = part.file.fileno(), part.length_bytes
    sample = min(length, _SAMPLE_BYTES)
    if not _pays(os.pread(fd, sample, part.offset_bytes + (length - sample) // 2)):
        return None
    data = os.pread(fd, length, part.offset_bytes)
    frame = zstandard.ZstdCompressor(level=_LEVEL).compress(data)
    return frame if len(data) == length and len(frame) < length * _WORTH_IT else None


def _pays(sample: bytes) -> bool:
    return len(zstandard.ZstdCompressor(level=_LEVEL).compress(sample)) < len(sample) * _WORTH_IT


def _open(path: Path) -> BinaryIO:
    with translated(path):
        try:
            return path.open("rb", buffering=0)
        except FileNotFoundError:
            raise SnapshotLost("the base backup was released") from None
