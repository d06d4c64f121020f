"""How much may pass when: a bandwidth limit as a token bucket. Pure: time is passed in."""

from __future__ import annotations

from bootledger.errors import InvalidValue


class Bucket:
    """Lets `rate_bytes_per_s` through on average, and up to `burst_bytes` at once.

    Not thread-safe: who shares one holds a lock around `take`. Whoever takes more than there is
    owes it, and the next one waits longer, so a piece may be larger than the burst.
    """

    def __init__(
        self, rate_bytes_per_s: float, *, now_s: float, burst_bytes: int | None = None
    ) -> None:
        if not rate_bytes_per_s > 0:
            raise InvalidValue(f"a rate must be more than 0 bytes a second, not {rate_bytes_per_s}")
        self._rate = rate_bytes_per_s
        self._burst = rate_bytes_per_s / 4 if burst_bytes is None else burst_bytes
        self._level = float(self._burst)
        self._at_s = now_s

    def take(self, size_bytes: int, now_s: float) -> float:
        """Take `size_bytes` out, and return how many seconds to wait before they may pass."""
        self._level = min(self._burst, self._level + (now_s - self._at_s) * self._rate) - size_bytes
        self._at_s = now_s
        return max(0.0, -self._level / self._rate)
