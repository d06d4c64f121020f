"""Small records with a checksum that covers where they stand as well: right bytes, right place."""

from __future__ import annotations

import struct

from crc32c import crc32c

from bootledger.errors import CorruptRecord

_CRC = struct.Struct(">I")
_HINT = "it was damaged outside of bootledger: stop, and restore it from a copy"


def seal(key: bytes, body: bytes) -> bytes:
    """Return `body` as a record to be stored under `key`: CRC32C of both, then the body."""
    return _CRC.pack(crc32c(body, crc32c(key))) + body


def unseal(key: bytes, record: bytes, what: str) -> bytes:
    """Return the body of a record found under `key`.

    Raises `CorruptRecord` naming `what` if it is damaged or was stored under another key.
    """
    if len(record) < _CRC.size:
        raise CorruptRecord(f"{what} is cut short", hint=_HINT)
    body = record[_CRC.size :]
    if _CRC.unpack_from(record)[0] != crc32c(body, crc32c(key)):
        raise CorruptRecord(f"{what} does not match its checksum", hint=_HINT)
    return body
