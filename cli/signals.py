"""Ctrl-C and SIGTERM as a question that the loop asks between its steps."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

from bootledger.errors import Stopped


class StopRequest:
    """Turns the first SIGINT or SIGTERM into a cause; the second one interrupts at once."""

    def __init__(self) -> None:
        self._cause: str | None = None
        self._interruptible = False

    def install(self) -> None:
        """Take over both signals of this process. Call it from the main thread."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def __call__(self) -> str | None:
        """Return why to stop, or None."""
        return self._cause

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a signal end the block at once, with `Stopped`: it asks no questions for long."""
        self._interruptible = True
        try:
            if self._cause is not None:
                raise Stopped(self._cause)
            yield
        finally:
            self._interruptible = False

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._cause is not None:
            raise KeyboardInterrupt
        self._cause = f"stopped by {signal.Signals(number).name}"
        if self._interruptible:
            raise Stopped(self._cause, hint="the same command goes on from here")
        sys.stderr.write("stopping after this step; again to stop at once\n")
