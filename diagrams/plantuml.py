"""A machine as a PlantUML state diagram."""

from __future__ import annotations

from bootledger.diagrams.chart import Chart, Edge
from bootledger.diagrams.names import escaped, identifiers


def plantuml(chart: Chart, *, guards: bool = True) -> str:
    """Return the machine as the text of a PlantUML state diagram.

    Each edge is one of its own, with the event, the condition that tells it from its siblings, and
    what may refuse it (left out without `guards`). The text is the same at each call and ends with
    a newline.
    """
    ids = identifiers(chart.states)
    lines = ["@startuml", "hide empty description"]
    lines += [f'state "{_escaped(state)}" as {ids[state]}' for state in chart.states]
    lines.append(f"[*] --> {ids[chart.initial]}")
    lines += [
        f"{ids[edge.source]} --> {ids[edge.target]} : {_label(edge, guards=guards)}"
        for edge in chart.edges
    ]
    lines += [f"{ids[state]} --> [*]" for state in chart.states if state in chart.final]
    return "\n".join([*lines, "@enduml"]) + "\n"


def _label(edge: Edge, *, guards: bool) -> str:
    return "\\n".join(_escaped(line) for line in edge.lines(guards=guards))


def _escaped(text: str) -> str:
    return escaped(text, lambda mark: f"<U+{ord(mark):04X}>")
