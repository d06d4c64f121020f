"""The bytes of the ledger: one event as one frame, and small sealed records.

The layout is written down in docs/format.md and pinned by golden bytes in the tests. Nothing here
touches a disk. A record is trusted only after its checksum, which also covers where it stands, so
that a sound record in the wrong place is caught as well.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias
from uuid import UUID

import msgspec
from crc32c import crc32c

from bootledger.errors import CorruptRecord, InvalidValue, UnknownFormat
from bootledger.statemachine.events import Event, kind_of

MAX_EVENT_BYTES = 3072
"""Largest payload of a frame, so that no caller turns the ledger into a data store."""

_MAGIC = b"BLEV"
_HEADER = struct.Struct(">4sHHI16sQQ")
MAX_FRAME_BYTES = _HEADER.size + MAX_EVENT_BYTES
_CRC = struct.Struct(">I")
_CRC_AT = slice(8, 12)
_POSITION = struct.Struct(">Q")

Upcast: TypeAlias = Callable[[dict[str, object]], dict[str, object]]
"""Turns the decoded payload of one format into that of the next."""

UPCASTS: tuple[Upcast, ...] = ()
"""`UPCASTS[n - 1]` turns format n into format n + 1; the current format follows the last one."""

_HINT = "the ledger was damaged outside of bootledger: stop, and restore it from a copy"

_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)
_map_decoder = msgspec.msgpack.Decoder(dict[str, object])


class _Kind(msgspec.Struct):
    kind: str


_kind_decoder = msgspec.msgpack.Decoder(_Kind)


class Header(NamedTuple):
    """What a frame says about itself before its event is decoded. `kind` names the event."""

    id_bytes: bytes
    version: int
    previous_position: int
    kind: str


class Frame(NamedTuple):
    """A decoded frame; `previous_position` is where the intent's event before this one stands."""

    intent_id: UUID
    version: int
    previous_position: int
    event: Event


def encode_event(event: Event) -> bytes:
    """Return the payload of a frame. Raises `InvalidValue` above `MAX_EVENT_BYTES`."""
    payload = _encode(event)
    if len(payload) > MAX_EVENT_BYTES:
        raise InvalidValue(
            f"the event is {len(payload)} bytes long, {MAX_EVENT_BYTES} are allowed",
            hint="shorten its labels or texts, or name fewer ranges",
        )
    return payload


def encode_frame(
    position: int,
    intent_id: UUID,
    version: int,
    previous_position: int,
    payload: bytes,
) -> bytes:
    """Return the frame that holds `payload` at `position`, in the current format."""
    frame = bytearray(
        _HEADER.pack(
            _MAGIC,
            len(UPCASTS) + 1,
            len(payload),
            0,
            intent_id.bytes,
            version,
            previous_position,
        )
        + payload
    )
    frame[_CRC_AT] = _CRC.pack(_frame_crc(position, frame))
    return bytes(frame)


def decode_frame(position: int, frame: bytes, *, upcasts: Sequence[Upcast] = UPCASTS) -> Frame:
    """Return what the frame found at `position` says.

    Raises `CorruptRecord` naming the position if it is damaged or belongs elsewhere, and
    `UnknownFormat` if it is sound but was written by a newer version.
    """
    written_format, length, id_bytes, version, previous = _opened(position, frame, len(upcasts) + 1)
    payload = frame[_HEADER.size :]
    if len(payload) != length:
        raise _corrupt(position, f"the payload has {len(payload)} bytes, not {length}")
    event = _event(position, payload, upcasts[written_format - 1 :])
    return Frame(UUID(bytes=id_bytes), version, previous, event)


def decode_header(position: int, frame: bytes) -> Header:
    """Return what the header of the frame found at `position` says, and the kind of its event.

    Checks the checksum, so it raises as `decode_frame` does, and takes a tenth of the time: the
    event itself is not looked at.
    """
    written_format, length, id_bytes, version, previous = _opened(position, frame, len(UPCASTS) + 1)
    if len(frame) != _HEADER.size + length:
        raise _corrupt(position, f"the payload has {len(frame) - _HEADER.size} bytes, not {length}")
    if written_format <= len(UPCASTS):
        kind = kind_of(decode_frame(position, frame).event)
    else:
        try:
            kind = _kind_decoder.decode(frame[_HEADER.size :]).kind
        except msgspec.DecodeError as error:
            raise _corrupt(position, f"no event: {error}") from error
    return Header(id_bytes, version, previous, kind)


def frame_bytes(data: bytes, start: int) -> int:
    """Return how long the frame that begins at `start` of `data` says it is. Checks nothing else.

    Raises `IndexError` if not even its header is there.
    """
    if len(data) < start + _HEADER.size:
        raise IndexError(start)
    length: int = _HEADER.unpack_from(data, start)[2]
    return _HEADER.size + length


def _opened(position: int, frame: bytes, current_format: int) -> tuple[int, int, bytes, int, int]:
    """Return format, payload length, intent, version and previous position of a sound frame."""
    if len(frame) < _HEADER.size:
        raise _corrupt(position, f"{len(frame)} bytes are too few for a frame")
    magic, written_format, length, crc, id_bytes, version, previous = _HEADER.unpack_from(frame)
    if magic != _MAGIC:
        raise _corrupt(position, f"a frame cannot begin with {magic!r}")
    if crc != _frame_crc(position, frame):
        raise _corrupt(position, "the checksum does not match: damaged, or in the wrong place")
    # From here on the bytes are what their writer wrote.
    if not 1 <= written_format <= current_format:
        raise _unknown(position, f"format {written_format}, {current_format} is the newest known")
    return written_format, length, id_bytes, version, previous


def _event(position: int, payload: bytes, steps: Sequence[Upcast]) -> Event:
    try:
        if not steps:
            return _decoder.decode(payload)
        fields = _map_decoder.decode(payload)
        for step in steps:
            fields = step(fields)
        event: Event = msgspec.convert(fields, Event)
    except msgspec.ValidationError as error:
        text = str(error)
        if "unknown field" in text or text.endswith("at `$.kind`"):
            raise _unknown(position, f"an event that this version does not know: {text}") from error
        raise _corrupt(position, f"no event: {text}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _corrupt(position, f"no event: {error}") from error
    return event


def _frame_crc(position: int, frame: bytes | bytearray) -> int:
    crc = crc32c(_POSITION.pack(position))
    crc = crc32c(frame[: _CRC_AT.start], crc)
    return crc32c(frame[_CRC_AT.stop :], crc)


def _corrupt(position: int, reason: str) -> CorruptRecord:
    return CorruptRecord(
        f"position {position} of the ledger: {reason}", hint=_HINT, position=position
    )


def _unknown(position: int, reason: str) -> UnknownFormat:
    return UnknownFormat(
        f"position {position} of the ledger: {reason}",
        hint="open it with the version of bootledger that wrote it, or a newer one",
        position=position,
    )
