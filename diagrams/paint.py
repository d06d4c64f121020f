"""What is painted over a chart: a history, or how many stand where. Plain values, from anybody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Step(NamedTuple):
    """An edge by what tells it from all others."""

    source: str
    target: str
    event: str
    when: str | None = None


@dataclass(frozen=True)
class Paint:
    """Words for states and edges: those that have any are emphasised, all others recede.

    `crashes` says of a state that somebody died in it. `now` is where it stands, `now_words` how,
    and `now_colour` (one of `svg_text.COLOURS`) whether that is good. `told` is what a reader hears
    who points at a state. `caption`, of one line or several, is written above the picture.
    """

    states: Mapping[str, str] = field(default_factory=dict)
    steps: Mapping[Step, str] = field(default_factory=dict)
    crashes: Mapping[str, str] = field(default_factory=dict)
    now: str | None = None
    now_words: str = ""
    now_colour: str = "ink"
    told: Mapping[str, str] = field(default_factory=dict)
    caption: str = ""
