"""What the operating system says, sorted by who must act."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from bootledger.errors import OutOfSpace, ReadOnly, Unavailable


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what the operating system says about `path` into errors sorted by who must act."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfSpace(
                f"no room left for {path}: {error}", hint="free some space and start again"
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise ReadOnly(
                f"cannot write {path}: {error}", hint="check the mount and the permissions"
            ) from error
        raise Unavailable(f"input/output on {path} failed: {error}") from error
