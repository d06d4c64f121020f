"""A chart as SVG: one file, no font, no script, readable on light and on dark."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from bootledger.diagrams.chart import Chart, Edge
from bootledger.diagrams.layout import MARGIN_PX, Box, Layout, Pair, Size, lay_out
from bootledger.diagrams.paint import Paint, Step
from bootledger.diagrams.svg_text import (
    LINE_PX,
    document,
    heading,
    number,
    text,
    titled,
    widest_px,
)

_START = ""
"""The dot at which a machine begins: a chart's states have names."""
_DOT_PX = 12.0
_PAD_PX = 6.0
_ARROW_PX = 7.0
_RING_PX = 3.0


@dataclass(frozen=True)
class Line:
    """One line of a label: of which edge, what it says, and whether it was gone along."""

    edge: Edge
    words: str
    visited: bool


@dataclass(frozen=True)
class Drawing:
    """A chart with its layout, and the lines of text that its boxes hold."""

    chart: Chart
    layout: Layout
    states: dict[str, tuple[str, ...]]
    labels: dict[Pair, tuple[Line, ...]]
    paint: Paint | None


def svg(chart: Chart, *, guards: bool = False, paint: Paint | None = None) -> str:
    """Return the chart as the text of an SVG document, the same at each call.

    Edges between the same two states, in the same direction, are one line with a label of several.
    What refuses is told to who points at it; with `guards` it is written out. With `paint`, what
    was not visited recedes.
    """
    drawing = draw(chart, guards=guards, paint=paint)
    caption = paint.caption.splitlines() if paint else []
    above = LINE_PX * (len(caption) + 0.5) if caption else 0.0
    size = drawing.layout.size
    width = max(size.width, widest_px(caption) + 2 * MARGIN_PX)
    lines = document(
        width,
        size.height + above,
        chart.name,
        f"{len(chart.states)} states, {len(chart.edges)} transitions",
        _body(drawing, above),
    )
    return "\n".join(lines) + "\n"


def draw(chart: Chart, *, guards: bool = False, paint: Paint | None = None) -> Drawing:
    """Return the chart with everything in its place."""
    states = {state: _state_lines(state, paint) for state in chart.states}
    bundles: defaultdict[Pair, list[Line]] = defaultdict(list)
    for edge in chart.edges:
        bundles[edge.source, edge.target] += _label_lines(edge, paint, guards=guards)
    labels = {pair: tuple(lines) for pair, lines in bundles.items()}
    sizes = {state: _size(lines, 2 * _PAD_PX + 8, _PAD_PX * 2) for state, lines in states.items()}
    rooms = {
        pair: _size([line.words for line in lines], _PAD_PX, 2.0) for pair, lines in labels.items()
    }
    layout = lay_out(
        _START,
        {_START: Size(_DOT_PX, _DOT_PX), **sizes},
        {(_START, chart.initial): Size(0, 0), **rooms},
    )
    return Drawing(chart, layout, states, labels, paint)


def _state_lines(state: str, paint: Paint | None) -> tuple[str, ...]:
    if paint is None:
        return (state,)
    name, how = (f"▶ {state}", paint.now_words) if state == paint.now else (state, "")
    crashes = f"✗ {paint.crashes[state]}" if state in paint.crashes else ""
    return tuple(line for line in (name, how, paint.states.get(state, ""), crashes) if line)


def _label_lines(edge: Edge, paint: Paint | None, *, guards: bool) -> Iterator[Line]:
    first, *unless = edge.lines(guards=guards)
    step = Step(edge.source, edge.target, edge.event, edge.when)
    said = paint.steps.get(step) if paint else None
    yield Line(edge, first if said is None else f"{first}  {said}", said is not None)
    for line in unless:
        yield Line(edge, f"  {line}", said is not None)


def _size(lines: Sequence[str], across_px: float, along_px: float) -> Size:
    return Size(widest_px(lines) + across_px, len(lines) * LINE_PX + along_px)


# --- Drawing ------------------------------------------------------------------------------------


def _body(drawing: Drawing, above: float) -> Iterator[str]:
    yield from heading(drawing.paint.caption if drawing.paint else "")
    yield f'<g transform="translate(0 {number(above)})">'
    # What was gone along lies above what was not.
    for pair, points in sorted(
        drawing.layout.lines.items(), key=lambda on: _visited(drawing, on[0])
    ):
        yield _line(drawing, pair, points)
    for pair, lines in drawing.labels.items():
        if pair[0] == pair[1]:
            yield _loop(drawing, pair)
        yield from _label(drawing, pair, lines)
    dot = drawing.layout.states[_START]
    yield (
        f'<circle class="fill-ink" cx="{number(dot.middle)}" cy="{number(dot.y + _DOT_PX / 2)}" '
        f'r="{number(_DOT_PX / 2)}"/>'
    )
    for state in drawing.chart.states:
        yield _state(drawing, state)
    yield "</g>"


def _visited(drawing: Drawing, pair: Pair) -> bool:
    return any(line.visited for line in drawing.labels.get(pair, ()))


def _colour(drawing: Drawing, pair: Pair) -> tuple[str, str]:
    """Return the colour of a line, and what else is to be said of it."""
    if drawing.paint is None or pair[0] == _START:
        return "line", ""
    if _visited(drawing, pair):
        return "blue", ' stroke-width="2"'
    return "line", ' opacity="0.5"'


def _line(drawing: Drawing, pair: Pair, points: Sequence[tuple[float, float]]) -> str:
    colour, more = _colour(drawing, pair)
    ends = list(zip(points[::2], points[1::2], strict=True))
    (x, y), first = ends[0]
    path = f"M{number(x)} {number(y)}L{number(first[0])} {number(first[1])}"
    for (_, out), (enter, leave) in pairwise(ends):
        bend = (out[1] + enter[1]) / 2
        path += (
            f"C{number(out[0])} {number(bend)} {number(enter[0])} {number(bend)} "
            f"{number(enter[0])} {number(enter[1])}"
        )
        if leave != enter:
            path += f"V{number(leave[1])}"
    x, y = points[-1]
    back = -_ARROW_PX if points[0][1] < y else _ARROW_PX
    head = f"M{number(x)} {number(y)}l-4 {number(back)}h8z"
    return (
        f'<path class="none stroke-{colour}" d="{path}"{more}/>'
        f'<path class="fill-{colour}" d="{head}"{more}/>'
    )


def _loop(drawing: Drawing, pair: Pair) -> str:
    colour, more = _colour(drawing, pair)
    box, label = drawing.layout.states[pair[0]], drawing.layout.labels[pair]
    x, y, reach = box.right, label.y + label.height / 2, label.x - 4
    path = (
        f"M{number(x)} {number(y - 7)}C{number(reach)} {number(y - 15)} "
        f"{number(reach)} {number(y + 15)} {number(x + 2)} {number(y + 7)}"
    )
    return (
        f'<path class="none stroke-{colour}" d="{path}"{more}/>'
        f'<path class="fill-{colour}" d="M{number(x)} {number(y + 6)}l8 -1l-4 6z"{more}/>'
    )


def _label(drawing: Drawing, pair: Pair, lines: Sequence[Line]) -> Iterator[str]:
    box = drawing.layout.labels[pair]
    yield _rect(box, "fill-paper", 3)
    for number_, line in enumerate(lines):
        if drawing.paint is None:
            kind = "fill-ink" if not line.words.startswith(" ") else "fill-quiet"
        else:
            kind = "fill-ink" if line.visited else "fill-quiet faint"
        middle = box.y + 1 + LINE_PX * (number_ + 0.5)
        yield titled(
            line.edge.label(guards=True),
            text(box.x + _PAD_PX / 2, middle, line.words, kind=kind),
        )


def _state(drawing: Drawing, state: str) -> str:
    paint, box = drawing.paint, drawing.layout.states[state]
    fill, stroke, faint, more = "box", "ink", "", ""
    if paint is not None:
        if state == paint.now:
            fill, stroke, more = "visited", paint.now_colour, ' stroke-width="3"'
        elif state in paint.states:
            fill, stroke, more = "visited", "blue", ' stroke-width="2"'
        else:
            faint = " faint"
    kind = f"fill-{fill} stroke-{stroke}"
    rings = [_rect(box, kind, 8, more)]
    if state in drawing.chart.final:
        inner = Box(
            box.x + _RING_PX,
            box.y + _RING_PX,
            box.width - 2 * _RING_PX,
            box.height - 2 * _RING_PX,
        )
        rings.append(_rect(inner, f"none stroke-{stroke}", 5))
    lines = drawing.states[state]
    top = box.y + (box.height - len(lines) * LINE_PX) / 2
    words = [
        text(
            box.middle,
            top + LINE_PX * (place + 0.5),
            line,
            kind=_kind_of(line, place),
            anchor="middle",
        )
        for place, line in enumerate(lines)
    ]
    told = paint.told.get(state, "") if paint else ""
    parts = (f"<title>{escape(told, quote=False)}</title>" if told else "", *rings, *words)
    return f'<g class="state{faint}">{"".join(parts)}</g>'


def _kind_of(line: str, place: int) -> str:
    if place == 0:
        return "fill-ink bold"
    return "fill-red bold" if line.startswith("✗") else "fill-quiet"


def _rect(box: Box, kind: str, round_px: float, more: str = "") -> str:
    return (
        f'<rect class="{kind}" x="{number(box.x)}" y="{number(box.y)}" '
        f'width="{number(box.width)}" height="{number(box.height)}" rx="{number(round_px)}"{more}/>'
    )
