"""The one database format: records, the log of their changes, and who the database is.

The primary and the replica have the same format, because a base backup of the primary *is* the
replica's database. The primary *writes*, which assigns LSNs; the replica *applies* changes that
have theirs. Both run the same function (`tables.record`) in the same kind of transaction, so a
replica holds the primary's records and its change log, and can be replicated from in turn.

The tables stand in docs/format.md. The change log and what the database says about itself are
sealed with checksums; the records are guarded by the manifest when they travel, and two databases
are compared by `digest`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from uuid_utils.compat import uuid7

from bootledger.environment import MIB, Environment, create_environment
from bootledger.environment_check import check_unopened
from bootledger.errors import InvalidValue
from bootledger.files import Files
from bootledger.positions import FIRST_TIMELINE, check_u64
from bootledger.replica import tables
from bootledger.replica.ports import Change, Pause, SourceIdentity, go_on
from bootledger.replica.records import check_change, check_database_id, check_key
from bootledger.residency import keep_residency_low

if TYPE_CHECKING:
    from bootledger.environment import Databases, Transaction

CHANGES_MAX_BYTES = 4 * MIB
"""How many bytes of keys and values `changes` returns at once, unless the first alone is larger."""
MAP_SIZE_BYTES = 64 * 1024 * MIB
"""Where the map starts: address space, not memory and not disk. It grows by itself."""

_BATCH_COUNT = 1000
_KEEP_LOW_EVERY = 8


class Database:
    """A handle on a database: the primary's, the replica's, or a base backup. Thread-safe.

    Keeps the promise of `bootledger.replica.ports.Applier`. Every method may raise `CorruptRecord`
    if a record fails its checksum, and every write what `Environment.write` raises. One call is one
    transaction, held in memory until it is durable: keep batches to some thousand records.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._data = environment.path / "data.mdb"
        self._seen = 0

    @classmethod
    def create(
        cls,
        path: Path,
        files: Files,
        *,
        database_id: str | None = None,
        timeline: int = FIRST_TIMELINE,
    ) -> None:
        """Create an empty database at `path`, in one step: it is whole or not there.

        `database_id` is a UUID as text; a new one is made unless given. Raises `InvalidValue` if
        there is something at `path` already, or its parent is missing.
        """
        name = str(uuid7()) if database_id is None else check_database_id(database_id)
        if check_u64(timeline, "timeline") < FIRST_TIMELINE:
            raise InvalidValue(f"timelines are counted from {FIRST_TIMELINE}, not {timeline}")
        initialise = partial(tables.initialise, identity=SourceIdentity(name, timeline))
        if not create_environment(path, tables.TABLES, initialise, files):
            raise InvalidValue(f"there is a database at {path} already", hint="open it instead")

    @classmethod
    def open(
        cls, path: Path, files: Files, *, name: str, map_size_bytes: int = MAP_SIZE_BYTES
    ) -> Self:
        """Open the database at `path`; `data.mdb` is not changed by it.

        `name` is what its points are called, `primary` or `applier`. Raises `InvalidValue` if
        nothing is there or something else, `CorruptRecord` if it is damaged, `UnknownFormat` if a
        newer version wrote it.
        """
        environment = Environment.open(
            path, tables.TABLES, files, name=name, map_size_bytes=map_size_bytes
        )
        database = cls(environment)
        try:
            environment.read(tables.check_format)
            database.identity()
        except BaseException:  # an interrupt, too; it goes on
            environment.close()
            raise
        return database

    @staticmethod
    def check_unopened(path: Path, pause: Pause = go_on) -> None:
        """Check the structure of the database at `path` before anything opens it.

        For one that came from elsewhere: LMDB trusts its file, and a malicious one can crash the
        process. Nobody may have it open. `pause` is called in between; what it raises ends the
        check. Raises `CorruptRecord` with what is wrong, `Unavailable` if it cannot be read.
        """
        check_unopened(path, pause)

    @property
    def path(self) -> Path:
        """The directory of the database."""
        return self._environment.path

    def identity(self) -> SourceIdentity:
        """Return which database this is, or is a copy of."""
        return self._environment.read(tables.identity)

    def last_lsn(self) -> int:
        """Return the LSN of the newest change, 0 before the first."""
        return self._environment.read(tables.last_lsn)

    def applied_lsn(self) -> int:
        """Return the LSN up to which changes are durably applied: on a replica, the last one."""
        return self.last_lsn()

    def pruned_lsn(self) -> int:
        """Return the highest LSN whose change is no longer kept, 0 if all are."""
        return self._environment.read(tables.pruned_lsn)

    # --- records ----------------------------------------------------------------------------

    def record_count(self) -> int:
        """Return how many records the database holds."""
        return self._environment.read(lambda txn, db: txn.stat(db["data"])["entries"])

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, or None if there is no such record."""
        checked = check_key(key)
        return self._environment.read(lambda txn, db: txn.get(checked, db=db["data"]))

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all records in the order of their keys, in short transactions.

        What is written meanwhile may or may not be seen: this is no single state of the database.
        """
        after = b""

        def work(txn: Transaction, db: Databases) -> list[tuple[bytes, bytes]]:
            bounds = tables.Bounds(_BATCH_COUNT, CHANGES_MAX_BYTES)
            return tables.items_after(txn, db, after, bounds, self._after_each)

        while batch := self._environment.read(work):
            yield from batch
            after = batch[-1][0]

    def digest(self) -> tuple[int, str]:
        """Return the last LSN and the BLAKE3 of all records at that LSN, in hex.

        Two databases with equal digests hold the same records. Reads everything in one transaction,
        so that it is one state; memory stays flat.
        """
        return self._environment.read(partial(tables.digest, after_each=self._after_each))

    # --- writing ----------------------------------------------------------------------------

    def write(self, operations: Iterable[tuple[bytes, bytes | None]]) -> int:
        """Put (key, value) and delete (key, None) in order, as one transaction of new changes.

        Returns the LSN of the last change, durable by then; with no operations, the last LSN there
        is. Deleting what is not there is a change as well. Raises `InvalidValue` for a key or a
        value that cannot be stored; nothing was written then.
        """
        checked = [check_change(n, *o) for n, o in enumerate(operations, start=1)]

        def work(txn: Transaction, db: Databases) -> int:
            last = tables.last_lsn(txn, db)
            new = [change._replace(lsn=last + change.lsn) for change in checked]
            return tables.record(txn, db, new, self._after_each)

        if not checked:
            return self.last_lsn()
        return self._environment.write(work)

    def apply(self, changes: Sequence[Change]) -> None:
        """Apply changes that have their LSNs, and advance the last LSN, in one transaction.

        Exactly once: changes at or below the last LSN are skipped. Raises `DivergedHistory` if a
        change is missing before any of these, `InvalidValue` for one that cannot be stored;
        nothing was applied then. Durable when this returns.
        """
        checked = [check_change(*change) for change in changes]
        if checked:
            self._environment.write(
                partial(tables.record, changes=checked, after_each=self._after_each)
            )

    # --- the change log ---------------------------------------------------------------------

    def changes(
        self, after_lsn: int, limit: int, max_bytes: int = CHANGES_MAX_BYTES
    ) -> list[Change]:
        """Return up to `limit` changes after an LSN, in order, without gaps; none at the end.

        Fewer come if their keys and values would be more than `max_bytes`, but never none.
        Raises `LogWindowLost` if the next change was pruned, `DivergedHistory` if this database
        has not come as far as `after_lsn`.
        """
        check_u64(after_lsn, "after_lsn")
        for number, name in ((limit, "limit"), (max_bytes, "max_bytes")):
            if check_u64(number, name) < 1:
                raise InvalidValue(f"{name} must be at least 1")
        return self._environment.read(
            partial(
                tables.changes_after,
                after_lsn=after_lsn,
                bounds=tables.Bounds(limit, max_bytes),
                after_each=self._after_each,
            )
        )

    def log_bytes(self) -> int:
        """Return how many bytes of the file the change log takes up. Reads no change."""
        return self._environment.read(tables.log_bytes)

    def prune(self, keep_after_lsn: int) -> None:
        """Forget the changes up to and including an LSN, in bounded transactions.

        Durable when this returns; if it is cut short, what was forgotten is forgotten. Records are
        not touched. Raises `InvalidValue` for an LSN that is still to come.
        """
        check_u64(keep_after_lsn, "keep_after_lsn")
        work = partial(
            tables.prune,
            keep_after_lsn=keep_after_lsn,
            limit=_BATCH_COUNT,
            after_each=self._after_each,
        )
        while self._environment.write(work):
            pass

    # --- the whole --------------------------------------------------------------------------

    def copy(self, directory: Path, pause: Pause = go_on) -> None:
        """Write a consistent copy as `directory/data.mdb` while writers go on; memory stays flat.

        Durable when this returns, except for the name of `directory` itself. `pause` is called
        again and again; what it raises ends the copy.
        """
        self._environment.copy(directory, pause)

    def close(self) -> None:
        """Give the database back. Everything written is durable already."""
        self._environment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _after_each(self) -> None:
        self._seen += 1
        if self._seen % _KEEP_LOW_EVERY == 0:
            keep_residency_low(self._data)
