"""What LMDB says, sorted by who must act."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import lmdb

from bootledger.errors import CorruptRecord, InvalidValue
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


@contextlib.contextmanager
def sorted_errors(path: Path) -> Iterator[None]:
    """Turn LMDB's errors about the environment `path` into errors sorted by who must act."""
    try:
        yield
    except TRY_AGAIN:
        raise
    except _UNSOUND as error:
        raise CorruptRecord(
            f"{path} is not a sound LMDB environment: {error}",
            hint=_RESTORE,
        ) from error
    except lmdb.BadValsizeError as error:
        raise InvalidValue(f"{path}: a key or a value is empty or too long: {error}") from error
    except lmdb.Error as error:
        if "data format" in str(error):  # py-lmdb's own look at the meta page; it has no class
            raise CorruptRecord(
                f"{path} is not an LMDB environment of ours: {error}", hint=_RESTORE
            ) from error
        code = errno.ENOSPC if _cut_short(path, error.code) else error.code
        raise by_errno(code, str(path), error) from error


def _cut_short(path: Path, code: int) -> bool:
    return code == errno.EIO and shutil.disk_usage(path).free < _FULL_BELOW_BYTES
