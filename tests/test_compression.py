"""Whether to compress, decided by time, on simulated links."""

from __future__ import annotations

import random
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from bootledger.replica.http.compression import Chooser

CHUNK_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Link:
    """How long a chunk takes: a link, a primary that compresses, and data that gets smaller."""

    bytes_per_s: float
    latency_s: float
    compresses_bytes_per_s: float
    ratio: float

    def takes_s(self, *, compressed: bool) -> float:
        if not compressed:
            return self.latency_s + CHUNK_BYTES / self.bytes_per_s
        sent_s = CHUNK_BYTES * self.ratio / self.bytes_per_s
        return self.latency_s + CHUNK_BYTES / self.compresses_bytes_per_s + sent_s

    @property
    def best_s(self) -> float:
        return min(self.takes_s(compressed=way) for way in (False, True))


LINKS = st.builds(
    Link,
    bytes_per_s=st.floats(1e5, 2e9),
    latency_s=st.floats(0, 0.2),
    compresses_bytes_per_s=st.floats(5e7, 5e8),
    ratio=st.floats(0.1, 1.0),
)


def copy(chooser: Chooser, link: Link, chunks: int, noise: random.Random) -> list[float]:
    """Fetch so many chunks and return how long each took; every time is off by up to a fifth."""
    took = []
    for _ in range(chunks):
        compressed = chooser.choose()
        took_s = link.takes_s(compressed=compressed) * noise.uniform(0.8, 1.2)
        chooser.measured(compressed=compressed, size_bytes=CHUNK_BYTES, took_s=took_s)
        took.append(took_s)
    return took


def ways(chooser: Chooser, link: Link, chunks: int) -> list[bool]:
    """Fetch so many chunks, without noise, and return which of them came compressed."""
    asked = []
    for _ in range(chunks):
        compressed = chooser.choose()
        took_s = link.takes_s(compressed=compressed)
        chooser.measured(compressed=compressed, size_bytes=CHUNK_BYTES, took_s=took_s)
        asked.append(compressed)
    return asked


@given(LINKS, st.integers())
def test_on_any_link_it_takes_hardly_longer_than_the_better_way(link: Link, seed: int) -> None:
    """500 chunks take at most a quarter more than all of them the better way, and some looks."""
    chooser = Chooser()
    worst_s = max(link.takes_s(compressed=way) for way in (False, True))
    took_s = sum(copy(chooser, link, 500, random.Random(seed)))
    assert took_s <= 1.25 * 500 * link.best_s + 4 * worst_s


@settings(max_examples=40)
@given(LINKS, LINKS, st.integers())
def test_a_change_of_the_link_is_noticed(before: Link, after: Link, seed: int) -> None:
    """However wrong what was measured before has become: the better way is found again."""
    chooser = Chooser()
    copy(chooser, before, 200, random.Random(seed))
    copy(chooser, after, 4000, random.Random(seed + 1))
    fast_s, slow_s = sorted(after.takes_s(compressed=way) for way in (False, True))
    if slow_s > 1.5 * fast_s:
        better = after.takes_s(compressed=True) == fast_s
        assert ways(chooser, after, 100).count(better) >= 85


def test_a_slow_link_and_a_fast_one_are_told_apart() -> None:
    """At 10 MB/s what halves is asked for compressed; at 2 GB/s it is not."""
    for bytes_per_s, compressed in ((1e7, True), (2e9, False)):
        chooser = Chooser()
        copy(chooser, Link(bytes_per_s, 0.01, 3e8, 0.5), 100, random.Random(1))
        assert ways(chooser, Link(bytes_per_s, 0.01, 3e8, 0.5), 100).count(compressed) >= 85


def test_nothing_is_compressed_before_anything_was_measured() -> None:
    """The first chunk comes as it is, and the next one the other way."""
    chooser = Chooser()
    assert chooser.choose() is False
    chooser.measured(compressed=False, size_bytes=1, took_s=1.0)
    assert chooser.choose() is True
