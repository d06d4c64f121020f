"""Base backups of a database, published under tokens inside of its own directory.

    PRIMARY/data.mdb, lock.mdb, write.lock        the database
    PRIMARY/basebackups/publishing.lock           held by whoever publishes or wipes
    PRIMARY/basebackups/TOKEN/data.mdb, lock.mdb  a copy of it, as it was at one LSN
    PRIMARY/basebackups/TOKEN/manifest            what that copy consists of

A base backup exists if and only if its manifest does. The manifest is the last thing to appear and
the first to go, each in one step; a directory without one is the leftover of a death and is wiped
by whoever publishes or releases next.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bootledger.artefacts import NOT_OURS, Artefact, Finding
from bootledger.basebackup.manifest import DATA_NAME, MANIFEST_NAME, Manifest
from bootledger.basebackup.publishing import DEFAULT_CHUNK_BYTES, describe, open_manifest
from bootledger.environment import DEFAULT_WAIT_S
from bootledger.errors import BootledgerError, InvalidValue, SnapshotLost, SourceUnavailable
from bootledger.files import FileLock, Files, LockHeld, translated
from bootledger.positions import check_u64
from bootledger.replica.database import Database
from bootledger.replica.ports import Pause, Pin, go_on

# Tokens come back from outside and become names of directories: nothing else may pass.
_INTENT_ID = re.compile(r"[0-9a-z-]{1,64}", re.ASCII)
_TOKEN = re.compile(r"[0-9a-z-]{1,64}\.[0-9]{1,20}", re.ASCII)

_PAUSE_EVERY_S = 0.25


class BaseBackups:
    """The base backups of one database. Any number of processes may publish and release."""

    def __init__(
        self,
        database: Database,
        files: Files,
        *,
        wait_s: float = DEFAULT_WAIT_S,
        chunk_bytes: int = DEFAULT_CHUNK_BYTES,
    ) -> None:
        """`wait_s` is how long a publication waits for another one of the same database."""
        self._chunk_bytes = chunk_bytes
        self._database = database
        self._files = files
        self._wait_s = wait_s
        self._root = database.path / "basebackups"
        self._lock_path = self._root / "publishing.lock"

    def pin(self, intent_id: str, generation: int, pause: Pause = go_on) -> Pin:
        """Publish a base backup for this intent and generation, or return the one that exists.

        Streamed while writers go on: memory does not grow with the database. It is durable when
        this returns, and stays until `release`. `pause` is called again and again, also while
        another publication is waited for; what it raises ends this one. Passes
        `basebackup.copying`, `basebackup.copied` and the points of the manifest.

        Raises `InvalidValue` for an intent id that is not made of a-z, 0-9 and `-`,
        `SourceUnavailable` if another base backup is being published for longer than `wait_s`,
        `OutOfSpace` if there is no room, and leaves nothing behind then.
        """
        token = _token(intent_id, generation)
        directory = self._root / token
        if not _is_published(directory):
            self._files.make_directory(self._root)
            with self._publishing(pause):
                self._wipe_leftovers()
                if not _is_published(directory):
                    self._publish(directory, pause)
                self._wipe_leftovers()  # of what was released meanwhile
        path = directory / MANIFEST_NAME
        with translated(path), open_manifest(path) as manifest:
            return Pin(
                token=token,
                timeline=manifest.timeline,
                lsn=manifest.checkpoint_lsn,
                size_bytes=manifest.size_bytes,
                manifest_size_bytes=path.stat().st_size,
                manifest_digest=manifest.digest,
            )

    def path(self, token: str, name: str) -> Path:
        """Return where a file of a base backup lies.

        Raises `SnapshotLost` if there is no base backup of this token. One that was never given
        out, because it is another source's, is such a token too, and is never made into a path.
        """
        directory = self._directory(token)
        if directory is None or not _is_published(directory):
            raise SnapshotLost(f"{self._database.path} has no base backup {str(token)[:80]!r}")
        return directory / name

    def release(self, token: str) -> None:
        """Delete a base backup if it is there; what was never given out is not."""
        directory = self._directory(token)
        if directory is None or not directory.is_dir():
            return
        self._files.remove(directory / MANIFEST_NAME)
        self._wipe()  # or else whoever is publishing does so in the end

    def artefacts(self, needed: Callable[[str], str | None]) -> Iterator[Finding]:
        """Yield every base backup, what died half made or half removed, and what is not ours.

        `needed` says of an intent id why its base backups stay, or None if they may be removed.
        """
        if not self._root.is_dir():
            return
        with translated(self._root):
            entries = sorted(self._root.iterdir())
        for entry in entries:
            if entry == self._lock_path:
                continue
            if not _is_ours(entry):
                yield Finding(Artefact.at(entry, "something else", NOT_OURS))
            elif not _is_published(entry):
                artefact = Artefact.at(entry, "half a base backup", "its publication died")
                yield Finding(artefact, self._wipe)
            elif reason := needed(entry.name.partition(".")[0]):
                yield Finding(Artefact.at(entry, "base backup", reason))
            else:
                artefact = Artefact.at(entry, "base backup", "its intent is finished")
                yield Finding(artefact, partial(self._release_now, entry.name))

    def _directory(self, token: object) -> Path | None:
        named = isinstance(token, str) and _TOKEN.fullmatch(token)
        return self._root / str(token) if named else None

    def _release_now(self, token: str) -> bool:
        self.release(token)
        return not (self._root / token).is_dir()

    def _wipe(self) -> bool:
        try:
            lock = self._files.lock(self._lock_path).acquire()
        except LockHeld:
            return False  # it may be the one that is being published
        with lock:
            self._wipe_leftovers()
        return True

    def _publishing(self, pause: Pause) -> FileLock:
        """Take the lock of publications, waiting in short turns: `pause` is asked in between."""
        lock = self._files.lock(self._lock_path)
        deadline = time.monotonic() + self._wait_s
        while True:
            left_s = deadline - time.monotonic()
            try:
                return lock.acquire(wait_s=min(left_s, _PAUSE_EVERY_S))
            except LockHeld as held:
                if left_s <= _PAUSE_EVERY_S:
                    raise SourceUnavailable(
                        f"{self._database.path}: {held.holder} is publishing a base backup",
                        hint="it is tried again; one is published at a time",
                    ) from held
            pause()

    def _publish(self, directory: Path, pause: Pause) -> None:
        try:
            self._files.make_directory(directory)
            start_lsn = self._database.last_lsn()
            self._files.point("basebackup.copying")
            self._database.copy(directory, pause)
            self._files.point("basebackup.copied")
            self._describe(directory, start_lsn, pause).close()
        except BootledgerError:
            self._files.remove(directory)
            raise

    def _describe(self, directory: Path, start_lsn: int, pause: Pause) -> Manifest:
        # Writers went on: only the copy itself can tell at which LSN it was made.
        with Database.open(directory, self._files, name="basebackup") as copy:
            identity, lsn = copy.identity(), copy.last_lsn()
        with self._files.open(directory / DATA_NAME) as file:
            return describe(
                file,
                source_identity=identity.database_id,
                timeline=identity.timeline,
                start_lsn=start_lsn,
                checkpoint_lsn=lsn,
                path=DATA_NAME,
                files=self._files,
                manifest_path=directory / MANIFEST_NAME,
                chunk_bytes=self._chunk_bytes,
                pause=pause,
            )

    def _wipe_leftovers(self) -> None:
        with translated(self._root):
            entries = list(self._root.iterdir())
        for entry in entries:
            if _is_ours(entry) and not _is_published(entry):
                self._files.remove(entry)


def _is_ours(entry: Path) -> bool:
    named = _TOKEN.fullmatch(entry.name) is not None
    return named and entry.is_dir() and not entry.is_symlink()


def _is_published(directory: Path) -> bool:
    return (directory / MANIFEST_NAME).is_file()


def _token(intent_id: object, generation: int) -> str:
    if not isinstance(intent_id, str) or not _INTENT_ID.fullmatch(intent_id):
        raise InvalidValue(
            f"an intent id has 1 to 64 of a-z, 0-9 and '-', not {str(intent_id)[:80]!r}"
        )
    return f"{intent_id}.{check_u64(generation, 'generation')}"
