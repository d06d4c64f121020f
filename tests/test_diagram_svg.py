"""The pictures that need nobody else to be drawn: nothing on top of anything, nothing left out."""

from __future__ import annotations

import itertools
import random
from xml.etree import ElementTree as ET

import pytest
from charts import HARD, by_chance
from consumers import SVG
from pictures import PLACE, pictures

from bootledger.diagrams.chart import Chart, Edge, chart_of_table
from bootledger.diagrams.layout import Box
from bootledger.diagrams.paint import Paint, Step
from bootledger.diagrams.svg import Drawing, draw, svg
from bootledger.diagrams.svg_text import width_px

TABLE = chart_of_table()


def large(states: int, seed: int = 1) -> Chart:
    """A machine of so many states: most edges lead on, some far, some back, some nowhere."""
    chance = random.Random(seed)
    names = [f"state_{number}" for number in range(states)]
    edges = [
        Edge(names[max(0, at - chance.randint(1, 4))], names[at], f"event_{at % 30}")
        for at in range(1, states)
    ]
    for _ in range(states // 2):
        source = chance.randrange(states - 1)
        target = min(max(0, source + chance.randint(-9, 9)), states - 1)
        when = chance.choice([None, "something_holds"])
        edges.append(Edge(names[source], names[target], f"go_{chance.randint(1, 30)}", when))
    return Chart(tuple(names), names[0], frozenset(names[-1:]), tuple(edges))


PAINT = Paint(
    states={"begun": "1x 3 days 4 h", "suspended": "12x 2 min"},
    steps={Step("begun", "suspended", "suspend"): "12x 3.0 s"},
    crashes={"begun": "3 crashes, 2026-11-25 10:30:00 UTC"},
    now="suspended",
    caption="something that happened",
)
DRAWINGS = {
    "table": draw(TABLE),
    "guards": draw(TABLE, guards=True),
    "painted": draw(TABLE, paint=PAINT),
    "ten": draw(large(10)),
    "hundred": draw(large(100)),
    "hard": draw(HARD, guards=True),
    **{f"chance {seed}": draw(by_chance(seed), guards=True) for seed in range(20)},
}
each_drawing = pytest.mark.parametrize("drawing", DRAWINGS.values(), ids=DRAWINGS)


def boxes(drawing: Drawing) -> list[Box]:
    """Everything that takes room."""
    return [*drawing.layout.states.values(), *drawing.layout.labels.values()]


@each_drawing
def test_no_box_lies_on_another(drawing: Drawing) -> None:
    """States and labels have all their room to themselves, within the picture."""
    found = boxes(drawing)
    for one, other in itertools.combinations(found, 2):
        assert not one.overlaps(other)
    whole = Box(0, 0, drawing.layout.size.width, drawing.layout.size.height)
    assert all(whole.x <= box.x and box.right <= whole.right for box in found)
    assert all(whole.y <= box.y and box.bottom <= whole.bottom for box in found)


@each_drawing
def test_no_line_runs_through_a_box_that_is_not_its_own(drawing: Drawing) -> None:
    """A line meets the two states of its edge and its label, and no other state or label."""
    layout = drawing.layout
    for pair, points in layout.lines.items():
        own = [layout.states[pair[0]], layout.states[pair[1]], layout.labels[pair]]
        others = [box for box in boxes(drawing) if box not in own]
        for x, y in along(points):
            assert not any(
                box.x < x < box.right and box.y + 0.1 < y < box.bottom - 0.1 for box in others
            )


def along(points: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
    """Places on a line, as it is drawn: straight within two points, curved to the next two."""
    found = []
    for place, ((x, y), (end_x, end_y)) in enumerate(itertools.pairwise(points)):
        for step in range(11):
            share = step / 10
            # A cubic curve with upright ends and its bends half way.
            ease = share if place % 2 == 0 else 3 * share**2 - 2 * share**3
            down = 1.5 * share - 1.5 * share**2 + share**3 if place % 2 else share
            found.append((x + (end_x - x) * ease, y + (end_y - y) * down))
    return found


@each_drawing
def test_words_fit_into_their_boxes(drawing: Drawing) -> None:
    """No line of text is wider than the state or the label that holds it."""
    for state, lines in drawing.states.items():
        assert max(map(width_px, lines)) <= drawing.layout.states[state].width
    for pair, lines in drawing.labels.items():
        assert max(width_px(line.words) for line in lines) <= drawing.layout.labels[pair].width


def texts(picture: str) -> list[str]:
    """Every line of text of a picture."""
    return [text.text or "" for text in ET.fromstring(picture).iter(f"{SVG}text")]


@pytest.mark.parametrize("guards", [True, False])
@pytest.mark.parametrize("chart", [TABLE, HARD, large(100)], ids=["table", "hard", "hundred"])
def test_every_state_and_every_row_is_written(chart: Chart, guards: bool) -> None:
    """Each state's name once, each edge's words once, and nothing else."""
    lines = [line for edge in chart.edges for line in edge.lines(guards=guards)]
    assert sorted(words.strip() for words in texts(svg(chart, guards=guards))) == sorted(
        [*chart.states, *lines]
    )


def test_guards_that_are_not_written_are_told_to_who_points() -> None:
    """Each edge has a tooltip with all that may refuse it."""
    titles = [title.text for title in ET.fromstring(svg(TABLE)).iter(f"{SVG}title")]
    assert sorted(titles[1:]) == sorted(edge.label(guards=True) for edge in TABLE.edges)


def test_a_picture_needs_nothing_from_elsewhere() -> None:
    """No script, no font, no link: one file that looks the same wherever it lies."""
    for picture in pictures().values():
        root = ET.fromstring(picture)
        assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
            *("svg", "title", "desc", "style", "rect", "g", "path", "circle", "text")
        }
        assert "url(" not in picture
        assert picture.count("http") == 1  # the name of SVG itself


def test_final_states_have_two_rings_and_one_dot_begins() -> None:
    """A final state is drawn with a ring within a ring; there is one dot, above the rest."""
    root = ET.fromstring(svg(TABLE))
    rings = {
        group.findtext(f"{SVG}text"): len(group.findall(f"{SVG}rect"))
        for group in root.iter(f"{SVG}g")
        if (group.get("class") or "").startswith("state")
    }
    assert rings == {state: 2 if state in TABLE.final else 1 for state in TABLE.states}
    assert len(list(root.iter(f"{SVG}circle"))) == 1


def test_the_committed_pictures_are_current() -> None:
    """docs/pictures shows the code as it is; `make pages` draws them."""
    assert {path.name: path.read_text() for path in PLACE.iterdir()} == pictures()
