"""A primary on the same machine as a `Source`: its directory, read while others write to it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from bootledger.basebackup.manifest import DATA_NAME, MANIFEST_NAME, MAX_CHUNK_BYTES
from bootledger.basebackup.publishing import DEFAULT_CHUNK_BYTES
from bootledger.environment import DEFAULT_WAIT_S
from bootledger.errors import InvalidValue, SnapshotLost, SourceUnavailable
from bootledger.files import Files, translated
from bootledger.positions import check_u64
from bootledger.primary.backups import BaseBackups
from bootledger.primary.place import Place
from bootledger.replica.database import Database
from bootledger.replica.histories import check_history
from bootledger.replica.ports import Change, LastChange, Pause, Pin, SourceIdentity, go_on


class LocalSource:
    """Keeps the promises of `Source` and `ChecksHistory` (`replica.ports`). Thread-safe.

    Every method raises `SourceUnavailable` if the database has left its place since it was opened.
    """

    def __init__(self, database: Database, backups: BaseBackups) -> None:
        self._database = database
        self._backups = backups
        self._place = Place(database.path)

    @classmethod
    def open(
        cls,
        path: Path,
        files: Files,
        *,
        wait_s: float = DEFAULT_WAIT_S,
        chunk_bytes: int = DEFAULT_CHUNK_BYTES,
    ) -> Self:
        """Open the primary in the directory `path`; another process may go on writing to it.

        `wait_s` is how long `pin` waits for another publication, `chunk_bytes` into what size of
        chunks a base backup is cut. Raises `SourceUnavailable` if
        there is nothing at `path`, otherwise what `Database.open` raises.
        """
        if not path.exists():
            raise SourceUnavailable(f"there is no primary at {path}", hint="is it mounted?")
        database = Database.open(path, files, name="primary")
        backups = BaseBackups(database, files, wait_s=wait_s, chunk_bytes=chunk_bytes)
        return cls(database, backups)

    def identity(self) -> SourceIdentity:
        """Return which database this is."""
        self._place.check()
        return self._database.identity()

    def last_lsn(self) -> int:
        """Return the LSN of the newest change, 0 before the first."""
        self._place.check()
        return self._database.last_lsn()

    def pin(self, intent_id: str, generation: int, pause: Pause = go_on) -> Pin:
        """Publish a base backup, or return the one that exists: as `BaseBackups.pin`."""
        self._place.check()
        return self._backups.pin(intent_id, generation, pause)

    def read_manifest(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Return that part of the encoded manifest; fewer bytes only at its end.

        Raises `SnapshotLost` if the token is gone, `InvalidValue` for more than `MAX_CHUNK_BYTES`.
        """
        return self._read(token, MANIFEST_NAME, offset_bytes, length_bytes)

    def read_chunk(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Return that part of the base backup; otherwise as `read_manifest`."""
        return self._read(token, DATA_NAME, offset_bytes, length_bytes)

    def changes(self, after_lsn: int, limit: int) -> Sequence[Change]:
        """Return changes after an LSN: as `Database.changes`."""
        self._place.check()
        return self._database.changes(after_lsn, limit)

    def changes_following(
        self, last: LastChange, limit: int, wait_s: float = 0.0
    ) -> Sequence[Change]:
        """Return changes after `last`, if there is no other change at its LSN; waits for none."""
        del wait_s
        found = self.changes(last.lsn, limit)
        check_history(last, self._database)
        return found

    def release(self, token: str) -> None:
        """Delete the base backup if it is there."""
        self._place.check()
        self._backups.release(token)

    def close(self) -> None:
        """Give the database back. Base backups stay."""
        self._database.close()

    def _read(self, token: str, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        check_u64(offset_bytes, "offset_bytes")
        if check_u64(length_bytes, "length_bytes") > MAX_CHUNK_BYTES:
            raise InvalidValue(f"{length_bytes} bytes at once, {MAX_CHUNK_BYTES} are allowed")
        self._place.check()
        path = self._backups.path(token, name)
        with translated(path):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise SnapshotLost(f"{path} was released") from None
            try:
                # Offsets beyond the largest that a file can have are an error to the system.
                if offset_bytes >= os.fstat(fd).st_size:
                    return b""
                return os.pread(fd, length_bytes, offset_bytes)
            finally:
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
