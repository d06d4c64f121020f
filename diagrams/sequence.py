"""Who did what with whom, one after the other: as Mermaid text and as SVG.

It knows nothing of what it shows: whoever has a story hands it over as steps.
"""

from __future__ import annotations

import enum
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bootledger.diagrams.layout import MARGIN_PX
from bootledger.diagrams.names import escaped
from bootledger.diagrams.svg_text import LINE_PX, document, number, text, titled, widest_px

_LANE_PX = 250.0
_HEAD_PX = 26.0
_WIDE = 34
"""How many characters a line of words may have between two lanes."""


class Kind(enum.Enum):
    """What a step is."""

    CALL = enum.auto()
    """One asks another, who answers."""
    LOST = enum.auto()
    """One asks another and never hears of it."""
    NOTE = enum.auto()
    """Something happens at one."""
    LIFE = enum.auto()
    """A new life begins: a line across, with its name."""
    DEATH = enum.auto()
    """One dies."""
    WRONG = enum.auto()
    """What came of it is wrong."""
    RIGHT = enum.auto()
    """What came of it is as it must be."""


@dataclass(frozen=True)
class Step:
    """One thing that happened: `words`, from `source` to `target` (both the same but for calls)."""

    kind: Kind
    words: str
    source: str
    target: str


def mermaid_sequence(lanes: Sequence[str], steps: Sequence[Step]) -> str:
    """Return the steps as the text of a Mermaid `sequenceDiagram`."""
    ids = {lane: f"lane{place}" for place, lane in enumerate(lanes)}
    over = f"{ids[lanes[0]]},{ids[lanes[-1]]}"
    lines = ["sequenceDiagram"]
    lines += [f"    participant {ids[lane]} as {_escape(lane)}" for lane in lanes]
    for step in steps:
        words = _escape(step.words)
        source, target = ids[step.source], ids[step.target]
        match step.kind:
            case Kind.CALL:
                lines.append(f"    {source}->>{target}: {words}")
            case Kind.LOST:
                lines.append(f"    {source}-x{target}: {words}")
            case Kind.NOTE:
                lines.append(f"    Note over {source}: {words}")
            case Kind.DEATH:
                lines.append(f"    Note over {source}: {_escape('✗ ' + step.words)}")
            case Kind.LIFE | Kind.WRONG | Kind.RIGHT:
                lines.append(f"    Note over {over}: {words}")
    return "\n".join(lines) + "\n"


def _escape(words: str) -> str:
    return escaped(words, lambda mark: f"#{ord(mark)};")


def svg_sequence(title: str, lanes: Sequence[str], steps: Sequence[Step]) -> str:
    """Return the steps as the text of an SVG document, from top to bottom."""
    places = {lane: MARGIN_PX + _LANE_PX * (at + 0.5) for at, lane in enumerate(lanes)}
    headings = textwrap.wrap(title, 120) or [""]
    y = top = MARGIN_PX + len(headings) * LINE_PX + _HEAD_PX + 8
    body: list[str] = []
    for step in steps:
        drawn, height = _step(step, places, y)
        body += drawn
        y += height
    width = max(len(lanes) * _LANE_PX, widest_px(headings)) + 2 * MARGIN_PX
    parts = [
        *(
            text(MARGIN_PX, MARGIN_PX + at * LINE_PX, line, kind="fill-ink bold")
            for at, line in enumerate(headings)
        ),
        *_lanes(places, top, y),
        *body,
    ]
    return "\n".join(document(width, y + MARGIN_PX, title, "Who did what", parts)) + "\n"


def _lanes(places: dict[str, float], top: float, bottom: float) -> Iterator[str]:
    for lane, x in places.items():
        yield (
            f'<path class="none stroke-line" stroke-dasharray="2 4" '
            f'd="M{number(x)} {number(top)}V{number(bottom)}"/>'
            f'<rect class="fill-box stroke-ink" x="{number(x - 60)}" '
            f'y="{number(top - _HEAD_PX)}" width="120" height="{number(_HEAD_PX - 4)}" rx="6"/>'
        )
        yield text(x, top - _HEAD_PX / 2 - 2, lane, kind="fill-ink bold", anchor="middle")


def _step(step: Step, places: dict[str, float], y: float) -> tuple[list[str], float]:
    """Return what a step looks like at `y`, and how high it is."""
    if step.kind in {Kind.LIFE, Kind.WRONG, Kind.RIGHT}:
        return _across(step, places, y)
    lines = textwrap.wrap(step.words, _WIDE) or [""]
    height = len(lines) * LINE_PX
    source, target = places[step.source], places[step.target]
    if source == target:
        return _at_one(step, lines, source, y), height + 10
    middle, arrow = (source + target) / 2, y + height + 5
    back = -8 if target > source else 8
    colour = "red" if step.kind is Kind.LOST else "blue"
    dashes = ' stroke-dasharray="5 4"' if step.kind is Kind.LOST else ""
    end = middle if step.kind is Kind.LOST else target
    head = (
        f'<path class="none stroke-red" stroke-width="2" '
        f'd="M{number(end - 4)} {number(arrow - 4)}l8 8m0 -8l-8 8"/>'
        if step.kind is Kind.LOST
        else f'<path class="fill-{colour}" d="M{number(end)} {number(arrow)}l{back} -4v8z"/>'
    )
    paper = _paper(middle, y, widest_px(lines), height)
    shaft = (
        f'<path class="none stroke-{colour}"{dashes} '
        f'd="M{number(source)} {number(arrow)}H{number(end)}"/>'
    )
    words = _words(lines, middle, y, "fill-ink")
    return [titled(step.words, paper, shaft, head, *words)], height + 16


def _at_one(step: Step, lines: Sequence[str], x: float, y: float) -> list[str]:
    height = len(lines) * LINE_PX
    if step.kind is Kind.DEATH:
        cross = (
            f'<path class="none stroke-red" stroke-width="3" '
            f'd="M{number(x - 8)} {number(y)}l16 16m0 -16l-16 16"/>'
        )
        left = x + 16
        words = [
            text(left, y + LINE_PX * (at + 0.5), line, kind="fill-red bold")
            for at, line in enumerate(lines)
        ]
        return [cross, *words]
    paper = _paper(x, y, widest_px(lines), height)
    return [titled(step.words, paper, *_words(lines, x, y, "fill-quiet"))]


def _across(step: Step, places: dict[str, float], y: float) -> tuple[list[str], float]:
    first, last = min(places.values()) - 90, max(places.values()) + 90
    lines = textwrap.wrap(step.words, 100) or [""]
    height = len(lines) * LINE_PX + 8
    colour = {Kind.LIFE: "ink", Kind.WRONG: "red", Kind.RIGHT: "green"}[step.kind]
    frame = (
        f'<rect class="fill-box stroke-{colour}" x="{number(first)}" y="{number(y + 4)}" '
        f'width="{number(last - first)}" height="{number(height)}" rx="4"/>'
    )
    words = _words(lines, (first + last) / 2, y + 8, f"fill-{colour} bold")
    return [frame, *words], height + 14


def _paper(middle: float, y: float, width: float, height: float) -> str:
    return (
        f'<rect class="fill-paper" x="{number(middle - width / 2 - 3)}" y="{number(y)}" '
        f'width="{number(width + 6)}" height="{number(height)}"/>'
    )


def _words(lines: Sequence[str], middle: float, y: float, kind: str) -> list[str]:
    return [
        text(middle, y + LINE_PX * (at + 0.5), line, kind=kind, anchor="middle")
        for at, line in enumerate(lines)
    ]
