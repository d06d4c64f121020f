"""What can be wrong with a base backup of RedDB: its error kinds, sorted by who must act.

RedDB has one kind of error a layer: a payload lacks a field (`MissingField`), has one that makes no
sense (`InvalidField`), or cannot be read at all (`Decode`); the files say no (`File`); the disk
does (`Io`). Its files say no in two ways, so `File` is never raised itself, but `InvalidOperation`
(a manifest or a chunk is not what it claims to be) or `FileIo` (the disk failed below a file).

What the source sent, or what lies on disk, is wrong: `Corrupted`. The disk is: `Unavailable`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bootledger.errors import BootledgerError, Corrupted, OutOfSpace, ReadOnly, Unavailable
from bootledger.system_errors import by_errno


class ReplicaBaseBackupError(BootledgerError):
    """The root of everything that can be wrong with a base backup of RedDB."""


# --- the payload --------------------------------------------------------------------------------


class MissingField(ReplicaBaseBackupError, Corrupted):
    """A payload does not have a field that it must have; `field` is its name."""

    def __init__(self, field: str, *, hint: str = "") -> None:
        super().__init__(f"the payload has no {field}", hint=hint)
        self.field = field


class InvalidField(ReplicaBaseBackupError, Corrupted):
    """A field of a payload has a value that it may not have; `field` is its name."""

    def __init__(self, field: str, reason: str = "not a valid value", *, hint: str = "") -> None:
        super().__init__(f"the payload's {field}: {reason}", hint=hint)
        self.field = field


class Decode(ReplicaBaseBackupError, Corrupted):
    """A payload is not a JSON object."""


# --- the disk -----------------------------------------------------------------------------------


class Io(ReplicaBaseBackupError, Unavailable):
    """The operating system refused; `os_error` is its number for the reason, None if it has none.

    One that also is an `OutOfSpace` or a `ReadOnly` says so by its class.
    """

    def __init__(self, message: str, *, os_error: int | None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.os_error = os_error


# --- the files ----------------------------------------------------------------------------------


class File(ReplicaBaseBackupError):
    """The files of a base backup say no. Always one of the two kinds below."""


class InvalidOperation(File, Corrupted):
    """A manifest contradicts itself, or a file or a chunk is not the one that it describes."""


class FileIo(File, Io):
    """The operating system refused to read or write a file of a base backup."""


class FileOutOfSpace(FileIo, OutOfSpace):
    """There is no room for a file of a base backup."""


class FileReadOnly(FileIo, ReadOnly):
    """A file of a base backup may not be written."""


_FILE_KINDS: dict[type[Unavailable], type[FileIo]] = {
    OutOfSpace: FileOutOfSpace,
    ReadOnly: FileReadOnly,
}


@contextlib.contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says about `path`, as it is or translated, into a `FileIo`."""
    try:
        yield
    except OSError as error:
        raise _file_io(by_errno(error.errno, str(path), error), error) from error
    except Unavailable as error:
        if isinstance(error, Io) or not isinstance(error.__cause__, OSError):
            raise
        raise _file_io(error, error.__cause__) from error.__cause__


def _file_io(error: Unavailable, cause: OSError) -> FileIo:
    kind = _FILE_KINDS.get(type(error), FileIo)
    return kind(str(error), os_error=cause.errno, hint=error.hint)
