"""What is remembered of a source without a log, and kept of its snapshot, on the replica's side.

    SPOOL/version    which version was seen last, and its LSN
    SPOOL/sums       what the chunks that were seen sum up to
    SPOOL/data       the bytes, where the source alone would not do; until they are handed over
    SPOOL/manifest   the manifest of the snapshot, once it is known whole
    SPOOL/lock       held by the one process that works here

One spool serves one target. On the target's file system, its data becomes the copy by a rename.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from bootledger.basebackup.manifest import MANIFEST_NAME, Chunk, Header, Manifest, encode
from bootledger.basebackup.publishing import open_manifest, write_manifest
from bootledger.clock import Clock, now_ms
from bootledger.errors import CorruptManifest, CorruptRecord, TargetBusy
from bootledger.files import FileLock, Files, LockHeld, translated
from bootledger.positions import U64
from bootledger.replica.sources.sums import Sums
from bootledger.sealing import seal, unseal

SPOOL_NAME = "spool"
"""Where a spool lies in its target, unless the caller says otherwise."""
_VERSION_KEY = b"source-version"
_FORMAT = 1
_CLEARED = ("data", "sums", MANIFEST_NAME)


class Version(msgspec.Struct, frozen=True):
    """A version of the source: what it is known by, and the LSN that it was given.

    One that is not `settled` may have changed since without looking different.
    """

    fingerprint: str
    lsn: U64
    settled: bool = True
    format: int = _FORMAT


class Spool:
    """One spool. Nothing is made or opened before the first use. Close it when done."""

    def __init__(self, path: Path, files: Files, *, clock: Clock = now_ms) -> None:
        self.path = path
        self.data_path = path / "data"
        self._files = files
        self._clock = clock
        self._lock: FileLock | None = None
        self._version: Version | None = None
        self._certain = False
        """Whether the version was seen by this process, which knows what it did since."""

    def observe(self, fingerprint: str, *, settled: bool = True) -> int:
        """Return the LSN of the version that looks like `fingerprint`. Durable before it is told.

        That of the last version, if it looks the same and was settled or seen by this process; else
        a new one: the time in milliseconds, but always more than the last. So LSNs do not go back,
        even if the spool was lost, as long as the clock does not.
        """
        version = self.version()
        same = version is not None and version.fingerprint == fingerprint
        if version is None or not same or not (version.settled or self._certain):
            lsn = self._clock() if version is None else max(version.lsn + 1, self._clock())
            version = self._remember(Version(fingerprint, lsn, settled))
        elif settled and not version.settled:
            version = self._remember(Version(fingerprint, version.lsn))
        self._certain = True
        return version.lsn

    def version(self) -> Version | None:
        """Return the version that was seen last, None before the first.

        Raises `CorruptRecord` if what is written of it cannot be believed.
        """
        self._own()
        return self._version

    def distrust(self) -> None:
        """Note that the last version changed without looking different: the next look is new."""
        version = self.version()
        if version is not None:
            self._remember(Version("", version.lsn))

    def sums(self, header: Header) -> Sums:
        """Open the sums of the file that `header` describes; those of another are not there."""
        self._own()
        return Sums(self.path / "sums", header, self._files)

    def publish(self, header: Header, chunks: Iterable[Chunk]) -> None:
        """Write the manifest. Durable when this returns; what had the name is replaced."""
        self._own()
        write_manifest(self.path / MANIFEST_NAME, encode(header, chunks), self._files).close()

    def published(self) -> Manifest | None:
        """Return the manifest if it is there and can be believed. Close it when done."""
        self._own()
        path = self.path / MANIFEST_NAME
        if not path.exists():
            return None
        try:
            return open_manifest(path)
        except CorruptManifest:
            self._files.remove(path)  # it is made again
            return None

    def read_manifest(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Return that part of the encoded manifest; fewer bytes only at its end."""
        path = self.path / MANIFEST_NAME
        with translated(path), path.open("rb") as file:
            file.seek(offset_bytes)
            return file.read(length_bytes)

    def manifest_size_bytes(self) -> int:
        """Return the size of the encoded manifest."""
        with translated(self.path):
            return (self.path / MANIFEST_NAME).stat().st_size

    def hand_over(self, path: Path) -> None:
        """Give the data the name `path` if it is here, on one file system, and nothing is there."""
        self._own()
        with translated(path):
            if not self.data_path.exists() or os.path.lexists(path):
                return
            if self.data_path.stat().st_dev != path.parent.stat().st_dev:
                return
        self._files.rename(self.data_path, path, name="spool")

    def unpublish(self) -> None:
        """Remove the manifest alone. Harmless when repeated."""
        self._own()
        self._files.remove(self.path / MANIFEST_NAME)

    def clear(self) -> None:
        """Remove everything but the version. Harmless when repeated."""
        self._own()
        # The manifest goes last: as long as it is there, it tells what else is.
        for name in _CLEARED:
            self._files.remove(self.path / name)

    def close(self) -> None:
        """Give the spool up. Writes nothing. Harmless when repeated."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _own(self) -> None:
        if self._lock is not None:
            return
        self._files.make_directory(self.path)
        lock = self._files.lock(self.path / "lock")
        try:
            lock.acquire()
        except LockHeld as held:
            raise TargetBusy(
                f"{self.path} is in use by {held.holder or 'another process'}",
                hint="wait for it, or stop that process",
            ) from held
        try:
            self._version = _read_version(self.path / "version")
        except BaseException:  # an interrupt, too; it goes on
            lock.release()
            raise
        self._lock = lock

    def _remember(self, version: Version) -> Version:
        sealed = seal(_VERSION_KEY, msgspec.msgpack.encode(version))
        self._files.replace(self.path / "version", sealed, name="version")
        self._version = version
        return version


def is_spool(path: Path) -> bool:
    """Return whether the directory `path` is a spool: whether it has a version, sound or not."""
    with translated(path):
        return not path.is_symlink() and (path / "version").is_file()


def leftovers(path: Path) -> list[Path]:
    """Return what `clear` would remove of the spool at `path`."""
    with translated(path):
        return [path / name for name in _CLEARED if (path / name).exists()]


def _read_version(path: Path) -> Version | None:
    with translated(path):
        if not path.exists():
            return None
        sealed = path.read_bytes()
    try:
        return msgspec.msgpack.decode(unseal(_VERSION_KEY, sealed, str(path)), type=Version)
    except (msgspec.MsgspecError, CorruptRecord) as error:
        raise CorruptRecord(
            f"{path} cannot be read: {error}",
            hint="remove it: what the source holds counts as a new version then",
        ) from error
