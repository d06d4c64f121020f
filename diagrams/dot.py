"""A machine as a graph of Graphviz."""

from __future__ import annotations

from bootledger.diagrams.chart import Chart
from bootledger.diagrams.names import identifiers


def dot(chart: Chart, *, guards: bool = True) -> str:
    """Return the machine as the text of a directed graph in DOT.

    It begins at a point; final states have a double border. Each edge is one of its own, with the
    event, the condition that tells it from its siblings, and what may refuse it (left out without
    `guards`). The text is the same at each call and ends with a newline.
    """
    ids = identifiers(chart.states)
    lines = [
        f"digraph {_quoted(chart.name)} {{",
        '    node [shape=box, style=rounded, fontname="sans-serif"]',
        '    edge [fontname="sans-serif", fontsize=10]',
        '    _initial [shape=point, width=0.15, label=""]',  # no identifier begins like that
    ]
    for state, identifier in ids.items():
        border = ", peripheries=2" if state in chart.final else ""
        lines.append(f'    "{identifier}" [label={_quoted(state)}{border}]')
    lines.append(f'    _initial -> "{ids[chart.initial]}"')
    lines += [
        f'    "{ids[edge.source]}" -> "{ids[edge.target]}"'
        f" [label={_quoted(*edge.lines(guards=guards))}]"
        for edge in chart.edges
    ]
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(*lines: str) -> str:
    # In labels a backslash and an ampersand mean something, even within quotes.
    escaped = (
        line.replace("\\", "\\\\").replace("&", "&amp;").replace('"', '\\"') for line in lines
    )
    return '"' + "\\n".join(escaped) + '"'
