"""The order of items within their layers: by the medians of their neighbours, back and forth."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol, TypeVar

_SWEEPS = 24


class Node(Protocol):
    """What stands in a layer, with its neighbours in the layers above and below."""

    @property
    def above(self) -> Sequence[Node]:
        """Its neighbours in the layer above."""

    @property
    def below(self) -> Sequence[Node]:
        """Its neighbours in the layer below."""


N = TypeVar("N", bound=Node)


def ordered(layers: Sequence[Sequence[N]]) -> list[list[N]]:
    """Return the layers, each in an order with few crossings of lines; the best that was seen."""
    now = [list(layer) for layer in layers]
    best, least = [list(layer) for layer in now], crossings(now)
    for sweep in range(_SWEEPS):
        if not least:
            break
        down = sweep % 2 == 0
        for rank in range(1, len(now)) if down else range(len(now) - 2, -1, -1):
            fixed = _places(now[rank - 1 if down else rank + 1])
            _sort(now[rank], fixed, down=down)
        if (found := crossings(now)) < least:
            best, least = [list(layer) for layer in now], found
    return best


def crossings(layers: Sequence[Sequence[Node]]) -> int:
    """Return how many pairs of lines cross between neighbouring layers."""
    count = 0
    for upper, lower in pairwise(layers):
        places = _places(lower)
        seen: list[int] = []
        for item in upper:
            ends = sorted(places[id(end)] for end in item.below)
            count += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return count


def _places(layer: Sequence[Node]) -> dict[int, int]:
    return {id(item): place for place, item in enumerate(layer)}


def _sort(layer: list[N], fixed: dict[int, int], *, down: bool) -> None:
    """Sort by the mean place of the neighbours; an item without any stays where it is."""
    wishes = []
    for place, item in enumerate(layer):
        ends = [fixed[id(end)] for end in (item.above if down else item.below)]
        wishes.append((sum(ends) / len(ends) if ends else float(place), place, item))
    wishes.sort(key=lambda wish: wish[:2])
    layer[:] = [item for *_, item in wishes]
