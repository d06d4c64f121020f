"""Where everything of a chart goes: states in layers, and on every edge a label that has room.

A label is laid out like a state: the edge goes through it. Every line that passes a layer takes
part in it, so that by construction no two boxes lie on each other and no line crosses a box. The
order within the layers is found by medians (fewer crossings), the places by least squares (straight
lines). Sizes are in pixels; the same input gives the same layout.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from bootledger.diagrams.ordering import ordered
from bootledger.diagrams.spreading import spread

Pair = tuple[str, str]
"""A state and the one that an edge leads to."""

MARGIN_PX = 24
_BESIDE_PX = 18
_PORT_PX = 16
_LOOP_PX = 26
_LEAST_GAP_PX, _MOST_GAP_PX = 22, 64
_LINE_WEIGHT, _BOX_WEIGHT = 8.0, 1.0


@dataclass(frozen=True)
class Size:
    """How much room something takes, in pixels."""

    width: float
    height: float


@dataclass(frozen=True)
class Box:
    """Where something is: its upper left corner and its size, in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """The x of its middle."""
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        """The y of its lower edge."""
        return self.y + self.height

    @property
    def right(self) -> float:
        """The x of its right edge."""
        return self.x + self.width

    def overlaps(self, other: Box) -> bool:
        """Return whether some of it lies on the other one."""
        across = self.x < other.right and other.x < self.right
        return across and self.y < other.bottom and other.y < self.bottom


@dataclass(frozen=True)
class Layout:
    """A chart's states and labels as boxes, and its edges as the points that each goes through.

    A line is `points` two by two: straight within a pair, curved from one pair to the next, both
    vertical. From a state to itself there is no line: its label is to the right of the state.
    """

    size: Size
    states: dict[str, Box]
    labels: dict[Pair, Box]
    lines: dict[Pair, tuple[tuple[float, float], ...]]


@dataclass
class Item:
    """What has a place in a layer: a state, a label, or where a line goes through.

    It reaches `left` and `right` from its anchor.
    """

    rank: int
    left: float
    right: float
    height: float
    weight: float = _BOX_WEIGHT
    x: float = 0.0
    y: float = 0.0
    layer_height: float = 0.0
    above: list[Item] = field(default_factory=list)
    below: list[Item] = field(default_factory=list)


def lay_out(initial: str, states: Mapping[str, Size], labels: Mapping[Pair, Size]) -> Layout:
    """Return where states and labels of these sizes go; each label stands for one edge.

    States are given in the order in which they are wished for, from the first layer down.
    """
    ranks = _ranks(initial, tuple(states), [pair for pair in labels if pair[0] != pair[1]])
    boxes = _boxes(states, labels, ranks)
    chains = {
        pair: _chain(boxes[pair[0]], boxes[pair[1]], size)
        for pair, size in labels.items()
        if pair[0] != pair[1]
    }
    layers: list[list[Item]] = [[] for _ in range(max(ranks.values()) + 1)]
    for item in [*boxes.values(), *(item for chain in chains.values() for item in chain[1:-1])]:
        layers[item.rank].append(item)
    for chain in chains.values():
        for upper, lower in pairwise(chain):
            upper.below.append(lower)
            lower.above.append(upper)
    layers = ordered(layers)
    spread(layers, beside_px=_BESIDE_PX)
    size = _settle(layers)
    found = {name: _box_of(boxes[name], wish) for name, wish in _wide(states, labels).items()}
    return Layout(
        size=size,
        states=found,
        labels={
            pair: _loop_label(found[pair[0]], boxes[pair[0]], wish)
            if pair[0] == pair[1]
            else _box_of(next(i for i in chains[pair] if i.weight == _LABEL_WEIGHT), wish)
            for pair, wish in labels.items()
        },
        lines=_lines(chains, found, ranks),
    )


_LABEL_WEIGHT = 2.0


def _ranks(initial: str, states: Sequence[str], pairs: Sequence[Pair]) -> dict[str, int]:
    """Return an even layer for each state; labels go into the odd ones between.

    Edges that lead back to where a walk from the initial state came from count as reversed.
    """
    after: defaultdict[str, list[str]] = defaultdict(list)
    for source, target in pairs:
        after[source].append(target)
    done: list[str] = []
    seen: set[str] = set()
    for start in (initial, *states):
        walk = [(start, iter(after[start]))] if start not in seen else []
        seen.add(start)
        while walk:
            state, ahead = walk[-1]
            following = next((target for target in ahead if target not in seen), None)
            if following is None:
                done.append(state)
                walk.pop()
            else:
                seen.add(following)
                walk.append((following, iter(after[following])))
    turn = {state: number for number, state in enumerate(reversed(done))}
    ranks = dict.fromkeys(states, 0)
    down = [sorted(pair, key=turn.__getitem__) for pair in pairs]
    for upper, lower in sorted(down, key=lambda pair: turn[pair[0]]):
        ranks[lower] = max(ranks[lower], ranks[upper] + 2)
    return ranks


def _wide(states: Mapping[str, Size], labels: Mapping[Pair, Size]) -> dict[str, Size]:
    """Return the states' sizes, each wide enough for the lines that may meet on one side."""
    lines: defaultdict[str, int] = defaultdict(int)
    for source, target in labels:
        if source != target:
            lines[source] += 1
            lines[target] += 1
    return {
        name: Size(max(size.width, lines[name] * _PORT_PX), size.height)
        for name, size in states.items()
    }


def _boxes(
    states: Mapping[str, Size], labels: Mapping[Pair, Size], ranks: Mapping[str, int]
) -> dict[str, Item]:
    items = {}
    for name, size in _wide(states, labels).items():
        loop = labels.get((name, name))
        half, height = size.width / 2, size.height
        beside = 0.0 if loop is None else _LOOP_PX + loop.width
        tall = height if loop is None else max(height, loop.height)
        items[name] = Item(ranks[name], half, half + beside, tall)
    return items


def _chain(source: Item, target: Item, label: Size) -> list[Item]:
    """Return what a line goes through, from the upper end down; the label is near its source."""
    upper, lower = sorted((source, target), key=lambda item: item.rank)
    at = source.rank + 1 if source is upper else source.rank - 1
    half = label.width / 2
    between = [
        Item(rank, half, half, label.height, _LABEL_WEIGHT)
        if rank == at
        else Item(rank, 0, 0, 0, _LINE_WEIGHT)
        for rank in range(upper.rank + 1, lower.rank)
    ]
    return [upper, *between, lower]


def _settle(layers: Sequence[Sequence[Item]]) -> Size:
    """Give every item its y, move all to the margin, and return the size of the whole."""
    left = min(item.x - item.left for layer in layers for item in layer)
    for item in (item for layer in layers for item in layer):
        item.x += MARGIN_PX - left
    y = 0.0 + MARGIN_PX
    for layer in layers:
        height = max((item.height for item in layer), default=0.0)
        for item in layer:
            item.y, item.layer_height = y + height / 2, height
        way = max((abs(item.x - lower.x) for item in layer for lower in item.below), default=0.0)
        y += height + min(max(way / 6, _LEAST_GAP_PX), _MOST_GAP_PX)
    right = max(item.x + item.right for layer in layers for item in layer)
    bottom = max(item.y + item.height / 2 for layer in layers for item in layer)
    return Size(right + MARGIN_PX, bottom + MARGIN_PX)


def _box_of(item: Item, size: Size) -> Box:
    return Box(item.x - size.width / 2, item.y - size.height / 2, size.width, size.height)


def _loop_label(box: Box, item: Item, size: Size) -> Box:
    return Box(box.right + _LOOP_PX, item.y - size.height / 2, size.width, size.height)


def _lines(
    chains: Mapping[Pair, Sequence[Item]],
    boxes: Mapping[str, Box],
    ranks: Mapping[str, int],
) -> dict[Pair, tuple[tuple[float, float], ...]]:
    ports: defaultdict[tuple[str, bool], list[tuple[float, Pair]]] = defaultdict(list)
    for pair, chain in chains.items():
        upper, lower = sorted(pair, key=ranks.__getitem__)
        ports[upper, True].append((chain[1].x, pair))
        ports[lower, False].append((chain[-2].x, pair))
    at: dict[tuple[str, Pair], float] = {}
    for (name, _), there in ports.items():
        step = boxes[name].width / (len(there) + 1)
        for number, (_, pair) in enumerate(sorted(there), start=1):
            at[name, pair] = boxes[name].x + step * number
    lines = {}
    for pair, chain in chains.items():
        upper, lower = sorted(pair, key=ranks.__getitem__)
        first, last = at[upper, pair], at[lower, pair]
        # Upright as long as there are neighbours: between the layers there are none.
        points = [(first, boxes[upper].bottom), (first, _bottom(chain[0]))]
        for item in chain[1:-1]:
            points += [(item.x, _top(item)), (item.x, _bottom(item))]
        points += [(last, _top(chain[-1])), (last, boxes[lower].y)]
        lines[pair] = tuple(points if upper == pair[0] else reversed(points))
    return lines


def _top(item: Item) -> float:
    return item.y - item.layer_height / 2


def _bottom(item: Item) -> float:
    return item.y + item.layer_height / 2
