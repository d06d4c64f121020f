"""The pictures are the table's: nothing is drawn by hand, nothing is left out."""

from __future__ import annotations

import re

import pytest
from states_page import PAGE, current_page, state_docstrings

from bootledger.diagrams.mermaid import state_diagram
from bootledger.statemachine.progress import FINAL, State
from bootledger.statemachine.table import TABLE, always

EDGE = re.compile(r"    (?P<source>\w+) --> (?P<target>\w+) : (?P<labels>[^:;\n]+)")
LABEL = re.compile(r"(?P<kind>\w+)(?: when (?P<when>\w+))?(?: unless (?P<unless>[\w, ]+))?")


def edges(text: str) -> list[tuple[str, ...]]:
    """Read a diagram back: source, target, event, condition and guards of every line of a label."""
    found = []
    for line in text.splitlines():
        if edge := EDGE.fullmatch(line):
            for label in edge["labels"].split("<br/>"):
                parts = LABEL.fullmatch(label)
                assert parts, f"not a label: {label!r}"
                found.append((edge["source"], edge["target"], *parts.groups(default="")))
    return found


def expanded(*, guards: bool) -> list[tuple[str, ...]]:
    """The table, one tuple for each row and source."""
    return [
        (
            source.value,
            row.target.value,
            row.kind,
            "" if row.when is always else row.when.__name__,
            ", ".join(guard.__name__ for guard in row.unless if guards),
        )
        for row in TABLE
        for source in row.sources
    ]


@pytest.mark.parametrize("guards", [True, False])
def test_the_edges_are_the_rows(guards: bool) -> None:
    """Each row is drawn once for each source, with condition and guards, and nothing else is."""
    assert sorted(edges(state_diagram(guards=guards))) == sorted(expanded(guards=guards))


def test_the_ends_are_drawn_as_ends() -> None:
    """The diagram starts at the absent state, and exactly the final states lead to its end."""
    lines = [line.strip() for line in state_diagram().splitlines()]
    assert lines[0] == "stateDiagram-v2"
    assert [line for line in lines if line.startswith("[*]")] == ["[*] --> absent"]
    assert [line for line in lines if line.endswith("[*]")] == [f"{end} --> [*]" for end in FINAL]


def test_every_line_is_one_that_mermaid_reads() -> None:
    """Besides the header there are only edges; no label holds a character that would end it."""
    for line in state_diagram().splitlines()[1:]:
        assert EDGE.fullmatch(line) or re.fullmatch(r"    (\[\*\] --> \w+|\w+ --> \[\*\])", line)


def test_two_states_share_one_edge() -> None:
    """Mermaid draws edges from a state to itself on top of each other, so there is one at most."""
    pairs = [edge.group("source", "target") for edge in EDGE.finditer(state_diagram())]
    assert len(pairs) == len(set(pairs))


def test_the_picture_is_the_same_each_time() -> None:
    """The text depends on the table alone and ends with one newline."""
    assert state_diagram() == state_diagram()
    assert re.search(r"[^\n]\n\Z", state_diagram())


def test_every_state_says_what_is_true_in_it() -> None:
    """Each state has words under it in the code; the page shows them."""
    assert list(state_docstrings()) == list(State)
    assert all(words.endswith(".") for words in state_docstrings().values())


def test_the_page_of_states_is_current() -> None:
    """docs/states.md shows the code as it is; `make pages` writes it."""
    assert PAGE.read_text() == current_page()
