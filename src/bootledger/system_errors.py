"""What the operating system says, sorted by who must act."""

from __future__ import annotations

import errno
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


class translated:  # noqa: N801 - used like `contextlib.suppress`
    """Turn what the operating system says about `path` into errors sorted by who must act.

    A class, because it is entered at every step on a file: a generator takes three times as long.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, OSError):
            raise by_errno(error.errno, str(self._path), error) from error
