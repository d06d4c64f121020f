"""What is painted is what happened: counted once more, by hand, out of the same events."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import sample_events as sample
from consumers import mermaid_hears, needs
from ledgers import append, interleaved
from ledgers import intent as numbered
from pictures import COUNTEREXAMPLE, INTENT, history, holder, store_of
from typer.testing import CliRunner

from bootledger.cli.app import app
from bootledger.cli.errors import ExitCode
from bootledger.cli.moments import Moment
from bootledger.cli.painting import painted_fleet, painted_history, painted_timeline
from bootledger.diagrams.sequence import Kind, mermaid_sequence
from bootledger.errors import InvalidValue
from bootledger.projections import course as courses
from bootledger.projections.course import Course
from bootledger.projections.heads import decode_head
from bootledger.projections.lanes import Lanes, lanes
from bootledger.projections.latest import LatestIntents
from bootledger.projections.runner import rebuild
from bootledger.projections.trail import Deaths, fleet, trail
from bootledger.simulation.scenes import LANES, scenes
from bootledger.statemachine.events import Checkpoint, Event, Resume, Suspend, kind_of
from bootledger.statemachine.fold import EMPTY, advance
from bootledger.statemachine.progress import State
from bootledger.store.memory import MemoryEventStore

EVENTS = list(history())
STORE = store_of(*EVENTS)


def folded(events: list[Event]) -> list[State]:
    """The state before the first event, and after each."""
    progress, states = EMPTY, [EMPTY.state]
    for event in events:
        progress = advance(progress, event)
        states.append(progress.state)
    return states


def test_the_trail_counts_every_event_once() -> None:
    """Each edge has the count and the time that a count by hand gives, and each state its time."""
    found = trail(Course(STORE, INTENT))
    states = folded(EVENTS)
    counted = Counter(zip(states, states[1:], map(kind_of, EVENTS), strict=False))
    seen: Counter[tuple[State, State, str]] = Counter()
    for step, often in found.steps.items():
        seen[step[:3]] += often.count
    assert seen == counted
    times = [event.recorded_at_ms for event in EVENTS]
    held: Counter[State] = Counter()
    for (start, end), state in zip(pairwise(times), states[1:], strict=False):
        held[state] += end - start
    assert {state: often.total_ms for state, often in found.states.items() if often.total_ms} == {
        state: total for state, total in held.items() if total
    }
    entered = Counter(state for before, state in pairwise(states) if state is not before)
    assert {state: often.count for state, often in found.states.items() if often.count} == entered
    assert sum(often.total_ms for often in found.steps.values()) == times[-1] - times[0]


def test_an_owner_that_did_not_say_why_it_stopped_has_died() -> None:
    """A resume without a suspension before it is a death, in the state where it was heard last."""
    found = trail(Course(STORE, INTENT)).crashes
    assert {state: deaths.count for state, deaths in found.items()} == {
        State.TRANSFERRING: 2,
        State.PROMOTING: 1,
    }
    resumed = [at for at, event in enumerate(EVENTS) if isinstance(event, Resume)]
    last = EVENTS[resumed[1] - 1].recorded_at_ms
    assert found[State.TRANSFERRING] == Deaths(2, last)


@pytest.mark.parametrize("until", [1, 2, 20, 40, len(EVENTS)])
def test_a_picture_of_an_earlier_position_is_that_of_a_shorter_ledger(until: int) -> None:
    """As of a position, nothing that came later shows."""
    then, shorter = Course(STORE, INTENT, until), Course(store_of(*EVENTS[:until]), INTENT)
    assert painted_history(INTENT, then) == painted_history(INTENT, shorter)
    assert painted_timeline(INTENT, then) == painted_timeline(INTENT, shorter)


@pytest.mark.parametrize("others", [0, 1, 200])
def test_long_histories_read_as_short_ones_do(others: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the events are kept, or read from the log again, or from its beginning: the same."""
    store = MemoryEventStore()
    mine = [(INTENT, event) for event in EVENTS]
    told = interleaved(others) if others else []
    half = len(told) // 2
    append(store, [*told[:half], *mine[:30], *told[half:], *mine[30:]])
    kept = Course(store, INTENT)
    expected = painted_history(INTENT, kept), painted_timeline(INTENT, kept)
    monkeypatch.setattr(courses, "_KEPT_EVENTS", 10)
    for until in (None, store.last_position()):
        read = Course(store, INTENT, until)
        assert (painted_history(INTENT, read), painted_timeline(INTENT, read)) == expected
        assert [told.recorded for told in read] == list(store.history(INTENT))[::-1]


def test_an_intent_that_had_not_begun_has_no_picture() -> None:
    """Neither at an earlier position nor without any event."""
    with pytest.raises(InvalidValue, match="had not begun at position 0"):
        Course(STORE, INTENT, 0)
    with pytest.raises(InvalidValue, match="had not begun"):
        Course(STORE, numbered(7))


def test_the_fleet_is_counted_as_its_heads_say() -> None:
    """All unfinished intents, and of each node the one that finished last."""
    store = MemoryEventStore()
    append(store, interleaved(60))
    counted = Counter(decode_head(head).state for head in store.unfinished())
    found = fleet(rebuild(store, LatestIntents()))
    assert {state: found[state] for state in counted} == counted
    assert found[State.COMPLETED] == len({number % 7 for number in range(1, 61) if number % 7})


def busy(count: int) -> list[Event]:
    """A life that is suspended, resumed and killed again and again, at irregular times."""
    events: list[Event] = [sample.begin(), Checkpoint(recorded_at_ms=2, applied_lsn=100, batches=0)]
    epoch = 1
    for number in range(count):
        at_ms = 3 + number * 10 + number * number % 7
        match number % 5:
            case 0:
                events.append(Suspend(recorded_at_ms=at_ms, cause="no link", cause_class="network"))
            case 1 | 3:
                epoch += 1
                events.append(Resume(recorded_at_ms=at_ms, epoch=epoch, holder=holder(epoch)))
            case _:
                events.append(
                    Checkpoint(recorded_at_ms=at_ms, applied_lsn=101 + number, batches=number)
                )
    return events


def lane_lists(found: Lanes) -> dict[str, list[object]]:
    """The lanes by name."""
    return {
        name: value
        for name in Lanes.__struct_fields__
        if isinstance(value := getattr(found, name), list)
    }


def test_a_timeline_has_as_many_marks_as_it_has_room() -> None:
    """However long the history, a lane has two marks a column at most, and loses none in count."""
    events = busy(5000)
    course = Course(store_of(*events), INTENT)
    few, all_of_them = lanes(course, 50), lanes(course, 10_000_000)
    assert all(len(marks) <= 101 for marks in lane_lists(few).values())
    assert len(all_of_them.deaths) == 1000
    for name, marks in lane_lists(few).items():
        exact = lane_lists(all_of_them)[name]
        assert sum(mark.count for mark in marks) == sum(mark.count for mark in exact)
    size = len(painted_timeline(INTENT, course))
    assert size < 2 * len(painted_timeline(INTENT, Course(store_of(*busy(2500)), INTENT)))


def test_a_timeline_says_when_nobody_worked() -> None:
    """Deaths and suspensions last until the next resume, a life until its last event."""
    found = lanes(Course(STORE, INTENT))
    assert [mark.end_ms - mark.start_ms for mark in found.deaths] == [8000, 8000, 6000]
    assert [(mark.what, mark.end_ms - mark.start_ms) for mark in found.suspended] == [
        ("network", 15_000)
    ]
    assert [mark.what for mark in found.owners] == [f"epoch {n}" for n in range(1, 6)]
    assert [mark.what for mark in found.turns] == ["begin", "generation 1", "promote", "complete"]
    assert [mark.what for mark in found.states] == [
        *("begun", "transferring", "catching_up", "suspended", "catching_up", "promoting"),
        "completed",
    ]


def test_the_fleet_names_the_nodes_of_a_state() -> None:
    """Who points at a state hears of its first twenty nodes, and which of their owners died."""
    store = MemoryEventStore()
    begun = [(numbered(n), sample.begin(node_id=f"node-{n}")) for n in range(1, 26)]
    append(store, [*begun, (INTENT, sample.begin(node_id="<&>"))])
    latest = rebuild(store, LatestIntents())
    alive = [numbered(n) for n in range(1, 26)]
    picture = painted_fleet(latest, Moment(26, 1), running=alive)
    told = [f"node-{n}" for n in range(1, 21)]
    assert f"<title>{', '.join(told)}, and 6 more</title>" in picture
    assert "✗ 1 owner died" in picture
    few = painted_fleet(
        rebuild(store_of(sample.begin(node_id="<&>")), LatestIntents()), Moment(1, 1), running=()
    )
    assert "<title>&lt;&amp;&gt; (owner died)</title>" in few


def test_bytes_lie_as_high_as_in_the_snapshot() -> None:
    """The scale goes up to the snapshot's size, and the share that is here stands at its end."""
    half = painted_timeline(INTENT, Course(STORE, INTENT, 26))
    assert ">50M</text>" in half
    assert ">50%</text>" in half
    assert ">100%</text>" in painted_timeline(INTENT, Course(STORE, INTENT))


STORY = (
    "life 1",
    "    directory: making; source: pinning, pinned",
    "    records event 1: begin node_id=n source_lsn=3",
    "    fetches bytes 0 to 4096",
    "    source: fetched; chunk: written",
    "    applier: opening, opened, applying; lsn: committed; applier: applied",
    "    asks to record event 2: checkpoint applied_lsn=2 and is refused: no; room #1",
    "    asks to record event 2: checkpoint applied_lsn=2 and never hears of it",
    "    chunk: written; log: writing",
    "    DIES at log.committing#2",
    "life 2",
    "    a fault was planted",
    "    reaches its end",
    "WRONG: 5 rows; not 6",
)


def test_a_story_becomes_steps_between_those_who_take_part() -> None:
    """Each line is a step of its kind; what happens while the applier applies is the applier's."""
    assert [(step.kind, step.words, step.source, step.target) for step in scenes(STORY)] == [
        (Kind.LIFE, "life 1", "replica", "replica"),
        (Kind.NOTE, "directory: making", "replica", "replica"),
        (Kind.CALL, "pinning, pinned", "replica", "source"),
        (Kind.CALL, "event 1: begin source_lsn=3", "replica", "ledger"),
        (Kind.CALL, "bytes 0 to 4096", "source", "replica"),
        (Kind.NOTE, "chunk: written", "replica", "replica"),
        (Kind.CALL, "opening, opened, applying", "replica", "applier"),
        (Kind.NOTE, "lsn: committed", "applier", "applier"),
        (Kind.NOTE, "applied", "applier", "applier"),
        (
            Kind.CALL,
            "event 2: checkpoint applied_lsn=2: refused: no; room #1",
            "replica",
            "ledger",
        ),
        (Kind.LOST, "event 2: checkpoint applied_lsn=2", "replica", "ledger"),
        (Kind.NOTE, "chunk: written", "replica", "replica"),
        (Kind.NOTE, "writing", "ledger", "ledger"),
        (Kind.DEATH, "dies at log.committing#2", "replica", "replica"),
        (Kind.LIFE, "life 2", "replica", "replica"),
        (Kind.NOTE, "a fault was planted", "replica", "replica"),
        (Kind.NOTE, "reaches its end", "replica", "replica"),
        (Kind.WRONG, "WRONG: 5 rows; not 6", "replica", "replica"),
    ]


@needs("node")
def test_mermaid_reads_a_sequence() -> None:
    """The real Mermaid finds every step of a story, with marks that mean something to it."""
    steps = scenes(STORY)
    heard = mermaid_hears(mermaid_sequence(LANES, steps))
    assert [words.removeprefix("✗ ") for words in heard] == [step.words for step in steps]


def test_simulate_draws_what_it_replays(tmp_path: Path) -> None:
    """`--picture` needs a token, and writes SVG or Mermaid by the name of the file."""
    simulate = ["simulate", "small"]
    refused = CliRunner().invoke(app, [*simulate, "--picture", str(tmp_path / "x.svg")])
    assert refused.exit_code == ExitCode.REFUSED
    for name, start in (("a.svg", "<svg"), ("a.mmd", "sequenceDiagram\n")):
        file = tmp_path / name
        done = CliRunner().invoke(
            app, [*simulate, "--replay", "log.committed#3", "--picture", str(file)]
        )
        assert done.exit_code == 0, done.output
        assert file.read_text().startswith(start)
        assert "dies at log" in file.read_text()


def test_the_documented_counterexample_is_the_one_of_the_example() -> None:
    """docs/crash-safety.md names it beside its picture."""
    page = (Path(__file__).parent.parent / "docs" / "crash-safety.md").read_text()
    assert f"`{COUNTEREXAMPLE}`" in page
    assert "pictures/counterexample.svg" in page
