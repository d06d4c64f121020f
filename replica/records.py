"""How changes and numbers of a database are written as bytes: pure functions, no database.

Everything is big-endian and begins with a CRC32C that covers the record's place as well, so that a
sound record in the wrong place is caught. The layout is a promise: docs/format.md.
"""

from __future__ import annotations

from struct import Struct
from uuid import UUID

from blake3 import blake3
from crc32c import crc32c

from bootledger.environment import MIB
from bootledger.errors import CorruptRecord, InvalidValue
from bootledger.positions import U64_MAX, check_u64
from bootledger.replica.ports import Change
from bootledger.sealing import unseal

KEY_MAX_BYTES = 511
VALUE_MAX_BYTES = 64 * MIB

_NUMBER = Struct(">Q")
_CHANGE = Struct(">IBH")
_PUT, _DELETE = 1, 2


def encode_number(number: int) -> bytes:
    """Return a u64 in 8 bytes that sort as the numbers do: the key of a change, among others."""
    return _NUMBER.pack(number)


def encode_change(change: Change) -> bytes:
    """Return the record of a change, which is stored under its LSN."""
    lsn, key, value = change
    content = value or b""
    operation = _DELETE if value is None else _PUT
    crc = _change_crc(lsn, operation, key, content)
    return b"".join((_CHANGE.pack(crc, operation, len(key)), key, content))


def change_digest(change: Change) -> str:
    """Return the BLAKE3 of a change and its LSN, in hex: equal only for equal changes."""
    return blake3(_NUMBER.pack(change.lsn) + encode_change(change)).hexdigest()


def decode_change(lsn: int, record: bytes | None) -> Change:
    """Return the change that is stored under `lsn`; raises `CorruptRecord` if it is not sound."""
    if record is None:
        raise CorruptRecord(f"change {lsn} is missing from the log")
    if len(record) < _CHANGE.size:
        raise CorruptRecord(f"change {lsn} is cut off: {len(record)} bytes")
    crc, operation, key_bytes = _CHANGE.unpack_from(record)
    key, content = record[_CHANGE.size :][:key_bytes], record[_CHANGE.size + key_bytes :]
    if crc != _change_crc(lsn, operation, key, content) or len(key) != key_bytes:
        raise CorruptRecord(f"change {lsn} fails its checksum")
    if operation == _PUT:
        return Change(lsn, key, content)
    if operation == _DELETE and not content:
        return Change(lsn, key, None)
    raise CorruptRecord(f"change {lsn} has the unknown operation {operation}")


def _change_crc(lsn: int, operation: int, key: bytes, content: bytes) -> int:
    head = _NUMBER.pack(lsn) + bytes([operation]) + len(key).to_bytes(2, "big")
    return crc32c(content, crc32c(key, crc32c(head)))


def unseal_fact(name: bytes, record: bytes | None) -> bytes:
    """Return what was sealed under `name`; raises `CorruptRecord` if it is missing or not sound."""
    what = f"the database's {name.decode()}"
    if record is None:
        raise CorruptRecord(f"{what} is missing")
    return unseal(name, record, what)


def unseal_number(name: bytes, record: bytes | None) -> int:
    """Return the number that was sealed under `name`; raises `CorruptRecord` if it is not sound."""
    content = unseal_fact(name, record)
    if len(content) != _NUMBER.size:
        raise CorruptRecord(f"the database's {name.decode()} is no number: {content!r}")
    return int.from_bytes(content, "big")


def check_key(key: object) -> bytes:
    """Return `key` if it can be one: 1 to `KEY_MAX_BYTES` bytes; else raise `InvalidValue`."""
    if not isinstance(key, bytes):
        raise InvalidValue(f"a key must be bytes, not {type(key).__name__}")
    if not 1 <= len(key) <= KEY_MAX_BYTES:
        raise InvalidValue(f"a key must have 1 to {KEY_MAX_BYTES} bytes, not {len(key)}")
    return key


def check_change(*parts: object) -> Change:
    """Return the change (LSN, key, value) if it can be stored, else raise `InvalidValue`."""
    if len(parts) != len(Change._fields):
        raise InvalidValue(f"a change is an LSN, a key and a value, not {len(parts)} parts")
    lsn, key, value = parts
    number = check_u64(lsn, "lsn")
    if number in (0, U64_MAX):
        raise InvalidValue(f"changes are numbered from 1 and end before 2**64 - 1, not {number}")
    if value is not None:
        if not isinstance(value, bytes):
            raise InvalidValue(f"a value must be bytes or None, not {type(value).__name__}")
        if len(value) > VALUE_MAX_BYTES:
            raise InvalidValue(f"a value must have up to {VALUE_MAX_BYTES} bytes, not {len(value)}")
    return Change(number, check_key(key), value)


def check_database_id(text: object) -> str:
    """Return `text` if it is a UUID in its usual form, else raise `InvalidValue`."""
    try:
        if isinstance(text, str) and str(UUID(text)) == text:
            return text
    except ValueError:
        pass
    raise InvalidValue(f"a database id must be a UUID in lower case, not {text!r}")
