"""A disk that forgets, at a loss of power, what was not synced: real files, and what is durable.

    disk = ForgetfulDisk()
    with ForgetfulFiles(Files(), disk).open(path, size_bytes=4) as file:
        file.write_at(0, b"data")
        disk.lose_power(path.parent)  # `path` holds four zero bytes again

Only bytes are forgotten; names, and what is written past `ForgetfulFiles`, are taken as durable.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from bootledger.errors import Unavailable
from bootledger.files import Files, OpenFile


class ForgetfulDisk:
    """What is durable of each file, by inode, and what was written since.

    The next `failures` syncs fail, and as on real systems that leaves the bytes readable and
    clean: no later sync makes them durable, only writing them again.
    """

    def __init__(self) -> None:
        self.durable: dict[int, bytearray] = {}
        self.written: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        self.failures = 0

    def lose_power(self, place: Path) -> None:
        """Put every file below `place` into the state that a reboot would find."""
        self.written.clear()
        for path in place.rglob("*"):
            if path.is_file() and path.stat().st_ino in self.durable:
                path.write_bytes(self.durable[path.stat().st_ino])


class ForgetfulFiles(Files):
    """The file operations of `files`, on `disk`."""

    def __init__(self, files: Files, disk: ForgetfulDisk) -> None:
        self._files = files
        self._disk = disk

    def point(self, name: str) -> None:
        """Pass the point of the wrapped ones."""
        self._files.point(name)

    def open(self, path: Path, *, size_bytes: int | None = None) -> OpenFile:
        """Open for real; the size is durable, as it is in the real one."""
        with super().open(path, size_bytes=size_bytes) as opened:
            inode = path.stat().st_ino
            durable = self._disk.durable.setdefault(inode, bytearray(path.read_bytes()))
            size_bytes = opened.size_bytes()
            durable[:] = durable[:size_bytes].ljust(size_bytes, b"\0")
            return _ForgetfulFile(path, os.dup(opened._fd), self._disk, inode)


class _ForgetfulFile(OpenFile):
    def __init__(self, path: Path, fd: int, disk: ForgetfulDisk, inode: int) -> None:
        super().__init__(path, fd)
        self._disk = disk
        self._inode = inode

    def write_at(self, offset_bytes: int, data: bytes | memoryview) -> None:
        super().write_at(offset_bytes, data)
        self._disk.written[self._inode].append((offset_bytes, bytes(data)))

    def sync(self) -> None:
        written = self._disk.written.pop(self._inode, [])
        if self._disk.failures:
            self._disk.failures -= 1
            raise Unavailable("injected: the disk did not take it")
        super().sync()
        durable = self._disk.durable[self._inode]
        for offset_bytes, data in written:
            durable.extend(bytes(max(0, offset_bytes - len(durable))))
            durable[offset_bytes : offset_bytes + len(data)] = data
