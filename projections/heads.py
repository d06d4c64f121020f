"""One intent's progress as bytes: what the store keeps beside its last event and never reads."""

from __future__ import annotations

import msgspec

from bootledger.errors import CorruptRecord, UnknownFormat
from bootledger.statemachine.progress import Progress
from bootledger.store.port import Head

_HEAD_FORMAT = b"\x01"
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Progress)


def encode_head(progress: Progress) -> bytes:
    """Return `progress` as bytes: a format byte, then msgpack."""
    return _HEAD_FORMAT + _encoder.encode(progress)


def decode_head(head: Head) -> Progress:
    """Return the progress that a head holds.

    Raises `UnknownFormat` if another version wrote it, `CorruptRecord` if it is not a progress or
    contradicts the version that the store counts.
    """
    if head.data[:1] != _HEAD_FORMAT:
        raise UnknownFormat(
            f"the head of intent {head.intent_id} has format {head.data[:1].hex() or 'none'}",
            hint="use the version of bootledger that wrote it, or a newer one",
        )
    try:
        progress = _decoder.decode(head.data[1:])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptRecord(
            f"the head of intent {head.intent_id} is unreadable: {error}"
        ) from error
    if progress.version != head.version:
        raise CorruptRecord(
            f"the head of intent {head.intent_id} is of version {progress.version}, "
            f"its last event of version {head.version}"
        )
    return progress
