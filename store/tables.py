"""What a transaction of the LMDB adapter reads and writes, database by database.

Every function works inside of a transaction that its caller owns, and keeps nothing of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from uuid import UUID

from bootledger.clock import Clock, now_ms
from bootledger.environment import Databases, Transaction
from bootledger.errors import CorruptRecord, UnknownFormat
from bootledger.sealing import seal
from bootledger.statemachine.events import Begin
from bootledger.store import records
from bootledger.store.admission import admit, ends
from bootledger.store.blocks import BlockCache
from bootledger.store.codec import decode_frame, encode_frame
from bootledger.store.port import Append, Head, Recorded, SavedProjection

ARCHIVE = "archive"
DATABASES = ("log", "heads", "unfinished", "projections", "meta", ARCHIVE)
FORMAT = 1
"""The format of the databases; that of a frame is its own."""
READ_BATCH = 1000
"""Most events that one transaction reads in order."""
WALK_BATCH = 64
"""Most events that one transaction reads while walking back."""
HEADS_BATCH = 200
"""Most heads that one transaction reads in order."""

_POSITION = struct.Struct(">Q")


def initialise(txn: Transaction, db: Databases, clock: Clock = now_ms) -> None:
    """Write the first records of a new ledger."""
    for key, number in ((b"format", FORMAT), (b"created_at_ms", clock())):
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
    pending_now = before is not None and is_pending(txn, db, before)
    node_id = admit(item, before, unfinished=pending_now)
    previous = 0 if before is None else before.position
    after = Head(item.intent_id, node_id, item.expected_version + 1, position, item.head)
    frame = encode_frame(position, item.intent_id, after.version, previous, payload)
    # Out of order LMDB says False and writes nothing; so does a log that is shorter than its heads.
    if previous >= position or not txn.put(log_key(position), frame, append=True, db=db["log"]):
        raise CorruptRecord(f"position {position} is not the end of the log")
    txn.put(item.intent_id.bytes, records.encode_head(after), db=db["heads"])
    key = records.index_key(node_id, item.intent_id)
    if isinstance(item.event, Begin):
        txn.put(key, seal(key, b""), db=db["unfinished"])
    elif ends(item.event):
        txn.delete(key, db=db["unfinished"])


def last_position(txn: Transaction, db: Databases) -> int:
    """Return the position of the newest event, 0 if there is none.

    The newest event is never archived, so the log alone knows. Raises `CorruptRecord` if it lost
    what it knew.
    """
    with txn.cursor(db["log"]) as cursor:
        if cursor.last():
            return log_position(cursor.key())
    if txn.stat(db[ARCHIVE])["entries"]:
        raise CorruptRecord("the log has lost its newest events: it is empty, the archive is not")
    return 0


def frames(
    txn: Transaction, db: Databases, first: int, last: int, cache: BlockCache
) -> Iterator[tuple[int, bytes]]:
    """Yield positions and frames from `first` to `last`, wherever they lie.

    Raises `CorruptRecord` at a position that is in neither log nor archive.
    """
    with txn.cursor(db["log"]) as cursor:
        more = first <= last and cursor.set_range(log_key(first))
        for position in range(first, last + 1):
            frame: bytes | None
            if more and log_position(cursor.key()) == position:
                frame = cursor.value()
                more = cursor.next()
            else:
                frame = cache.frame(txn, db, position)
            if frame is None:
                raise _missing(position)
            yield position, frame


def read(
    txn: Transaction, db: Databases, first: int, limit: int, cache: BlockCache
) -> list[Recorded]:
    """Return up to `limit` events from position `first` on. Raises `CorruptRecord` at a gap."""
    last = min(first + limit - 1, last_position(txn, db))
    found: list[Recorded] = []
    for position, record in frames(txn, db, first, last, cache):
        frame = decode_frame(position, record)
        found.append(Recorded(position, frame.intent_id, frame.version, frame.event))
    return found


def walk_back(
    txn: Transaction,
    db: Databases,
    intent_id: UUID,
    position: int,
    version: int,
    cache: BlockCache,
) -> tuple[list[Recorded], int]:
    """Return an intent's events, newest first, from event `version` at `position` on.

    At most `WALK_BATCH` of them, and the position of the next one, 0 after the intent's first.
    """
    found: list[Recorded] = []
    while position and len(found) < WALK_BATCH:
        frame = decode_frame(position, frame_at(txn, db, position, cache))
        expected = version - len(found)
        if (
            (frame.intent_id, frame.version) != (intent_id, expected)
            or frame.previous_position >= position
            or (frame.previous_position == 0) != (expected == 1)
        ):
            raise CorruptRecord(
                f"position {position} of the ledger is not event {expected} of intent {intent_id}",
                position=position,
            )
        found.append(Recorded(position, intent_id, expected, frame.event))
        position = frame.previous_position
    return found, position


def frame_at(txn: Transaction, db: Databases, position: int, cache: BlockCache) -> bytes:
    """Return the frame of a position, from log or archive. Raises `CorruptRecord` without one."""
    frame = txn.get(log_key(position), db=db["log"]) or cache.frame(txn, db, position)
    if frame is None:
        raise _missing(position)
    return frame


def head(txn: Transaction, db: Databases, intent_id: UUID) -> Head | None:
    """Return the end of the intent's history, or None if it never began."""
    record = txn.get(intent_id.bytes, db=db["heads"])
    return None if record is None else records.decode_head(intent_id.bytes, record)


def heads(txn: Transaction, db: Databases, first: UUID) -> list[Head]:
    """Return up to `HEADS_BATCH` heads, by intent id, from the intent `first` on."""
    found: list[Head] = []
    with txn.cursor(db["heads"]) as cursor:
        more = cursor.set_range(first.bytes)
        while more and len(found) < HEADS_BATCH:
            found.append(records.decode_head(*cursor.item()))
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


def is_pending(txn: Transaction, db: Databases, end: Head) -> bool:
    """Return whether the index has the intent of this head."""
    return txn.get(records.index_key(end.node_id, end.intent_id), db=db["unfinished"]) is not None


def log_key(position: int) -> bytes:
    """Return the key of a position in the log."""
    return _POSITION.pack(position)


def log_position(key: bytes) -> int:
    """Return the position that a key of the log stands for; `CorruptRecord` if for none."""
    if len(key) != _POSITION.size:
        raise CorruptRecord(f"{key!r} cannot be a position of the ledger")
    position: int = _POSITION.unpack(key)[0]
    return position


def _missing(position: int) -> CorruptRecord:
    return CorruptRecord(f"position {position} of the ledger is missing", position=position)
