"""A machine as State Chart XML (SCXML, a recommendation of the W3C), which other tools can run."""

from __future__ import annotations

import keyword
from xml.sax.saxutils import quoteattr

from bootledger.diagrams.chart import Chart, Edge
from bootledger.diagrams.names import identifiers
from bootledger.errors import InvalidValue

# Conditions are written so that they mean the same in ECMAScript and in Python.
_ECMASCRIPT = """
arguments case catch const debugger default delete do enum eval export extends function implements
in infinity instanceof interface let nan new null package private protected public super switch this
throw typeof undefined var void
"""
_RESERVED = frozenset([*_ECMASCRIPT.split(), *map(str.lower, keyword.kwlist)])


def scxml(chart: Chart, *, guards: bool = True) -> str:
    """Return the machine as an SCXML document.

    Conditions are data, by name: 1 for what tells edges apart, 0 for what refuses (left out without
    `guards`), until the tool that runs it says otherwise; of edges that hold, the first one is
    taken. What is no XML name is called `n1`, `n2` and so on, with its own name beside it in the
    attribute `chart:called`. The text is the same at each call and ends with a newline.

    Raises `InvalidValue` for an edge out of a final state, which SCXML cannot express.
    """
    states = identifiers(chart.states)
    events = identifiers((edge.event for edge in chart.edges), prefix="e")
    # States and data share one space of names.
    taken = _RESERVED | {name.lower() for name in states.values()}
    conditions = identifiers(chart.conditions(guards=guards), prefix="c", reserved=taken)
    chosen = chart.conditions(guards=False)
    attributes = (
        'xmlns="http://www.w3.org/2005/07/scxml" xmlns:chart="urn:bootledger:chart" version="1.0"'
        f' datamodel="ecmascript" initial="{states[chart.initial]}"{_called(chart.name, "")}'
    )
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<scxml {attributes}>"]
    if conditions:
        lines.append("  <datamodel>")
        lines += [
            f'    <data id="{identifier}" expr="{int(name in chosen)}"{_called(name, identifier)}/>'
            for name, identifier in conditions.items()
        ]
        lines.append("  </datamodel>")
    for state, identifier in states.items():
        edges = [edge for edge in chart.edges if edge.source == state]
        if state in chart.final:
            _check_over(edges)
            lines.append(f'  <final id="{identifier}"{_called(state, identifier)}/>')
            continue
        lines.append(f'  <state id="{identifier}"{_called(state, identifier)}>')
        lines += [
            f'    <transition event="{events[edge.event]}"'
            f"{_condition(edge, conditions, guards=guards)}"
            f' target="{states[edge.target]}"{_called(edge.event, events[edge.event])}/>'
            for edge in edges
        ]
        lines.append("  </state>")
    return "\n".join([*lines, "</scxml>"]) + "\n"


def _condition(edge: Edge, names: dict[str, str], *, guards: bool) -> str:
    chosen = [] if edge.when is None else [f"{names[edge.when]} == 1"]
    refusing = [f"{names[name]} == 0" for name in edge.unless if guards]
    condition = " && ".join([*chosen, *refusing])
    return f" cond={quoteattr(condition)}" if condition else ""


def _called(name: str, identifier: str) -> str:
    return "" if name == identifier else f" chart:called={quoteattr(name)}"


def _check_over(edges: list[Edge]) -> None:
    for edge in edges:
        raise InvalidValue(
            f"{edge.called}: SCXML has no way out of the final state {edge.source!r}",
            hint="take the edge away, or let the state not be final",
        )
