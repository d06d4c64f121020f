"""A SQLite database as a `Source`, while others write to it.

The snapshot is made with SQLite's backup on a connection that holds one read transaction: so it is
one version, whatever is committed meanwhile, and never begins anew. In WAL mode nobody notices, but
that the WAL grows; in the other modes nobody can commit until it is made.

The database file is never opened by anything but SQLite: closing it would drop the locks that this
process holds on it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from bootledger.basebackup.manifest import Chunk, Manifest
from bootledger.basebackup.publishing import DEFAULT_CHUNK_BYTES
from bootledger.errors import (
    BootledgerError,
    CorruptRecord,
    OutOfSpace,
    SnapshotLost,
    SourceUnavailable,
)
from bootledger.files import Files, temporary_path, translated
from bootledger.replica.ports import Pause
from bootledger.replica.sources.looks import SETTLE_S, look, stat_file, stat_filled
from bootledger.replica.sources.snapshots import SnapshotSource
from bootledger.replica.sources.spool import Spool

_STEP_PAGES = 2048
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class SqliteSource(SnapshotSource):
    """One SQLite database: consistent snapshots without a log. Nothing is changed in it.

    `pin` makes the snapshot in the spool, which takes its room there; a death before it is whole
    costs what was made of it, and nothing is copied twice afterwards. The snapshot is in rollback
    mode, so that its copy can be read where nothing can be written; else it is page by page what
    the database held.
    """

    def __init__(
        self,
        path: Path,
        spool: Path,
        files: Files,
        *,
        name: str | None = None,
        identity: str | None = None,
        chunk_bytes: int = DEFAULT_CHUNK_BYTES,
        busy_s: float = 30.0,
        settle_s: float = SETTLE_S,
    ) -> None:
        """Make a source of the database at `path`; nothing is opened yet.

        `busy_s` is how long others may lock it before that is an error; the rest as `FileSource`.
        """
        self._path = Path(os.path.abspath(path))  # noqa: PTH100 - a link is not to be followed
        self._files = files
        self._busy_s = busy_s
        self._settle_s = settle_s
        super().__init__(
            identity or f"sqlite:{self._path}",
            Spool(spool, files),
            name or self._path.name,
            chunk_bytes=chunk_bytes,
        )

    def _check_there(self) -> None:
        stat_filled(self._path)

    def _look(self) -> int:
        # What is committed after this look and before the snapshot is in it, and looks new later:
        # once too often, never once too seldom.
        real = self._path.resolve()
        wal = real.with_name(f"{real.name}-wal")
        looks, settled = look(self._path, (wal,), settle_s=self._settle_s)
        return self._spool.observe(looks, settled=settled)

    def _usable(self, manifest: Manifest) -> bool:
        return self._spool.data_path.exists()  # what was handed over cannot be read again

    def _make(self, lsn: int, pause: Pause) -> None:
        self._spool.clear()
        temporary = temporary_path(self._spool.data_path)
        try:
            self._back_up(temporary, pause)
        except BootledgerError:
            self._files.remove(temporary)
            raise
        self._files.rename(temporary, self._spool.data_path, name="snapshot")
        with self._files.open(self._spool.data_path) as data:
            header = self._header(lsn, data.size_bytes())
            with self._spool.sums(header) as sums:
                for ordinal in sums.missing():
                    pause()
                    offset_bytes, length_bytes = sums.extent(ordinal)
                    chunk = data.read_at(offset_bytes, length_bytes)
                    sums.put(Chunk.of(ordinal, offset_bytes, chunk))
                self._spool.publish(header, sums.chunks())

    def _read(self, manifest: Manifest, offset_bytes: int, length_bytes: int) -> bytes:
        if not self._spool.data_path.exists():
            raise SnapshotLost(f"the snapshot of {self._path} is no longer in the spool")
        with self._files.open(self._spool.data_path) as data:
            return data.read_at(offset_bytes, length_bytes)

    def _back_up(self, to: Path, pause: Pause) -> None:
        """Write what the database holds now to the file `to`, durably."""
        stat_file(self._path)
        for stale in (to, to.with_name(f"{to.name}-journal"), to.with_name(f"{to.name}-wal")):
            self._files.remove(stale)
        self._files.point("snapshot.making")
        with (
            self._translated(),
            closing(self._connect()) as database,
            closing(sqlite3.connect(to, isolation_level=None)) as copy,
        ):
            database.execute("BEGIN")
            database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            copy.execute("PRAGMA synchronous = OFF")  # it is made durable as a whole below
            pause()
            database.backup(copy, pages=_STEP_PAGES, progress=lambda *_: pause())
            database.execute("ROLLBACK")
            copy.execute("PRAGMA journal_mode = DELETE")
        with self._files.open(to) as file:
            file.sync()
        self._files.point("snapshot.made")

    def _connect(self) -> sqlite3.Connection:
        uri = f"file:{quote(str(self._path))}?mode=ro"
        return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=self._busy_s)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            with translated(self._path):
                yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_FULL:
                raise OutOfSpace(
                    f"no room for a snapshot of {self._path} in {self._spool.path}: {error}",
                    hint="free some space and start again",
                ) from error
            if code in _DAMAGED:
                raise CorruptRecord(f"{self._path} is not a sound database: {error}") from error
            hint = (
                "somebody holds it locked: end that transaction"
                if code in _BUSY
                else "open it with its application once, which repairs what a crash left"
            )
            raise SourceUnavailable(f"{self._path} cannot be read: {error}", hint=hint) from error
