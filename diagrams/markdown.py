"""A machine as a table in Markdown: what may happen where, and why it may be refused."""

from __future__ import annotations

from collections.abc import Iterable

from bootledger.diagrams.chart import Chart, Edge
from bootledger.diagrams.names import PLAIN, escaped


def markdown(chart: Chart, *, guards: bool = True) -> str:
    """Return where the machine begins and ends, its transitions, and what its conditions mean.

    Without `guards`, what may refuse an event is left out. The text is the same at each call and
    ends with a newline.
    """
    final = [_text(state) for state in chart.states if state in chart.final]
    ends = f"is over in {' and '.join(final)}" if final else "never ends"
    said = reason_list(chart, chart.conditions(guards=guards))
    parts = [
        f"It begins in {_text(chart.initial)} and {ends}.\n",
        transition_table(chart, guards=guards),
    ]
    return "\n".join([*parts, said] if said else parts)


def transition_table(chart: Chart, *, guards: bool = True) -> str:
    """Return the transitions, one line for each row of the table that the edges come from."""
    headings = ["event", "from", "to", "when", *(["refused by"] if guards else [])]
    lines = [headings, ["---"] * len(headings)]
    for edges in _rows(chart.edges):
        edge = edges[0]
        sources = ", ".join(_text(source) for source in dict.fromkeys(e.source for e in edges))
        cells = [_text(edge.event), sources, _text(edge.target)]
        cells.append("" if edge.when is None else _code(edge.when))
        if guards:
            cells.append(", ".join(_code(name) for name in edge.unless))
        lines.append(cells)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def reason_list(chart: Chart, names: Iterable[str]) -> str:
    """Return a list of what the chart says of the conditions with these names, if it does."""
    return "".join(
        f"- {_code(name)}: {chart.reasons[name]}\n" for name in names if chart.reasons.get(name)
    )


def _rows(edges: Iterable[Edge]) -> list[list[Edge]]:
    rows: dict[tuple[object, ...], list[Edge]] = {}
    for number, edge in enumerate(edges):
        named = (edge.row, edge.event, edge.target, edge.when, edge.unless)
        rows.setdefault(named if edge.row else (number,), []).append(edge)
    return list(rows.values())


def _code(name: str) -> str:
    return f"`{name}`" if PLAIN.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    return escaped(text, lambda mark: f"\\{mark}")
