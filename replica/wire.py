"""What primary and replica say to each other: messages, changes and errors. Pure.

The endpoints stand in docs/protocol.md. Control is JSON, decoded into the structs below and nothing
else; bytes are bytes. What comes from the wire is checked when it is decoded: every number is a
u64, every text has a longest length, unknown fields are ignored (a newer side may say more).
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Annotated, TypeVar

import msgspec
from crc32c import crc32c

from bootledger import errors
from bootledger.errors import (
    BootledgerError,
    Corrupted,
    CorruptRecord,
    Refused,
    SourceUnavailable,
    Unavailable,
)
from bootledger.positions import NODE_ID_MAX_BYTES, TEXT_MAX_BYTES, U64
from bootledger.replica.ports import Change, Pin, SourceIdentity
from bootledger.replica.records import decode_change, encode_change

PROTOCOL = 1
"""Which version of the protocol this is; it is in every path: `/v1/…`."""
CHANGES_TYPE = "application/vnd.bootledger.changes"
PROBLEM_TYPE = "application/problem+json"
DIGEST_HEADER = "Bootledger-Digest"
"""On a chunk: `crc32c=HEX, blake3=HEX` of the bytes as they are on disk, not as they travel."""
MAX_MESSAGE_BYTES = 64 * 1024
"""Longest JSON message, in either direction."""
MAX_WAIT_MS = 60_000
"""Longest time that a request may be held open for news."""

_MAGIC = b"BLCHNGS\x01"
_HEAD = Struct(">8sI")
_FRAME = Struct(">QI")
_CRC = Struct(">I")

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_MAX_BYTES)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NODE_ID_MAX_BYTES)]


class PrimaryInfo(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/primary`: which database this is and where it stands.

    `pruned_lsn` is the highest LSN whose change is no longer kept. `write_rate_per_s` is how many
    changes a second were written lately, None before it was measured; `log_bytes` what the change
    log takes on disk. `slot_*` are the limits after which a slot is invalidated, None without.
    """

    database_id: Text
    timeline: U64
    last_lsn: U64
    pruned_lsn: U64
    size_bytes: U64
    log_bytes: U64
    write_rate_per_s: float | None = None
    slot_max_changes: U64 | None = None
    slot_max_bytes: U64 | None = None
    slot_idle_ms: U64 | None = None
    protocol: U64 = PROTOCOL

    @property
    def identity(self) -> SourceIdentity:
        """Which database it is."""
        return SourceIdentity(self.database_id, self.timeline)


class PinRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/base-backups`: a base backup for this intent and generation, held by a slot.

    Harmless when repeated. The slot is durable before the first byte of the database is read.
    """

    intent_id: Text
    generation: U64
    slot: Name


class Pinned(msgspec.Struct, frozen=True, kw_only=True, tag="pinned"):
    """200: the base backup is durable and stays until it is released."""

    token: Text
    timeline: U64
    lsn: U64
    size_bytes: U64
    manifest_size_bytes: U64
    manifest_digest: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]

    @property
    def pin(self) -> Pin:
        """The same as what the port returns."""
        return Pin(
            self.token,
            self.timeline,
            self.lsn,
            self.size_bytes,
            self.manifest_size_bytes,
            self.manifest_digest,
        )


class Publishing(msgspec.Struct, frozen=True, kw_only=True, tag="publishing"):
    """202: it is being made; ask again. Both numbers are for people."""

    done_bytes: U64
    size_bytes: U64


class SlotRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`PUT /v1/slots/NAME`: hold the changes after `lsn`, which the replica has durably."""

    lsn: U64


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A slot: changes after `acknowledged_lsn` are kept for the replica of that name.

    `invalid_because` says why they no longer are; None as long as they are. Times are wall clock.
    """

    name: Name
    acknowledged_lsn: U64
    created_at_ms: U64
    active_at_ms: U64
    invalid_because: Text | None = None


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Any error (RFC 9457): `error` is the name of a class in `bootledger.errors`."""

    error: Text
    detail: str
    hint: str = ""
    retry_after_ms: U64 | None = None


T = TypeVar("T")


def decode_message(data: bytes, kind: type[T]) -> T:
    """Return the JSON message in `data`; raise `CorruptRecord` if it is none of that kind."""
    if len(data) > MAX_MESSAGE_BYTES:
        raise CorruptRecord(f"a message of {len(data)} bytes, {MAX_MESSAGE_BYTES} are allowed")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise CorruptRecord(f"not a message of this protocol: {wrong}: {data[:80]!r}") from wrong


def encode_changes(changes: Sequence[Change]) -> bytes:
    """Return changes as they travel: a count, each with its LSN and CRC32C, and a CRC32C of all."""
    parts = [_HEAD.pack(_MAGIC, len(changes))]
    for change in changes:
        record = encode_change(change)
        parts += (_FRAME.pack(change.lsn, len(record)), record)
    crc = 0
    for part in parts:
        crc = crc32c(part, crc)
    return b"".join((*parts, _CRC.pack(crc)))


def decode_changes(data: bytes, after_lsn: int) -> list[Change]:
    """Return the changes in `data`, which must follow `after_lsn` in order and without gaps.

    Raises `CorruptRecord` if anything is missing, added or not sound; nothing is skipped.
    """
    if len(data) < _HEAD.size + _CRC.size:
        raise CorruptRecord(f"changes are cut off: {len(data)} bytes")
    magic, count = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        raise CorruptRecord(f"not changes: they begin with {magic!r}")
    end = len(data) - _CRC.size
    if crc32c(memoryview(data)[:end]) != _CRC.unpack_from(data, end)[0]:
        raise CorruptRecord("changes fail their checksum")
    changes: list[Change] = []
    offset = _HEAD.size
    for lsn in range(after_lsn + 1, after_lsn + 1 + count):
        if offset + _FRAME.size > end:
            raise CorruptRecord(f"change {lsn} is missing: {count} were announced")
        found, length = _FRAME.unpack_from(data, offset)
        offset += _FRAME.size
        if found != lsn:
            raise CorruptRecord(f"change {found} came where {lsn} was expected")
        if offset + length > end:
            raise CorruptRecord(f"change {lsn} is cut off")
        changes.append(decode_change(lsn, data[offset : offset + length]))
        offset += length
    if offset != end:
        raise CorruptRecord(f"{end - offset} bytes too many after {count} changes")
    return changes


def problem_of(error: BootledgerError) -> Problem:
    """Return what the other side is told of an error, by its name in `bootledger.errors`."""
    name = next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
    return Problem(error=name, detail=str(error), hint=error.hint)


def error_of(problem: Problem) -> BootledgerError:
    """Return the error that the other side told of; of an unknown name, `SourceUnavailable`."""
    kind = getattr(errors, problem.error, None)
    if (
        isinstance(kind, type)
        and issubclass(kind, BootledgerError)
        and kind not in (BootledgerError, Refused, Corrupted, Unavailable)
    ):
        error = kind(problem.detail, hint=problem.hint)
    else:
        error = SourceUnavailable(f"{problem.error}: {problem.detail}", hint=problem.hint)
    if isinstance(error, Unavailable):
        error.retry_after_ms = problem.retry_after_ms
    return error
