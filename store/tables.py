"""What a transaction of the LMDB adapter reads and writes, database by database.

Every function works inside of a transaction that its caller owns, and keeps nothing of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from uuid import UUID

from bootledger.clock import now_ms
from bootledger.environment import Databases, Transaction
from bootledger.errors import CorruptRecord, UnknownFormat
from bootledger.sealing import seal
from bootledger.statemachine.events import Begin
from bootledger.store import records
from bootledger.store.admission import admit, ends
from bootledger.store.codec import decode_frame, encode_frame
from bootledger.store.port import Append, Head, Recorded, SavedProjection

DATABASES = ("log", "heads", "unfinished", "projections", "meta")
FORMAT = 1
"""The format of the databases; that of a frame is its own."""
READ_BATCH = 1000
"""Most events that one transaction reads in order."""
WALK_BATCH = 64
"""Most events that one transaction reads while walking back."""

_POSITION = struct.Struct(">Q")
_ID_DIGITS = 32
"""How many hexadecimal digits an intent's id has."""


def initialise(txn: Transaction, db: Databases) -> None:
    """Write the first records of a new ledger."""
    for key, number in ((b"format", FORMAT), (b"created_at_ms", now_ms())):
        txn.put(key, records.encode_number(key, number), db=db["meta"])


def check_format(txn: Transaction, db: Databases) -> None:
    """Raise `UnknownFormat` if a newer version wrote this ledger."""
    record = txn.get(b"format", db=db["meta"])
    found = records.decode_number(b"format", record, "the format of the ledger")
    if found != FORMAT:
        raise UnknownFormat(
            f"the ledger has format {found}, this version knows format {FORMAT}",
            hint="open it with the version of bootledger that wrote it, or a newer one",
        )


def append(txn: Transaction, db: Databases, position: int, item: Append, payload: bytes) -> None:
    """Append one event at `position`, the next free one, with its head and the index."""
    before = head(txn, db, item.intent_id)
    pending_now = before is not None and _is_pending(txn, db, before)
    node_id = admit(item, before, unfinished=pending_now)
    previous = 0 if before is None else before.position
    after = Head(item.intent_id, node_id, item.expected_version + 1, position, item.head)
    frame = encode_frame(position, item.intent_id, after.version, previous, payload)
    # Out of order LMDB says False and writes nothing; so does a log that is shorter than its heads.
    if previous >= position or not txn.put(
        _POSITION.pack(position), frame, append=True, db=db["log"]
    ):
        raise CorruptRecord(f"position {position} is not the end of the log")
    txn.put(item.intent_id.bytes, records.encode_head(after), db=db["heads"])
    key = records.index_key(node_id, item.intent_id)
    if isinstance(item.event, Begin):
        txn.put(key, seal(key, b""), db=db["unfinished"])
    elif ends(item.event):
        txn.delete(key, db=db["unfinished"])


def last_position(txn: Transaction, db: Databases) -> int:
    """Return the position of the newest event, 0 if there is none."""
    with txn.cursor(db["log"]) as cursor:
        return _position(cursor.key()) if cursor.last() else 0


def read(txn: Transaction, db: Databases, first: int, limit: int) -> list[Recorded]:
    """Return up to `limit` events from position `first` on. Raises `CorruptRecord` at a gap."""
    found: list[Recorded] = []
    with txn.cursor(db["log"]) as cursor:
        more = first < 2**64 and cursor.set_range(_POSITION.pack(first))
        while more and len(found) < limit:
            position = _position(cursor.key())
            if position != first + len(found):
                raise CorruptRecord(f"position {first + len(found)} of the ledger is missing")
            frame = decode_frame(position, cursor.value())
            found.append(Recorded(position, frame.intent_id, frame.version, frame.event))
            more = cursor.next()
    return found


def walk_back(
    txn: Transaction, db: Databases, intent_id: UUID, position: int, version: int
) -> tuple[list[Recorded], int]:
    """Return an intent's events, newest first, from event `version` at `position` on.

    At most `WALK_BATCH` of them, and the position of the next one, 0 after the intent's first.
    """
    found: list[Recorded] = []
    while position and len(found) < WALK_BATCH:
        record = txn.get(_POSITION.pack(position), db=db["log"])
        if record is None:
            raise CorruptRecord(f"position {position} of the ledger is missing")
        frame = decode_frame(position, record)
        expected = version - len(found)
        if (
            (frame.intent_id, frame.version) != (intent_id, expected)
            or frame.previous_position >= position
            or (frame.previous_position == 0) != (expected == 1)
        ):
            raise CorruptRecord(
                f"position {position} of the ledger is not event {expected} of intent {intent_id}"
            )
        found.append(Recorded(position, intent_id, expected, frame.event))
        position = frame.previous_position
    return found, position


def head(txn: Transaction, db: Databases, intent_id: UUID) -> Head | None:
    """Return the end of the intent's history, or None if it never began."""
    record = txn.get(intent_id.bytes, db=db["heads"])
    return None if record is None else records.decode_head(intent_id.bytes, record)


def named(txn: Transaction, db: Databases, digits: str, limit: int) -> list[UUID]:
    """Return up to `limit` intents whose id begins with these hexadecimal digits, in order."""
    found: list[UUID] = []
    with txn.cursor(db["heads"]) as cursor:
        more = len(digits) <= _ID_DIGITS and cursor.set_range(
            bytes.fromhex(digits.ljust(_ID_DIGITS, "0"))
        )
        while more and len(found) < limit and cursor.key().hex().startswith(digits):
            found.append(records.decode_head(cursor.key(), cursor.value()).intent_id)
            more = cursor.next()
    return found


def pending(txn: Transaction, db: Databases, node_id: str | None) -> Iterator[UUID]:
    """Yield the unfinished intents of one node, or of all."""
    for key, record in _entries(txn, db, node_id):
        yield records.decode_index(key, record)


def pending_heads(txn: Transaction, db: Databases, node_id: str | None) -> list[Head]:
    """Return the heads of `pending`. Raises `CorruptRecord` if index and heads disagree."""
    found: list[Head] = []
    for key, record in _entries(txn, db, node_id):
        intent_id = records.decode_index(key, record)
        end = head(txn, db, intent_id)
        if end is None or records.index_key(end.node_id, intent_id) != key:
            raise CorruptRecord(f"the index names intent {intent_id}, its head does not agree")
        found.append(end)
    return found


def projection(txn: Transaction, db: Databases, name: str) -> SavedProjection | None:
    """Return what is saved under `name`, or None."""
    key = name.encode()
    record = txn.get(key, db=db["projections"])
    return None if record is None else records.decode_projection(key, record)


def _entries(txn: Transaction, db: Databases, node_id: str | None) -> Iterator[tuple[bytes, bytes]]:
    prefix = b"" if node_id is None else records.index_prefix(node_id)
    with txn.cursor(db["unfinished"]) as cursor:
        more = cursor.set_range(prefix) if prefix else cursor.first()
        while more and cursor.key().startswith(prefix):
            yield cursor.item()
            more = cursor.next()


def _is_pending(txn: Transaction, db: Databases, end: Head) -> bool:
    return txn.get(records.index_key(end.node_id, end.intent_id), db=db["unfinished"]) is not None


def _position(key: bytes) -> int:
    if len(key) != _POSITION.size:
        raise CorruptRecord(f"{key!r} cannot be a position of the ledger")
    position: int = _POSITION.unpack(key)[0]
    return position
