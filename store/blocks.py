"""What a transaction of the LMDB adapter reads out of the archive."""

from __future__ import annotations

from bootledger.environment import Databases, Transaction
from bootledger.store.archive import Frames, block_key, block_of, decode_block, decode_ranges
from bootledger.store.port import Positions

RANGES_BATCH = 64
"""Most records that one transaction reads for their ranges."""


class BlockCache:
    """Finds frames in the archive, and keeps the block that it inflated last.

    A frame never changes, so it may outlive the transaction that it was read in. For one reader.
    """

    def __init__(self) -> None:
        self._number = -1
        self._frames: Frames = {}

    def frame(self, txn: Transaction, db: Databases, position: int) -> bytes | None:
        """Return the archived frame of `position`, or None if it is not in the archive."""
        number = block_of(position)
        if number != self._number or position not in self._frames:
            self._frames, self._number = load_block(txn, db, number), number
        return self._frames.get(position)


def load_block(txn: Transaction, db: Databases, number: int) -> dict[int, bytes]:
    """Return the frames that the archive holds of a block, by position."""
    key = block_key(number)
    record = txn.get(key, db=db["archive"])
    return {} if record is None else decode_block(key, record)


def ranges(txn: Transaction, db: Databases, first: int) -> tuple[list[Positions], int | None]:
    """Return the archived positions from block `first` on, of at most `RANGES_BATCH` records.

    And the number of the block to go on with, None at the end.
    """
    found: list[Positions] = []
    with txn.cursor(db["archive"]) as cursor:
        more = cursor.set_range(block_key(first))
        for _ in range(RANGES_BATCH):
            if not more:
                return found, None
            found += decode_ranges(*cursor.item())
            more = cursor.next()
    return found, block_of(found[-1].last) + 1
