"""The one door to the file system, and the named points at which a simulation may cut the power.

Everything that bootledger writes outside of LMDB goes through a `Files`. Each durable step passes
`point` before and after, by name (`chunk.synced`, `current.renamed`). In production `point` does
nothing. A simulation passes a subclass that "dies" at a point; from then on every point raises, so
nothing can be written by the dead, not even by a `finally`.

"Durable" means: survives the loss of power on a local file system that honours fsync.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from bootledger.locks import FileLock, LockHeld, is_in_use, is_locked, remove_if_free
from bootledger.system_errors import translated

__all__ = [
    "MAX_FILE_BYTES",
    "FileLock",
    "Files",
    "LockHeld",
    "OpenFile",
    "is_in_use",
    "is_locked",
    "temporary_path",
    "translated",
    "write_all",
]

MAX_FILE_BYTES = 2**63 - 1
"""No file can be longer: that is what an offset can hold."""
_BLOCK_BYTES = 512
"""What `st_blocks` counts, whatever the file system does."""


class Files:
    """File operations with named points. Stateless; one instance serves a whole process."""

    def point(self, name: str) -> None:
        """Do nothing: the hook of crash simulations. `name` says what has just become true."""

    def make_directory(self, path: Path) -> None:
        """Create `path` if it is missing. Durable when this returns; the parent must exist."""
        with translated(path):
            self.point("directory.making")
            path.mkdir(exist_ok=True)
            self.sync_directory(path.parent)

    def sync_directory(self, path: Path) -> None:
        """Make the names in directory `path` durable."""
        with translated(path):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def replace(
        self, path: Path, data: bytes | memoryview, *, name: str, temporary: Path | None = None
    ) -> None:
        """Make `path` hold exactly `data`, in one step.

        At any moment a reader, and a machine that lost power, finds the old content or the new one,
        whole. Durable when this returns. It is written as `temporary` first, in the same directory.
        Passes `NAME.writing`, `NAME.written`, `NAME.renamed` and `NAME.synced`.
        """
        self.replace_from(path, (data,), name=name, temporary=temporary)

    def replace_from(
        self,
        path: Path,
        pieces: Iterable[bytes | memoryview],
        *,
        name: str,
        temporary: Path | None = None,
    ) -> None:
        """As `replace`, with what `pieces` add up to. If they raise, `path` is as it was."""
        temporary = temporary or temporary_path(path)
        with translated(path):
            self.point(f"{name}.writing")
            if temporary.is_symlink():  # nothing of ours, and what it points to even less
                temporary.unlink()
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
            try:
                offset_bytes = 0
                for piece in pieces:
                    write_all(fd, piece, offset_bytes)
                    offset_bytes += len(piece)
                os.fsync(fd)
            except Exception:
                # Whatever `pieces` raised goes on; on a full disk the file would hold what room is
                # left. Only the simulated dead, who are no `Exception`, tidy nothing up.
                temporary.unlink(missing_ok=True)
                raise
            finally:
                os.close(fd)
            self.point(f"{name}.written")
            temporary.replace(path)
            self.point(f"{name}.renamed")
            self.sync_directory(path.parent)
            self.point(f"{name}.synced")

    def rename(self, path: Path, target: Path, *, name: str) -> None:
        """Give `path` the name `target`, in one step, in its directory or another one.

        Durable when this returns; what `path` holds must be so before. Passes `NAME.renaming`,
        `NAME.renamed` and `NAME.synced`.
        """
        with translated(target):
            self.point(f"{name}.renaming")
            path.rename(target)
            self.point(f"{name}.renamed")
            self.sync_directory(target.parent)
            if path.parent != target.parent:
                self.sync_directory(path.parent)
            self.point(f"{name}.synced")

    def open(self, path: Path, *, size_bytes: int | None = None) -> OpenFile:
        """Open `path` for reading and writing at any offset.

        With `size_bytes` the file is created if it is missing and its blocks are allocated, so that
        a full disk shows now and not at the last byte; its name is durable when this returns.
        Raises `OutOfSpace` if there is no room, and leaves no file behind then.
        """
        with translated(path):
            if size_bytes is None:
                return OpenFile(path, os.open(path, os.O_RDWR | os.O_CLOEXEC))
            self.point("file.creating")
            existed = path.exists()
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                _allocate(fd, size_bytes)
                os.fsync(fd)
                self.sync_directory(path.parent)
                self.point("file.created")
            except BaseException as error:
                os.close(fd)
                if isinstance(error, OSError) and not existed:
                    path.unlink(missing_ok=True)
                raise
            return OpenFile(path, fd)

    def check_room(self, directory: Path, size_bytes: int) -> None:
        """Raise `OutOfSpace` if the file system of `directory` has no room for so many bytes."""
        with translated(directory):
            _check_room(os.statvfs(directory), size_bytes, size_bytes)

    def open_to_read(self, path: Path) -> OpenFile:
        """Open `path` for reading only."""
        with translated(path):
            return OpenFile(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def remove(self, path: Path) -> None:
        """Remove a file or a whole directory if it is there. Durable when this returns."""
        with translated(path):
            self.point("remove.starting")
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            self.sync_directory(path.parent)

    def link(self, path: Path, to: Path, *, name: str) -> None:
        """Give the file at `path` the second name `to`, on the same file system.

        What had that name is gone then, in one step; it keeps it if it is the same file already.
        Durable when this returns. Passes `NAME.linking`, `NAME.linked`, `NAME.renamed` and
        `NAME.synced`.
        """
        temporary = temporary_path(to)
        with translated(path):
            self.point(f"{name}.linking")
            if not (os.path.lexists(to) and os.path.samestat(to.lstat(), path.lstat())):
                temporary.unlink(missing_ok=True)
                os.link(path, temporary, follow_symlinks=False)
                self.point(f"{name}.linked")
                temporary.replace(to)
                self.point(f"{name}.renamed")
            self.sync_directory(to.parent)
            self.point(f"{name}.synced")

    def lock(self, path: Path) -> FileLock:
        """Return the lock that lives at `path`, not yet taken."""
        return FileLock(path, self.point)

    def remove_lock(self, path: Path) -> bool:
        """Remove a lock file unless a live process holds it: as `bootledger.locks.remove_if_free`.

        Not durable: a lock file that is there again after a loss of power is free.
        """
        return remove_if_free(path, self.point)


class OpenFile:
    """A file that is read and written at offsets. Close it, or use it as a context manager."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    def write_at(self, offset_bytes: int, data: bytes | memoryview) -> None:
        """Write all of `data`; durable only after `sync`."""
        with translated(self.path):
            write_all(self._fd, data, offset_bytes)

    def read_at(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Return up to `length_bytes` bytes; fewer only at the end of the file."""
        with translated(self.path):
            return os.pread(self._fd, length_bytes, offset_bytes)

    def sync(self) -> None:
        """Make everything written so far durable."""
        with translated(self.path):
            os.fdatasync(self._fd)

    def size_bytes(self) -> int:
        """Return the size of the file."""
        with translated(self.path):
            return os.fstat(self._fd).st_size

    def written(self, start_bytes: int, end_bytes: int) -> Iterator[tuple[int, int]]:
        """Yield the half-open ranges between the bounds that hold data, skipping allocated holes.

        A file system without `SEEK_DATA` reports the whole range as data.
        """
        while start_bytes < end_bytes:
            with translated(self.path):
                try:
                    start = os.lseek(self._fd, start_bytes, os.SEEK_DATA)
                except OSError as error:
                    if error.errno == errno.ENXIO:  # no data after this offset
                        return
                    raise
                end = min(os.lseek(self._fd, start, os.SEEK_HOLE), end_bytes)
            if start >= end_bytes:
                return
            yield start, end
            start_bytes = end

    def close(self) -> None:
        """Close the file; what was not synced may be lost with the power."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def temporary_path(path: Path) -> Path:
    """Return the name under which what will replace `path` is written; a death may leave it."""
    return path.with_name(f".{path.name}.tmp")


def write_all(fd: int, data: bytes | memoryview, offset_bytes: int) -> None:
    """Write all of `data` at the offset, however many calls that takes."""
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, offset_bytes)
        view = view[count:]
        offset_bytes += count


def _check_room(room: os.statvfs_result, more_bytes: int, size_bytes: int) -> None:
    if size_bytes > MAX_FILE_BYTES or more_bytes > room.f_bavail * room.f_frsize:
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} for {size_bytes} bytes")


def _allocate(fd: int, size_bytes: int) -> None:
    found = os.fstat(fd)
    if found.st_size > size_bytes:
        os.ftruncate(fd, size_bytes)
    if not size_bytes:
        return
    # Asked first: a system that tries may take whatever room there is before it gives up.
    _check_room(os.fstatvfs(fd), size_bytes - found.st_blocks * _BLOCK_BYTES, size_bytes)
    try:
        os.posix_fallocate(fd, 0, size_bytes)
    except OSError as error:
        # Some file systems cannot allocate ahead; they get a sparse file of the right size.
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        os.ftruncate(fd, size_bytes)
    except AttributeError:  # macOS has no posix_fallocate
        os.ftruncate(fd, size_bytes)
