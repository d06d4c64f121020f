"""A process that can be made to die at a named point, and what its death means.

A simulated death is a *poisoned world*: from the moment of death every point, and so every durable
step, raises `SimulatedCrash` again, and no lock can be taken. What Python still runs of the dead
(`finally`, `__exit__`) changes nothing on disk. An exception alone would be a bad crash: the code
that it unwinds could tidy up what a killed process would have left.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, Self, TypeAlias

from bootledger.environment import close_all
from bootledger.errors import SimulatedCrash
from bootledger.files import FileLock, Files

MOST_POINTS = 100_000
"""A life that passes more does not end."""

Where: TypeAlias = int | str
"""A point: 7 is the seventh that is passed, `chunk.synced#3` the third of that name."""


class Endless(AssertionError):
    """A life passed more than `MOST_POINTS` points: it goes round in circles."""


class CrashingFiles(Files):
    """Real file operations of a process that dies at a point, or never (None).

    `passed` are the tokens of all points so far (`chunk.synced#3`), in order; `died_at` is the
    token of the last one, once dead. `tell` hears each token as it is passed, before a death there.
    Points are counted for one thread.
    """

    def __init__(
        self, crash: Where | None = None, *, tell: Callable[[str], None] | None = None
    ) -> None:
        self.passed: list[str] = []
        self.died_at: str | None = None
        self._crash = crash
        self._tell = tell
        self._counts: dict[str, int] = {}
        self._locks: list[FileLock] = []

    def point(self, name: str) -> None:
        """Count the point, and die here if this is the one."""
        self.check_alive()
        self._counts[name] = count = self._counts.get(name, 0) + 1
        token = f"{name}#{count}"
        self.passed.append(token)
        if self._tell is not None:
            self._tell(token)
        if len(self.passed) > MOST_POINTS:
            raise Endless(f"{token}: this life does not end")
        if self._crash in (token, len(self.passed)):
            self.die(token)

    def die(self, token: str) -> NoReturn:
        """End this process at the point `token`: raise `SimulatedCrash`, now and ever after."""
        self.died_at = token
        raise SimulatedCrash(token)

    def check_alive(self) -> None:
        """Raise `SimulatedCrash` if this process died."""
        if self.died_at is not None:
            raise SimulatedCrash(self.died_at)

    def lock(self, path: Path) -> FileLock:
        """Return a lock that the dead cannot take and that `bury` lets go of."""
        lock = _MortalLock(path, self)
        self._locks.append(lock)
        return lock

    def bury(self) -> None:
        """Do what the operating system does when a process is gone: locks and maps are let go."""
        for lock in self._locks:
            lock.release()
        close_all()


class KilledFiles(CrashingFiles):
    """The same for a process of its own, which is really killed: by SIGKILL, at the point."""

    def die(self, token: str) -> NoReturn:
        """Kill this process. Nothing of it runs afterwards."""
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("a killed process goes on")


class _MortalLock(FileLock):
    def __init__(self, path: Path, files: CrashingFiles) -> None:
        super().__init__(path, files.point)
        self._files = files

    def acquire(self, *, wait_s: float = 0.0, words: str = "") -> Self:
        self._files.check_alive()
        return super().acquire(wait_s=wait_s, words=words)
