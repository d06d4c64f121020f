"""The small sealed records of the ledger beside its log: heads, index, projections, meta.

Their layout is written down in docs/format.md.
"""

from __future__ import annotations

import struct
from uuid import UUID

from bootledger.errors import CorruptRecord
from bootledger.sealing import seal, unseal
from bootledger.store.port import Head, SavedProjection

_U64 = struct.Struct(">Q")
_HEAD = struct.Struct(">QQB")
_ID_BYTES = 16


def encode_number(key: bytes, number: int) -> bytes:
    """Return the record of a u64."""
    return seal(key, _U64.pack(number))


def decode_number(key: bytes, record: bytes | None, what: str) -> int:
    """Return the u64 of a record. Raises `CorruptRecord` if it is damaged or missing."""
    if record is None:
        raise CorruptRecord(f"{what} is missing", hint="this is not a ledger, or it was damaged")
    body = unseal(key, record, what)
    if len(body) != _U64.size:
        raise CorruptRecord(f"{what} has {len(body)} bytes, not {_U64.size}")
    number: int = _U64.unpack(body)[0]
    return number


def encode_head(head: Head) -> bytes:
    """Return the record of a head, to be stored under the intent's id."""
    node = head.node_id.encode()
    body = _HEAD.pack(head.version, head.position, len(node)) + node + head.data
    return seal(head.intent_id.bytes, body)


def decode_head(key: bytes, record: bytes) -> Head:
    """Return the head in a record found under `key`. Raises `CorruptRecord` if it is damaged."""
    if len(key) != _ID_BYTES:
        raise CorruptRecord(f"{key!r} cannot be the id of an intent")
    intent_id = UUID(bytes=key)
    what = f"the head of intent {intent_id}"
    body = unseal(key, record, what)
    if len(body) < _HEAD.size or len(body) < _HEAD.size + body[_HEAD.size - 1]:
        raise CorruptRecord(f"{what} is cut short")
    version, position, node_bytes = _HEAD.unpack_from(body)
    end = _HEAD.size + node_bytes
    return Head(intent_id, body[_HEAD.size : end].decode(), version, position, body[end:])


def encode_projection(key: bytes, saved: SavedProjection) -> bytes:
    """Return the record of a projection, to be stored under its name."""
    return seal(key, _U64.pack(saved.position) + saved.state)


def decode_projection(key: bytes, record: bytes) -> SavedProjection:
    """Return the projection in a record. Raises `CorruptRecord` if it is damaged."""
    what = f"the projection {key.decode(errors='replace')!r}"
    body = unseal(key, record, what)
    if len(body) < _U64.size:
        raise CorruptRecord(f"{what} is cut short")
    return SavedProjection(_U64.unpack_from(body)[0], body[_U64.size :])


def index_prefix(node_id: str) -> bytes:
    """Return what the keys of a node's unfinished intents begin with."""
    return node_id.encode() + b"\0"


def index_key(node_id: str, intent_id: UUID) -> bytes:
    """Return the key under which an unfinished intent stands in the index."""
    return index_prefix(node_id) + intent_id.bytes


def decode_index(key: bytes, record: bytes) -> UUID:
    """Return the intent of an index entry. Raises `CorruptRecord` if it is damaged."""
    body = unseal(key, record, f"the entry {key!r} of the index of unfinished intents")
    if body or len(key) < _INDEX_KEY_MIN_BYTES:
        raise CorruptRecord(f"{key!r} cannot stand in the index of unfinished intents")
    return UUID(bytes=key[-16:])


_INDEX_KEY_MIN_BYTES = 18
"""One byte of node id, NUL, and the 16 bytes of an intent id."""
