"""Others who take part: a second process that wants the same bootstrap, an operator who decides.

They act in the middle of a life, at a point that it passes, or as soon after it as another process
could: while the life commits to its ledger, everybody else waits. They die at no point of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args
from uuid import UUID

from bootledger.errors import (
    ClosedByOperator,
    Fenced,
    GuardRefused,
    IllegalEvent,
    IntentConflict,
    NodeBusy,
    Refused,
    TargetBusy,
)
from bootledger.files import Files, is_locked
from bootledger.replica.identity import OWNER_LOCK_NAME, read_identity
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.operator import Operator
from bootledger.replica.target import Target
from bootledger.shared_environment import WRITE_LOCK_NAME, is_environment
from bootledger.simulation.bootstrap import NODE, open_log
from bootledger.simulation.crashing import Where
from bootledger.simulation.scenario import Broken
from bootledger.simulation.world import World
from bootledger.statemachine.events import Abort, Event, Holder, Resume, Suspend
from bootledger.statemachine.progress import Progress
from bootledger.statemachine.table import check

Verb: TypeAlias = Literal["hold", "release", "adopt", "abort"]
"""What an operator may say of an intent (`bootledger.replica.operator`)."""
VERBS: tuple[Verb, ...] = get_args(Verb)
_ACTOR, _REASON = "an operator", "said in a simulation"


@dataclass(frozen=True)
class SecondResumer:
    """Another process wants to take up what the life is at work on, once it has passed `where`.

    It must be refused: by the target, and by the ledger.
    """

    where: Where

    def excuses(self, error: BaseException) -> bool:
        """Return False: the life must not notice."""
        return False

    def act(self, world: World) -> bool:
        """Try; return whether it came to that. Raises `Broken` if it was not refused."""
        if not (_may_commit(world) and is_locked(world.target / OWNER_LOCK_NAME)):
            return False
        with open_log(world, files=Files()) as log:
            running = [intent for intent in log.list_unfinished(NODE) if intent.running]
            for intent in running:
                try:
                    log.resume_unfinished(intent).close()
                except NodeBusy:
                    continue
                raise Broken(f"a second process took up intent {intent.intent_id}")
        if running:
            _check_target_busy(world)
        return bool(running)


@dataclass(frozen=True)
class OperatorActs:
    """An operator says `verb` of the intent that the life is at work on, once it passed `where`."""

    where: Where
    verb: Verb

    def excuses(self, error: BaseException) -> bool:
        """Return whether a life may give up by `error`."""
        return isinstance(error, ClosedByOperator | Fenced | IntentConflict)

    def act(self, world: World) -> bool:
        """Say it; return whether there was an intent to say it of. Raises as `say`."""
        return _may_commit(world) and say(world, self.verb) is not None


def say(world: World, verb: Verb) -> bool | None:
    """Say `verb` of the oldest unfinished intent; return whether that wrote anything.

    None if there is no intent. Raises `Broken` if something was written that the table does not
    allow, or refused that it does.
    """
    if not is_environment(world.ledger):
        return None
    with open_log(world, files=Files()) as log:
        for intent in log.list_unfinished(NODE):
            legal = verb in legal_verbs(intent.progress)
            try:
                written = _said(log, intent.intent_id, verb)
            except (IllegalEvent, GuardRefused) as refused:
                if legal:
                    raise Broken(f"{verb} was refused, and the table allows it") from refused
                return False
            if written and not legal:
                raise Broken(f"{verb} was written, and the table does not allow it")
            return written
    return None


def legal_verbs(progress: Progress) -> tuple[Verb, ...]:
    """Return what an operator may say of an intent, by the table and its guards."""
    return tuple(verb for verb in VERBS if _is_legal(progress, _event_of(progress, verb)))


def _is_legal(progress: Progress, event: Event) -> bool:
    try:
        check(progress, event)
    except Refused:
        return False
    return True


def _event_of(progress: Progress, verb: Verb) -> Event:
    at_ms = progress.recorded_at_ms
    match verb:
        case "hold":
            return Suspend(
                recorded_at_ms=at_ms, cause=_REASON, cause_class="operator", actor=_ACTOR
            )
        case "release" | "adopt":
            holder = Holder(_ACTOR, 0, at_ms)
            return Resume(
                recorded_at_ms=at_ms, epoch=progress.epoch + 1, holder=holder, actor=_ACTOR
            )
        case "abort":
            return Abort(recorded_at_ms=at_ms, actor=_ACTOR, reason=_REASON, abort_kind="operator")


def _said(log: IntentLog, intent_id: UUID, verb: Verb) -> bool:
    operator = Operator(log, _ACTOR)
    match verb:
        case "hold":
            return operator.hold(intent_id, reason=_REASON).written
        case "release":
            return operator.release(intent_id, reason=_REASON).written
        case "adopt":
            return operator.adopt(intent_id, reason=_REASON).written
        case "abort":
            return operator.abort(intent_id, reason=_REASON).written


def _may_commit(world: World) -> bool:
    """Return whether somebody else could commit to the ledger at this moment of the life."""
    return is_environment(world.ledger) and not is_locked(world.ledger / WRITE_LOCK_NAME)


def _check_target_busy(world: World) -> None:
    identity = read_identity(world.target)
    try:
        Target.open(
            world.target,
            Files(),
            source_database_id=identity.source_database_id,
            node_id=identity.node_id,
        ).close()
    except TargetBusy:
        return
    raise Broken("a second process took the target into possession")
