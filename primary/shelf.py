"""Where base backups lie: what is published there, what is a leftover, what is not ours."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from bootledger.artefacts import NOT_OURS, Artefact, Finding
from bootledger.basebackup.manifest import DATA_NAME, MANIFEST_NAME, Manifest
from bootledger.errors import SnapshotLost
from bootledger.files import Files, LockHeld, translated
from bootledger.primary.manifests import Manifests
from bootledger.primary.tokens import intent_of, is_token


class Shelf:
    """The directory of a database's base backups. Thread-safe; any number of processes may use it.

    `lock_path` is the lock that whoever publishes or wipes holds.
    """

    def __init__(self, root: Path, files: Files) -> None:
        self.root = root
        self.lock_path = root / "publishing.lock"
        self._files = files
        self._manifests = Manifests()

    def published(self) -> list[str]:
        """Return the tokens of all base backups, sorted."""
        if not self.root.is_dir():
            return []
        return [entry.name for entry in self._entries() if _is_ours(entry) and is_published(entry)]

    def by_age(self) -> list[tuple[int, str]]:
        """Return when each base backup was published (wall clock, ms), and its token, oldest first.

        The time is that of the manifest's file, which base backups that are shared have in common.
        """
        found = []
        for token in self.published():
            path = self.root / token / MANIFEST_NAME
            with translated(path):
                try:
                    found.append((path.stat().st_mtime_ns // 1_000_000, token))
                except FileNotFoundError:  # released meanwhile
                    continue
        return sorted(found)

    def count(self, tokens: Iterable[str]) -> int:
        """Return how many base backups are behind these tokens: one that is shared counts once."""
        found = set()
        for token in tokens:
            path = self.root / token / DATA_NAME
            with translated(path), contextlib.suppress(FileNotFoundError):  # released meanwhile
                found.add(path.stat().st_ino)
        return len(found)

    def manifest(self, token: str) -> Manifest:
        """Return the manifest of a base backup; nobody closes it. Raises as `path`."""
        return self._manifests.open(self.path(token, MANIFEST_NAME))

    def path(self, token: str, name: str) -> Path:
        """Return where a file of a base backup lies.

        Raises `SnapshotLost` if there is no base backup of this token. One that was never given
        out, because it is another source's, is such a token too, and is never made into a path.
        """
        if not is_token(token) or not is_published(self.root / token):
            raise SnapshotLost(f"{self.root.parent} has no base backup {str(token)[:80]!r}")
        return self.root / token / name

    def release(self, token: str) -> None:
        """Delete a base backup if it is there; what was never given out is not."""
        if not is_token(token) or not (self.root / token).is_dir():
            return
        self._files.remove(self.root / token / MANIFEST_NAME)
        self.wipe()  # or else whoever is publishing does so in the end

    def wipe(self) -> bool:
        """Remove leftovers, unless somebody is publishing: return whether that was possible."""
        self._manifests.forget_released()
        if not self.root.is_dir() or not any(map(_is_leftover, self._entries())):
            return True
        try:
            lock = self._files.lock(self.lock_path).acquire()
        except LockHeld:
            return False  # it may be the one that is being published
        with lock:
            self.wipe_leftovers()
        return True

    def wipe_leftovers(self) -> None:
        """Remove what died half made or half removed. For whoever holds the lock."""
        for entry in self._entries():
            if _is_leftover(entry):
                self._files.remove(entry)

    def artefacts(self, needed: Callable[[str], str | None]) -> Iterator[Finding]:
        """Yield every base backup, what died half made or half removed, and what is not ours.

        `needed` says of an intent id why its base backups stay, or None if they may be removed.
        """
        if not self.root.is_dir():
            return
        for entry in self._entries():
            if entry == self.lock_path:
                continue
            if not _is_ours(entry):
                yield Finding(Artefact.at(entry, "something else", NOT_OURS))
            elif not is_published(entry):
                artefact = Artefact.at(entry, "half a base backup", "its publication died")
                yield Finding(artefact, self.wipe)
            elif reason := needed(intent_of(entry.name)):
                yield Finding(Artefact.at(entry, "base backup", reason))
            else:
                artefact = Artefact.at(entry, "base backup", "its intent is finished")
                yield Finding(artefact, partial(self._release_now, entry.name))

    def _entries(self) -> list[Path]:
        with translated(self.root):
            return sorted(self.root.iterdir())

    def _release_now(self, token: str) -> bool:
        self.release(token)
        return not (self.root / token).is_dir()


def is_published(directory: Path) -> bool:
    """Return whether there is a base backup in `directory`: if and only if it has a manifest."""
    return (directory / MANIFEST_NAME).is_file()


def _is_ours(entry: Path) -> bool:
    return is_token(entry.name) and entry.is_dir() and not entry.is_symlink()


def _is_leftover(entry: Path) -> bool:
    return _is_ours(entry) and not is_published(entry)
