"""What is done inside one transaction on the three tables of a database: `data`, `changes`, `meta`.

Each function is handed the transaction and the tables, and leaves them consistent or raises; what
it raises ends the transaction. They may be run again, on a fresh transaction, at any time.
`after_each` is called after each record, so that whoever counts memory can do so on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from bootledger.errors import (
    CorruptRecord,
    DivergedHistory,
    InvalidValue,
    LogWindowLost,
    UnknownFormat,
)
from bootledger.replica.ports import Change, SourceIdentity
from bootledger.replica.records import (
    decode_change,
    encode_change,
    encode_number,
    unseal_fact,
    unseal_number,
)
from bootledger.sealing import seal

if TYPE_CHECKING:
    from bootledger.environment import Databases, Transaction

TABLES = ("data", "changes", "meta")
FORMAT = 1

_LENGTHS = Struct(">HI")


class Bounds(NamedTuple):
    """How many records, and how many bytes of them, one transaction may return."""

    records: int
    size_bytes: int


def initialise(txn: Transaction, db: Databases, identity: SourceIdentity) -> None:
    """Write what an empty database says about itself."""
    _put_meta(txn, db, b"format", encode_number(FORMAT))
    _put_meta(txn, db, b"database_id", identity.database_id.encode())
    _put_meta(txn, db, b"timeline", encode_number(identity.timeline))
    _put_meta(txn, db, b"last_lsn", encode_number(0))
    _put_meta(txn, db, b"pruned_lsn", encode_number(0))


def check_format(txn: Transaction, db: Databases) -> None:
    """Raise `UnknownFormat` unless the database is in the format that this version writes."""
    number = _number(txn, db, b"format")
    if number != FORMAT:
        raise UnknownFormat(f"the database has format {number}, this version knows {FORMAT}")


def identity(txn: Transaction, db: Databases) -> SourceIdentity:
    """Return which database this is."""
    database_id = unseal_fact(b"database_id", txn.get(b"database_id", db=db["meta"]))
    return SourceIdentity(database_id.decode(), _number(txn, db, b"timeline"))


def last_lsn(txn: Transaction, db: Databases) -> int:
    """Return the LSN of the newest change."""
    return _number(txn, db, b"last_lsn")


def pruned_lsn(txn: Transaction, db: Databases) -> int:
    """Return the highest LSN whose change is no longer kept."""
    return _number(txn, db, b"pruned_lsn")


def record(
    txn: Transaction, db: Databases, changes: Sequence[Change], after_each: Callable[[], None]
) -> int:
    """Carry out changes, log them and advance the last LSN: the one way to change a database.

    Returns the last LSN. Changes up to the last LSN are skipped; raises `DivergedHistory` if one is
    missing in between.
    """
    last = applied = last_lsn(txn, db)
    for change in changes:
        lsn, key, value = change
        if lsn <= last:
            continue
        if lsn != last + 1:
            raise DivergedHistory(
                f"change {last + 1} is missing: {lsn} came after {last}",
                hint="the source skipped changes; nothing of this batch was applied",
            )
        if value is None:
            txn.delete(key, db=db["data"])
        else:
            txn.put(key, value, db=db["data"])
        # Out of order, an append returns False instead of raising.
        if not txn.put(encode_number(lsn), encode_change(change), db=db["changes"], append=True):
            raise CorruptRecord(f"the change log already holds LSN {lsn} or a later one")
        last = lsn
        after_each()
    if last > applied:
        _put_meta(txn, db, b"last_lsn", encode_number(last))
    return last


def changes_after(
    txn: Transaction,
    db: Databases,
    after_lsn: int,
    bounds: Bounds,
    after_each: Callable[[], None],
) -> list[Change]:
    """Return the changes after an LSN, up to a number and a size of keys and values.

    Raises `LogWindowLost` if the next one was pruned, `DivergedHistory` if `after_lsn` is beyond
    the last LSN, `CorruptRecord` if one is missing or not sound.
    """
    last, pruned = last_lsn(txn, db), pruned_lsn(txn, db)
    if after_lsn > last:
        raise DivergedHistory(
            f"changes after LSN {after_lsn} were asked for, but the last LSN is {last}",
            hint="this database was put back to an older state than its replica has",
        )
    if after_lsn < pruned:
        raise LogWindowLost(
            f"changes after LSN {after_lsn} were asked for, but those up to {pruned} are pruned",
            hint="start again from a new base backup",
        )
    found: list[Change] = []
    size_bytes = 0
    for lsn in range(after_lsn + 1, min(last, after_lsn + bounds.records) + 1):
        change = decode_change(lsn, txn.get(encode_number(lsn), db=db["changes"]))
        size_bytes += len(change.key) + len(change.value or b"")
        if found and size_bytes > bounds.size_bytes:
            break
        found.append(change)
        after_each()
    return found


def prune(
    txn: Transaction,
    db: Databases,
    keep_after_lsn: int,
    limit: int,
    after_each: Callable[[], None],
) -> bool:
    """Forget up to `limit` of the oldest changes up to an LSN; return whether more are left."""
    last, pruned = last_lsn(txn, db), pruned_lsn(txn, db)
    if keep_after_lsn > last:
        raise InvalidValue(f"cannot prune up to LSN {keep_after_lsn}: the last LSN is {last}")
    end = min(keep_after_lsn, pruned + limit)
    for lsn in range(pruned + 1, end + 1):
        if not txn.delete(encode_number(lsn), db=db["changes"]):
            raise CorruptRecord(f"change {lsn} is missing from the log")
        after_each()
    if end > pruned:
        _put_meta(txn, db, b"pruned_lsn", encode_number(end))
    return end < keep_after_lsn


def log_bytes(txn: Transaction, db: Databases) -> int:
    """Return what the pages of the change log take up, as LMDB counts them."""
    stat = txn.stat(db["changes"])
    pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
    return pages * stat["psize"]


def items_after(
    txn: Transaction,
    db: Databases,
    after: bytes,
    bounds: Bounds,
    after_each: Callable[[], None],
) -> list[tuple[bytes, bytes]]:
    """Return the records after a key, up to a number, and ending at the first beyond a size."""
    found: list[tuple[bytes, bytes]] = []
    size_bytes = 0
    cursor = txn.cursor(db["data"])
    if not cursor.set_range(after):
        return found
    for key, value in cursor:
        if key != after:
            found.append((key, value))
            size_bytes += len(value)
        after_each()
        if len(found) == bounds.records or size_bytes > bounds.size_bytes:
            break
    return found


def digest(txn: Transaction, db: Databases, after_each: Callable[[], None]) -> tuple[int, str]:
    """Return the last LSN and the BLAKE3 of all records, each preceded by its lengths."""
    hasher = blake3()
    for key, value in txn.cursor(db["data"]):
        hasher.update(_LENGTHS.pack(len(key), len(value)) + key)
        hasher.update(value)
        after_each()
    return last_lsn(txn, db), hasher.hexdigest()


def _number(txn: Transaction, db: Databases, name: bytes) -> int:
    return unseal_number(name, txn.get(name, db=db["meta"]))


def _put_meta(txn: Transaction, db: Databases, name: bytes, content: bytes) -> None:
    txn.put(name, seal(name, content), db=db["meta"])
