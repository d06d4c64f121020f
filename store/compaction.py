"""Moves events of finished intents out of the log and into the archive, one block a transaction."""

from __future__ import annotations

from uuid import UUID

from bootledger.environment import Databases, Transaction
from bootledger.errors import CorruptRecord
from bootledger.store import archive, tables
from bootledger.store.admission import ends
from bootledger.store.archive import BLOCK_POSITIONS
from bootledger.store.blocks import BlockCache
from bootledger.store.codec import decode_frame, decode_header
from bootledger.store.port import Compacted


def move_block(
    txn: Transaction, db: Databases, after_position: int, before_ms: int
) -> Compacted | None:
    """Move what may be archived of the first block with an event in the log after a position.

    None if there is no such event, or only the newest of all, which always stays. A frame is moved
    only if it is sound.
    """
    newest = tables.last_position(txn, db)
    moving: dict[int, bytes] = {}
    verdicts: dict[bytes, bool] = {}
    cache = BlockCache()
    with txn.cursor(db["log"]) as cursor:
        more = after_position < newest and cursor.set_range(tables.log_key(after_position + 1))
        if not more or (first := tables.log_position(cursor.key())) >= newest:
            return None
        number = archive.block_of(first)
        last = min((number + 1) * BLOCK_POSITIONS - 1, newest - 1)
        while more and (position := tables.log_position(cursor.key())) <= last:
            frame = cursor.value()
            id_bytes = decode_header(position, frame).id_bytes
            if id_bytes not in verdicts:
                verdicts[id_bytes] = _is_over(txn, db, UUID(bytes=id_bytes), before_ms, cache)
            if verdicts[id_bytes]:
                moving[position] = frame
            more = cursor.next()
    grown = _move(txn, db, number, moving) if moving else 0
    return Compacted(last, len(moving), sum(map(len, moving.values())), grown)


def _is_over(
    txn: Transaction, db: Databases, intent_id: UUID, before_ms: int, cache: BlockCache
) -> bool:
    """Return whether the intent is finished, and its last event was recorded before the time."""
    end = tables.head(txn, db, intent_id)
    if end is None:
        raise CorruptRecord(f"intent {intent_id} has events in the log and no head")
    if tables.is_pending(txn, db, end):
        return False
    last = decode_frame(end.position, tables.frame_at(txn, db, end.position, cache)).event
    if not ends(last):
        raise CorruptRecord(
            f"intent {intent_id} is unfinished, and the index does not have it",
            position=end.position,
        )
    return last.recorded_at_ms < before_ms


def _move(txn: Transaction, db: Databases, number: int, moving: archive.Frames) -> int:
    """Take the frames out of the log and put them into a block; return by how much it grew."""
    key = archive.block_key(number)
    before = txn.get(key, db=db["archive"]) or b""
    there = archive.decode_block(key, before) if before else {}
    if both := there.keys() & moving.keys():
        raise CorruptRecord(
            f"position {min(both)} of the ledger is in the log and in the archive",
            position=min(both),
        )
    after = archive.encode_block(number, {**there, **moving})
    txn.put(key, after, db=db["archive"])
    for position in moving:
        txn.delete(tables.log_key(position), db=db["log"])
    return len(after) - len(before)
