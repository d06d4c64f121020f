"""Every record of a ledger, checked by itself and in its place.

This is the second of the three layers of a verification. The first is the structure of the file
(`bootledger.environment_check`), the third is what the events mean (`bootledger.projections`).
Memory does not grow with the history: what is kept is the end of each intent that has not ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from bootledger.environment import Databases, Environment, Transaction
from bootledger.errors import CorruptRecord
from bootledger.residency import keep_residency_low
from bootledger.sealing import unseal
from bootledger.shared_environment import DATA_NAME
from bootledger.store import records, tables
from bootledger.store.admission import LAST_KINDS
from bootledger.store.archive import decode_ranges
from bootledger.store.blocks import BlockCache
from bootledger.store.codec import decode_header
from bootledger.watch import Watch

BATCH = 1000
"""Most records that one transaction looks at."""

BLOCKS = 16
"""Most blocks of the archive that one transaction looks at."""

Ends = dict[bytes, tuple[int, int]]
"""Version and position of the last event of each intent that has not ended, by intent id."""


class RecordCounts(NamedTuple):
    """What was checked: all events, how many of them lie in the archive, and all intents."""

    events: int
    archived: int
    intents: int


class _Sizes(NamedTuple):
    events: int
    in_log: int
    intents: int


def check_records(env: Environment, watch: Watch) -> RecordCounts:
    """Check every record of the ledger in `env`; see `LmdbEventStore.check_records`."""
    ends: Ends = {}
    cache = BlockCache()
    data = env.path / DATA_NAME
    position, last = 0, env.read(tables.last_position)
    while position < last:
        first, position = position + 1, min(position + BATCH, last)
        env.read(partial(_check_frames, first=first, last=position, ends=ends, cache=cache))
        env.read(lambda _txn, _db: keep_residency_low(data))
        watch(position, last)
    counts = _count(env, data)
    for table, check in _SEALED.items():
        key: bytes | None = b""
        while key is not None:
            key = env.read(partial(_check_sealed, table=table, check=check, after=key))
            env.read(lambda _txn, _db: keep_residency_low(data))
    return counts


def _count(env: Environment, data: Path) -> RecordCounts:
    """Count, and with that find what is in log and archive both: nothing is missing any more.

    The archive is walked in batches, and only what is counted in one transaction can be compared:
    so the walk is repeated from its beginning if a compaction came in between.
    """
    while True:
        begun, archived = env.read(_sizes), 0
        following: bytes | None = b""
        while following is not None:
            found, following = env.read(partial(_count_archived, after=following))
            archived += found
            env.read(lambda _txn, _db: keep_residency_low(data))
        ended = env.read(_sizes)
        # Events only ever move from log to archive: as many moved as are missing from the log.
        if ended.events - ended.in_log == begun.events - begun.in_log:
            break
    if ended.in_log + archived > ended.events:
        position = env.read(_first_in_both)
        raise CorruptRecord(
            f"position {position} of the ledger is in the log and in the archive",
            position=position,
        )
    return RecordCounts(ended.events, archived, ended.intents)


def _sizes(txn: Transaction, db: Databases) -> _Sizes:
    return _Sizes(
        tables.last_position(txn, db),
        txn.stat(db["log"])["entries"],
        txn.stat(db["heads"])["entries"],
    )


def _count_archived(txn: Transaction, db: Databases, after: bytes) -> tuple[int, bytes | None]:
    """Count the events of up to `BLOCKS` blocks after a key; return the last key, None at the end.

    No key of ours is empty.
    """
    last, archived = tables.last_position(txn, db), 0
    with txn.cursor(db["archive"]) as cursor:
        if not (cursor.set_range(after + b"\0") if after else cursor.first()):
            return 0, None
        key = after
        for key, record in islice(cursor, BLOCKS):
            runs = decode_ranges(key, record)
            archived += sum(run.last - run.first + 1 for run in runs)
            if runs[-1].last >= last:
                raise CorruptRecord(
                    f"position {runs[-1].last} is in the archive, the log ends at {last}",
                    position=runs[-1].last,
                )
        return archived, key


def _first_in_both(txn: Transaction, db: Databases) -> int:
    with txn.cursor(db["log"]) as cursor:
        for key in cursor.iternext(keys=True, values=False):
            position = tables.log_position(key)
            if position == 0 or BlockCache().frame(txn, db, position) is not None:
                return position
    raise CorruptRecord("log and archive hold more events than there are positions")


def _check_frames(
    txn: Transaction, db: Databases, first: int, last: int, ends: Ends, cache: BlockCache
) -> None:
    """Check that each event follows the one before of its intent, and points back to it."""
    for position, frame in tables.frames(txn, db, first, last, cache):
        id_bytes, version, previous, kind = decode_header(position, frame)
        end = ends.get(id_bytes, (0, 0))
        if (version - 1, previous) != end:
            raise CorruptRecord(
                f"position {position} of the ledger: event {version} of intent "
                f"{UUID(bytes=id_bytes)}, which points back to position {previous}, follows event "
                f"{end[0]} at position {end[1]}",
                position=position,
            )
        if kind in LAST_KINDS:
            ends.pop(id_bytes, None)
        else:
            ends[id_bytes] = (version, position)


def _check_sealed(
    txn: Transaction,
    db: Databases,
    table: str,
    check: Callable[[bytes, bytes], object],
    after: bytes,
) -> bytes | None:
    """Check up to `BATCH` records whose keys follow `after`; return the last key, None at the end.

    No key of ours is empty.
    """
    with txn.cursor(db[table]) as cursor:
        if not (cursor.set_range(after + b"\0") if after else cursor.first()):
            return None
        key = after
        for key, record in islice(cursor, BATCH):
            check(key, record)
        return key


def _check_meta(key: bytes, record: bytes) -> None:
    unseal(key, record, f"the record {key.decode(errors='replace')!r} of the ledger")


_SEALED: Mapping[str, Callable[[bytes, bytes], object]] = {
    "meta": _check_meta,
    "heads": records.decode_head,
    "unfinished": records.decode_index,
    "projections": records.decode_projection,
}
