"""Base backups of a database, published under tokens inside of its own directory.

    PRIMARY/data.mdb, lock.mdb, write.lock        the database
    PRIMARY/basebackups/publishing.lock           held by whoever publishes or wipes
    PRIMARY/basebackups/TOKEN/data.mdb, lock.mdb  a copy of it, as it was at one LSN
    PRIMARY/basebackups/TOKEN/manifest            what that copy consists of

A base backup exists if and only if its manifest does. The manifest is the last thing to appear and
the first to go, each in one step; a directory without one is the leftover of a death and is wiped
by whoever publishes or releases next.

A base backup may be shared: the directory of another token has the same two files, as hard links,
the manifest last. Each token is released by itself; the room is free when the last one is.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from bootledger.artefacts import Finding
from bootledger.basebackup.manifest import DATA_NAME, MANIFEST_NAME, Chunk
from bootledger.basebackup.publishing import DEFAULT_CHUNK_BYTES
from bootledger.clock import Clock, now_ms
from bootledger.environment import DEFAULT_WAIT_S
from bootledger.errors import BootledgerError, SnapshotLost, SourceUnavailable, Unavailable
from bootledger.files import FileLock, Files, LockHeld, translated
from bootledger.primary.hooks import Given, Hold, ignore, none_does, tell_nobody, trust
from bootledger.primary.publication import Progress, publish
from bootledger.primary.shelf import Shelf, is_published
from bootledger.primary.tokens import has_stem, stem_of, unguessable
from bootledger.replica.database import Database
from bootledger.replica.ports import Pause, Pin, go_on

MAX_TOKENS = 10_000
"""How many tokens there may be where base backups are limited: each costs names on the disk."""

_PAUSE_EVERY_S = 0.25


class BackupInfo(NamedTuple):
    """A base backup: its token, its LSN, its size, and when it was published (wall clock)."""

    token: str
    lsn: int
    size_bytes: int
    published_at_ms: int


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
        most: int | None = None,
        clock: Clock = now_ms,
    ) -> None:
        """`wait_s` is how long a publication waits for another one of the same database.

        One of this object is waited for as long as it moves on. A base backup that is not older
        than `reuse_s` is shared. Tokens `for_network` cannot be guessed
        (`bootledger.primary.tokens`). `most` is how many base backups there may be, those that are
        shared counted once; None is no limit.
        """
        self._most = most
        self._chunk_bytes = chunk_bytes
        self._database = database
        self._files = files
        self._wait_s = wait_s
        self._reuse_ms = reuse_s * 1000
        self._for_network = for_network
        self._clock = clock
        self._running: tuple[int, int] | None = None
        self._shelf = Shelf(database.path / "basebackups", files)

    def pin(
        self,
        intent_id: str,
        generation: int,
        pause: Pause = go_on,
        *,
        hold: Hold = trust,
        share: Hold = trust,
        given: Given = tell_nobody,
        gives_way: Callable[[str], bool] = none_does,
        progress: Progress = ignore,
    ) -> Pin:
        """Publish a base backup for this intent and generation, or return the one that exists.

        Streamed while writers go on: memory does not grow with the database. It is durable when
        this returns, and stays until `release`. `hold` is asked before the database is read, and
        `share` before the base backup of another is shared; one of this intent and generation that
        cannot be held any more is replaced. `given` is told of a new token before its base backup
        exists: what it notes may outlive a publication that fails or dies. Tokens that `gives_way`
        is true of do not count: they are released afterwards. `pause` is called again and again,
        also while another publication is waited for; what it raises ends this one. Passes
        `basebackup.copying`, `basebackup.copied`, the points of the manifest,
        and those of `Files.link` for `basebackup.data.mdb` and `basebackup.manifest`.

        Raises `InvalidValue` for an intent id that is not made of a-z, 0-9 and `-`,
        `SourceUnavailable` if another publication was waited for long enough (`wait_s`), or there
        are as many base backups as there may be; `OutOfSpace` if there is no room. Leaves nothing
        behind then.
        """
        stem = stem_of(intent_id, generation)
        token = self._found(stem, hold)
        if token is None:
            self._files.make_directory(self._shelf.root)
            with self._publishing(pause, progress):
                self._shelf.wipe_leftovers()
                token = self._found(stem, hold)
                if token is None:
                    self._discard(stem)
                    token = unguessable(stem) if self._for_network else stem
                    others = [t for t in self._shelf.published() if not gives_way(t)]
                    self._check_count(len(others), MAX_TOKENS)
                    if not self._share(token, share, given):
                        self._check_count(self._shelf.count(others), self._most)
                        while not hold(self._database.last_lsn()):
                            pause()  # an application has pruned just now
                        self._publish(token, given, pause, progress)
                self._shelf.wipe_leftovers()  # of what was released meanwhile
        manifest = self._shelf.manifest(token)
        path = self._shelf.path(token, MANIFEST_NAME)
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
        for published_at_ms, token in self._shelf.by_age():
            with contextlib.suppress(SnapshotLost):  # released meanwhile
                manifest = self._shelf.manifest(token)
                found.append(
                    BackupInfo(token, manifest.checkpoint_lsn, manifest.size_bytes, published_at_ms)
                )
        return found

    def by_age(self) -> list[str]:
        """Return the tokens of every base backup, the oldest first."""
        return [token for _, token in self._shelf.by_age()]

    def path(self, token: str, name: str) -> Path:
        """Return where a file of a base backup lies: as `Shelf.path`."""
        return self._shelf.path(token, name)

    def chunk_at(self, token: str, offset_bytes: int, length_bytes: int) -> Chunk | None:
        """Return the chunk that consists of exactly these bytes, None if none does.

        Raises `SnapshotLost` as `path` does.
        """
        manifest = self._shelf.manifest(token)
        if length_bytes < 1:
            return None
        end_bytes = offset_bytes + length_bytes
        chunk = next(manifest.covering([(offset_bytes, end_bytes)]), None)
        return chunk if chunk is not None and chunk.range == (offset_bytes, end_bytes) else None

    def release(self, token: str) -> None:
        """Delete a base backup if it is there; what was never given out is not."""
        self._shelf.release(token)

    def wipe(self) -> bool:
        """Remove what died half made or half removed, unless somebody is publishing just now.

        Returns whether nothing half made is there now.
        """
        return self._shelf.wipe()

    def artefacts(self, needed: Callable[[str], str | None]) -> Iterator[Finding]:
        """Yield every base backup, leftovers, and what is not ours: as `Shelf.artefacts`."""
        return self._shelf.artefacts(needed)

    def _of(self, stem: str) -> Iterator[str]:
        for token in self._shelf.published():
            if has_stem(token, stem, random=self._for_network):
                yield token

    def _found(self, stem: str, hold: Hold) -> str | None:
        """Return the token of a base backup that was made for `stem` and is held."""
        for token in self._of(stem):
            with contextlib.suppress(SnapshotLost):  # released since it was seen
                if hold(self._shelf.manifest(token).checkpoint_lsn):
                    return token
        return None

    def _discard(self, stem: str) -> None:
        """Remove what was made for `stem` and could not be held."""
        for token in self._of(stem):
            self._files.remove(self._shelf.root / token / MANIFEST_NAME)
        self._shelf.wipe_leftovers()

    def _check_count(self, count: int, most: int | None) -> None:
        if self._most is not None and most is not None and count >= most:
            raise SourceUnavailable(
                f"{self._database.path} has {count} base backups already, {most} are allowed",
                hint="it is tried again; they go when their replicas are done, or are released",
            )

    def _share(self, token: str, share: Hold, given: Given) -> bool:
        """Make `token` a second name of a base backup that is young enough, if there is one."""
        if not self._reuse_ms:
            return False
        identity, now_ms = self._database.identity(), self._clock()
        for published_at_ms, shared in reversed(self._shelf.by_age()):
            if not 0 <= now_ms - published_at_ms <= self._reuse_ms:
                continue
            with contextlib.suppress(SnapshotLost):  # released meanwhile
                manifest = self._shelf.manifest(shared)
                same = (manifest.source_identity, manifest.timeline) == identity
                held = same and share(manifest.checkpoint_lsn)
                if held and self._link(shared, token, given):
                    return True
        return False

    def _link(self, shared: str, token: str, given: Given) -> bool:
        """Give the files of a base backup their names under `token`; False if it is gone."""
        source, directory = self._shelf.root / shared, self._shelf.root / token
        try:
            self._files.make_directory(directory)
            given(token)
            for name in (DATA_NAME, MANIFEST_NAME):
                self._files.link(source / name, directory / name, name=f"basebackup.{name}")
        except BootledgerError as error:
            self._files.remove(directory)
            if isinstance(error, Unavailable) and not is_published(source):
                return False  # it was released meanwhile
            raise
        return True

    def _publishing(self, pause: Pause, progress: Progress) -> FileLock:
        """Take the lock of publications, waiting in short turns: `pause` is asked in between."""
        lock = self._files.lock(self._shelf.lock_path)
        deadline = time.monotonic() + self._wait_s
        seen = None
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
            if running := self._running:
                progress(*running)
                if running != seen:  # it moves on: whoever waits for it waits for something
                    seen, deadline = running, time.monotonic() + self._wait_s

    def _publish(self, token: str, given: Given, pause: Pause, progress: Progress) -> None:
        def tell(done_bytes: int, size_bytes: int) -> None:
            self._running = (done_bytes, size_bytes)
            progress(done_bytes, size_bytes)

        try:
            publish(
                self._database,
                self._shelf.root / token,
                self._files,
                chunk_bytes=self._chunk_bytes,
                begun=lambda: given(token),
                pause=pause,
                progress=tell,
            )
        finally:
            self._running = None
