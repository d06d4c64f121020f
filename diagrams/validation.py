"""Whether a machine makes sense by its structure alone: asked where a table is defined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bootledger.diagrams.chart import Chart
from bootledger.errors import InvalidValue


@dataclass(frozen=True)
class Problem:
    """What is wrong with a machine, of which `kind`, `where` (a row or a state), and what to do.

    Kinds: `no final`, `unreachable`, `trap`, `no end`, `over`, `overlap`.
    """

    kind: str
    where: str
    message: str
    hint: str


def validated(chart: Chart) -> Chart:
    """Return the chart if it has no problem.

    Raises `InvalidValue` that names every state and row with a problem, and says what to do.
    """
    if found := list(problems(chart)):
        raise InvalidValue(
            f"{chart.name!r} cannot work: " + "; ".join(problem.message for problem in found),
            hint="; ".join(dict.fromkeys(problem.hint for problem in found)),
        )
    return chart


def problems(chart: Chart) -> Iterator[Problem]:
    """Yield what is wrong: states in their order, then rows in theirs.

    - `no final`: it never ends, and nothing is said of traps then
    - `unreachable`: no path from the initial state leads to a state
    - `trap`: a state that is not final has no edge to another one
    - `no end`: it has, but none of its paths leads to a final state
    - `over`: a row leads out of a final state
    - `overlap`: a row is never asked, because one above it with the same source and event always
      applies or has the same `when`
    """
    if not chart.final:
        yield Problem("no final", chart.name, "no state is final", "say where it is over")
    yield from _state_problems(chart)
    yield from _row_problems(chart)


def _state_problems(chart: Chart) -> Iterator[Problem]:
    onward: dict[str, set[str]] = {state: set() for state in chart.states}
    back: dict[str, set[str]] = {state: set() for state in chart.states}
    for edge in chart.edges:
        onward[edge.source].add(edge.target)
        back[edge.target].add(edge.source)
    reachable = _reached(onward, {chart.initial})
    ending = _reached(back, set(chart.final))
    for state in chart.states:
        if state not in reachable:
            yield Problem(
                "unreachable",
                state,
                f"no path leads from {chart.initial!r} to {state!r}",
                "add a row that leads there, or take the state away",
            )
        if not chart.final or state in ending:
            continue
        if onward[state] <= {state}:
            yield Problem(
                "trap",
                state,
                f"no row leads out of {state!r}, and it is not final",
                "add a row that leads on, or let the state be final",
            )
        else:
            yield Problem(
                "no end",
                state,
                f"no path leads from {state!r} to a final state",
                "add a row that leads towards the end",
            )


def _row_problems(chart: Chart) -> Iterator[Problem]:
    above: dict[tuple[str, str, str | None], str] = {}
    for edge in chart.edges:
        if edge.source in chart.final:
            yield Problem(
                "over",
                edge.called,
                f"{edge.called}: leads out of {edge.source!r}, which is final",
                "take the row away, or let the state not be final",
            )
        same = (edge.source, edge.event)
        first = above.get((*same, None)) or above.get((*same, edge.when))
        if first is not None:
            yield Problem(
                "overlap",
                edge.called,
                f"{edge.called}: in {edge.source!r}, {first} decides before it",
                "give each row of one source and event a condition of its own, one without last",
            )
        above.setdefault((*same, edge.when), edge.called)


def _reached(ways: Mapping[str, set[str]], start: set[str]) -> set[str]:
    reached, todo = set(start), list(start)
    while todo:
        new = ways[todo.pop()] - reached
        reached |= new
        todo += new
    return reached
