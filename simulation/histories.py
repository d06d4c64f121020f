"""What each intent's events add up to, told twice: by the machine's own fold, and by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self
from uuid import UUID

from bootledger.simulation.scenario import Broken
from bootledger.statemachine.events import Abort, Begin, Complete, Resume, SnapshotChunk
from bootledger.statemachine.fold import EMPTY, advance
from bootledger.statemachine.progress import Progress, State
from bootledger.statemachine.ranges import Ranges, add, subtract
from bootledger.store.port import Recorded


class _Intent(NamedTuple):
    """One intent, by hand: a few lines that do not trust the machine."""

    progress: Progress = EMPTY
    ended: bool = False
    applied_lsn: int | None = None
    generation: int | None = None
    staged: Ranges = ()


class Histories:
    """Every intent of a ledger after the events that were taken in so far."""

    def __init__(self, intents: Mapping[UUID, _Intent] | None = None) -> None:
        self._intents = dict(intents or {})

    def copy(self) -> Self:
        """Return histories that have taken in the same, for another future."""
        return type(self)(self._intents)

    def progress(self) -> dict[UUID, Progress]:
        """Return the fold of each intent."""
        return {intent_id: intent.progress for intent_id, intent in self._intents.items()}

    def take_in(self, events: Sequence[Recorded]) -> None:
        """Take in the events that come next. Raises `Broken` if they break a rule of any history.

        Raises `IllegalEvent` or `GuardRefused` if the table does not allow one of them.
        """
        for recorded in events:
            intent = self._intents.get(recorded.intent_id, _Intent())
            if recorded.version != intent.progress.version + 1:
                raise Broken(f"{_name(recorded)} follows event {intent.progress.version}")
            if intent.ended:
                raise Broken(f"{_name(recorded)} comes after the intent's last event")
            self._intents[recorded.intent_id] = self._after(intent, recorded)

    def _after(self, before: _Intent, recorded: Recorded) -> _Intent:
        event = recorded.event
        after = before._replace(progress=advance(before.progress, event))
        match event:
            case Begin():
                self._check_alone(event, recorded)
            case SnapshotChunk():
                staged = before.staged if event.generation == before.generation else ()
                for brought in event.brought:
                    staged = add(staged, brought)
                after = after._replace(generation=event.generation, staged=staged)
            case Resume():
                staged = before.staged
                for dropped in event.dropped:
                    staged = subtract(staged, dropped)
                after = after._replace(staged=staged)
            case Complete() | Abort():
                after = after._replace(ended=True)
            case _:
                pass
        lsn = getattr(event, "applied_lsn", None)
        if lsn is not None:
            if before.applied_lsn is not None and lsn < before.applied_lsn:
                raise Broken(f"{_name(recorded)} goes back from LSN {before.applied_lsn} to {lsn}")
            after = after._replace(applied_lsn=lsn)
        self._check_agreed(after, recorded)
        return after

    def _check_alone(self, begin: Begin, recorded: Recorded) -> None:
        for intent_id, other in self._intents.items():
            theirs = other.progress.begin
            if theirs is None or theirs.node_id != begin.node_id or other.ended:
                continue
            if other.progress.has_progress:
                raise Broken(f"{_name(recorded)} begins beside intent {intent_id} with progress")

    def _check_agreed(self, intent: _Intent, recorded: Recorded) -> None:
        snapshot = intent.progress.snapshot
        by_machine = ((), None) if snapshot is None else (snapshot.staged, snapshot.generation)
        if by_machine != (intent.staged, intent.generation):
            raise Broken(
                f"after {_name(recorded)} generation {intent.generation} has {intent.staged} "
                f"staged, and the progress says {by_machine}"
            )
        if intent.progress.applied_lsn != intent.applied_lsn:
            raise Broken(
                f"after {_name(recorded)} LSN {intent.applied_lsn} is applied, and the progress "
                f"says {intent.progress.applied_lsn}"
            )
        if intent.ended != (intent.progress.state in {State.COMPLETED, State.ABORTED}):
            raise Broken(f"after {_name(recorded)} the intent is {intent.progress.state}")


def _name(recorded: Recorded) -> str:
    kind = type(recorded.event).__name__
    return (
        f"event {recorded.version} ({kind}, position {recorded.position}) of {recorded.intent_id}"
    )
