"""Whether to ask for compressed chunks: whatever took less time lately. Pure: times are passed in.

Both ways are timed as they are used, in seconds per byte of the database, whatever the reason is: a
slow link, a limit on the rate, a busy primary, data that does not get smaller. Now and then a chunk
is asked for the other way, so that a change of any of these is noticed.
"""

from __future__ import annotations

WEIGHT = 0.3
"""How much the newest measurement counts."""
MARGIN = 0.9
"""The other way must take at most this part of the time before the way is changed."""
SOON = 8
SELDOM = 64
"""Of how many chunks one goes the other way: fewer, the worse that way was."""
WORSE = 1.5


class Chooser:
    """Chooses for chunk after chunk. Not thread-safe: hold a lock."""

    def __init__(self) -> None:
        self._compressed = False
        self._s_per_byte: dict[bool, float] = {}
        self._since_other = 0

    def choose(self) -> bool:
        """Return whether to ask for the next chunk compressed."""
        if not self._s_per_byte:
            return self._compressed
        other = not self._compressed
        self._since_other += 1
        known = self._s_per_byte.get(other)
        seldom = known is not None and known > WORSE * self._s_per_byte[self._compressed]
        if known is None or self._since_other >= (SELDOM if seldom else SOON):
            self._since_other = 0
            return other
        return self._compressed

    def measured(self, *, compressed: bool, size_bytes: int, took_s: float) -> None:
        """Take note of how long a chunk of `size_bytes` took, from asking to having it whole."""
        new = took_s / max(size_bytes, 1)
        old = self._s_per_byte.get(compressed, new)
        self._s_per_byte[compressed] = old + WEIGHT * (new - old)
        ours = self._s_per_byte.get(self._compressed)
        other = self._s_per_byte.get(not self._compressed)
        if ours is not None and other is not None and other < MARGIN * ours:
            self._compressed = not self._compressed
            self._since_other = 0
