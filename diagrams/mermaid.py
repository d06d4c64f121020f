"""A machine as a Mermaid state diagram."""

from __future__ import annotations

from collections import defaultdict

from bootledger.diagrams.chart import Chart
from bootledger.diagrams.names import escaped, identifiers

_WORDS = """
accdescr acctitle class classdef click default end href note root_end root_start scale state
statediagram style
"""
_KEYWORDS = frozenset(_WORDS.split())
_BREAK = "<br/>"  # ends a line within a label


def mermaid(chart: Chart, *, guards: bool = True) -> str:
    """Return the machine as the text of a Mermaid `stateDiagram-v2`.

    Each edge is a line of a label: the event, the condition that tells it from its siblings, and
    what may refuse it (left out without `guards`). Edges between the same two states are drawn as
    one, because Mermaid draws edges from a state to itself on top of each other. The text is the
    same at each call and ends with a newline.
    """
    ids = identifiers(chart.states, reserved=_KEYWORDS)
    labels: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for edge in chart.edges:
        labels[edge.source, edge.target].append(_escaped(edge.label(guards=guards)))
    named = {chart.initial, *chart.final, *(state for pair in labels for state in pair)}
    lines = ["stateDiagram-v2"]
    for state, identifier in ids.items():
        if identifier != state:
            lines.append(f'    state "{_escaped(state)}" as {identifier}')
        elif state not in named:
            lines.append(f"    {identifier}")
    lines.append(f"    [*] --> {ids[chart.initial]}")
    lines += [
        f"    {ids[source]} --> {ids[target]} : {_BREAK.join(lines_of_label)}"
        for (source, target), lines_of_label in labels.items()
    ]
    lines += [f"    {ids[state]} --> [*]" for state in chart.states if state in chart.final]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return escaped(text, lambda mark: f"#{ord(mark)};")
