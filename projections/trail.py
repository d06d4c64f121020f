"""Where an intent went: how often and how long it was where, and where its owners died."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import msgspec

from bootledger.projections.course import Course
from bootledger.projections.latest import Latest
from bootledger.statemachine.events import Resume
from bootledger.statemachine.fold import EMPTY
from bootledger.statemachine.progress import Progress, State
from bootledger.statemachine.table import always


class Taken(NamedTuple):
    """An edge of the machine by what tells it from all others; `when` as in the table's row."""

    source: State
    target: State
    event: str
    when: str | None


class Often(msgspec.Struct):
    """How often, and for how long in all.

    A state is entered so often and held so long. An edge is gone along so often, and so long
    passed between the event before and its own. Clocks that went back count as no time.
    """

    count: int = 0
    total_ms: int = 0


class Deaths(msgspec.Struct):
    """How many owners died in a state, and when the last of them was heard of for the last time."""

    count: int = 0
    last_ms: int = 0


class Trail(msgspec.Struct):
    """One intent's way through the machine; it does not grow with the history.

    `progress` is what was true at its end.
    """

    progress: Progress = EMPTY
    states: dict[State, Often] = {}
    steps: dict[Taken, Often] = {}
    crashes: dict[State, Deaths] = {}


def trail(course: Course) -> Trail:
    """Return the way of an intent, in one pass over its events.

    An owner died where another one resumed without a suspension before: whoever stops on purpose
    says so.
    """
    found = Trail()
    for told in course:
        before, after, row = told.before, told.after, told.row
        at_ms = told.recorded.event.recorded_at_ms
        passed_ms = max(at_ms - before.recorded_at_ms, 0) if before.version else 0
        when = None if row.when is always else row.when.__name__
        taken = Taken(before.state, after.state, row.kind, when)
        step = found.steps.setdefault(taken, Often())
        step.count += 1
        step.total_ms += passed_ms
        found.states.setdefault(before.state, Often()).total_ms += passed_ms
        entered = found.states.setdefault(after.state, Often())
        if after.state is not before.state:
            entered.count += 1
        if is_death(before, told.recorded.event):
            deaths = found.crashes.setdefault(before.state, Deaths())
            deaths.count += 1
            deaths.last_ms = before.recorded_at_ms
        found.progress = after
    return found


def is_death(before: Progress, event: object) -> bool:
    """Return whether `event` shows that the owner before it died without a word."""
    return isinstance(event, Resume) and before.state is not State.SUSPENDED


def fleet(latest: Latest) -> Counter[State]:
    """Return how many intents stand in each state: all unfinished, and each node's last finished.

    Takes time with nodes and unfinished intents, not with history.
    """
    return Counter(progress.state for progress in latest.by_intent().values())
