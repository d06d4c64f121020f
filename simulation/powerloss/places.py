"""Disk images out of a real directory, and back into it, as fast as that can be done."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bootledger.simulation.powerloss.image import (
    EMPTY,
    PAGE_BYTES,
    Change,
    Content,
    Image,
    NewSize,
    changed,
    patches,
)
from bootledger.simulation.powerloss.namespace import is_lock, is_nothing
from bootledger.simulation.powerloss.operations import ROOT

_PIECE_BYTES = 2**20
_MOST_PAGES = 1024  # as many as one system call takes
_LONG_AGO_NS = 10**18
"""What files are dated, in 2001: whatever is written to one after that shows in its date."""


def read_place(place: Path) -> Image:
    """Return what lies in the directory `place`: all of it durable, as after a clean start."""
    names: dict[int, dict[str, int]] = {ROOT: {}}
    contents: dict[int, Content] = {}
    targets: dict[int, str] = {}
    known: dict[tuple[int, int], int] = {}
    numbers = itertools.count(ROOT + 1)
    waiting = [(ROOT, os.fspath(place))]
    while waiting:
        directory, path = waiting.pop()
        for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
            if is_nothing(entry.name):
                continue
            stat = entry.stat(follow_symlinks=False)
            key = (stat.st_dev, stat.st_ino)
            if key in known:
                names[directory][entry.name] = known[key]
                continue
            names[directory][entry.name] = known[key] = inode = next(numbers)
            if entry.is_symlink():
                targets[inode] = os.readlink(entry.path)  # noqa: PTH115
            elif entry.is_dir():
                names[inode] = {}
                waiting.append((inode, entry.path))
            else:
                contents[inode] = EMPTY if is_lock(entry.name) else _read_file(entry.path)
    return Image(names, contents, targets)


def _read_file(path: str) -> Content:
    def changes() -> Iterator[Change]:
        with Path(path).open("rb") as file:
            offset_bytes = 0
            while piece := file.read(_PIECE_BYTES):
                for patch in patches(offset_bytes, piece, PAGE_BYTES):
                    if any(patch.data):
                        yield patch
                offset_bytes += len(piece)
            yield NewSize(offset_bytes, grow_only=False)

    return changed(EMPTY, changes())


class _Written(NamedTuple):
    """A file as it was left here, and what it held then."""

    inode: int
    dated_ns: int
    size_bytes: int
    mark: int


class Place:
    """A directory that is made to hold one image after the other.

    What a file holds is known by its date, which any write changes: so what the last recovery did
    not touch is not written again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = os.fspath(path)
        self._written: dict[str, _Written] = {}
        self._date_ns = _LONG_AGO_NS

    def restore(self, image: Image) -> None:
        """Make the directory hold exactly `image`."""
        present = self._tidy(image)
        first: dict[int, str] = {}
        for path, inode in image.entries():
            full = f"{self._root}/{path}"
            content = image.contents.get(inode)
            if content is not None and inode in first:
                if path in present:
                    os.unlink(full)  # noqa: PTH108 - a path object costs more than the call
                os.link(first[inode], full)
            elif content is not None:
                first[inode] = full
                if not self._holds(path, content, present.get(path)):
                    self._write(path, full, content)
            elif path not in present:
                if inode in image.names:
                    os.mkdir(full)  # noqa: PTH102
                else:
                    os.symlink(image.targets[inode], full)  # noqa: PTH211

    def _tidy(self, image: Image) -> dict[str, os.stat_result]:
        """Remove what is not in `image`; return what stays."""
        present: dict[str, os.stat_result] = {}
        waiting = [("", ROOT)]
        while waiting:
            prefix, directory = waiting.pop()
            names = image.names[directory]
            for entry in os.scandir(f"{self._root}/{prefix}"):
                inode = names.get(entry.name)
                is_directory = entry.is_dir(follow_symlinks=False)
                stat = entry.stat(follow_symlinks=False)
                if is_directory and inode is not None and inode in image.names:
                    waiting.append((f"{prefix}{entry.name}/", inode))
                elif is_directory:
                    shutil.rmtree(entry.path)
                    continue
                elif (
                    inode not in image.contents
                    or stat.st_nlink > 1
                    or not entry.is_file(follow_symlinks=False)
                ):
                    os.unlink(entry.path)  # noqa: PTH108
                    continue
                present[prefix + entry.name] = stat
        return present

    def _holds(self, path: str, content: Content, stat: os.stat_result | None) -> bool:
        return stat is not None and self._written.get(path) == (
            stat.st_ino,
            stat.st_mtime_ns,
            content.size_bytes,
            content.mark,
        )

    def _write(self, path: str, full: str, content: Content) -> None:
        fd = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
        try:
            for first, pages in _runs(content):
                os.pwritev(fd, pages, first * PAGE_BYTES)
            os.ftruncate(fd, content.size_bytes)
            self._date_ns += 1000
            os.utime(fd, ns=(self._date_ns, self._date_ns))
            inode = os.fstat(fd).st_ino
        finally:
            os.close(fd)
        self._written[path] = _Written(inode, self._date_ns, content.size_bytes, content.mark)


def _runs(content: Content) -> Iterator[tuple[int, list[bytes]]]:
    """Yield pages that follow each other, with the number of the first."""
    first, run = 0, list[bytes]()
    for index in sorted(content.pages):
        if run and (index != first + len(run) or len(run) == _MOST_PAGES):
            yield first, run
            run = []
        if not run:
            first = index
        run.append(content.pages[index].data)
    if run:
        yield first, run
