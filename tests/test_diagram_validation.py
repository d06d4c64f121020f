"""A table that cannot work is told so where it is defined, by its rows."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootledger.diagrams.chart import Chart, Edge, chart_of_table
from bootledger.diagrams.validation import Problem, problems, validated
from bootledger.errors import InvalidValue
from bootledger.statemachine.progress import State
from bootledger.statemachine.table import TABLE, Row

SOUND = (Edge("a", "b", "go"), Edge("b", "c", "go"))


def chart(*edges: Edge, states: str = "abc", final: str = "c") -> Chart:
    """A chart that begins in `a`, with states of one letter."""
    return Chart(tuple(states), "a", frozenset(final), edges)


def told(of: Chart) -> list[tuple[str, str]]:
    """What is wrong, as kind and place."""
    return [(problem.kind, problem.where) for problem in problems(of)]


def test_the_table_is_sound() -> None:
    """It never changes at run time, so it is judged here and not at each start."""
    assert validated(chart_of_table()).name == "bootstrap"


def test_a_slip_in_the_table_is_named_by_its_row() -> None:
    """A row too many, or one too few: told with number, event, sources and target."""
    doubled = [*TABLE, TABLE[6]]
    with pytest.raises(InvalidValue) as refused:
        validated(chart_of_table(doubled))
    row = "row 18 (promote from catching_up to promoting)"
    assert f"{row}: in 'catching_up', row 7 (promote from catching_up to promoting)" in str(
        refused.value
    )
    assert "a condition of its own" in refused.value.hint
    unpromoted = [row for row in TABLE if row.target is not State.PROMOTING]
    assert told(chart_of_table(unpromoted)) == [("unreachable", "promoting")]
    revived = [*TABLE, Row(TABLE[0].event, (State.ABORTED,), State.BEGUN)]
    assert told(chart_of_table(revived)) == [("over", "row 18 (begin from aborted to begun)")]


@pytest.mark.parametrize(
    ("edges", "kinds"),
    [
        (SOUND, []),
        ([*SOUND, Edge("a", "a", "stay")], []),
        (SOUND[:1], [("trap", "b"), ("unreachable", "c")]),
        ([*SOUND[:1], Edge("b", "b", "turn")], [("trap", "b"), ("unreachable", "c")]),
        ([Edge("a", "c", "go"), Edge("b", "c", "go")], [("unreachable", "b")]),
        ([*SOUND, Edge("c", "a", "again")], [("over", "again from c to a")]),
        ([*SOUND, Edge("a", "c", "go", when="x")], [("overlap", "go when x from a to c")]),
        ([Edge("a", "c", "go", when="x"), *SOUND], []),
        (
            [Edge("a", "c", "go", when="x"), Edge("a", "b", "go", when="x"), *SOUND],
            [("overlap", "go when x from a to b")],
        ),
        ([Edge("a", "c", "go", when="x"), Edge("a", "b", "go", when="y"), *SOUND], []),
    ],
)
def test_each_kind_of_problem_is_found(
    edges: tuple[Edge, ...], kinds: list[tuple[str, str]]
) -> None:
    """What is wrong is named, and nothing else is."""
    found = told(chart(*edges))
    assert [one for one in found if one[0] != "no end"] == kinds


def test_a_circle_without_a_way_out_is_no_trap_but_has_no_end() -> None:
    """Something happens in it for ever."""
    circle = chart(Edge("a", "b", "go"), Edge("b", "a", "back"), Edge("a", "c", "end"))
    assert told(circle) == []
    circle = chart(
        *SOUND, Edge("a", "d", "x"), Edge("d", "e", "x"), Edge("e", "d", "x"), states="abcde"
    )
    assert told(circle)[:2] == [("no end", "d"), ("no end", "e")]


def test_a_machine_without_an_end_is_told_once() -> None:
    """Not once a state: that none of them leads to the end follows."""
    assert told(chart(*SOUND, final="")) == [("no final", "machine")]


# --- The same, naively --------------------------------------------------------------------------

STATES = "abcde"
edges_drawn = st.builds(
    Edge,
    st.sampled_from(STATES),
    st.sampled_from(STATES),
    st.sampled_from(["x", "y"]),
    when=st.sampled_from([None, "p", "q"]),
)
charts = st.builds(
    lambda edges, final: Chart(
        tuple(STATES),
        "a",
        final,
        # Equal rows are told apart by their numbers.
        tuple(
            Edge(e.source, e.target, e.event, e.when, row=f"row {number}")
            for number, e in enumerate(edges)
        ),
    ),
    st.lists(edges_drawn, max_size=14),
    st.frozensets(st.sampled_from(STATES), max_size=2),
)


def paths(of: Chart) -> set[tuple[str, str]]:
    """From where one can come to where, by as many steps as there are states."""
    steps = {(e.source, e.target) for e in of.edges} | {(s, s) for s in of.states}
    known = steps
    for _ in of.states:
        known = {(a, d) for (a, b), (c, d) in itertools.product(known, steps) if b == c}
    return known


def naively(of: Chart) -> set[tuple[str, str]]:
    """What is wrong, straight from the words, pair by pair."""
    found = set()
    if not of.final:
        found.add(("no final", of.name))
    reach = paths(of)
    for state in of.states:
        if (of.initial, state) not in reach:
            found.add(("unreachable", state))
        if of.final and state not in of.final and not any((state, f) in reach for f in of.final):
            leaves = any(e.source == state != e.target for e in of.edges)
            found.add(("no end" if leaves else "trap", state))
    for edge in of.edges:
        if edge.source in of.final:
            found.add(("over", edge.row))
    for first, then in itertools.combinations(of.edges, 2):
        same = (first.source, first.event) == (then.source, then.event)
        if same and first.when in (None, then.when):
            found.add(("overlap", then.row))
    return found


@given(charts)
def test_it_says_what_a_naive_judge_says(drawn: Chart) -> None:
    """On any chart, the problems are exactly those of the definition; each is told with a hint."""
    found = list(problems(drawn))
    assert {(problem.kind, problem.where) for problem in found} == naively(drawn)
    assert len(found) == len(set(found))
    assert all(_explains(problem) for problem in found)
    if found:
        with pytest.raises(InvalidValue) as refused:
            validated(drawn)
        assert all(problem.message in str(refused.value) for problem in found)
    else:
        assert validated(drawn) is drawn


def _explains(problem: Problem) -> bool:
    subject = "final" if problem.kind == "no final" else problem.where
    return subject in problem.message and bool(problem.hint)
