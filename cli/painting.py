"""What was found of a history, in the words that are painted on its pictures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Sequence
from datetime import UTC, datetime
from uuid import UUID

from bootledger.cli.moments import Moment
from bootledger.diagrams.chart import chart_of_table
from bootledger.diagrams.paint import Paint, Step
from bootledger.diagrams.svg import svg
from bootledger.diagrams.timeline import Lane, Shape, timeline
from bootledger.projections.course import Course
from bootledger.projections.lanes import lanes
from bootledger.projections.latest import Latest
from bootledger.projections.trail import Deaths, Often, Trail, fleet, trail
from bootledger.statemachine.progress import Progress, State, known

_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"))


def painted_history(
    intent_id: UUID,
    course: Course,
    *,
    guards: bool = False,
    running: bool | None = None,
    then: Moment | None = None,
) -> str:
    """Return the machine as SVG, with one intent's way through it painted on.

    `running` says whether a live process owns it, None if nobody can tell; `then` that it is a
    picture of the past.
    """
    paint = paint_of(intent_id, trail(course), running=running, then=then)
    return svg(chart_of_table(), guards=guards, paint=paint)


def painted_fleet(
    latest: Latest, now: Moment, *, guards: bool = False, running: Container[UUID] | None = None
) -> str:
    """Return the machine as SVG, with how many intents stand in each state, and of which nodes.

    `running` are the intents that a live process owns; None of the past, of which nobody can tell.
    """
    count = fleet(latest)
    nodes: defaultdict[State, dict[str, None]] = defaultdict(dict)
    dead: Counter[State] = Counter()
    for intent_id, progress in latest.by_intent().items():
        alive = None if running is None else intent_id in running
        how = _how(progress, alive)
        node = _node(progress)
        if how == _DIED:
            dead[progress.state] += 1
            node = f"{node} ({how})"
        nodes[progress.state][node] = None
    paint = Paint(
        states={state.value: _many(number, "intent") for state, number in count.items()},
        crashes={
            state.value: _many(number, "owner died", "owners died")
            for state, number in dead.items()
        },
        told={state.value: _listed(list(names)) for state, names in nodes.items()},
        caption=f"{_many(count.total(), 'intent')}, {_as_of(now)}",
    )
    return svg(chart_of_table(), guards=guards, paint=paint)


def painted_timeline(
    intent_id: UUID, course: Course, *, running: bool | None = None, then: Moment | None = None
) -> str:
    """Return one intent over time as SVG, of a bounded size; `running`, `then` as for a history."""
    found = lanes(course, _WIDTH_PX)
    title = (
        f"{_standing(found.progress, running, then)}\n"
        f"intent {intent_id}, from {utc(found.begin_ms)}, {duration(_span_ms(course))}"
    )
    share = _share(found.progress)
    most = found.size_bytes
    every = [
        Lane("turns", Shape.FLAGS, found.turns, "violet"),
        Lane("state", Shape.BARS, found.states),
        Lane("owner", Shape.BARS, found.owners, "green"),
        Lane("", Shape.CROSSES, found.deaths, "red"),
        Lane("suspended", Shape.BARS, found.suspended, "amber"),
        Lane("bytes", Shape.RANGES, found.copied, most=most, words=share),
        Lane("reused", Shape.RANGES, found.reused, "green", most=most),
        Lane("LSN", Shape.STAIRS, found.applied),
    ]
    return timeline(
        title,
        found.begin_ms,
        found.end_ms,
        [lane for lane in every if lane.marks],
        width_px=_WIDTH_PX,
    )


_WIDTH_PX = 900


def paint_of(
    intent_id: UUID, found: Trail, *, running: bool | None = None, then: Moment | None = None
) -> Paint:
    """Return what one intent's way looks like on the machine; `running`, `then` as for a history.

    It stands in green only where it is completed.
    """
    progress = found.progress
    how = _how(progress, running)
    return Paint(
        states={
            state.value: "" if state is State.ABSENT else _often(often)
            for state, often in found.states.items()
        },
        steps={
            Step(step.source.value, step.target.value, step.event, step.when): _often(often)
            for step, often in found.steps.items()
        },
        crashes={
            state.value: f"{_crashes(deaths)}, {utc(deaths.last_ms)}"
            for state, deaths in found.crashes.items()
        },
        now=progress.state.value,
        now_words=how,
        now_colour="green" if progress.state is State.COMPLETED else _COLOURS[how],
        caption=f"{_standing(progress, running, then)}\n"
        f"intent {intent_id}, {_many(progress.version, 'event')}, "
        f"the last at {utc(progress.recorded_at_ms)}",
    )


_DIED = "owner died"
_COLOURS = {"": "ink", "running": "blue", "stopped": "amber", _DIED: "red"}


def _how(progress: Progress, running: bool | None) -> str:
    """Return in words whether somebody works on it; none for what is over or of the past."""
    if running is None or not progress.unfinished:
        return ""
    if running:
        return "running"
    return "stopped" if progress.state is State.SUSPENDED else _DIED


def _standing(progress: Progress, running: bool | None, then: Moment | None) -> str:
    """Return of which node it is, where it stands, how far it copied, and as of when."""
    where = progress.state.value
    if progress.state is State.SUSPENDED:
        where = f"{where} in {progress.phase}"
    if progress.unfinished and progress.phase is State.TRANSFERRING:
        where = " ".join([where, *([share] if (share := _share(progress)) else [])])
    parts = [where, _how(progress, running), "" if then is None else _as_of(then)]
    return f"{_node(progress)}: {', '.join(part for part in parts if part)}"


def _share(progress: Progress) -> str:
    """Return how much of the last snapshot is here; nothing if its size is not known."""
    snapshot = progress.snapshot
    if snapshot is None or not snapshot.size_bytes:
        return ""
    return f"{min(100, 100 * snapshot.staged_bytes // snapshot.size_bytes)}%"


def _as_of(then: Moment) -> str:
    if not then.position:
        return "before the first event"
    return f"as of position {then.position}, {utc(then.recorded_at_ms)}"


def _node(progress: Progress) -> str:
    return known(progress.begin, "how it began").node_id


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f", and {more} more" if more > 0 else "")


_MOST_NAMED = 20


def _crashes(deaths: Deaths) -> str:
    if deaths.certain:
        return _many(deaths.count, "crash", "crashes")
    return _many(deaths.count, "crash or stop", "crashes or stops")


def _often(often: Often) -> str:
    return f"{often.count}\N{MULTIPLICATION SIGN}" + (
        f" {duration(often.total_ms)}" if often.total_ms else ""
    )


def _many(count: int, noun: str, plural: str = "") -> str:
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def utc(time_ms: int) -> str:
    """Return a time in UTC to the second: a picture does not depend on where it was made."""
    try:
        return f"{datetime.fromtimestamp(time_ms // 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError):
        return f"{time_ms} ms after 1970"


def duration(time_ms: int) -> str:
    """Return a duration in its two largest units, so that it fits beside an edge."""
    if time_ms < 10_000:  # noqa: PLR2004 - below ten seconds their tenths matter
        return f"{time_ms} ms" if time_ms < _UNITS[-1][0] else f"{time_ms / 1000:.1f} s"
    parts = []
    for unit_ms, name in _UNITS:
        whole, time_ms = divmod(time_ms, unit_ms)
        if whole:
            parts.append(f"{whole} {name}")
    return " ".join(parts[:2])


def _span_ms(course: Course) -> int:
    return course.end_ms - course.begin_ms
