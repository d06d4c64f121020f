"""The places of ordered items: as near to their neighbours as their order and their sizes allow."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

_SWEEPS = 160


class Placed(Protocol):
    """What has a place in a layer: it reaches `left` and `right` from `x`."""

    x: float

    @property
    def left(self) -> float:
        """How far it reaches to the left."""

    @property
    def right(self) -> float:
        """How far it reaches to the right."""

    @property
    def weight(self) -> float:
        """How much it insists on its place."""

    @property
    def above(self) -> Sequence[Placed]:
        """Its neighbours in the layer above."""

    @property
    def below(self) -> Sequence[Placed]:
        """Its neighbours in the layer below."""


def spread(layers: Sequence[Sequence[Placed]], *, beside_px: float) -> None:
    """Give each item its `x`: the order is kept, and `beside_px` or more are between two.

    Layer by layer, back and forth, each is put where the squares of the distances to its
    neighbours are least.
    """
    for layer in layers:
        _place(layer, [0.0] * len(layer), beside_px)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        both = sweep >= _SWEEPS // 2
        for layer in layers if down else reversed(layers):
            wishes = []
            for item in layer:
                near = [*item.above, *item.below] if both else item.above if down else item.below
                total = sum(other.weight for other in near)
                wish = sum(other.x * other.weight for other in near) / total if near else item.x
                wishes.append(wish)
            _place(layer, wishes, beside_px)


def _place(layer: Sequence[Placed], wishes: Sequence[float], beside_px: float) -> None:
    """Put each as near to its wish as the others allow: isotonic regression by pooling."""
    offsets = [0.0]
    for item, following in pairwise(layer):
        offsets.append(offsets[-1] + item.right + beside_px + following.left)
    pools: list[tuple[float, float, int]] = []  # where, with which weight, how many
    for item, wish, offset in zip(layer, wishes, offsets, strict=False):
        where, weight, count = wish - offset, item.weight, 1
        while pools and pools[-1][0] >= where:
            other, its_weight, its_count = pools.pop()
            where = (where * weight + other * its_weight) / (weight + its_weight)
            weight, count = weight + its_weight, count + its_count
        pools.append((where, weight, count))
    at = 0
    for where, _, count in pools:
        for place in range(at, at + count):
            layer[place].x = where + offsets[place]
        at += count
