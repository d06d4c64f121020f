"""The names and sizes of a place while a trace of it is read: paths in, operations out. Pure."""

from __future__ import annotations

import posixpath

from bootledger.simulation.powerloss.calls import Unmodelled
from bootledger.simulation.powerloss.image import Image
from bootledger.simulation.powerloss.operations import (
    ROOT,
    Kind,
    Link,
    Make,
    Operation,
    Remove,
    Rename,
    Resize,
)


def is_lock(path: str) -> bool:
    """Return whether only the existence of a file matters: what it holds is who has it now."""
    return path.endswith(".lock")


def is_nothing(path: str) -> bool:
    """Return whether a file is no part of the disk: LMDB makes its table of readers anew."""
    return posixpath.basename(path) == "lock.mdb"


class Namespace:
    """What has which name in a place, beginning with what `image` says; paths are relative to it.

    Each method that changes something returns the operation that it was.
    """

    def __init__(self, image: Image) -> None:
        self.names = {directory: dict(names) for directory, names in image.names.items()}
        self.sizes = {inode: content.size_bytes for inode, content in image.contents.items()}
        self._next = 1 + max((*image.names, *image.contents, *image.targets), default=ROOT)

    def find(self, path: str) -> int | None:
        """Return the inode at `path`, None if nothing is there."""
        inode = ROOT
        for name in path.split("/") if path else ():
            found = self.names.get(inode, {}).get(name)
            if found is None:
                return None
            inode = found
        return inode

    def place_of(self, path: str) -> tuple[int, str]:
        """Return the directory that `path` lies in, and its name there."""
        parent, name = posixpath.split(path)
        directory = self.find(parent)
        if directory is None or directory not in self.names or not name:
            raise Unmodelled(f"{path!r}: its directory is not where the trace says")
        return directory, name

    def existing(self, path: str) -> int:
        """Return the inode at `path`, which must be there."""
        inode = self.find(path)
        if inode is None:
            raise Unmodelled(
                f"{path!r} is not where the trace says",
                hint="nobody else may write to the place while it is recorded",
            )
        return inode

    def make(self, path: str, kind: Kind, target: str = "") -> Operation:
        """Give a new inode its first name."""
        directory, name = self.place_of(path)
        inode = self._next
        self._next += 1
        self.names[directory][name] = inode
        if kind is Kind.FILE:
            self.sizes[inode] = 0
        elif kind is Kind.DIRECTORY:
            self.names[inode] = {}
        return Make(path, inode, kind, directory, name, target)

    def link(self, path: str, to: str) -> Operation:
        """Give the file at `path` the further name `to`."""
        inode = self.existing(path)
        directory, name = self.place_of(to)
        self.names[directory][name] = inode
        return Link(to, inode, directory, name)

    def rename(self, path: str, to: str) -> Operation | None:
        """Rename; None if both are names of one file already, for then nothing happens."""
        inode = self.existing(path)
        directory, name = self.place_of(path)
        to_directory, to_name = self.place_of(to)
        if self.names[to_directory].get(to_name) == inode:
            return None
        del self.names[directory][name]
        self.names[to_directory][to_name] = inode
        return Rename(to, inode, directory, name, to_directory, to_name)

    def remove(self, path: str) -> Operation:
        """Take a name away."""
        inode = self.existing(path)
        directory, name = self.place_of(path)
        del self.names[directory][name]
        return Remove(path, inode, directory, name)

    def resize(self, path: str, inode: int, size_bytes: int) -> Operation | None:
        """Cut or grow a file; None if it has that size."""
        if self.sizes[inode] == size_bytes:
            return None
        self.sizes[inode] = size_bytes
        return Resize(path, inode, size_bytes)

    def written(self, inode: int, end_bytes: int) -> None:
        """Note that a file was written up to `end_bytes`."""
        self.sizes[inode] = max(self.sizes[inode], end_bytes)
