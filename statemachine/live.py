"""The machine at work: one intent on `transitions`, built from the table and from nothing else.

Check, append, move: `check` evaluates the guards and moves nothing; whoever owns the intent makes
the event durable; only then `move` is called. No callback acts: work in a callback runs when the
state has already moved, so a failed append would leave the machine ahead of its log.

This is the only module that imports `transitions`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from transitions import EventData, Machine

from bootledger.errors import DivergedHistory
from bootledger.statemachine.events import Event, kind_of
from bootledger.statemachine.fold import EMPTY, advance
from bootledger.statemachine.progress import FINAL, Progress, State
from bootledger.statemachine.table import TABLE, AnyRow


class _Trigger(Protocol):
    def __call__(self, kind: str, /, *, event: Event) -> bool: ...


class LiveIntent:
    """One intent's live state: `progress` is the fold, `state` is where `transitions` stands.

    Close it when the intent is left: the shared machine keeps a reference until then.
    """

    trigger: _Trigger  # put here by `Machine.add_model`

    def __init__(self, progress: Progress = EMPTY) -> None:
        self.progress = progress
        self.state: str = progress.state.value
        self._checked: Event | None = None
        self._after = progress
        _MACHINE.add_model(self, initial=self.state)

    def check(self, event: Event) -> Progress:
        """Return what would be true after `event`; nothing moves.

        Raises `IllegalEvent` or `GuardRefused` if it may not happen, with the table's reason.
        """
        after = advance(self.progress, event)
        if self.state != self.progress.state:
            raise _drifted(self, event)
        self._checked, self._after = event, after
        return after

    def move(self, event: Event) -> None:
        """Move to where `event` leads. Call it once the event is durable, never before.

        Raises like `check`, with nothing moved, if the event may not happen.
        """
        if event is not self._checked or self.state != self.progress.state:
            self.check(event)
        # Both are values, and nothing moved since: what was answered about this event still holds.
        after, self._checked = self._after, None
        if not self.trigger(kind_of(event), event=event) or self.state != after.state:
            raise _drifted(self, event)
        self.progress = after

    def close(self) -> None:
        """Let go of the shared machine. Harmless when repeated."""
        if self in _MACHINE.models:
            _MACHINE.remove_model(self)


def _condition(row: AnyRow) -> Callable[[EventData], bool]:
    def allowed(data: EventData) -> bool:
        live, event = data.model, data.kwargs["event"]
        return (
            isinstance(live, LiveIntent)
            and row.applies(live.progress, event)
            and row.objection(live.progress, event) is None
        )

    return allowed


def _drifted(live: LiveIntent, event: Event) -> DivergedHistory:
    return DivergedHistory(
        f"the live machine (in {live.state}) and the table (in {live.progress.state}) "
        f"disagree about {kind_of(event)}",
        hint="somebody assigned to `state` by hand, or this is a bug in bootledger",
    )


def _machine() -> Machine:
    machine = Machine(
        model=None,
        states=[{"name": state.value, "final": state in FINAL} for state in State],
        initial=State.ABSENT.value,
        auto_transitions=False,
        send_event=True,
    )
    for row in TABLE:
        machine.add_transition(
            row.kind,
            [state.value for state in row.sources],
            row.target.value,
            conditions=[_condition(row)],
        )
    return machine


_MACHINE = _machine()
