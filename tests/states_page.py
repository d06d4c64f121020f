"""Writes the generated part of docs/states.md from the code: `python tests/states_page.py`."""

from __future__ import annotations

import ast
import inspect
import itertools
from pathlib import Path

from bootledger.diagrams.mermaid import state_diagram
from bootledger.statemachine import progress
from bootledger.statemachine.progress import State
from bootledger.statemachine.table import TABLE, always, continues, opens

PAGE = Path(__file__).parent.parent / "docs" / "states.md"
MARK = "<!-- Everything below is generated: make pages -->\n"


def current_page() -> str:
    """Return what docs/states.md must be: its words as they are, then what the code says now."""
    words, mark, _ = PAGE.read_text().partition(MARK)
    assert mark, f"{PAGE} has lost its mark"
    parts = [_diagram(), _states(), _transitions(), _guards()]
    return words + MARK + "\n" + "\n".join(parts)


def _diagram() -> str:
    return f"## The machine\n\n```mermaid\n{state_diagram(guards=False)}```\n"


def _states() -> str:
    lines = ["## What is true in each state", ""]
    for state, words in state_docstrings().items():
        lines += [f"**`{state}`**: {words}", ""]
    return "\n".join(lines)


def _transitions() -> str:
    lines = [
        "## What may happen",
        "",
        "| event | from | to | when | refused by |",
        "|---|---|---|---|---|",
    ]
    for row in TABLE:
        sources = ", ".join(row.sources)
        when = "" if row.when is always else f"`{row.when.__name__}`"
        unless = ", ".join(f"`{guard.__name__}`" for guard in row.unless)
        lines.append(f"| {row.kind} | {sources} | {row.target} | {when} | {unless} |")
    lines.append("")
    lines += [f"- `{when.__name__}`: {_first_line(when.__doc__)}" for when in (opens, continues)]
    return "\n".join([*lines, ""])


def _guards() -> str:
    guards = dict.fromkeys(guard for row in TABLE for guard in row.unless)
    lines = ["## Why an event is refused", ""]
    lines += [f"- `{guard.__name__}`: {_first_line(guard.__doc__)}" for guard in guards]
    return "\n".join([*lines, ""])


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


def _first_line(docstring: str | None) -> str:
    assert docstring
    return docstring.splitlines()[0]


if __name__ == "__main__":
    PAGE.write_text(current_page())
