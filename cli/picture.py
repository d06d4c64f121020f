"""The machine in a few lines of text: its states, how many intents stand in each, and the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text

from bootledger.diagrams.chart import Chart

_HERE = "reverse bold"
_NOBODY = "dim"


def way_forward(chart: Chart) -> tuple[str, ...]:
    """Return the happy path: the longest way to the first final state that never goes back.

    Forward is the order in which the states are drawn. Only the initial state if there is none.
    """
    order = {state: number for number, state in enumerate(chart.states)}
    longest: dict[str, tuple[str, ...]] = {chart.initial: (chart.initial,)}
    for state in chart.states:
        for edge in chart.edges:
            known = longest.get(edge.source, ())
            if known and edge.target == state and order[edge.source] < order[state]:
                longest[state] = max(longest.get(state, ()), (*known, state), key=len)
    ends = [state for state in chart.states if state in chart.final]
    return next((longest[end] for end in ends if end in longest), (chart.initial,))


def picture(
    chart: Chart, present: Mapping[str, Sequence[str]], *, width: int, ascii_only: bool = False
) -> Text:
    """Return the states of a chart with who is `present` in each: a row, or what fits `width`.

    The happy path is drawn from left to right, what lies aside of it below; where the row has no
    room, one state a line with the names. Nothing depends on colour: who is there is counted.
    """
    begin, arrow, here = ("(*)", "->", ">") if ascii_only else ("●", "─▶", "▶")
    way = [state for state in way_forward(chart) if state != chart.initial]
    aside = [state for state in chart.states if state not in way and state != chart.initial]
    row = Text(arrow).join([Text(begin), *(_box(state, present) for state in way)])
    if row.cell_len <= width:
        below = Text("   ").join(_box(state, present) for state in aside)
        return Text("\n").join([row, Text(" " * (len(begin) + len(arrow))) + below])
    lines = []
    for state in (*way, *aside):
        names = present.get(state, ())
        line = Text(f"{here if names else ' '} {state} ", style=_HERE if names else _NOBODY)
        if names:
            line.append(f" {len(names)}: {', '.join(names)}", style="not reverse")
        line.truncate(width, overflow="crop" if ascii_only else "ellipsis")
        lines.append(line)
    return Text("\n").join(lines)


def _box(state: str, present: Mapping[str, Sequence[str]]) -> Text:
    names = present.get(state, ())
    if not names:
        return Text(f" {state} ", style=_NOBODY)
    return Text(f"[{state} {len(names)}]", style=_HERE)
