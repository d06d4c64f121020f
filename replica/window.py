"""How many chunks to have in flight: as many as the link has use for. Pure: time is passed in.

A link with latency carries `in_flight * chunk / (latency + chunk / bandwidth)`, until its
bandwidth is used up; more than that only takes memory, and makes the others wait. Neither number is
known, and both change, so the window is found by trying: it is doubled as long as that brings more,
and later doubled or halved now and then, to see whether that is still so.

What is measured is noisy, as others use the link and the processor. Where latency is the limit, the
double carries nearly the double, which no noise hides for long. So a larger window is given several
rounds to show that it helps, and a smaller one must do without loss in all of them together:
mistakes are made on the large side, where they cost memory alone.
"""

from __future__ import annotations

from collections import deque
from statistics import fmean

_LEAST = 4
"""Never fewer, if so many are allowed: while one is on its way, others are checked and synced."""
_HELPS = 1.08
"""By what factor more must be carried for a larger window to be worth it."""
_HARMLESS = 0.97
"""What a smaller window must still carry of what the larger one did."""
_HOPELESS = 0.9
"""A smaller window that carries less than that is given up at once."""
_ROUNDS = 3
"""How many rounds a window is tried, and how many pass until the next is tried."""
_MOST_ROUNDS = 12
"""How many pass, after others were tried for nothing again and again."""
_LEAST_CHUNKS = 8
_LEAST_S = 0.2
"""A round is shorter than neither, and no window arrives less than twice in one: chunks that share
a link arrive in bunches, so what is measured of less is chance."""


class Window:
    """Says how many may be in flight, `allowed`, up to `most`, and learns from what arrives.

    Not thread-safe. `now_s` must not go back.
    """

    def __init__(self, most: int, *, now_s: float) -> None:
        self._most = most
        self._least = min(_LEAST, most)
        self.allowed = self._kept = self._least
        self._rates: deque[float] = deque(maxlen=_ROUNDS)
        """What the window that is kept carried lately, in bytes a second."""
        self._tried: list[float] = []
        """What another that is being tried carried."""
        self._doubling = True
        self._upwards = True
        self._quiet_rounds, self._until_next = 0, _ROUNDS
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
        if self._chunks < max(_LEAST_CHUNKS, 2 * self.allowed) or took_s < _LEAST_S:
            return
        before = self.allowed
        self._decide(self._bytes / took_s)
        self._began_s = now_s
        self._bytes = self._chunks = 0
        self._settling = 0 if self.allowed == before else self.allowed

    def _decide(self, rate: float) -> None:
        """Compare what this window carried with what the one that is kept did; choose the next."""
        if self.allowed == self._kept:
            self._rates.append(rate)
            self._quiet_rounds += 1
            if self._doubling or self._quiet_rounds >= self._until_next:
                self._try_another()
            return
        self._tried.append(rate)
        before, at_the_end = fmean(self._rates), len(self._tried) == _ROUNDS
        if self.allowed > self._kept:
            if rate >= before * _HELPS:
                self._keep(rate, doubling=True)
            elif at_the_end:
                self._give_up()
        elif rate < before * _HOPELESS:
            self._give_up()
        elif at_the_end:
            if fmean(self._tried) >= before * _HARMLESS:
                self._keep(*self._tried, doubling=False)
            else:
                self._give_up()

    def _keep(self, *rates: float, doubling: bool) -> None:
        self._kept, self._doubling = self.allowed, doubling
        self._until_next = _ROUNDS
        self._rates.clear()
        self._rates.extend(rates)
        self._try_another()

    def _give_up(self) -> None:
        self.allowed, self._doubling = self._kept, False
        self._quiet_rounds, self._until_next = 0, min(2 * self._until_next, _MOST_ROUNDS)

    def _try_another(self) -> None:
        """Try the double where that helped last, otherwise the double and the half in turn."""
        self._upwards = self._doubling or not self._upwards
        if self._kept == (self._most if self._upwards else self._least):
            self._doubling, self._upwards = False, not self._upwards
        wanted = self._kept * 2 if self._upwards else self._kept // 2
        self.allowed = min(max(wanted, self._least), self._most)
        self._tried = []
        self._quiet_rounds = 0
