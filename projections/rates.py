"""Measured rates: how fast something grows, whatever stalls and bursts it has. Pure.

Two ways to the same numbers: a `Meter` is told a count again and again by somebody who has a
clock; `past_pace` reads the times of an intent's events, of a bootstrap that ran before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import islice, pairwise

import msgspec

from bootledger.projections.heads import decode_head
from bootledger.statemachine.events import Checkpoint, Event, SnapshotChunk
from bootledger.store.port import EventStore

DEFAULT_HALF_LIFE_S = 60.0
"""What was measured so long ago counts half."""
MOST_EVENTS = 10_000
"""So many of an intent's newest events tell its pace."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a replica works: None where nobody measured it.

    `check_bytes_per_s` is how fast a copy is read again before it is opened.
    """

    copy_bytes_per_s: float | None = None
    check_bytes_per_s: float | None = None
    apply_changes_per_s: float | None = None

    def or_else(self, other: Pace) -> Pace:
        """Return this pace, with what it does not know from another one."""
        return Pace(
            **{
                name: getattr(other, name) if getattr(self, name) is None else getattr(self, name)
                for name in self.__struct_fields__
            }
        )


class Meter:
    """The rate at which a count grows: a mean over time in which the past fades.

    A second that lies `half_life_s` back weighs half of the present one. What came within one
    interval is taken as spread evenly over it, so neither bursts nor the moments of looking count:
    a steady rate is measured exactly, any other lies between the slowest and the fastest interval.
    A stall lowers it as fast as it lasts. `measured_s` is for how long was measured in all.
    """

    def __init__(self, half_life_s: float = DEFAULT_HALF_LIFE_S) -> None:
        self._decay = math.log(2) / half_life_s
        self._sum = self._weight = 0.0
        self._last: tuple[float, float] | None = None
        self.measured_s = 0.0

    def see(self, total: float, now_s: float) -> None:
        """Take note that the count has come to `total`. One that went back begins afresh.

        Without time since the last look, what came counts with the next one.
        """
        if self._last is None or total < self._last[0]:
            self._last = (total, now_s)
            return
        count, elapsed_s = total - self._last[0], now_s - self._last[1]
        if elapsed_s <= 0:
            return
        self._last = (total, now_s)
        faded = math.exp(-self._decay * elapsed_s)
        self._sum = self._sum * faded + count / elapsed_s * (1 - faded)
        self._weight = self._weight * faded + (1 - faded)
        self.measured_s += elapsed_s

    def pause(self) -> None:
        """What happens until the next `see` is not work, and does not count."""
        self._last = None

    @property
    def per_s(self) -> float | None:
        """The rate, None before any time was measured."""
        return self._sum / self._weight if self._weight else None


def past_pace(newest_first: Iterable[Event], size_bytes: int | None) -> Pace:
    """Return the pace that an intent's newest events tell, by the times that they were recorded.

    Copying is from chunk to chunk of one generation, checking from the last chunk to the first
    checkpoint of a base backup of `size_bytes`, applying from checkpoint to checkpoint of one
    timeline: nothing that lies across a suspension or a resume. Bytes are those fetched, without
    what was found here. A clock that went back counts as no time.
    """
    copied, checked, applied = _Span(), _Span(), _Span()
    for newer, older in pairwise(newest_first):
        elapsed_s = max(0, newer.recorded_at_ms - older.recorded_at_ms) / 1000
        match older, newer:
            case SnapshotChunk(), SnapshotChunk() if older.generation == newer.generation:
                copied.add(newer.length_bytes, elapsed_s)
            case SnapshotChunk(), Checkpoint() if size_bytes:
                checked.add(size_bytes, elapsed_s)
            case Checkpoint(), Checkpoint() if older.timeline == newer.timeline:
                applied.add(newer.applied_lsn - older.applied_lsn, elapsed_s)
            case _:
                pass
    return Pace(
        copy_bytes_per_s=copied.per_s,
        check_bytes_per_s=checked.per_s,
        apply_changes_per_s=applied.per_s,
    )


def pace_of_node(store: EventStore, node_id: str) -> Pace:
    """Return the pace of the node's newest bootstrap that copied anything, finished or not.

    Reads every head, and at most so many events that it takes a fraction of a second. Raises
    `Corrupted` for a head or an event that cannot be read.
    """
    mine = (head for head in store.heads() if head.node_id == node_id)
    copied = ((head, snapshot) for head in mine if (snapshot := decode_head(head).snapshot))
    newest = max(copied, key=lambda found: found[0].position, default=None)
    if newest is None:
        return Pace()
    head, snapshot = newest
    events = (recorded.event for recorded in store.history(head.intent_id))
    return past_pace(islice(events, MOST_EVENTS), snapshot.size_bytes)


class _Span:
    """What was done in all, and in which time."""

    def __init__(self) -> None:
        self._done = self._elapsed_s = 0.0

    def add(self, done: float, elapsed_s: float) -> None:
        self._done += done
        self._elapsed_s += elapsed_s

    @property
    def per_s(self) -> float | None:
        return self._done / self._elapsed_s if self._done > 0 and self._elapsed_s > 0 else None
