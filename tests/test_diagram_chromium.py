"""What a browser makes of the pictures: read out of its document, on light and on dark."""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from consumers import needs
from pictures import PLACE
from test_diagram_svg import large, texts

from bootledger.diagrams.layout import Box
from bootledger.diagrams.svg import svg

CHROMIUM = [
    "chromium",
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--virtual-time-budget=2000"),
]
ASK = """
const shown = [...document.querySelectorAll("text")].map((text) => {
  const {x, y, width, height} = text.getBoundingClientRect();
  return [text.textContent, getComputedStyle(text).fill, x, y, width, height];
});
const paper = getComputedStyle(document.querySelector("svg > rect")).fill;
const seen = document.createElement("pre");
seen.id = "seen";
seen.textContent = btoa(unescape(encodeURIComponent(JSON.stringify([paper, shown]))));
document.body.append(seen);
"""


class Seen(NamedTuple):
    """A picture in a browser: the colour of its paper, and each text with its colour and place."""

    paper: str
    texts: list[tuple[str, str, Box]]


def browser_sees(picture: str, place: Path, *, dark: bool) -> Seen:
    """Show a picture to Chromium and return what it drew."""
    page = place / "page.html"
    page.write_text(f"<meta charset=utf-8><body>{picture}<script>{ASK}</script></body>")
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    profile = f"--user-data-dir={place / 'profile'}"
    done = subprocess.run(
        [*CHROMIUM, profile, *scheme, "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = done.stdout.partition('<pre id="seen">')[2].partition("</pre>")[0]
    paper, shown = json.loads(base64.b64decode(found))
    return Seen(paper, [(words, fill, Box(*place)) for words, fill, *place in shown])


def brightness(colour: str) -> float:
    """How bright an `rgb(...)` is, from 0 to 255."""
    red, green, blue = (int(part) for part in colour[4:-1].split(","))
    return 0.299 * red + 0.587 * green + 0.114 * blue


@needs("chromium")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["bootstrap", "history", "timeline", "counterexample", "hundred"])
def test_a_browser_draws_every_word_apart_and_readable(
    name: str, dark: bool, tmp_path: Path
) -> None:
    """Every text is there, none lies on another, and all stand out from the paper behind them."""
    picture = svg(large(100)) if name == "hundred" else (PLACE / f"{name}.svg").read_text()
    seen = browser_sees(picture, tmp_path, dark=dark)
    assert [words for words, *_ in seen.texts] == texts(picture)
    assert (brightness(seen.paper) < 128) == dark
    for words, fill, box in seen.texts:
        assert box.width > 0, words
        assert abs(brightness(fill) - brightness(seen.paper)) > 70, words
    for (words, _, one), (others, _, other) in itertools.combinations(seen.texts, 2):
        # Lines of one label touch: a font is a little higher than its letters.
        inner = Box(one.x, one.y + 1.5, one.width, one.height - 3)
        assert not inner.overlaps(other), (words, others)
