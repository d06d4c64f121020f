"""What every SVG of ours is written with: text of a known width, numbers, and both sets of colours.

Text is set in the reader's own monospaced font, so its width is known without one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from bootledger.diagrams.layout import MARGIN_PX

LINE_PX = 15.0
FONT_PX = 11.0
_ADVANCE = 0.62
"""Of the font's size, how wide a character is at most in the common fonts of one width."""

_LIGHT = {
    "paper": "#ffffff",
    "ink": "#1f2328",
    "quiet": "#59636e",
    "line": "#818b98",
    "box": "#f6f8fa",
    "visited": "#ddf4ff",
    "blue": "#0969da",
    "red": "#cf222e",
    "green": "#1a7f37",
    "amber": "#9a6700",
    "violet": "#8250df",
}
_DARK = {
    "paper": "#0d1117",
    "ink": "#e6edf3",
    "quiet": "#9198a1",
    "line": "#6e7681",
    "box": "#161b22",
    "visited": "#12304f",
    "blue": "#58a6ff",
    "red": "#ff7b72",
    "green": "#56d364",
    "amber": "#e3b341",
    "violet": "#bc8cff",
}
COLOURS = tuple(_LIGHT)
"""The names of the colours: `fill-NAME` and `stroke-NAME` are classes of every picture."""

_FONT = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace"


def document(
    width: float, height: float, title: str, words: str, body: Iterable[str]
) -> Iterator[str]:
    """Yield the lines of a whole picture; `title` and `words` say what it shows."""
    size = f"{number(width)} {number(height)}"
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" '
        f'width="{number(width)}" height="{number(height)}" role="img">'
    )
    yield f"<title>{escape(title)}</title>"
    yield f"<desc>{escape(words)}</desc>"
    yield "<style>"
    yield f"text {{ font: {number(FONT_PX)}px {_FONT}; white-space: pre; }}"
    yield ".none { fill: none; } .bold { font-weight: 700; } .faint { opacity: 0.45; }"
    yield from _rules(_LIGHT)
    yield "@media (prefers-color-scheme: dark) {"
    yield from _rules(_DARK)
    yield ".faint { opacity: 0.6; }"
    yield "}"
    yield "</style>"
    yield '<rect class="fill-paper" width="100%" height="100%"/>'
    yield from body
    yield "</svg>"


def _rules(colours: dict[str, str]) -> Iterator[str]:
    for name, colour in colours.items():
        yield f".fill-{name} {{ fill: {colour}; }} .stroke-{name} {{ stroke: {colour}; }}"


def number(value: float) -> str:
    """Return a length as text: to a tenth of a pixel, without what says nothing."""
    return f"{value:.1f}".removesuffix(".0").replace("-0", "0") if value > -1 else f"{value:.1f}"


def width_px(text: str) -> float:
    """Return how wide a line is at most: marks take no room, wide letters two places."""
    places = sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
    return places * FONT_PX * _ADVANCE


def widest_px(lines: Sequence[str]) -> float:
    """Return how wide the longest of the lines is, 0 for none."""
    return max(map(width_px, lines), default=0.0)


def text(x: float, y: float, words: str, *, kind: str = "fill-ink", anchor: str = "start") -> str:
    """Return a line of text whose middle is at `y`; at `x` it starts, or has its `anchor`."""
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return (
        f'<text class="{kind}" x="{number(x)}" y="{number(y + FONT_PX * 0.35)}"{where}>'
        f"{escape(words, quote=False)}</text>"
    )


def heading(words: str) -> Iterator[str]:
    """Yield what stands above a picture, line by line: the first one is the title."""
    for place, line in enumerate(words.splitlines()):
        kind = "fill-quiet" if place else "fill-ink bold"
        yield text(MARGIN_PX, MARGIN_PX + place * LINE_PX, line, kind=kind)


def titled(words: str, *parts: str) -> str:
    """Return parts as one, of which a reader who points at it is told `words`."""
    return f"<g><title>{escape(words, quote=False)}</title>{''.join(parts)}</g>"
