"""Locks that the operating system lets go of at any kind of death.

A lock is an flock on a file of its own. Who holds it has written into the file who it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from bootledger.errors import Unavailable
from bootledger.system_errors import translated

_LOCK_POLL_S = 0.005
_LOCK_GRACE_S = 0.05
"""`is_locked` holds a shared lock for an instant: only what lasts longer is another owner."""


class LockHeld(Unavailable):
    """Somebody else holds the lock; `holder` is what they wrote into it (a pid, usually)."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path} is locked by {holder or 'another process'}")
        self.holder = holder


class FileLock:
    """An exclusive lock on a file, held until it is released, dropped, or the process dies.

    The operating system lets go of it at any kind of death. The holder's words (its pid, unless
    told otherwise) stand in the file for those who wait. Not inherited by programs that this one
    starts; a forked child shares it, so take it after forking. Made by `Files.lock`.
    """

    def __init__(self, path: Path, point: Callable[[str], None]) -> None:
        self._point = point
        self.path = path
        self._fd = -1

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._fd >= 0

    def acquire(self, *, wait_s: float = 0.0, words: str = "") -> Self:
        """Take the lock, waiting up to `wait_s` seconds.

        Raises `LockHeld` with the holder's words if somebody else has it that long (this object
        included), `ReadOnly` if the lock file cannot be made.
        """
        deadline = time.monotonic() + max(wait_s, _LOCK_GRACE_S)
        while not self._try():
            if time.monotonic() >= deadline:
                raise LockHeld(self.path, self.holder())
            time.sleep(_LOCK_POLL_S)
        data = (words or f"pid {os.getpid()}").encode()
        # The lock holds without its words, and it must, on a full disk: what is to be written
        # under it may be the very thing that says so.
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, data, 0)
            os.ftruncate(self._fd, len(data))
        return self

    def _try(self) -> bool:
        with translated(self.path):
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Between open and flock the last holder may have removed the file: a lock on a
                # file without a name keeps nobody out.
                if os.path.samestat(os.fstat(fd), self.path.stat()):
                    self._fd, fd = fd, -1
                    return True
            except (BlockingIOError, FileNotFoundError):
                pass
            finally:
                if fd >= 0:
                    os.close(fd)
            return False

    def holder(self) -> str:
        """Return the words of whoever holds it, or held it last."""
        try:
            return self.path.read_text(errors="replace")[:200]
        except OSError:
            return ""

    def release(self, *, remove: bool = False) -> None:
        """Let go, and with `remove` take the lock file away as well. Harmless when not held."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        try:
            if remove:
                self._point("lock.removing")
                with contextlib.suppress(OSError):
                    self.path.unlink()
        finally:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def is_locked(path: Path) -> bool:
    """Return whether a live process holds the lock at `path`. Keeps nothing, waits for nothing."""
    return _is_refused(path, fcntl.LOCK_SH)


def is_in_use(path: Path) -> bool:
    """Return whether anybody holds `path`, by a `FileLock` or shared. Keeps and waits for nothing.

    For an instant nobody else can: ask only where a refused `shared_hold` is tried again.
    """
    return _is_refused(path, fcntl.LOCK_EX)


def _is_refused(path: Path, operation: int) -> bool:
    with translated(path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(fd)


def remove_if_free(path: Path, point: Callable[[str], None]) -> bool:
    """Remove the lock file at `path` unless a live process holds it; return whether it is gone.

    To be called by one process at a time. It holds the lock shared while it removes the file: so
    nobody can own it, `is_locked` is never misled, and whoever was about to take it takes the one
    that is made next.
    """
    with translated(path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            # Between open and flock its holder may have removed it, and another one made a new one.
            if not os.path.samestat(os.fstat(fd), path.stat()):
                return False
            point("lock.removing")
            path.unlink()
        except BlockingIOError:
            return False
        except FileNotFoundError:
            return True
        finally:
            os.close(fd)
        return True


@contextlib.contextmanager
def shared_hold(path: Path) -> Iterator[bool]:
    """Keep every `FileLock` on `path` from being taken for the length of the block.

    Any number of processes may hold it at once, and being allowed to read the file is enough.
    Yields False, and keeps nobody out, if there is no such file or a `FileLock` is held on it.
    """
    with translated(path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            fd = -1
    if fd < 0:
        yield False
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            held = True
        except BlockingIOError:
            held = False
        yield held
    finally:
        os.close(fd)
