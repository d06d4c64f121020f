"""Base backups of a database, published under tokens inside of its own directory.

    PRIMARY/data.mdb, lock.mdb, write.lock        the database
    PRIMARY/basebackups/publishing.lock           held by whoever publishes or wipes
    PRIMARY/basebackups/TOKEN/data.mdb, lock.mdb  a copy of it, as it was at one LSN
    PRIMARY/basebackups/TOKEN/manifest            what that copy consists of

A base backup exists if and only if its manifest does. The manifest is the last thing to appear and
the first to go, each in one step; a directory without one is the leftover of a death and is wiped
by whoever publishes or releases next.

A base backup may be shared: another token's directory has the same two files, as hard links, the
manifest last. Each token is released by itself; the room is free when the last one is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

from bootledger.artefacts import NOT_OURS, Artefact, Finding
from bootledger.basebackup.manifest import DATA_NAME, MANIFEST_NAME, Chunk, Manifest
from bootledger.basebackup.publishing import DEFAULT_CHUNK_BYTES, describe
from bootledger.clock import Clock, now_ms
from bootledger.environment import DEFAULT_WAIT_S
from bootledger.errors import BootledgerError, SnapshotLost, SourceUnavailable, Unavailable
from bootledger.files import FileLock, Files, LockHeld, translated
from bootledger.primary.manifests import Manifests
from bootledger.primary.tokens import has_stem, intent_of, is_token, stem_of, unguessable
from bootledger.replica.database import Database
from bootledger.replica.ports import Pause, Pin, go_on

Hold: TypeAlias = Callable[[int], bool]
"""Asked to keep the changes after an LSN; says whether they are kept, False if they are gone."""
Progress: TypeAlias = Callable[[int, int], None]
"""Told of a publication how many bytes are done, of how many."""

_PAUSE_EVERY_S = 0.25


class BackupInfo(NamedTuple):
    """A base backup: its token, its LSN, its size, and when it was published (wall clock)."""

    token: str
    lsn: int
    size_bytes: int
    published_at_ms: int


def _trust(_lsn: int) -> bool:
    return True


def _ignore(_done_bytes: int, _size_bytes: int) -> None: ...


class BaseBackups:
    """The base backups of one database. Any number of processes may publish and release."""

    def __init__(
        self,
        database: Database,
        files: Files,
        *,
        wait_s: float = DEFAULT_WAIT_S,
        chunk_bytes: int = DEFAULT_CHUNK_BYTES,
        reuse_s: float = 0.0,
        for_network: bool = False,
        clock: Clock = now_ms,
    ) -> None:
        """`wait_s` is how long a publication waits for another one of the same database.

        A base backup that is not older than `reuse_s`, and can be followed, is shared. Tokens
        `for_network` cannot be guessed (`bootledger.primary.tokens`).
        """
        self._chunk_bytes = chunk_bytes
        self._database = database
        self._files = files
        self._wait_s = wait_s
        self._reuse_ms = reuse_s * 1000
        self._for_network = for_network
        self._clock = clock
        self._manifests = Manifests()
        self._running = (0, 0)
        self._root = database.path / "basebackups"
        self._lock_path = self._root / "publishing.lock"

    def pin(
        self,
        intent_id: str,
        generation: int,
        pause: Pause = go_on,
        *,
        hold: Hold = _trust,
        progress: Progress = _ignore,
    ) -> Pin:
        """Publish a base backup for this intent and generation, or return the one that exists.

        Streamed while writers go on: memory does not grow with the database. It is durable when
        this returns, and stays until `release`. `hold` is asked before the database is read, and
        before another's base backup is shared: one that cannot be followed is not returned, and
        one of this intent and generation is replaced. `pause` is called again and again, also
        while another publication is waited for; what it raises ends this one. Passes
        `basebackup.copying`, `basebackup.copied`, `basebackup.data.linked`,
        `basebackup.manifest.linked` and the points of the manifest.

        Raises `InvalidValue` for an intent id that is not made of a-z, 0-9 and `-`,
        `SourceUnavailable` if another base backup is being published for longer than `wait_s`,
        `OutOfSpace` if there is no room, and leaves nothing behind then.
        """
        stem = stem_of(intent_id, generation)
        token = self._found(stem, hold)
        if token is None:
            self._files.make_directory(self._root)
            with self._publishing(pause, progress):
                self._wipe_leftovers()
                token = self._found(stem, hold)
                if token is None:
                    self._discard(stem)
                    token = unguessable(stem) if self._for_network else stem
                    if not self._share(token, hold):
                        hold(self._database.last_lsn())
                        self._publish(self._root / token, pause, progress)
                self._wipe_leftovers()  # of what was released meanwhile
        path = self._root / token / MANIFEST_NAME
        manifest = self._manifests.open(path)
        with translated(path):
            return Pin(
                token=token,
                timeline=manifest.timeline,
                lsn=manifest.checkpoint_lsn,
                size_bytes=manifest.size_bytes,
                manifest_size_bytes=path.stat().st_size,
                manifest_digest=manifest.digest,
            )

    def is_pinned(self, intent_id: str, generation: int) -> bool:
        """Return whether there is a base backup of this intent and generation."""
        return any(self._of(stem_of(intent_id, generation)))

    def all(self) -> list[BackupInfo]:
        """Return every base backup, the oldest first."""
        found = []
        for token in self._published():
            path = self._root / token / MANIFEST_NAME
            try:
                manifest = self._manifests.open(path)
                published_at_ms = path.stat().st_mtime_ns // 1_000_000
            except (SnapshotLost, FileNotFoundError):
                continue  # released meanwhile
            found.append(
                BackupInfo(token, manifest.checkpoint_lsn, manifest.size_bytes, published_at_ms)
            )
        return sorted(found, key=lambda backup: (backup.published_at_ms, backup.token))

    def chunk_at(self, token: str, offset_bytes: int, length_bytes: int) -> Chunk | None:
        """Return the chunk that consists of exactly these bytes, None if none does.

        Raises `SnapshotLost` as `path` does.
        """
        manifest = self._manifests.open(self.path(token, MANIFEST_NAME))
        if length_bytes < 1:
            return None
        end_bytes = offset_bytes + length_bytes
        chunk = next(manifest.covering([(offset_bytes, end_bytes)]), None)
        return chunk if chunk is not None and chunk.range == (offset_bytes, end_bytes) else None

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
            elif reason := needed(intent_of(entry.name)):
                yield Finding(Artefact.at(entry, "base backup", reason))
            else:
                artefact = Artefact.at(entry, "base backup", "its intent is finished")
                yield Finding(artefact, partial(self._release_now, entry.name))

    def _directory(self, token: object) -> Path | None:
        return self._root / str(token) if is_token(token) else None

    def _published(self) -> list[str]:
        if not self._root.is_dir():
            return []
        with translated(self._root):
            entries = sorted(self._root.iterdir())
        return [entry.name for entry in entries if _is_ours(entry) and _is_published(entry)]

    def _of(self, stem: str) -> Iterator[str]:
        for token in self._published():
            if has_stem(token, stem, random=self._for_network):
                yield token

    def _found(self, stem: str, hold: Hold) -> str | None:
        """Return the token of a base backup that was made for `stem` and can be followed."""
        return next((token for token in self._of(stem) if self._is_held(token, hold)), None)

    def _is_held(self, token: str, hold: Hold) -> bool:
        try:
            manifest = self._manifests.open(self._root / token / MANIFEST_NAME)
        except SnapshotLost:  # released since it was seen
            return False
        return hold(manifest.checkpoint_lsn)

    def _discard(self, stem: str) -> None:
        """Remove what was made for `stem` and cannot be followed any more."""
        for token in self._of(stem):
            self._files.remove(self._root / token / MANIFEST_NAME)
        self._wipe_leftovers()

    def _share(self, token: str, hold: Hold) -> bool:
        """Make `token` a second name of a base backup that is young enough, if there is one."""
        identity = self._database.identity()
        now_ms = self._clock()
        for backup in reversed(self.all()):
            if not 0 <= now_ms - backup.published_at_ms <= self._reuse_ms or not self._reuse_ms:
                continue
            manifest = self._manifests.open(self._root / backup.token / MANIFEST_NAME)
            same = (manifest.source_identity, manifest.timeline) == identity
            if same and hold(backup.lsn) and self._link(backup.token, token):
                return True
        return False

    def _link(self, shared: str, token: str) -> bool:
        """Give the files of a base backup their names under `token`; False if it is gone."""
        directory = self._root / token
        try:
            self._files.make_directory(directory)
            for name in (DATA_NAME, MANIFEST_NAME):
                self._files.link(
                    self._root / shared / name, directory / name, name=f"basebackup.{name}"
                )
        except BootledgerError as error:
            self._files.remove(directory)
            if isinstance(error, Unavailable) and not _is_published(self._root / shared):
                return False  # it was released meanwhile
            raise
        return True

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

    def _publishing(self, pause: Pause, progress: Progress) -> FileLock:
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
            progress(*self._running)

    def _publish(self, directory: Path, pause: Pause, progress: Progress) -> None:
        data = directory / DATA_NAME
        size_bytes = (self._database.path / DATA_NAME).stat().st_size
        described = -1

        def tell(copied_bytes: int, described_bytes: int) -> None:
            # Written once and read once: a byte is half done when it is written.
            done_bytes = min((copied_bytes + described_bytes) // 2, size_bytes)
            self._running = (done_bytes, size_bytes)
            progress(done_bytes, size_bytes)

        def copying() -> None:
            pause()
            tell(data.stat().st_size, 0)

        def describing() -> None:
            nonlocal described
            pause()
            described += 1
            tell(size_bytes, described * self._chunk_bytes)

        try:
            self._files.make_directory(directory)
            start_lsn = self._database.last_lsn()
            self._files.point("basebackup.copying")
            self._database.copy(directory, copying)
            self._files.point("basebackup.copied")
            self._describe(directory, start_lsn, describing).close()
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
    return is_token(entry.name) and entry.is_dir() and not entry.is_symlink()


def _is_published(directory: Path) -> bool:
    return (directory / MANIFEST_NAME).is_file()
