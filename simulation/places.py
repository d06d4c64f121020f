"""The directories that a simulation works in: fresh ones, and copies of what a death left."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of ours is made below it


_rooms: list[Path] = []
"""In a worker: where its parent tidies up, should it be killed."""


def make_places_in(room: Path) -> None:
    """Have this process, a worker, make its places in the directory `room` of its parent."""
    _rooms.append(room)


@contextmanager
def fresh_place() -> Iterator[Path]:
    """Make an empty directory for the length of the block, in memory if the machine can."""
    rooms = [*_rooms[-1:], _MEMORY]
    room = next((room for room in rooms if room.is_dir()), None)
    with tempfile.TemporaryDirectory(prefix="bootledger-world-", dir=room) as path:
        yield Path(path)


def copy_place(place: Path, to: Path) -> None:
    """Copy everything below `place` into the existing, empty directory `to`.

    Holes stay holes, so that room which was only set aside costs nothing.
    """
    _copy_directory(os.fspath(place), os.fspath(to))


def _copy_directory(place: str, to: str) -> None:
    with os.scandir(place) as entries:
        for entry in entries:
            path = f"{to}/{entry.name}"
            if entry.is_symlink():
                Path(path).symlink_to(Path(entry.path).readlink())
            elif entry.is_dir():
                os.mkdir(path, 0o700)  # noqa: PTH102 - hot: a copy is made for every pair of crashes
                _copy_directory(entry.path, path)
            else:
                _copy_file(entry.path, path)


def _copy_file(path: str, to: str) -> None:
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        target = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            status = os.fstat(source)
            os.truncate(target, status.st_size)
            os.fchmod(target, status.st_mode)
            start_bytes = 0
            while start_bytes < status.st_size:
                try:
                    start_bytes = os.lseek(source, start_bytes, os.SEEK_DATA)
                except OSError:  # no data after this offset
                    break
                end_bytes = os.lseek(source, start_bytes, os.SEEK_HOLE)
                while start_bytes < end_bytes:
                    data = os.pread(source, min(end_bytes - start_bytes, 2**20), start_bytes)
                    start_bytes += os.pwrite(target, data, start_bytes)
        finally:
            os.close(target)
    finally:
        os.close(source)
