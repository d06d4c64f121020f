"""Anybody's machine of `transitions` is drawn as it is."""

from __future__ import annotations

import enum
import re
import subprocess
import sys
from pathlib import Path

import pytest
from consumers import graphviz_sees, needs
from test_diagram_svg import texts
from transitions import Machine
from transitions.extensions import HierarchicalMachine, LockedMachine

from bootledger.diagrams.chart import Chart, Edge, chart_of_table
from bootledger.diagrams.machine import chart_of_machine
from bootledger.diagrams.mermaid import mermaid
from bootledger.diagrams.validation import problems, validated
from bootledger.errors import InvalidValue
from bootledger.statemachine import live
from bootledger.statemachine.table import TABLE


def full() -> bool:
    """Hold if nothing more fits.

    What follows is no part of the reason.
    """
    return False


class Lid:
    """A model with conditions as methods, by name and by reference."""

    def closed(self) -> bool:
        """Hold while the lid is on."""
        return True


def kettle() -> Machine:
    """A machine with all that a machine can have."""
    lid = Lid()
    return Machine(
        lid,
        states=["cold", "boiling hot", {"name": "done", "final": True}],
        initial="cold",
        name="kettle",
        transitions=[
            ["fill", "cold", None],
            {"trigger": "heat", "source": "cold", "dest": "boiling hot", "unless": full},
            {
                "trigger": "heat",
                "source": "boiling hot",
                "dest": "done",
                "conditions": [lid.closed, "hot"],
            },
            {"trigger": "heat", "source": "boiling hot", "dest": "=", "unless": "hot"},
            ["pour", "*", "done"],
        ],
    )


def test_a_machine_is_read_as_it_was_built() -> None:
    """States, ends, triggers and conditions; an internal transition stays where it is."""
    chart = chart_of_machine(kettle())
    assert chart == Chart(
        states=("cold", "boiling hot", "done"),
        initial="cold",
        final=frozenset({"done"}),
        edges=(
            Edge("cold", "cold", "fill"),
            Edge("cold", "boiling hot", "heat", unless=("full",)),
            Edge("boiling hot", "done", "heat", when="closed and hot"),
            Edge("boiling hot", "boiling hot", "heat", when="not hot"),
            Edge("cold", "done", "pour"),
            Edge("boiling hot", "done", "pour"),
            Edge("done", "done", "pour"),
        ),
        name="kettle",
        reasons={"full": "Hold if nothing more fits.", "closed": "Hold while the lid is on."},
    )
    assert 'state "boiling hot" as n2' in mermaid(chart)
    assert [problem.kind for problem in problems(chart)] == ["over"]


def test_our_own_machine_has_the_shape_of_the_table() -> None:
    """The live machine, which decides by functions of its own, goes where the table goes."""
    shape = chart_of_machine(live._MACHINE)
    table = chart_of_table(TABLE)
    assert (shape.states, shape.initial, shape.final) == (table.states, table.initial, table.final)
    assert sorted((e.source, e.event, e.target) for e in shape.edges) == sorted(
        (e.source, e.event, e.target) for e in table.edges
    )


class Light(enum.Enum):
    """States as members."""

    RED = 1
    GREEN = 2


@pytest.mark.parametrize("attribute", ["state", "colour"])
def test_what_a_machine_makes_by_itself_is_left_out(attribute: str) -> None:
    """The triggers `to_STATE` are noise in a picture, wherever a model keeps its state."""
    machine = LockedMachine(
        states=Light,
        initial=Light.RED,
        transitions=[["go", "RED", "GREEN"]],
        model_attribute=attribute,
    )
    chart = chart_of_machine(machine)
    assert chart.initial == "RED"
    assert chart.edges == (Edge("RED", "GREEN", "go"),)
    by_hand = Machine(states=["a"], initial="a", auto_transitions=False)
    by_hand.add_transition("to_a", "a", "a")
    assert chart_of_machine(by_hand).edges == (Edge("a", "a", "to_a"),)


def test_what_a_chart_cannot_show_is_refused() -> None:
    """Nested states, and a machine that begins nowhere."""
    nested = HierarchicalMachine(states=[{"name": "a", "children": ["b"]}], initial="a")
    with pytest.raises(InvalidValue, match="'a' has states of its own"):
        chart_of_machine(nested)
    with pytest.raises(InvalidValue, match="no initial state"):
        chart_of_machine(Machine(None, states=["a"], initial=None))


def test_a_machine_may_be_judged_where_it_is_built() -> None:
    """`validated` returns the chart of a sound one, and names what is wrong with another."""
    machine = Machine(
        states=["a", "b", {"name": "c", "final": True}],
        initial="a",
        transitions=[["go", "a", "c"]],
        auto_transitions=False,
    )
    with pytest.raises(InvalidValue, match="no path leads from 'a' to 'b'") as refused:
        validated(chart_of_machine(machine))
    assert "add a row that leads there" in refused.value.hint
    machine.add_transition("turn", "a", "b")
    machine.add_transition("turn", "b", "c")
    chart = chart_of_machine(machine)
    assert validated(chart) is chart


def example(number: int) -> str:
    """What an example of docs/diagrams.md prints as it stands."""
    page = Path(__file__).parent.parent / "docs" / "diagrams.md"
    code = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)[number]
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


def test_the_example_by_hand_draws_its_machine() -> None:
    """Its states and edges are written in the picture."""
    assert sorted(texts(example(1))) == ["open", "push", "sell", "shut", "sold"]


@needs("dot")
def test_the_example_of_the_page_draws_a_machine() -> None:
    """What docs/diagrams.md shows runs as it stands, and Graphviz draws what it prints."""
    assert graphviz_sees(example(0)).edges == [
        ("idle", "printing", "print unless out_of_paper"),
        ("idle", "switched off", "switch off"),
        ("printing", "idle", "finish"),
    ]
