"""A RedDB base backup on its way: downloaded in parts, checked whole, then published as ours.

    SPOOL/origin      which base backup it is: RedDB's manifest, and the token to ask with
    SPOOL/parts/      a file for each chunk that has arrived, as RedDB lays them out
    SPOOL/manifest    bootledger's manifest of the whole, once everything was there and checked
    SPOOL/lock        held by the one process that works here

RedDB knows its chunks by CRC-32 alone and a base backup by nothing at all. Our own manifest, with
the digests that make two copies the same, can only be made once every byte is there; that is why
there is a spool. The parts need no record of what is staged: each of them can be checked.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import msgspec

from bootledger.basebackup.manifest import DATA_NAME, MANIFEST_NAME, Chunk, Header, Manifest, encode
from bootledger.basebackup.publishing import DEFAULT_CHUNK_BYTES, open_manifest, write_manifest
from bootledger.basebackup.reddb_errors import InvalidOperation
from bootledger.basebackup.reddb_manifest import (
    BaseBackupChunkRef,
    PrimaryReplicaBaseBackupManifest,
)
from bootledger.basebackup.reddb_parts import read_snapshot_range
from bootledger.basebackup.reddb_snapshot import recover_staged_basebackup_chunks, stage_chunk_of
from bootledger.basebackup.reddb_wire import BaseBackupChunk
from bootledger.errors import CorruptManifest, CorruptRecord, SnapshotLost, TargetBusy
from bootledger.files import FileLock, Files, LockHeld, translated
from bootledger.sealing import seal, unseal

_ORIGIN_KEY = b"reddb-origin"
_FORMAT = 1


class Origin(msgspec.Struct, frozen=True):
    """Where the parts come from. With `ask_anew`, the primary is asked what it has before more."""

    manifest: bytes
    token: str | None
    ask_anew: bool = False
    format: int = _FORMAT


class Spool:
    """One spool, owned by this process. Open with `Spool.open`, close when done."""

    def __init__(self, path: Path, files: Files, lock: FileLock, origin: Origin | None) -> None:
        self.path = path
        self.origin = origin
        self._files = files
        self._lock = lock
        self._decoded = self._decode(origin)

    @classmethod
    def open(cls, path: Path, files: Files) -> Self:
        """Open the spool in the directory `path`, which is made in an existing parent.

        Raises `TargetBusy` if another process works there, `CorruptRecord` if what it says about
        itself cannot be believed.
        """
        files.make_directory(path)
        files.make_directory(path / "parts")
        lock = files.lock(path / "lock")
        try:
            lock.acquire()
        except LockHeld as held:
            raise TargetBusy(
                f"{path} is in use by {held.holder or 'another process'}",
                hint="wait for it, or stop that process",
            ) from held
        try:
            return cls(path, files, lock, _read_origin(path / "origin"))
        except BaseException:  # an interrupt, too; it goes on
            lock.release()
            raise

    @property
    def manifest(self) -> PrimaryReplicaBaseBackupManifest | None:
        """RedDB's manifest of what is downloaded here, None if nothing is."""
        return self._decoded

    @property
    def parts(self) -> Path:
        """The root of the parts."""
        return self.path / "parts"

    def adopt(self, manifest: bytes, token: str | None) -> None:
        """Make this the spool of the base backup that `manifest` describes. Durable.

        Parts of another one are removed; those of this one stay. Raises `InvalidOperation` for a
        manifest that cannot be believed, and nothing is changed.
        """
        origin = Origin(manifest, token)
        if origin == self.origin:
            return
        decoded = self._decode(origin)
        if self.origin is not None and self.origin.manifest != manifest:
            self._remove_all()
            self._files.make_directory(self.parts)
        if self.origin is None:
            self.unpublish()  # it lost its origin: nobody knows whose manifest that is
        self._write_origin(origin, decoded)

    def ask_anew(self) -> None:
        """Note that the primary is to be asked what it has before this goes on. Durable."""
        if self.origin is not None:
            self.unpublish()
            self._write_origin(msgspec.structs.replace(self.origin, ask_anew=True), self._decoded)

    def missing(self, pause: Callable[[], None] = lambda: None) -> list[BaseBackupChunkRef]:
        """Return the chunks of the manifest that are not here, in order. Reads all that are.

        A part that is damaged is removed, and missing. `pause` is called before each part; what it
        raises ends the reading.
        """
        if self.manifest is None:
            return []
        staged = recover_staged_basebackup_chunks(
            self.manifest, self.parts, self._files, pause=pause
        )
        return [chunk for chunk in self.manifest.chunks if chunk.ordinal not in staged]

    def stage(self, payload: BaseBackupChunk) -> int | None:
        """Stage the chunk of a payload whose manifest was adopted; return its ordinal, if any."""
        return stage_chunk_of(payload, self._adopted(), self.parts, self._files).chunk_ordinal

    def publish(self, source_identity: str, pause: Callable[[], None] = lambda: None) -> Manifest:
        """Return our manifest of the whole, written anew. Close it when done.

        Everything is read, `pause` is called before each of our chunks; what it raises ends it.
        Raises `InvalidOperation` if the whole is not what RedDB's manifest says although each of
        its parts is, or if it is empty, which no database is.
        """
        adopted = self._adopted()
        if not adopted.snapshot_bytes:
            raise InvalidOperation("the base backup is empty: it holds no database")
        header = Header(
            source_identity=source_identity,
            timeline=adopted.timeline,
            start_lsn=adopted.start_lsn,
            checkpoint_lsn=adopted.checkpoint_lsn,
            path=DATA_NAME,
            size_bytes=adopted.snapshot_bytes,
            chunk_bytes=DEFAULT_CHUNK_BYTES,
            chunk_count=-(-adopted.snapshot_bytes // DEFAULT_CHUNK_BYTES),
        )
        pieces = encode(header, self._chunks(header, pause))
        return write_manifest(self.published_path, pieces, self._files)

    @property
    def published_path(self) -> Path:
        """Where our manifest lies once it is published."""
        return self.path / MANIFEST_NAME

    def published(self) -> Manifest | None:
        """Return our manifest if it is there and can be believed. Close it when done."""
        if self.manifest is None or not self.published_path.exists():
            return None
        try:
            return open_manifest(self.published_path)
        except CorruptManifest:
            self.unpublish()  # it is made again from the parts
            return None

    def unpublish(self) -> None:
        """Remove our manifest. Harmless when repeated."""
        self._files.remove(self.published_path)

    def read_published(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Return that part of our manifest, encoded; fewer bytes only at its end."""
        with translated(self.published_path), self.published_path.open("rb") as file:
            file.seek(offset_bytes)
            return file.read(length_bytes)

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Return that part of the whole; fewer bytes only at its end, or if parts are damaged."""
        return read_snapshot_range(self._adopted(), self.parts, offset_bytes, length_bytes)

    def _chunks(self, header: Header, pause: Callable[[], None]) -> Iterator[Chunk]:
        told, checksum = self._adopted().snapshot_checksum, 0
        for ordinal in range(header.chunk_count):
            pause()
            offset_bytes = ordinal * header.chunk_bytes
            data = self.read(offset_bytes, header.chunk_bytes)
            checksum = zlib.crc32(data, checksum)
            yield Chunk.of(ordinal, offset_bytes, data)
        if checksum != told:
            raise InvalidOperation(
                f"the snapshot has CRC-32 {checksum:#010x}, its manifest says {told:#010x}",
                hint="every chunk is what the manifest says: have the primary make another one",
            )

    def remove(self) -> None:
        """Remove everything that was downloaded. Harmless when repeated."""
        self._remove_all()
        self.origin = self._decoded = None

    def _remove_all(self) -> None:
        # What is published goes first: it says that all parts are here. The origin goes last: as
        # long as it is there, whoever dies before has left something that tells what to remove.
        for name in (MANIFEST_NAME, "parts", "origin"):
            self._files.remove(self.path / name)

    def _write_origin(
        self, origin: Origin, decoded: PrimaryReplicaBaseBackupManifest | None
    ) -> None:
        sealed = seal(_ORIGIN_KEY, msgspec.msgpack.encode(origin))
        self._files.replace(self.path / "origin", sealed, name="origin")
        self.origin, self._decoded = origin, decoded

    def _adopted(self) -> PrimaryReplicaBaseBackupManifest:
        if self._decoded is None:
            raise SnapshotLost(f"{self.path} holds no base backup")
        return self._decoded

    @staticmethod
    def _decode(origin: Origin | None) -> PrimaryReplicaBaseBackupManifest | None:
        return None if origin is None else PrimaryReplicaBaseBackupManifest.decode(origin.manifest)

    def close(self) -> None:
        """Give the spool up. Writes nothing. Harmless when repeated."""
        self._lock.release()


def _read_origin(path: Path) -> Origin | None:
    with translated(path):
        if not path.exists():
            return None
        sealed = path.read_bytes()
    try:
        return msgspec.msgpack.decode(unseal(_ORIGIN_KEY, sealed, str(path)), type=Origin)
    except (msgspec.MsgspecError, CorruptRecord) as error:
        raise CorruptRecord(
            f"{path} cannot be read: {error}",
            hint="remove it: the parts beside it are checked and used all the same",
        ) from error
