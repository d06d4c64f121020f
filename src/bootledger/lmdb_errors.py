"""What LMDB says, sorted by who must act."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import lmdb

from bootledger.errors import BootledgerError, CorruptRecord, InvalidValue
from bootledger.system_errors import by_errno

TRY_AGAIN = (lmdb.MapFullError, lmdb.MapResizedError, lmdb.ReadersFullError)
"""What is handled by trying again; `sorted_errors` lets it pass unchanged."""
_UNSOUND = (
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.NotFoundError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
)
_RESTORE = "restore it from a copy, or build it anew"
_FULL_BELOW_BYTES = 4096
"""LMDB reports a write that was cut short as EIO; with no page left, a full disk cut it."""


class sorted_errors:  # noqa: N801 - used like `contextlib.suppress`
    """Turn LMDB's errors about the environment `path` into errors sorted by who must act."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, lmdb.Error) and not isinstance(error, TRY_AGAIN):
            raise _sorted(error, self._path) from error


def _sorted(error: lmdb.Error, path: Path) -> BootledgerError:
    if isinstance(error, _UNSOUND):
        return CorruptRecord(f"{path} is not a sound LMDB environment: {error}", hint=_RESTORE)
    if isinstance(error, lmdb.BadValsizeError):
        return InvalidValue(f"{path}: a key or a value is empty or too long: {error}")
    if "data format" in str(error):  # py-lmdb's own look at the meta page; it has no class
        return CorruptRecord(f"{path} is not an LMDB environment of ours: {error}", hint=_RESTORE)
    code = errno.ENOSPC if _cut_short(path, error.code) else error.code
    return by_errno(code, str(path), error)


def _cut_short(path: Path, code: int) -> bool:
    return code == errno.EIO and shutil.disk_usage(path).free < _FULL_BELOW_BYTES
