"""What the chunks of a file sum up to, written down as they are seen, so that none is read twice.

An entry says for which version, place and size it was made, as its checksum covers all of them:
what belongs to anything else, or was damaged, is not there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from bootledger.basebackup.manifest import Chunk, Header
from bootledger.errors import CorruptRecord
from bootledger.files import Files
from bootledger.sealing import seal, unseal

_KEY = struct.Struct(">QQIQ")
_BODY = struct.Struct(">I32s")
_ENTRY_BYTES = 4 + _BODY.size


class Sums:
    """The sums of the file that `header` describes. Close it, or use it as a context manager."""

    def __init__(self, path: Path, header: Header, files: Files) -> None:
        self._header = header
        self._file = files.open(path, size_bytes=header.chunk_count * _ENTRY_BYTES)

    def extent(self, ordinal: int) -> tuple[int, int]:
        """Return where a chunk begins and how long it is."""
        offset_bytes = ordinal * self._header.chunk_bytes
        return offset_bytes, min(self._header.chunk_bytes, self._header.size_bytes - offset_bytes)

    def get(self, ordinal: int) -> Chunk | None:
        """Return a chunk that was seen, None if it was not."""
        record = self._file.read_at(ordinal * _ENTRY_BYTES, _ENTRY_BYTES)
        try:
            crc, digest = _BODY.unpack(unseal(self._key(ordinal), record, "a sum"))
        except CorruptRecord:
            return None  # it is seen again
        return Chunk(ordinal, *self.extent(ordinal), crc, digest)

    def put(self, chunk: Chunk) -> None:
        """Write down a chunk. Durable only after `sync`."""
        body = _BODY.pack(chunk.crc32c, chunk.digest)
        sealed = seal(self._key(chunk.ordinal), body)
        self._file.write_at(chunk.ordinal * _ENTRY_BYTES, sealed)

    def sync(self) -> None:
        """Make everything written down so far durable."""
        self._file.sync()

    def missing(self) -> Iterator[int]:
        """Yield the ordinals of the chunks that were not seen yet, in order."""
        return (n for n in range(self._header.chunk_count) if self.get(n) is None)

    def chunks(self) -> Iterator[Chunk]:
        """Yield every chunk, in order. Raises `CorruptRecord` at one that was not seen."""
        for ordinal in range(self._header.chunk_count):
            chunk = self.get(ordinal)
            if chunk is None:
                raise CorruptRecord(f"{self._file.path} has lost chunk {ordinal}")
            yield chunk

    def _key(self, ordinal: int) -> bytes:
        header = self._header
        return _KEY.pack(header.checkpoint_lsn, header.size_bytes, header.chunk_bytes, ordinal)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
