"""A history over time as SVG: lanes with what lasted, what was copied, and how far it came."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from bootledger.diagrams.layout import MARGIN_PX
from bootledger.diagrams.svg_text import (
    LINE_PX,
    document,
    heading,
    number,
    text,
    titled,
    widest_px,
    width_px,
)

_NAMES_PX = 96.0
_LOW_PX, _HIGH_PX = 20.0, 84.0
_BETWEEN_PX = 12.0
_MOST_FLAG_ROWS = 4
_CROSS_PX = 14
"""Room for a cross: with less for each of them, none could be seen."""
_TICKS = 6
_UNITS = (
    (1, "ms"),
    (1000, "s"),
    (60_000, "min"),
    (3_600_000, "h"),
    (86_400_000, "d"),
)
_NICE = (1, 2, 5, 10, 15, 20, 30, 50, 100, 200, 500)


class Marked(Protocol):
    """What happened from `start_ms` to `end_ms`, so often; `low` and `high` where it has a size."""

    @property
    def start_ms(self) -> int:
        """When it began, in milliseconds since 1970."""

    @property
    def end_ms(self) -> int:
        """When it ended; the same, if it took no time."""

    @property
    def what(self) -> str:
        """What it is called."""

    @property
    def count(self) -> int:
        """How often it happened within this mark."""

    @property
    def low(self) -> int:
        """From where on, of what the lane measures."""

    @property
    def high(self) -> int:
        """Up to where."""


class Shape(enum.Enum):
    """How the marks of a lane are drawn."""

    FLAGS = enum.auto()
    """Each as a line through all lanes, with its name above."""
    BARS = enum.auto()
    """From start to end."""
    CROSSES = enum.auto()
    """A cross at the start, a broken line to the end; strokes where crosses would cover all."""
    RANGES = enum.auto()
    """Upright, from low to high."""
    STAIRS = enum.auto()
    """As steps up to high."""


@dataclass(frozen=True)
class Lane:
    """Marks of one kind in the order of time; a lane without a name lies upon the one before.

    What is measured is drawn on a scale up to `most`, or to the highest mark if that is higher;
    `words` are written at the end of the lane.
    """

    name: str
    shape: Shape
    marks: Sequence[Marked]
    colour: str = "blue"
    most: int = 0
    words: str = ""


@dataclass(frozen=True)
class _Scale:
    begin_ms: int
    end_ms: int
    width: float

    def x(self, at_ms: int) -> float:
        span = max(self.end_ms - self.begin_ms, 1)
        share = min(max(at_ms - self.begin_ms, 0) / span, 1.0)
        return MARGIN_PX + _NAMES_PX + share * self.width


def timeline(
    title: str, begin_ms: int, end_ms: int, lanes: Sequence[Lane], *, width_px: int = 900
) -> str:
    """Return lanes as the text of an SVG document whose time is `width_px` wide.

    It is as large as its marks are many: whoever has more than there is room for merges them first.
    """
    scale = _Scale(begin_ms, end_ms, width_px)
    flags = [lane for lane in lanes if lane.shape is Shape.FLAGS]
    rows = _MOST_FLAG_ROWS if any(lane.marks for lane in flags) else 0
    lines = title.splitlines()
    top = MARGIN_PX + (len(lines) + rows) * LINE_PX + _BETWEEN_PX
    body: list[str] = []
    y = place = top
    for lane in lanes:
        if lane.shape is Shape.FLAGS:
            continue
        height = _HIGH_PX if lane.shape in {Shape.RANGES, Shape.STAIRS} else _LOW_PX
        if lane.name:
            place, y = y, y + height + _BETWEEN_PX
            body.append(text(MARGIN_PX, place + height / 2, lane.name, kind="fill-ink bold"))
            body.append(
                f'<rect class="fill-box" x="{number(MARGIN_PX + _NAMES_PX)}" y="{number(place)}" '
                f'width="{number(scale.width)}" height="{number(height)}"/>'
            )
        body += _lane(lane, scale, place, height)
    over = [part for lane in flags for part in _flags(lane, scale, top, y - _BETWEEN_PX)]
    whole = max(_NAMES_PX + width_px + 30, widest_px(lines)) + 2 * MARGIN_PX
    axis = list(_axis(scale, top, y - _BETWEEN_PX))
    height = y + LINE_PX + MARGIN_PX
    parts = [*heading(title), *axis, *body, *over]
    named = ", ".join(lines)
    return "\n".join(document(whole, height, named, "A history over time", parts)) + "\n"


def _axis(scale: _Scale, top: float, bottom: float) -> Iterator[str]:
    span = max(scale.end_ms - scale.begin_ms, 1)
    unit, name = next(
        (one for one in reversed(_UNITS) if span >= 2 * one[0]),
        _UNITS[0],
    )
    step = next((n * unit for n in _NICE if span / (n * unit) <= _TICKS), 1000 * unit)
    for at in range(0, span + 1, max(step, span // (4 * _TICKS))):
        x = number(scale.x(scale.begin_ms + at))
        yield (
            f'<path class="none stroke-line" opacity="0.5" '
            f'd="M{x} {number(top - 4)}V{number(bottom + 4)}"/>'
        )
        words = f"+{at // unit} {name}" if at else "0"
        yield text(float(x), bottom + LINE_PX, words, kind="fill-quiet", anchor="middle")


def _lane(lane: Lane, scale: _Scale, y: float, height: float) -> Iterator[str]:
    match lane.shape:
        case Shape.BARS:
            yield from _bars(lane, scale, y, height)
        case Shape.CROSSES:
            yield from _crosses(lane, scale, y + height / 2)
        case Shape.RANGES | Shape.STAIRS:
            yield from _measured(lane, scale, y, height)
        case _:
            pass


def _said(mark: Marked) -> str:
    return mark.what if mark.count == 1 else f"{mark.what} ({mark.count} times)"


def _bars(lane: Lane, scale: _Scale, y: float, height: float) -> Iterator[str]:
    for mark in lane.marks:
        x = scale.x(mark.start_ms)
        width = max(scale.x(mark.end_ms) - x, 1.0)
        rect = (
            f'<rect class="fill-{lane.colour}" opacity="0.3" x="{number(x)}" y="{number(y + 2)}" '
            f'width="{number(width)}" height="{number(height - 4)}"/>'
            f'<path class="none stroke-{lane.colour}" d="M{number(x)} {number(y + 2)}'
            f'v{number(height - 4)}"/>'
        )
        fits = width_px(mark.what) + 8 <= width
        words = text(x + 5, y + height / 2, mark.what) if fits else ""
        yield titled(_said(mark), rect, words)


def _crosses(lane: Lane, scale: _Scale, y: float) -> Iterator[str]:
    crowded = len(lane.marks) * _CROSS_PX > scale.width
    for mark in lane.marks:
        x, end = scale.x(mark.start_ms), scale.x(mark.end_ms)
        cross = (
            f'd="M{number(x)} {number(y - 10)}v20"'
            if crowded
            else f'stroke-width="2.5" d="M{number(x - 5)} {number(y - 5)}l10 10m0 -10l-10 10"'
        )
        yield titled(
            _said(mark),
            f'<path class="none stroke-{lane.colour}" stroke-dasharray="3 3" '
            f'd="M{number(x)} {number(y)}H{number(end)}"/>'
            f'<path class="none stroke-{lane.colour}" {cross}/>',
        )


def _measured(lane: Lane, scale: _Scale, y: float, height: float) -> Iterator[str]:
    ranges = lane.shape is Shape.RANGES
    most = max((lane.most, *(mark.high for mark in lane.marks))) or 1
    least = 0 if ranges else min((mark.low for mark in lane.marks), default=0)

    def at(value: int) -> float:
        return y + height - (height - 4) * (value - least) / max(most - least, 1) - 2

    if lane.marks and lane.name:
        right = MARGIN_PX + _NAMES_PX + scale.width
        for value in (most, least):
            yield text(right + 4, at(value), _short(value), kind="fill-quiet")
        if lane.words:
            yield text(right + 4, y + height / 2, lane.words)
    path = ""
    for mark in lane.marks:
        x = scale.x(mark.start_ms)
        words = f"{_said(mark)}: {mark.low} to {mark.high}" if ranges else f"LSN {mark.high}"
        if ranges:
            tall = max(at(mark.low) - at(mark.high), 3.0)
            width = max(scale.x(mark.end_ms) - x, 3.0)
            shape = (
                f'<rect class="fill-{lane.colour}" x="{number(x - 1)}" y="{number(at(mark.high))}" '
                f'width="{number(width)}" height="{number(tall)}"/>'
            )
        else:
            path += f"H{number(x)}V{number(at(mark.high))}" if path else ""
            path = path or f"M{number(x)} {number(at(mark.low))}V{number(at(mark.high))}"
            shape = (
                f'<circle class="fill-{lane.colour}" cx="{number(x)}" '
                f'cy="{number(at(mark.high))}" r="2"/>'
            )
        yield titled(words, shape)
    if path:
        yield f'<path class="none stroke-{lane.colour}" stroke-width="1.5" d="{path}"/>'


def _short(value: int) -> str:
    """Return a number in at most five characters."""
    for unit in ("", "k", "M", "G", "T", "P"):
        if value < 10_000:  # noqa: PLR2004 - four digits are short enough
            return f"{value}{unit}"
        value //= 1000
    return f"{value}E"


def _flags(lane: Lane, scale: _Scale, top: float, bottom: float) -> Iterator[str]:
    """Yield each as a line; its name is in the first row with room, if there is any."""
    ends = [0.0] * _MOST_FLAG_ROWS
    for mark in lane.marks:
        x = scale.x(mark.start_ms)
        words = _said(mark)
        start = min(x + 3, MARGIN_PX + _NAMES_PX + scale.width + 30 - width_px(words))
        row = next((r for r in range(_MOST_FLAG_ROWS) if ends[r] <= start), None)
        parts = [
            (
                f'<path class="none stroke-{lane.colour}" stroke-width="1.5" '
                f'd="M{number(x)} {number(top - 8)}V{number(bottom)}"/>'
            )
        ]
        if row is not None:
            ends[row] = start + width_px(words) + 8
            middle = top - 12 - LINE_PX * (row + 0.5) + 4
            parts.append(text(start, middle, words, kind=f"fill-{lane.colour}"))
        yield titled(words, *parts)
