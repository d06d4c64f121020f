"""What the operating system says, sorted by who must act."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from bootledger.errors import OutOfSpace, ReadOnly, Unavailable


def by_errno(code: int | None, what: str, error: Exception) -> Unavailable:
    """Return the error that says what an error number of the system means for `what`."""
    if code in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpace(
            f"no room left for {what}: {error}", hint="free some space and start again"
        )
    if code in (errno.EROFS, errno.EACCES, errno.EPERM):
        return ReadOnly(f"cannot write {what}: {error}", hint="check the mount and the permissions")
    return Unavailable(f"input/output on {what} failed: {error}")


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what the operating system says about `path` into errors sorted by who must act."""
    try:
        yield
    except OSError as error:
        raise by_errno(error.errno, str(path), error) from error
