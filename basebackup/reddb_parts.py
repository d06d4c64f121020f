"""The parts of a RedDB base backup: chunk files, written in one step each, believed when checked.

A replica stages the parts that it is sent, finds after a crash those that it has, and reads them
back as one snapshot. The paths of the parts are the manifest's, so they come from somebody else: no
part is read or written outside of the root that was given, not through a symbolic link either.
Links that stay inside are followed. The root belongs to one process.

A part that lies under its name was durable before it got it. Memory is flat: parts and snapshots
are read in pieces, and nothing is allocated because a manifest claims it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import islice
from operator import attrgetter
from pathlib import Path

from bootledger.basebackup.reddb_errors import FileIo, InvalidOperation, file_errors
from bootledger.basebackup.reddb_layout import atomic_temp_path
from bootledger.basebackup.reddb_manifest import (
    BaseBackupChunkRef,
    PrimaryReplicaBaseBackupManifest,
    components,
    leads_out,
)
from bootledger.errors import Unavailable
from bootledger.files import Files, OpenFile

PIECE_BYTES = 2**20
"""Most that is read at once, and so most of a snapshot that is held in memory."""
_NO_FILE = ("", ".")
"""A path that ends in one of these is a directory or nothing."""


def stage_chunk_part(
    manifest: PrimaryReplicaBaseBackupManifest,
    root: Path,
    ordinal: int,
    data: bytes | memoryview,
    files: Files,
) -> None:
    """Write `data`, which must be the chunk of that ordinal, as its part below `root`.

    Durable when this returns; whatever had the name is replaced in one step. Missing directories
    are made. The manifest need not be valid as a whole.

    Raises `InvalidOperation` if there is no such chunk, if `data` is not it, or if its path leads
    out of the root, and nothing is written; `FileIo` if the disk refuses. Passes `part.writing`,
    `part.written`, `part.renamed` and `part.synced`.
    """
    chunk = manifest.chunk(ordinal)
    if reason := chunk.objection(len(data), zlib.crc32(data)):
        raise InvalidOperation(f"chunk {ordinal}: {reason}", hint="fetch it again")
    directory, name = _place(root, chunk)
    path = directory / name
    with file_errors(path):
        if name in _NO_FILE:
            raise NotADirectoryError(errno.ENOTDIR, "it cannot be a file", chunk.relative_path)
        make_directories(directory, files)
        files.replace(path, data, name="part", temporary=_temporary(manifest, chunk, path))


def recover_staged_chunk_parts(
    manifest: PrimaryReplicaBaseBackupManifest,
    root: Path,
    files: Files,
    *,
    pause: Callable[[], None] = lambda: None,
) -> set[int]:
    """Read every part below `root`, and return the ordinals of those that are their chunks.

    A part that is there and is not its chunk is removed; other files are left alone. What is
    returned is durable. `pause` is called before each chunk; what it raises ends the reading.

    Raises `InvalidOperation` if the manifest is not valid, or if a part leads out of the root;
    `FileIo` if something that is there cannot be read, a directory included.
    """
    manifest.validate()
    staged: set[int] = set()
    directories: set[Path] = set()
    for chunk in manifest.chunks:
        pause()
        try:
            with _opened(root, chunk) as file:
                damaged = _objection(chunk, file)
        except FileIo as error:
            if error.os_error != errno.ENOENT:
                raise
            continue
        if damaged:
            with file_errors(file.path):
                files.remove(file.path)
        else:
            staged.add(chunk.ordinal)
            directories.add(file.path.parent)
    for directory in sorted(directories):  # a crash can have come between a rename and its sync
        with file_errors(directory):
            files.sync_directory(directory)
    return staged


def read_snapshot_parts(manifest: PrimaryReplicaBaseBackupManifest, root: Path) -> Iterator[bytes]:
    """Yield the snapshot whose parts lie below `root`, in order, at most `PIECE_BYTES` at once.

    Nothing of it may be believed before the iteration has come to its end: a piece is yielded as
    soon as it was read, the chunk is checked after its last piece, and the whole at the very end.

    Raises `InvalidOperation` if the manifest is not valid, or if a part or the whole is not what it
    says; `FileIo` if a part is missing or cannot be read.
    """
    manifest.validate()
    length_bytes = checksum = 0
    for chunk in manifest.chunks:
        with _opened(root, chunk) as file:
            size_bytes, part_checksum = file.size_bytes(), 0
            if size_bytes == chunk.chunk_bytes:
                for piece in pieces(file, 0, size_bytes):
                    part_checksum = zlib.crc32(piece, part_checksum)
                    checksum = zlib.crc32(piece, checksum)
                    yield piece
        if reason := chunk.objection(size_bytes, part_checksum):
            raise InvalidOperation(f"{file.path} is not chunk {chunk.ordinal}: {reason}")
        length_bytes += size_bytes
    if length_bytes != manifest.snapshot_bytes:
        raise InvalidOperation(
            f"the snapshot has {length_bytes} bytes, expected {manifest.snapshot_bytes}"
        )
    if checksum != manifest.snapshot_checksum:
        raise InvalidOperation(
            f"the snapshot has the CRC-32 {checksum:#010x}, "
            f"expected {manifest.snapshot_checksum:#010x}",
            hint="every chunk is as the manifest says: the manifest itself is wrong, take another",
        )


def read_snapshot_range(
    manifest: PrimaryReplicaBaseBackupManifest, root: Path, offset_bytes: int, length_bytes: int
) -> bytes:
    """Return that part of the snapshot whose parts lie below `root`, unchecked.

    Fewer bytes only at its end, or where parts are shorter than the manifest says. The manifest
    must be valid. Raises `InvalidOperation` if a part leads out of the root; `FileIo` if one is
    missing or cannot be read.
    """
    end = min(offset_bytes + length_bytes, manifest.snapshot_bytes)
    after = bisect_right(manifest.chunks, offset_bytes, key=attrgetter("snapshot_offset"))
    read: list[bytes] = []
    for chunk in islice(manifest.chunks, max(after - 1, 0), None):
        if chunk.snapshot_offset >= end:
            break
        start = max(offset_bytes - chunk.snapshot_offset, 0)
        stop = min(end - chunk.snapshot_offset, chunk.chunk_bytes)
        if start < stop:
            with _opened(root, chunk) as file:
                read.extend(pieces(file, start, stop - start))
    return b"".join(read)


def verify_snapshot_parts(manifest: PrimaryReplicaBaseBackupManifest, root: Path) -> None:
    """Read the snapshot back, and keep nothing of it. Raises as `read_snapshot_parts`."""
    for _ in read_snapshot_parts(manifest, root):
        pass


def assemble_snapshot(
    manifest: PrimaryReplicaBaseBackupManifest, root: Path, path: Path, files: Files
) -> None:
    """Make `path` the snapshot whose parts lie below `root`, in one step, once it proved whole.

    Durable when this returns. Raises as `read_snapshot_parts`, and `path` is as it was. Passes
    `snapshot.writing`, `snapshot.written`, `snapshot.renamed` and `snapshot.synced`.
    """
    with file_errors(path):
        files.replace_from(path, read_snapshot_parts(manifest, root), name="snapshot")


def make_directories(path: Path, files: Files) -> None:
    """Create `path` and what is missing above it. Durable when this returns.

    Whatever is there proves that everything above it is durable, so only its own name is synced.
    """
    try:
        files.make_directory(path)
    except Unavailable as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        make_directories(path.parent, files)
        files.make_directory(path)


def _place(root: Path, chunk: BaseBackupChunkRef) -> tuple[Path, str]:
    """Return the directory and the name of a part. The directory is inside of `root`, for real."""
    if reason := leads_out(chunk.relative_path):
        raise InvalidOperation(f"chunk {chunk.ordinal} has {reason}")
    try:
        unusable = b"\0" in os.fsencode(chunk.relative_path)
    except UnicodeEncodeError:
        unusable = True
    if unusable:
        raise FileIo(f"{chunk.relative_path!r} cannot be the path of a file", os_error=None)
    above, _, name = chunk.relative_path.rpartition("/")
    _check_inside(root, root / above)
    return root / above, name


def _check_inside(root: Path, path: Path) -> None:
    """Refuse a path that symbolic links lead out of `root`."""
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(os.path.realpath(root)):
        raise InvalidOperation(
            f"{path} leads out of {root}, to {real}",
            hint="move the symbolic link away, nothing of a base backup belongs there",
        )


def _temporary(
    manifest: PrimaryReplicaBaseBackupManifest, chunk: BaseBackupChunkRef, path: Path
) -> Path:
    """Return what a part is called while it is written: as in RedDB, unless a part is called so."""
    temporary = atomic_temp_path(path)
    *above, _ = components(chunk.relative_path)
    while (*above, temporary.name) in manifest.tmp_paths:
        temporary = temporary.with_name(f".{temporary.name}")
    return temporary


@contextlib.contextmanager
def _opened(root: Path, chunk: BaseBackupChunkRef) -> Iterator[OpenFile]:
    """Open the part of `chunk`, which must be a file, to be read."""
    directory, name = _place(root, chunk)
    path = directory / name
    with file_errors(path):
        if path.is_symlink() and path.exists():
            _check_inside(root, path)
        # Not the `Path`, which would drop the slash of "part/": there, a file is not what is asked.
        fd = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with OpenFile(path, fd) as file:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise FileIo(f"{path} is a directory", os_error=errno.EISDIR)
        if not stat.S_ISREG(mode):
            raise InvalidOperation(f"{path} is not a regular file")
        with file_errors(path):
            yield file


def _objection(chunk: BaseBackupChunkRef, file: OpenFile) -> str | None:
    size_bytes, checksum = file.size_bytes(), 0
    if size_bytes == chunk.chunk_bytes:
        for piece in pieces(file, 0, size_bytes):
            checksum = zlib.crc32(piece, checksum)
    return chunk.objection(size_bytes, checksum)


def pieces(file: OpenFile, offset_bytes: int, length_bytes: int) -> Iterator[bytes]:
    """Yield that part of a file in pieces; less of it if the file ends before."""
    end = offset_bytes + length_bytes
    while offset_bytes < end:
        piece = file.read_at(offset_bytes, min(PIECE_BYTES, end - offset_bytes))
        if not piece:
            return
        yield piece
        offset_bytes += len(piece)
