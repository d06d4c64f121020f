"""What files look like: whether they changed is seen without reading them."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path

from bootledger.clock import now_ms
from bootledger.errors import InvalidValue, SourceUnavailable

SETTLE_S = 0.1
"""File systems note times by the tick: what was written twice within one looks written once."""


def looks_of(found: os.stat_result) -> str:
    """Return what a file is known by: inode, size, and times of content and of inode.

    Not the device: some systems number it anew at each mount.
    """
    return f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}"


def stat_file(path: Path) -> os.stat_result:
    """Return the status of the regular file at `path`; links are followed.

    Raises `SourceUnavailable` if it cannot be seen, `InvalidValue` if it is something else.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise SourceUnavailable(f"{path} cannot be seen: {error}", hint="is it mounted?") from error
    if not stat.S_ISREG(found.st_mode):
        raise InvalidValue(f"{path} is not a regular file")
    return found


def stat_filled(path: Path) -> os.stat_result:
    """As `stat_file`; raises `SourceUnavailable` if the file is empty, too: it may be filled."""
    found = stat_file(path)
    if not found.st_size:
        raise SourceUnavailable(f"{path} is empty: there is nothing to copy")
    return found


def look(
    path: Path, beside: Sequence[Path] = (), *, settle_s: float = SETTLE_S
) -> tuple[str, bool]:
    """Return what `path` and the files `beside` it look like, and whether that is settled.

    What was written within the last `settle_s` is looked at once more after that time. It is not
    settled if it was written to again: another write may not have changed what it looks like.
    """
    looks, newest_ns = _look(path, beside)
    if _settled(newest_ns, settle_s):
        return looks, True
    time.sleep(settle_s)
    looks, newest_ns = _look(path, beside)
    return looks, _settled(newest_ns, settle_s)


def _look(path: Path, beside: Sequence[Path]) -> tuple[str, int]:
    found = stat_filled(path)
    looks, newest_ns = [looks_of(found)], max(found.st_mtime_ns, found.st_ctime_ns)
    for each in beside:
        with contextlib.suppress(FileNotFoundError):
            # SQLite changes owner and mode of a WAL when it opens it: ctime says nothing here.
            other = each.stat()
            if other.st_size:
                looks.append(f"{other.st_ino}-{other.st_size}-{other.st_mtime_ns}")
                newest_ns = max(newest_ns, other.st_mtime_ns)
    return " ".join(looks), newest_ns


def _settled(newest_ns: int, settle_s: float) -> bool:
    return now_ms() / 1e3 - newest_ns / 1e9 >= settle_s
