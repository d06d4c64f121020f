"""How fast a primary is written to: samples that threads share; time is passed in."""

from __future__ import annotations

import threading
from collections import deque

WINDOW_S = 60.0
_EVERY_S = 1.0


class WriteRate:
    """How many changes a second were written over the last minute or so. Thread-safe.

    Measured between the newest sample and the newest one that is a minute older: over less time as
    long as there is none, over more if nobody looked in between.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()

    def saw(self, lsn: int, now_s: float) -> None:
        """Take a sample by a monotonic clock, unless the last one was taken a moment ago."""
        with self._lock:
            samples = self._samples
            if samples and now_s - samples[-1][0] < _EVERY_S:
                return
            samples.append((now_s, lsn))
            while len(samples) > 1 and now_s - samples[1][0] >= WINDOW_S:
                samples.popleft()

    def per_s(self) -> float | None:
        """Return the rate, None before there are two samples."""
        with self._lock:
            if len(self._samples) <= 1:
                return None
            (then_s, then), (now_s, now) = self._samples[0], self._samples[-1]
        return max(0.0, (now - then) / (now_s - then_s))
