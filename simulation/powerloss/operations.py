"""What a process did to the disk: the alphabet that power-loss states are made of.

Files and directories are numbered (`inode`), because a name may change under an open file. `ROOT`
is the place that was recorded. Every operation also says the path that it went by at that time,
relative to the place: for people, and to recognise it by.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

ROOT = 0


class Kind(Enum):
    """What an inode is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


@dataclass(frozen=True, slots=True)
class Make:
    """A new inode with its first name, empty; `target` is where a symbolic link leads."""

    path: str
    inode: int
    kind: Kind
    directory: int
    name: str
    target: str = ""


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes at an offset; `synced` if they were durable when the call returned (O_DSYNC)."""

    path: str
    inode: int
    offset_bytes: int
    data: bytes
    synced: bool = False


@dataclass(frozen=True, slots=True)
class Resize:
    """The size of a file: cut there, or grown with zeros."""

    path: str
    inode: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Link:
    """A further name of a file."""

    path: str
    inode: int
    directory: int
    name: str


@dataclass(frozen=True, slots=True)
class Rename:
    """A name that became another one, in place of whatever had it. `path` is the new one."""

    path: str
    inode: int
    directory: int
    name: str
    to_directory: int
    to_name: str


@dataclass(frozen=True, slots=True)
class Remove:
    """A name that is gone."""

    path: str
    inode: int
    directory: int
    name: str


@dataclass(frozen=True, slots=True)
class Sync:
    """The data of a file, or the names in a directory, durable when it returned."""

    path: str
    inode: int


@dataclass(frozen=True, slots=True)
class SyncAll:
    """Everything durable: sync() or syncfs()."""

    path: str = "."


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """What the recorded process told the outside world: from here on it is a promise."""

    data: bytes


Operation: TypeAlias = Make | Write | Resize | Link | Rename | Remove | Sync | SyncAll | Acknowledge


def is_sync(operation: Operation) -> bool:
    """Return whether something is durable when `operation` returns that was not before."""
    return isinstance(operation, Sync | SyncAll) or (
        isinstance(operation, Write) and operation.synced
    )
