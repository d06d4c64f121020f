"""A look at a ledger from outside: everything that lies in it, and nothing is changed by looking.

For those who judge what a crash has left. To open the ledger as usual would already mend things:
names are synced, directories made, locks taken.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import lmdb

from bootledger.lmdb_errors import sorted_errors
from bootledger.shared_environment import DATA_NAME, Databases, Transaction
from bootledger.store import tables
from bootledger.store.blocks import BlockCache
from bootledger.store.codec import MAX_FRAME_BYTES, decode_frame
from bootledger.store.port import FIRST_ID, LAST_ID, Head, Recorded


class Contents(NamedTuple):
    """All events of a ledger in order of their positions, all heads, and the index."""

    events: tuple[Recorded, ...]
    heads: tuple[Head, ...]
    unfinished: frozenset[UUID]


EMPTY = Contents((), (), frozenset())
_MOST_KNOWN = 8 * 2**20 // MAX_FRAME_BYTES
"""Most events that are kept for another look: 8 MiB of frames at most."""


def look(path: Path) -> Contents:
    """Return what lies in the ledger at `path`, `EMPTY` if there is none. In memory, all of it.

    Nobody may write to it meanwhile. Raises `CorruptRecord` if a record fails its checksum or a
    position is missing, `UnknownFormat` if a newer version wrote it.
    """
    if not (path / DATA_NAME).exists():
        return EMPTY
    with (
        sorted_errors(path),
        lmdb.open(
            os.fspath(path), readonly=True, lock=False, create=False, max_dbs=len(tables.DATABASES)
        ) as env,
        env.begin() as txn,
    ):
        db = {name: env.open_db(name.encode(), txn=txn, create=False) for name in tables.DATABASES}
        tables.check_format(txn, db)
        last = tables.last_position(txn, db)
        return Contents(
            tuple(_recorded(*each) for each in tables.frames(txn, db, 1, last, BlockCache())),
            tuple(_all_heads(txn, db)),
            frozenset(tables.pending(txn, db, None)),
        )


@lru_cache(maxsize=_MOST_KNOWN)
def _recorded(position: int, frame: bytes) -> Recorded:
    """Return the event in a frame: decoded once, for whoever looks at thousands of like ledgers."""
    found = decode_frame(position, frame)
    return Recorded(position, found.intent_id, found.version, found.event)


def _all_heads(txn: Transaction, db: Databases, first: UUID = FIRST_ID) -> Iterator[Head]:
    while found := tables.heads(txn, db, first):
        yield from found
        if found[-1].intent_id == LAST_ID:
            return
        first = UUID(int=found[-1].intent_id.int + 1)


class Glance(NamedTuple):
    """Some heads of a ledger: all unfinished ones, and the newest few of a range of ids."""

    unfinished: tuple[Head, ...]
    heads: tuple[Head, ...]


def glance(path: Path, first: UUID = FIRST_ID, last: UUID = LAST_ID, *, limit: int) -> Glance:
    """Return the heads of all unfinished intents, and the last `limit` from `first` to `last`.

    Those are of all intents, the greatest id first, which is the newest.

    As one more reader beside the living: nothing is made, mended or waited for. Not for a process
    that has the ledger open already. Raises as `look` does, and one of our errors if it cannot be
    opened.
    """
    with (
        sorted_errors(path),
        lmdb.open(
            os.fspath(path), readonly=True, create=False, max_dbs=len(tables.DATABASES)
        ) as env,
        env.begin() as txn,
    ):
        db = {name: env.open_db(name.encode(), txn=txn, create=False) for name in tables.DATABASES}
        tables.check_format(txn, db)
        unfinished = sorted(
            tables.pending_heads(txn, db, None), key=lambda head: head.intent_id.bytes
        )
        among = takewhile(lambda head: head.intent_id <= last, _all_heads(txn, db, first))
        return Glance(tuple(unfinished), tuple(reversed(deque(among, maxlen=limit))))
