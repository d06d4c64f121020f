"""The window ends near the best fixed number, on links of every kind. No clock, no network."""

from __future__ import annotations

import heapq
import random
import statistics
from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootledger.replica.window import Window

CHUNK_BYTES = 4 * 2**20
MOST = 16
_NOISY_S = 0.3


@dataclass
class Link:
    """Each fetch waits for the latency, then shares the bandwidth with the others."""

    latency_s: float
    bytes_per_s: float
    jitter: float
    """By what share of it the latency varies; without any, all would go in step."""
    noise: float = 0.0
    """By what share others take the bandwidth, more or less of it every `_NOISY_S`."""

    def carry(self, chunks: int, window: Window | int, *, begin_s: float = 0.0) -> list[float]:
        """Return when each of the chunks arrived, with a window that learns, or a fixed one."""
        chance = random.Random(1)
        now_s, ordinals, arrived = begin_s, count(), list[float]()
        waiting: list[tuple[float, int]] = []
        period = int(begin_s / _NOISY_S) + 1
        active: dict[int, float] = {}
        while len(arrived) < chunks:
            allowed = window if isinstance(window, int) else window.allowed
            while len(waiting) + len(active) < allowed:
                latency_s = self.latency_s * (1 + self.jitter * chance.random())
                heapq.heappush(waiting, (now_s + latency_s, next(ordinals)))
            begins_s = waiting[0][0] if waiting else float("inf")
            share = self._has_bytes_per_s(period) / max(1, len(active))
            ends_s = now_s + min(active.values()) / share if active else float("inf")
            quiet_s = period * _NOISY_S if self.noise else float("inf")
            passed_s = max(0.0, min(begins_s, ends_s, quiet_s) - now_s)
            active = {each: left - passed_s * share for each, left in active.items()}
            now_s = min(begins_s, ends_s, quiet_s)
            if quiet_s < min(begins_s, ends_s):
                period += 1
                continue
            if begins_s <= ends_s:
                active[heapq.heappop(waiting)[1]] = CHUNK_BYTES
            else:
                del active[min(active, key=lambda each: active[each])]
                arrived.append(now_s)
                if isinstance(window, Window):
                    window.arrived(CHUNK_BYTES, now_s)
        return arrived

    def _has_bytes_per_s(self, period: int) -> float:
        return self.bytes_per_s * (1 - self.noise * random.Random(period).random())

    def fixed_rate(self, in_flight: int) -> float:
        """Return what the link carries with so many in flight, in bytes a second."""
        arrived = self.carry(400, in_flight)
        return CHUNK_BYTES * 320 / (arrived[-1] - arrived[-321])


class Watched(Window):
    """Remembers what it allowed."""

    def __init__(self, most: int, *, now_s: float) -> None:
        super().__init__(most, now_s=now_s)
        self.seen: list[int] = []

    def arrived(self, size_bytes: int, now_s: float) -> None:
        super().arrived(size_bytes, now_s)
        self.seen.append(self.allowed)


LINKS = [
    Link(latency_s, bytes_per_s, jitter)
    for latency_s in (0.001, 0.05, 0.2)
    for bytes_per_s in (10e6, 100e6, 1e9)
    for jitter in (0.1, 0.5)
]


def test_the_simulated_link_obeys_the_law() -> None:
    """Below its bandwidth it carries in_flight * chunk / (latency + chunk / bandwidth)."""
    for in_flight in (1, 4, 16):
        law = in_flight * CHUNK_BYTES / (0.2 + CHUNK_BYTES / 1e12)
        assert Link(0.2, 1e12, 0.0).fixed_rate(in_flight) == pytest.approx(law, rel=0.01)
    assert Link(0.001, 10e6, 0.1).fixed_rate(16) == pytest.approx(10e6, rel=0.01)


@pytest.mark.parametrize("link", LINKS, ids=str)
def test_the_window_ends_near_the_best_fixed_number(link: Link) -> None:
    """Once it has learnt: 85 % of what the best number carries, at most twice as many, or 8."""
    rates = {in_flight: link.fixed_rate(in_flight) for in_flight in range(1, MOST + 1)}
    best = max(rates.values())
    enough = min(in_flight for in_flight, rate in rates.items() if rate >= 0.95 * best)
    window = Watched(MOST, now_s=0.0)
    arrived = link.carry(1000, window)
    assert CHUNK_BYTES * 199 / (arrived[-1] - arrived[-200]) >= 0.85 * best
    assert statistics.median(window.seen[-400:]) <= max(8, 2 * enough)


@pytest.mark.parametrize(
    "link",
    [
        Link(latency_s, bytes_per_s, 0.3, noise)
        for latency_s in (0.05, 0.2)
        for bytes_per_s in (100e6, 400e6, 1e9)
        for noise in (0.3, 0.6)
    ],
    ids=str,
)
def test_a_busy_long_line_carries_what_it_can_from_the_start(link: Link) -> None:
    """80 % of what the best number carries of 4 GiB, the learning included, as others come and go.

    Wherever bandwidth is left to others for a while, a smaller window looks as good as a larger
    one, or better: it must not be believed.
    """
    best_s = min(link.carry(1024, in_flight)[-1] for in_flight in (4, 8, 12, 16))
    assert link.carry(1024, Window(MOST, now_s=0.0))[-1] <= best_s / 0.8


def test_a_window_begins_with_four_and_never_has_fewer() -> None:
    """Others are checked, written and synced while one is on its way: also where nothing waits."""
    window = Watched(MOST, now_s=0.0)
    Link(0.0001, 10e6, 0.1, 0.6).carry(1000, window)
    assert min(window.seen) == window.seen[0] == 4


def test_a_link_that_becomes_slow_to_answer_is_given_more() -> None:
    """From 1 ms to 200 ms in the middle of a copy: what was enough is not enough any more."""
    window = Watched(MOST, now_s=0.0)
    now_s = Link(0.001, 200e6, 0.1).carry(300, window)[-1]
    before = window.allowed
    Link(0.2, 200e6, 0.1).carry(600, window, begin_s=now_s)
    assert before <= 8
    assert statistics.median(window.seen[-200:]) == MOST


def test_a_link_that_becomes_quick_to_answer_is_given_less() -> None:
    """From 200 ms to 1 ms: what takes memory and brings nothing is given back."""
    window = Watched(MOST, now_s=0.0)
    now_s = Link(0.2, 200e6, 0.1).carry(300, window)[-1]
    before = window.allowed
    Link(0.001, 200e6, 0.1).carry(1500, window, begin_s=now_s)
    assert before > 8
    assert statistics.median(window.seen[-400:]) == 4


@given(
    st.integers(1, 64),
    st.lists(st.tuples(st.integers(0, 2**26), st.floats(0, 1e4)), max_size=300),
)
def test_the_window_keeps_its_bounds_whatever_arrives(
    most: int, arrivals: list[tuple[int, float]]
) -> None:
    """Between 1 and `most`, at any speed, also when no time passes at all."""
    now_s = 0.0
    window = Window(most, now_s=now_s)
    for size_bytes, passed_s in arrivals:
        now_s += passed_s
        window.arrived(size_bytes, now_s)
        assert 1 <= window.allowed <= most
