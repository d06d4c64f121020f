"""The copies of sources without a log: checked before they are promoted, and never written to."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from bootledger.basebackup.manifest import MANIFEST_NAME
from bootledger.basebackup.publishing import open_manifest
from bootledger.errors import CorruptRecord, DivergedHistory
from bootledger.files import translated
from bootledger.replica.ports import Applier, Change, SourceIdentity


class SnapshotApplier:
    """The copy of a file: what it is of, and how far it goes, stands in the manifest beside it."""

    def __init__(self, directory: Path) -> None:
        """Open the copy in the directory of a generation; nothing is written there.

        Raises `CorruptRecord` if the file is not there in its whole length, `CorruptManifest`.
        """
        with open_manifest(directory / MANIFEST_NAME) as manifest:
            self.path = directory / manifest.path
            self._identity = SourceIdentity(manifest.source_identity, manifest.timeline)
            self._lsn = manifest.checkpoint_lsn
            size_bytes = manifest.size_bytes
        with translated(self.path):
            found_bytes = self.path.stat().st_size if self.path.is_file() else None
        if found_bytes != size_bytes:
            raise CorruptRecord(
                f"{self.path} has {found_bytes} bytes, the manifest beside it says {size_bytes}",
                hint="somebody changed the copy: remove its generation",
            )

    def identity(self) -> SourceIdentity:
        """Return which source this is a copy of."""
        return self._identity

    def applied_lsn(self) -> int:
        """Return the LSN of the version that was copied."""
        return self._lsn

    def apply(self, changes: Sequence[Change]) -> None:
        """Refuse with `DivergedHistory`: a source without a log has no changes."""
        raise DivergedHistory(f"{len(changes)} changes came for {self.path}, which takes none")

    def record_count(self) -> int:
        """Return 1: a file is one thing."""
        return 1

    def close(self) -> None:
        """Do nothing: nothing is kept open."""


def open_file_copy(directory: Path) -> Applier:
    """Open the copy of a file: an `OpenApplier`. Its bytes were checked with its manifest."""
    return SnapshotApplier(directory)


class SqliteCopy(SnapshotApplier):
    """The copy of a SQLite database."""

    def record_count(self) -> int:
        """Return how many rows its tables hold together."""
        with closing(open_immutable(self.path)) as database:
            names = database.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0"
            ).fetchall()
            counts = [_count(database, str(name)) for (name,) in names]
        return sum(counts)


class OpenSqliteCopy:
    """Opens and checks copies of SQLite databases: an `OpenApplier`.

    The check is `PRAGMA quick_check`, or with `thorough` `PRAGMA integrity_check`, which looks at
    the indexes too. It is done once in a process for a file that stays as it is.
    """

    def __init__(self, *, thorough: bool = False) -> None:
        self._pragma = "integrity_check" if thorough else "quick_check"
        self._checked: set[tuple[Path, int, int]] = set()

    def __call__(self, directory: Path) -> Applier:
        """Return the applier. Raises `CorruptRecord` with what SQLite objects to."""
        copy = SqliteCopy(directory)
        found = copy.path.stat()
        seen = (copy.path, found.st_ino, found.st_mtime_ns)
        if seen not in self._checked:
            _check(copy.path, self._pragma)
            self._checked.add(seen)
        return copy


def open_immutable(path: Path) -> sqlite3.Connection:
    """Open a database that nobody writes to: no locks, and no files beside it."""
    uri = f"file:{quote(str(path))}?mode=ro&immutable=1"
    return sqlite3.connect(uri, uri=True, isolation_level=None)


def _check(path: Path, pragma: str) -> None:
    try:
        with closing(open_immutable(path)) as database:
            said = [str(line) for (line,) in database.execute(f"PRAGMA {pragma}(5)")]
    except sqlite3.DatabaseError as error:
        said = [str(error)]
    if said != ["ok"]:
        raise CorruptRecord(
            f"{path} is not sound: {'; '.join(said)}",
            hint="the copy is what the source held: check the source as well",
        )


def _count(database: sqlite3.Connection, table: str) -> int:
    quoted = table.replace('"', '""')
    ((count,),) = database.execute(f'SELECT count(*) FROM "{quoted}"')  # noqa: S608 - quoted
    return int(count)
