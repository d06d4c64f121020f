"""Replay: from events to what is true. Live operation and recovery both end here."""

from __future__ import annotations

from collections.abc import Iterable

from bootledger.errors import DivergedHistory, Refused
from bootledger.statemachine.events import Event
from bootledger.statemachine.progress import Progress, evolve
from bootledger.statemachine.table import check

EMPTY = Progress()
"""The fold of the empty history: a bootstrap that has not begun."""


def advance(progress: Progress, event: Event) -> Progress:
    """Return what is true after `event`.

    Raises `IllegalEvent` or `GuardRefused`, with nothing changed, if the table does not allow it.
    """
    return evolve(progress, event, check(progress, event).target)


def fold(history: Iterable[Event]) -> Progress:
    """Return what is true after `history`, which begins with the intent's first event.

    Raises `DivergedHistory` naming the version of the first event that the table refuses: such a
    history was not written by this machine.
    """
    progress = EMPTY
    for event in history:
        try:
            progress = advance(progress, event)
        except Refused as refusal:
            raise DivergedHistory(
                f"event {progress.version + 1} breaks the rules: {refusal}",
                hint="the ledger was damaged, or written by a different machine: do not resume it",
            ) from refusal
    return progress
