"""Every format is read back by the tool it is written for: nothing is lost, nothing is added."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest
from charts import HARD, KEYWORD_RING, by_chance
from consumers import Seen, graphviz_sees, mermaid_sees, needs, plantuml_sees, scxml_walks
from markdown_it import MarkdownIt

from bootledger.diagrams.chart import Chart, Edge, chart_of_table
from bootledger.diagrams.dot import dot
from bootledger.diagrams.markdown import markdown
from bootledger.diagrams.mermaid import mermaid
from bootledger.diagrams.plantuml import plantuml
from bootledger.diagrams.scxml import scxml
from bootledger.errors import InvalidValue

TABLE = chart_of_table()
CHANCE = [by_chance(seed) for seed in range(40)]
FORMATS = (mermaid, dot, plantuml, scxml, markdown)
SCXML = "{http://www.w3.org/2005/07/scxml}"
CALLED = "{urn:bootledger:chart}called"

HAPPY_PATH = {
    "begin": "begun",
    "suspend": "suspended",
    "resume": "begun",
    "snapshot_chunk": "transferring",
    "checkpoint": "catching_up",
    "promote": "promoting",
    "complete": "completed",
}


def meant(chart: Chart, label: Callable[[Edge], str]) -> Seen:
    """What a tool should see of a chart."""
    return Seen(
        states=sorted(chart.states),
        initial=[chart.initial],
        final=sorted(chart.final),
        edges=sorted((edge.source, edge.target, label(edge)) for edge in chart.edges),
    )


def in_lines(*, guards: bool) -> Callable[[Edge], str]:
    """How an edge's words are read back where they were drawn as lines."""
    return lambda edge: " ".join(edge.lines(guards=guards))


@needs("node")
def test_mermaid_reads_what_was_meant() -> None:
    """The real Mermaid finds every state, both ends, and every edge by its words; none besides."""
    charts = [TABLE, HARD, KEYWORD_RING, *CHANCE]
    plain, *seen = mermaid_sees(
        [mermaid(TABLE, guards=False), *(mermaid(chart) for chart in charts)]
    )
    assert seen == [meant(chart, lambda edge: edge.label(guards=True)) for chart in charts]
    assert plain == meant(TABLE, lambda edge: edge.label(guards=False))


@needs("dot")
@pytest.mark.parametrize("chart", [TABLE, HARD, KEYWORD_RING, *CHANCE[:10]])
def test_graphviz_draws_what_was_meant(chart: Chart) -> None:
    """In Graphviz's picture stands every name as it is; each edge is drawn, and finals doubly."""
    assert graphviz_sees(dot(chart)) == meant(chart, in_lines(guards=True))


@needs("dot")
def test_graphviz_draws_no_guards_unless_asked() -> None:
    """Without guards the words end where the guards would begin."""
    assert graphviz_sees(dot(TABLE, guards=False)) == meant(TABLE, in_lines(guards=False))


@needs("plantuml", "dot")
def test_plantuml_draws_what_was_meant() -> None:
    """In PlantUML's picture stands every name as it is, and every edge by its words."""
    charts = [HARD, KEYWORD_RING, *CHANCE[:3]]
    plain, *seen = plantuml_sees(
        [plantuml(TABLE, guards=False), *(plantuml(chart) for chart in charts)]
    )
    assert seen == [meant(chart, in_lines(guards=True)) for chart in charts]
    assert plain == meant(TABLE, in_lines(guards=False))


def documents(chart: Chart) -> ET.Element:
    """The chart as SCXML, parsed."""
    return ET.fromstring(scxml(chart))


@pytest.mark.parametrize("chart", [TABLE, HARD, KEYWORD_RING, *CHANCE])
def test_scxml_holds_what_was_meant(chart: Chart) -> None:
    """As XML, the document has each state, each edge, and each name, be it one of XML's or not."""
    root = documents(chart)
    states = {
        state.get("id", ""): state.get(CALLED) or state.get("id", "")
        for state in root
        if state.tag in (f"{SCXML}state", f"{SCXML}final")
    }
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert list(states.values()) == list(chart.states)
    assert states[root.get("initial", "")] == chart.initial
    assert {states[final.get("id", "")] for final in root.iter(f"{SCXML}final")} == chart.final
    assert [
        (
            states[state.get("id", "")],
            states[way.get("target", "")],
            way.get(CALLED, way.get("event")),
        )
        for state in root
        for way in state.iter(f"{SCXML}transition")
    ] == [
        (edge.source, edge.target, edge.event)
        for state in chart.states
        for edge in chart.edges
        if edge.source == state
    ]
    data = {one.get(CALLED, one.get("id")): one.get("expr") for one in root.iter(f"{SCXML}data")}
    assert list(data) == list(chart.conditions(guards=True))


def test_another_library_runs_the_happy_path() -> None:
    """A machine that python-statemachine builds from the SCXML goes where the table goes."""
    for guards in (True, False):
        (stood,) = scxml_walks([(scxml(TABLE, guards=guards), list(HAPPY_PATH))])
        assert stood == ["absent", *HAPPY_PATH.values()]


def test_another_library_walks_where_the_edges_lead() -> None:
    """On charts by chance, it stands after each event where the first edge of it leads."""
    walks, expected = [], []
    for seed, chart in enumerate(CHANCE):
        chance, root = random.Random(seed), documents(chart)
        states = dict(
            zip(chart.states, [s.get("id", "") for s in root if s.get("id")], strict=True)
        )
        events = {
            w.get(CALLED, w.get("event", "")): w.get("event", "")
            for w in root.iter(f"{SCXML}transition")
        }
        at, sent, stood = chart.initial, [], [states[chart.initial]]
        for event in chance.choices([*events], k=8) if events else []:
            if at in chart.final:
                break
            ways = [e.target for e in chart.edges if (e.source, e.event) == (at, event)]
            at = ways[0] if ways else at
            sent.append(events[event])
            stood.append(states[at])
        walks.append((scxml(chart), sent))
        expected.append(stood)
    assert scxml_walks(walks) == expected


def test_a_guard_refuses_in_another_library_too() -> None:
    """A guard that is set to hold keeps that machine where it is."""
    document = scxml(TABLE).replace(
        'id="generations_used_up" expr="0"', 'id="generations_used_up" expr="1"'
    )
    assert scxml_walks([(document, ["begin"])]) == [["absent", "absent"]]


def test_scxml_refuses_a_way_out_of_the_end() -> None:
    """The error names the row."""
    chart = Chart(("a", "b"), "a", frozenset("b"), (Edge("b", "a", "go", row="row 7 (go)"),))
    with pytest.raises(InvalidValue, match=r"row 7 \(go\).* final state 'b'"):
        scxml(chart)


@pytest.mark.parametrize("chart", [HARD, *CHANCE])
def test_a_markdown_reader_finds_the_names(chart: Chart) -> None:
    """In each cell of the table stands what was meant, as text and not as markup."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown(chart))
    assert sum(token.type == "table_open" for token in tokens) == 1
    cells = [
        "".join(part.content for part in inline.children or [])
        for token, inline in itertools.pairwise(tokens)
        if token.type == "td_open"
    ]
    assert cells == [
        cell
        for edge in chart.edges
        for cell in (edge.event, edge.source, edge.target, edge.when or "", ", ".join(edge.unless))
    ]


def test_the_markdown_table_has_one_line_a_row() -> None:
    """The sources of a row stand together; each condition and guard that says why is told."""
    text = markdown(TABLE)
    lines = text.splitlines()
    assert lines[0] == "It begins in absent and is over in completed and aborted."
    assert sum(line.startswith("| ") for line in lines) == 2 + len({e.row for e in TABLE.edges})
    for name, reason in TABLE.reasons.items():
        assert reason
        assert f"- `{name}`: {reason}" in lines
    plain = markdown(TABLE, guards=False)
    assert "refused by" not in plain
    assert "generations_used_up" not in plain


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
def test_a_picture_is_the_same_each_time(write: Callable[..., str]) -> None:
    """The text depends on the chart alone and ends with one newline."""
    for chart in (HARD, *CHANCE):
        assert write(chart) == write(Chart(**vars(chart)))
        assert write(chart).endswith("\n")
        assert not write(chart).endswith("\n\n")


@pytest.mark.parametrize("name", ["", " ", "two\nlines", "\x00", "\ud800"])
def test_what_cannot_be_printed_is_no_name(name: str) -> None:
    """No format has to draw what nobody can see."""
    with pytest.raises(InvalidValue, match="cannot hold the name"):
        Chart(("a", name), "a", frozenset(), ())
    with pytest.raises(InvalidValue, match="cannot hold the name"):
        Chart(("a",), "a", frozenset(), (Edge("a", "a", "go", when=name),))


def test_a_chart_knows_its_states() -> None:
    """A state that is named must be there, once; the error says where it was named."""
    with pytest.raises(InvalidValue, match=r"row 3: 'm' has no state 'c'"):
        Chart(("a", "b"), "a", frozenset(), (Edge("a", "c", "go", row="row 3"),), name="m")
    with pytest.raises(InvalidValue, match="the initial state"):
        Chart(("a", "b"), "c", frozenset(), ())
    with pytest.raises(InvalidValue, match="a final state"):
        Chart(("a", "b"), "a", frozenset("c"), ())
    with pytest.raises(InvalidValue, match="'a' is there twice"):
        Chart(("a", "b", "a"), "a", frozenset(), ())
