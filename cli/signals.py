"""Ctrl-C and SIGTERM as a question that the loop asks between its steps and within long ones."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType


class StopRequest:
    """Turns the first SIGINT or SIGTERM into a cause; the second one interrupts at once."""

    def __init__(self) -> None:
        self._cause: str | None = None

    def install(self) -> None:
        """Take over both signals of this process. Call it from the main thread."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def __call__(self) -> str | None:
        """Return why to stop, or None."""
        return self._cause

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._cause is not None:
            raise KeyboardInterrupt
        self._cause = f"stopped by {signal.Signals(number).name}"
        sys.stderr.write("stopping as soon as what was done is safe; again to stop at once\n")


@contextlib.contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Have SIGTERM raise `KeyboardInterrupt`, as Ctrl-C does, for the length of the block."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
