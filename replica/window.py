"""How many chunks to have in flight: as many as the link has use for. Pure: time is passed in.

A link with latency carries `in_flight * chunk / (latency + chunk / bandwidth)`, until its
bandwidth is used up; more than that only takes memory, and makes the others wait. Neither number is
known, and both change, so the window is found by trying: it is doubled as long as that brings more,
and later moved a little up or down now and then, to stay where it is worth its while.
"""

from __future__ import annotations

_HELPS = 1.05
"""By what factor more must be carried for a larger window to be worth it."""
_HARMLESS = 0.98
"""What a smaller window must still carry of what the larger one did."""
_PROBE_AFTER_ROUNDS = 3
_LEAST_CHUNKS = 4
_LEAST_S = 0.1
"""A round is shorter than neither: what is measured of less is chance."""


class Window:
    """Says how many may be in flight, `allowed`, from 1 to `most`, and learns from what arrives.

    Not thread-safe. `now_s` must not go back.
    """

    def __init__(self, most: int, *, now_s: float) -> None:
        self.allowed = min(most, 2)
        self._most = most
        self._best: tuple[int, float] | None = None
        """The window that was kept, and what it carried, in bytes a second."""
        self._doubling = True
        self._upwards = True
        self._quiet_rounds = 0
        self._bytes = self._chunks = 0
        self._settling = self.allowed
        self._began_s = now_s

    def arrived(self, size_bytes: int, now_s: float) -> None:
        """Take note of a chunk that arrived, and decide anew when there is enough to go by."""
        if self._settling > 0:
            # It was on its way before the window was what it is.
            self._settling -= 1
            self._began_s = now_s
            return
        self._bytes += size_bytes
        self._chunks += 1
        took_s = now_s - self._began_s
        if self._chunks < max(_LEAST_CHUNKS, self.allowed) or took_s < _LEAST_S:
            return
        self._decide(self._bytes / took_s)
        self._begin_round(now_s)

    def _begin_round(self, now_s: float) -> None:
        self._began_s = now_s
        self._bytes = self._chunks = 0
        self._settling = self.allowed

    def _decide(self, rate: float) -> None:
        """Compare what this window carried with what the best one did, and choose the next."""
        if self._best is None or self.allowed == self._best[0]:
            self._best = (self.allowed, rate)
            self._quiet_rounds += 1
            if self._doubling and self.allowed < self._most:
                self._try(self.allowed * 2)
            elif self._quiet_rounds >= _PROBE_AFTER_ROUNDS:
                self._upwards = not self._upwards and self.allowed < self._most
                step = _step(self.allowed)
                self._try(self.allowed + (step if self._upwards else -step))
            return
        kept, before = self._best
        wanted = before * (_HELPS if self.allowed > kept else _HARMLESS)
        if rate >= wanted:
            self._best = (self.allowed, rate)
            self._doubling = self.allowed > kept
            self._try(self.allowed * 2 if self._doubling else self.allowed - _step(self.allowed))
        else:
            self._doubling = False
            self._try(kept)

    def _try(self, allowed: int) -> None:
        self.allowed = min(max(allowed, 1), self._most)
        self._quiet_rounds = 0


def _step(allowed: int) -> int:
    return max(1, allowed // 4)
