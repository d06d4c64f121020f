"""Whether to ask for compressed chunks: whatever took less time lately. Pure: times are passed in.

Both ways are timed as they are used, in seconds per byte of the database, whatever the reason is: a
slow link, a limit on the rate, a busy primary, data that does not get smaller. Now and then a chunk
is asked for the other way, so that a change of any of these is noticed; the worse that way was, the
less often.
"""

from __future__ import annotations

from typing import Literal

Compression = Literal["auto", "on", "off"]

MARGIN = 0.9
"""The other way must take at most this part of the time before the way is changed."""
LEAST_BETWEEN = 8
"""At most every so many chunks one goes the other way."""
BUDGET = 0.02
"""The part of the time that looking at the other way may cost."""
_NEWEST = 0.3
"""How much the newest measurement counts."""
_FORGET = 0.002
"""How fast the other way is believed to be like this one, from one chunk to the next."""


class Chooser:
    """Chooses for chunk after chunk. Not thread-safe: hold a lock."""

    def __init__(self) -> None:
        self._compressed = False
        self._s_per_byte: dict[bool, float] = {}
        self._since_other = 0
        self._spent_s = 0.0
        self._size_bytes = 0

    def choose(self) -> bool:
        """Return whether to ask for the next chunk compressed."""
        ours, other = self._both()
        if ours is None:
            return self._compressed
        self._since_other += 1
        if other is not None:
            costs_s = (other - ours) * self._size_bytes
            if self._since_other < LEAST_BETWEEN or costs_s > BUDGET * self._spent_s:
                return self._compressed
        self._since_other = 0
        self._spent_s = 0.0
        return not self._compressed

    def measured(self, *, compressed: bool, size_bytes: int, took_s: float) -> None:
        """Take note of how long a chunk of `size_bytes` took, from asking to having it whole."""
        new = took_s / max(size_bytes, 1)
        old = self._s_per_byte.get(compressed, new)
        self._s_per_byte[compressed] = old + _NEWEST * (new - old)
        self._size_bytes = size_bytes
        ours, other = self._both()
        if ours is None or other is None:
            return
        if compressed == self._compressed:
            self._spent_s += took_s
            self._s_per_byte[not compressed] = other + _FORGET * (ours - other)
        if other < MARGIN * ours:
            self._compressed = not self._compressed
            self._since_other = 0
            self._spent_s = 0.0

    def _both(self) -> tuple[float | None, float | None]:
        """Return how long a byte takes the way that is used, and the other way."""
        return self._s_per_byte.get(self._compressed), self._s_per_byte.get(not self._compressed)
