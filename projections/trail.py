"""Where an intent went: how often and how long it was where, and where its owners died."""

from __future__ import annotations

import enum
from collections import Counter
from typing import NamedTuple

import msgspec

from bootledger.projections.course import Course
from bootledger.projections.latest import Latest
from bootledger.statemachine.events import Abort, Complete, Event, Resume, Suspend
from bootledger.statemachine.fold import EMPTY
from bootledger.statemachine.progress import PHASES, Progress, State
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
    """How many owners fell silent in a state, and when the last of them was heard of.

    `certain` says whether all of them died; without it, some may have been alive until an operator
    or a later bootstrap took the intent away.
    """

    count: int = 0
    last_ms: int = 0
    certain: bool = True


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

    Crashes are owners that ended without a word of their own, as `ending_of` tells.
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
        ending = ending_of(before, told.recorded.event)
        if ending in SILENT:
            deaths = found.crashes.setdefault(before.state, Deaths())
            deaths.count += 1
            deaths.last_ms = before.recorded_at_ms
            deaths.certain = deaths.certain and ending is Ending.DIED
        found.progress = after
    return found


class Ending(enum.Enum):
    """How an owner ended."""

    SAID = enum.auto()
    """It said so itself, or went on as its own next epoch."""
    DIED = enum.auto()
    """Another owner resumed, and there had been no word."""
    TAKEN = enum.auto()
    """An operator, or a later bootstrap of the node, decided over it, and there had been no word:
    it was dead by then, or stopped because of that. The log does not tell which."""


SILENT = (Ending.DIED, Ending.TAKEN)
"""After these, the owner's own last event is the one before."""


def ending_of(before: Progress, event: Event) -> Ending | None:
    """Return how the owner of `before` ended if `event` shows that it did, None if it does not.

    What an operator records is no sign of life of the owner.
    """
    if before.state not in PHASES:
        return None
    match event:
        case Resume(dropped=dropped, holder=holder) if dropped and holder == before.holder:
            return Ending.SAID
        case Resume(actor=None):
            return Ending.DIED
        case Resume() | Suspend(cause_class="operator"):
            return Ending.TAKEN
        case Abort(actor=actor, abort_kind=kind):
            own = before.begin is not None and actor == before.begin.node_id
            return Ending.SAID if own and kind != "superseded" else Ending.TAKEN
        case Suspend() | Complete():
            return Ending.SAID
        case _:
            return None


def fleet(latest: Latest) -> Counter[State]:
    """Return how many intents stand in each state: all unfinished, and each node's last finished.

    Takes time with nodes and unfinished intents, not with history.
    """
    return Counter(progress.state for progress in latest.by_intent().values())
