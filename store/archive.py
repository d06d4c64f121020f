"""The archive: frames of finished intents, moved out of the log, compressed by the block.

A block is `BLOCK_POSITIONS` positions, aligned; its record holds whichever of their frames were
moved so far. A frame is the same bytes here as it was in the log, checksum included. Every position
is in exactly one of log and archive, because one transaction takes it out of one and puts it into
the other. The layout is written down in docs/format.md. Nothing here touches a disk.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from bootledger.errors import CorruptRecord
from bootledger.sealing import seal, unseal
from bootledger.store.codec import MAX_FRAME_BYTES, frame_bytes
from bootledger.store.port import Positions

BLOCK_POSITIONS = 1024
"""A power of two. More would compress little better and take longer to rewrite."""

_KEY = struct.Struct(">Q")
_COUNT = struct.Struct(">H")
_RANGE = struct.Struct(">QQ")
_LENGTH = struct.Struct(">I")
_COMPRESSION_LEVEL = 6

Frames: TypeAlias = Mapping[int, bytes]
"""Frames by their positions."""


def block_of(position: int) -> int:
    """Return the number of the block that `position` belongs to."""
    return position // BLOCK_POSITIONS


def block_key(number: int) -> bytes:
    """Return the key of a block's record."""
    return _KEY.pack(number)


def encode_block(number: int, frames: Frames) -> bytes:
    """Return the record of the block that holds `frames`, of which there is at least one."""
    ordered = sorted(frames)
    runs = joined(Positions(position, position) for position in ordered)
    content = b"".join(frames[position] for position in ordered)
    body = b"".join(
        (
            _COUNT.pack(len(runs)),
            *(_RANGE.pack(*run) for run in runs),
            _LENGTH.pack(len(content)),
            zlib.compress(content, _COMPRESSION_LEVEL),
        )
    )
    return seal(block_key(number), body)


def decode_ranges(key: bytes, record: bytes) -> list[Positions]:
    """Return which positions the record found under `key` holds, in order. Inflates nothing.

    Raises `CorruptRecord` if it is damaged or belongs elsewhere.
    """
    return _opened(key, record)[1]


def decode_block(key: bytes, record: bytes) -> dict[int, bytes]:
    """Return the frames of the record found under `key`, by position; their checksums are theirs.

    Raises `CorruptRecord` if it is damaged or belongs elsewhere.
    """
    what, runs, body = _opened(key, record)
    at = _COUNT.size + _RANGE.size * len(runs)
    length: int = _LENGTH.unpack_from(body, at)[0]
    if length > BLOCK_POSITIONS * MAX_FRAME_BYTES:
        raise CorruptRecord(f"{what} cannot hold {length} bytes", position=runs[0].first)
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(body[at + _LENGTH.size :], length + 1)
    except zlib.error as error:
        raise CorruptRecord(
            f"{what} cannot be inflated: {error}", position=runs[0].first
        ) from error
    if len(content) != length or not inflater.eof:
        raise CorruptRecord(f"{what} does not hold {length} bytes", position=runs[0].first)
    frames, start = {}, 0
    for run in runs:
        for position in range(run.first, run.last + 1):
            try:
                end = start + frame_bytes(content, start)
            except IndexError as error:
                raise CorruptRecord(f"{what} ends early", position=position) from error
            frames[position] = content[start:end]
            start = end
    if start != length:
        raise CorruptRecord(f"{what} holds more than its positions", position=runs[-1].last)
    return frames


def _opened(key: bytes, record: bytes) -> tuple[str, list[Positions], bytes]:
    """Return what to call the record, its ranges and its body."""
    if len(key) != _KEY.size:
        raise CorruptRecord(f"{key!r} cannot be a block of the archive")
    number: int = _KEY.unpack(key)[0]
    what = f"block {number} of the archive"
    first = number * BLOCK_POSITIONS
    try:
        body = unseal(key, record, what)
    except CorruptRecord as error:
        raise CorruptRecord(str(error), hint=error.hint, position=first) from error
    count: int = _COUNT.unpack_from(body)[0] if len(body) >= _COUNT.size else 0
    if not count or len(body) < _COUNT.size + count * _RANGE.size + _LENGTH.size:
        raise CorruptRecord(f"{what} is cut short", position=first)
    runs = [
        Positions(*_RANGE.unpack_from(body, _COUNT.size + index * _RANGE.size))
        for index in range(count)
    ]
    after = first - 1
    for run in runs:
        if not after < run.first <= run.last < first + BLOCK_POSITIONS:
            raise CorruptRecord(
                f"{what} claims the positions {run.first} to {run.last}", position=first
            )
        after = run.last
    return what, runs, body


def joined(runs: Iterable[Positions]) -> list[Positions]:
    """Return `runs`, which are in order, with those that touch made one."""
    found: list[Positions] = []
    for run in runs:
        if found and found[-1].last + 1 == run.first:
            found[-1] = Positions(found[-1].first, run.last)
        else:
            found.append(run)
    return found
