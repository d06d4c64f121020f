"""Writes the generated part of docs/states.md from the code: `python tests/states_page.py`."""

from __future__ import annotations

import ast
import inspect
import itertools
from pathlib import Path

from bootledger.diagrams.chart import chart_of_table
from bootledger.diagrams.markdown import reason_list, transition_table
from bootledger.diagrams.mermaid import mermaid
from bootledger.statemachine import progress
from bootledger.statemachine.progress import State

PAGE = Path(__file__).parent.parent / "docs" / "states.md"
CHART = chart_of_table()
MARK = "<!-- Everything below is generated: make pages -->\n"


def current_page() -> str:
    """Return what docs/states.md must be: its words as they are, then what the code says now."""
    words, mark, _ = PAGE.read_text().partition(MARK)
    assert mark, f"{PAGE} has lost its mark"
    parts = [_diagram(), _states(), _transitions(), _guards()]
    return words + MARK + "\n" + "\n".join(parts)


def _diagram() -> str:
    return f"## The machine\n\n```mermaid\n{mermaid(CHART, guards=False)}```\n"


def _states() -> str:
    lines = ["## What is true in each state", ""]
    for state, words in state_docstrings().items():
        lines += [f"**`{state}`**: {words}", ""]
    return "\n".join(lines)


def _transitions() -> str:
    chosen = reason_list(CHART, CHART.conditions(guards=False))
    return "\n".join(["## What may happen", "", transition_table(CHART), chosen])


def _guards() -> str:
    refusing = dict.fromkeys(name for edge in CHART.edges for name in edge.unless)
    return f"## Why an event is refused\n\n{reason_list(CHART, refusing)}"


def state_docstrings() -> dict[State, str]:
    """Return the string that stands under each member of `State`, on one line."""
    tree = ast.parse(inspect.getsource(progress))
    body = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "State").body
    found = {}
    for member, text in itertools.pairwise(body):
        match member, text:
            case (
                ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(words))),
            ):
                found[State[name]] = " ".join(words.split())
    return found


if __name__ == "__main__":
    PAGE.write_text(current_page())
