"""The pictures are the table's: nothing is drawn by hand, nothing is left out."""

from __future__ import annotations

from states_page import PAGE, current_page, state_docstrings

from bootledger.diagrams.chart import chart_of_table
from bootledger.diagrams.mermaid import mermaid
from bootledger.statemachine.progress import FINAL, State
from bootledger.statemachine.table import TABLE, always

CHART = chart_of_table()


def test_the_edges_are_the_rows() -> None:
    """The chart has each row once for each source, with condition and guards, and nothing else."""
    assert CHART.initial == State.ABSENT
    assert CHART.final == set(FINAL)
    assert [(e.source, e.target, e.event, e.when, e.unless) for e in CHART.edges] == [
        (
            source.value,
            row.target.value,
            row.kind,
            None if row.when is always else row.when.__name__,
            tuple(guard.__name__ for guard in row.unless),
        )
        for row in TABLE
        for source in row.sources
    ]


def test_an_edge_says_its_row_and_its_words() -> None:
    """Errors name the row, with its number; pictures show event, condition and guards."""
    edge = CHART.edges[3]
    assert edge.row == "row 3 (snapshot_chunk from transferring to transferring)"
    assert edge.label(guards=False) == "snapshot_chunk when opens"
    assert edge.label(guards=True).startswith(
        "snapshot_chunk when opens unless generation_skipped, "
    )
    assert edge.lines(guards=True)[:2] == ("snapshot_chunk when opens", "unless generation_skipped")


def test_every_condition_has_a_reason() -> None:
    """The first docstring line of each condition and guard is what the chart says of it."""
    assert set(CHART.reasons) == set(CHART.conditions(guards=True))
    assert all(reason.endswith(".") for reason in CHART.reasons.values())


def test_two_states_share_one_edge_in_mermaid() -> None:
    """Mermaid draws edges from a state to itself on top of each other, so there is one at most."""
    pairs = [line.partition(" : ")[0] for line in mermaid(CHART).splitlines()]
    assert len(pairs) == len(set(pairs))


def test_every_state_says_what_is_true_in_it() -> None:
    """Each state has words under it in the code; the page shows them."""
    assert list(state_docstrings()) == list(State)
    assert all(words.endswith(".") for words in state_docstrings().values())


def test_the_page_of_states_is_current() -> None:
    """docs/states.md shows the code as it is; `make pages` writes it."""
    assert PAGE.read_text() == current_page()
