"""What was found of a history, in the words that are painted on its pictures."""

from __future__ import annotations

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
from bootledger.projections.trail import Often, Trail, fleet, trail
from bootledger.statemachine.progress import State

_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"))


def painted_history(intent_id: UUID, course: Course, *, guards: bool = False) -> str:
    """Return the machine as SVG, with one intent's way through it painted on."""
    return svg(chart_of_table(), guards=guards, paint=paint_of(intent_id, trail(course)))


def painted_fleet(latest: Latest, then: Moment, *, guards: bool = False) -> str:
    """Return the machine as SVG, with how many intents stand in each state."""
    count = fleet(latest)
    paint = Paint(
        states={state.value: _many(number, "intent") for state, number in count.items()},
        caption=f"{_many(count.total(), 'intent')} at position {then.position}, "
        f"{utc(then.recorded_at_ms)}",
    )
    return svg(chart_of_table(), guards=guards, paint=paint)


def painted_timeline(intent_id: UUID, course: Course) -> str:
    """Return one intent over time as SVG, of a bounded size."""
    found = lanes(course, _WIDTH_PX)
    title = f"intent {intent_id}, from {utc(found.begin_ms)}, {duration(_span_ms(course))}"
    every = [
        Lane("turns", Shape.FLAGS, found.turns, "violet"),
        Lane("state", Shape.BARS, found.states),
        Lane("owner", Shape.BARS, found.owners, "green"),
        Lane("", Shape.CROSSES, found.deaths, "red"),
        Lane("suspended", Shape.BARS, found.suspended, "amber"),
        Lane("bytes", Shape.RANGES, found.copied),
        Lane("reused", Shape.RANGES, found.reused, "green"),
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


def paint_of(intent_id: UUID, found: Trail) -> Paint:
    """Return what one intent's way looks like on the machine."""
    progress = found.progress
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
            state.value: f"{_many(deaths.count, 'crash', 'crashes')}, {utc(deaths.last_ms)}"
            for state, deaths in found.crashes.items()
        },
        now=progress.state.value,
        caption=f"intent {intent_id}: {progress.version} events, {utc(progress.recorded_at_ms)}",
    )


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
