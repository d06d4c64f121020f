"""A state machine as what can be drawn of it: states, where it begins and ends, and its edges.

Every picture is made from a `Chart`. That of bootledger is read from the table; an embedder's own
machine is drawn by whoever gives it the method `chart`, or builds a `Chart` from what it has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from bootledger.statemachine.progress import FINAL, State
from bootledger.statemachine.table import TABLE, AnyRow, always


@dataclass(frozen=True)
class Edge:
    """In `source`, `event` leads to `target`: if `when` holds, unless something in `unless` does.

    `when` and `unless` are names of conditions; without `when` it always applies. Edges of one row
    of a table share `row`, which is what errors call them by.
    """

    source: str
    target: str
    event: str
    when: str | None = None
    unless: tuple[str, ...] = ()
    row: str = ""


@dataclass(frozen=True)
class Chart:
    """A machine: its states in the order in which they are drawn, its edges in that of the table.

    It begins in `initial`; in the states `final` it is over.
    """

    states: tuple[str, ...]
    initial: str
    final: frozenset[str]
    edges: tuple[Edge, ...]
    name: str = "machine"


class Charted(Protocol):
    """A machine that can be drawn."""

    def chart(self) -> Chart:
        """Return what is to be drawn of it, the same at each call."""


def chart_of_table(rows: Iterable[AnyRow] = TABLE) -> Chart:
    """Return the chart of the bootstrap: of its table, or of other rows over the same states."""
    return Chart(
        states=tuple(State),
        initial=State.ABSENT,
        final=frozenset(FINAL),
        edges=tuple(
            Edge(
                source=source,
                target=row.target,
                event=row.kind,
                when=None if row.when is always else row.when.__name__,
                unless=tuple(guard.__name__ for guard in row.unless),
                row=f"row {number} ({row.kind} from {', '.join(row.sources)} to {row.target})",
            )
            for number, row in enumerate(rows, start=1)
            for source in row.sources
        ),
        name="bootstrap",
    )
