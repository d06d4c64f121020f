"""A state machine as what can be drawn of it: states, where it begins and ends, and its edges.

Every picture is made from a `Chart`. That of bootledger is read from the table; an embedder's own
machine is drawn by whoever gives it the method `chart`, or builds a `Chart` from what it has.
`bootledger.diagrams.machine` reads one from a machine of `transitions`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from bootledger.errors import InvalidValue
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

    @property
    def called(self) -> str:
        """What errors call it by: its row."""
        return self.row or f"{self.label(guards=False)} from {self.source} to {self.target}"

    def label(self, *, guards: bool) -> str:
        """Return what stands beside the edge; without `guards`, not what it is refused by."""
        unless = f" unless {', '.join(self.unless)}" if guards and self.unless else ""
        return self.lines(guards=False)[0] + unless

    def lines(self, *, guards: bool) -> tuple[str, ...]:
        """Return the same for where lines must be short: what refuses has lines of its own."""
        when = f" when {self.when}" if self.when is not None else ""
        return (f"{self.event}{when}", *(f"unless {name}" for name in self.unless if guards))


@dataclass(frozen=True)
class Chart:
    """A machine: its states in the order in which they are drawn, its edges in that of the table.

    It begins in `initial`; in the states `final` it is over. `reasons` says of a condition, by its
    name, what it holds for or why it refuses, in one line. Names are free text, which every format
    quotes as it must.

    Raises `InvalidValue` for a name that is empty or cannot be printed (a line end, say), for a
    state that is there twice, and for one that is named but is none of `states`. Whether the
    machine makes sense besides is asked of `bootledger.diagrams.validation`.
    """

    states: tuple[str, ...]
    initial: str
    final: frozenset[str]
    edges: tuple[Edge, ...]
    name: str = "machine"
    reasons: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Check every name."""
        for name in (self.name, *self.states):
            _check_name(name)
        for number, state in enumerate(self.states):
            if state in self.states[:number]:
                raise InvalidValue(f"the state {state!r} is there twice", hint="name it once")
        self._check_known(self.initial, "the initial state")
        for state in sorted(self.final):
            self._check_known(state, "a final state")
        for edge in self.edges:
            for name in (edge.event, *edge.unless, *([] if edge.when is None else [edge.when])):
                _check_name(name)
            self._check_known(edge.source, edge.called)
            self._check_known(edge.target, edge.called)

    def _check_known(self, state: str, where: str) -> None:
        if state not in self.states:
            raise InvalidValue(
                f"{where}: {self.name!r} has no state {state!r}",
                hint=f"its states are {', '.join(self.states)}",
            )

    def conditions(self, *, guards: bool) -> tuple[str, ...]:
        """Return what tells edges apart and, with `guards`, then what refuses; each name once."""
        chosen = [edge.when for edge in self.edges if edge.when is not None]
        refusing = [name for edge in self.edges for name in edge.unless if guards]
        return tuple(dict.fromkeys([*chosen, *refusing]))


class Charted(Protocol):
    """A machine that can be drawn."""

    def chart(self) -> Chart:
        """Return what is to be drawn of it, the same at each call."""


def chart_of_table(rows: Iterable[AnyRow] = TABLE) -> Chart:
    """Return the chart of the bootstrap: of its table, or of other rows over the same states."""
    rows = tuple(rows)
    conditions = [
        condition
        for row in rows
        for condition in (row.when, *row.unless)
        if condition is not always
    ]
    return Chart(
        states=tuple(state.value for state in State),
        initial=State.ABSENT.value,
        final=frozenset(state.value for state in FINAL),
        edges=tuple(
            Edge(
                source=source.value,
                target=row.target.value,
                event=row.kind,
                when=None if row.when is always else row.when.__name__,
                unless=tuple(guard.__name__ for guard in row.unless),
                row=f"row {number} ({row.kind} from {', '.join(row.sources)} to {row.target})",
            )
            for number, row in enumerate(rows, start=1)
            for source in row.sources
        ),
        name="bootstrap",
        reasons={condition.__name__: first_line(condition) for condition in conditions},
    )


def first_line(of: object) -> str:
    """Return the first line of the docstring; empty if there is none."""
    return (inspect.getdoc(of) or "").partition("\n")[0]


def _check_name(name: str) -> None:
    if not name.strip() or not name.isprintable():
        raise InvalidValue(
            f"a chart cannot hold the name {name[:40]!r}",
            hint="names are one line of text that can be printed",
        )
