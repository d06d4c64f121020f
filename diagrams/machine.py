"""The chart of a machine that somebody else built with `transitions`.

It is read by the names of its attributes: nothing of that package is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from bootledger.diagrams.chart import Chart, Edge, first_line
from bootledger.errors import InvalidValue

# What a machine of `transitions` promises, as far as it can be seen from outside.


class _Condition(Protocol):
    @property
    def func(self) -> object: ...
    @property
    def target(self) -> bool: ...


class _Transition(Protocol):
    @property
    def dest(self) -> str | None: ...
    @property
    def conditions(self) -> Sequence[_Condition]: ...


class _Trigger(Protocol):
    @property
    def transitions(self) -> Mapping[str, Sequence[_Transition]]: ...


class _State(Protocol):
    @property
    def final(self) -> bool: ...


class Machine(Protocol):
    """A `transitions.Machine`, or one of its kinds without nested states."""

    @property
    def name(self) -> str:
        """What it is called, possibly nothing."""

    @property
    def states(self) -> Mapping[str, _State]:
        """Its states by name, in order."""

    @property
    def initial(self) -> str | None:
        """The name of the state that a model starts in."""

    @property
    def events(self) -> Mapping[str, _Trigger]:
        """Its triggers by name, in order."""

    @property
    def auto_transitions(self) -> bool:
        """Whether it made a trigger `to_STATE` for every state."""

    @property
    def model_attribute(self) -> str:
        """Where a model keeps its state."""


def chart_of_machine(machine: Machine) -> Chart:
    """Return the chart of a machine of `transitions`, as it is now.

    Conditions have the names of their functions, and their first docstring lines as reasons.
    Several of one transition are one, joined by "and". What stands in `unless` refuses, but where a
    trigger has several transitions out of one state it tells them apart: there `unless=busy` is
    `when not busy`. The triggers `to_STATE`, which a machine makes by itself, are left out.

    Raises `InvalidValue` for nested states, for a machine without an initial state, and for what a
    `Chart` refuses.
    """
    for name, state in machine.states.items():
        if getattr(state, "states", None):
            raise InvalidValue(
                f"the state {name!r} has states of its own, which a chart cannot show",
                hint="build a Chart of what is to be seen",
            )
    if machine.initial is None:
        raise InvalidValue("the machine has no initial state", hint="give it one, or build a Chart")
    automatic = _automatic(machine)
    edges: list[Edge] = []
    reasons: dict[str, str] = {}
    for event, trigger in machine.events.items():
        if event in automatic:
            continue
        for source, siblings in trigger.transitions.items():
            for transition in siblings:
                edges.append(_edge(event, source, transition, alone=len(siblings) == 1))
                reasons |= {
                    _name(condition.func): first_line(condition.func)
                    for condition in transition.conditions
                    if callable(condition.func)
                }
    return Chart(
        states=tuple(machine.states),
        initial=machine.initial,
        final=frozenset(name for name, state in machine.states.items() if state.final),
        edges=tuple(edges),
        # `transitions` ends a name with a colon, for its log.
        name=machine.name.strip().removesuffix(":") or "machine",
        reasons=reasons,
    )


def _edge(event: str, source: str, transition: _Transition, *, alone: bool) -> Edge:
    holding = [_name(c.func) for c in transition.conditions if c.target]
    refusing = [_name(c.func) for c in transition.conditions if not c.target]
    if not alone:
        holding += [f"not {name}" for name in refusing]
    return Edge(
        source=source,
        target=source if transition.dest is None else transition.dest,
        event=event,
        when=" and ".join(holding) or None,
        unless=tuple(refusing) if alone else (),
    )


def _automatic(machine: Machine) -> set[str]:
    if not machine.auto_transitions:
        return set()
    attribute = "" if machine.model_attribute == "state" else f"{machine.model_attribute}_"
    return {f"to_{attribute}{state}" for state in machine.states}


def _name(condition: object) -> str:
    return (
        condition if isinstance(condition, str) else getattr(condition, "__name__", repr(condition))
    )
