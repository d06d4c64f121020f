"""What an operator should know about every unfinished intent: what, since when, and what to do.

"Dangling" is said of three different things, and they call for different answers: an intent whose
owner is alive, one that stopped with a word (suspended, with a cause), and one that stopped without
(its owner died).
"""

from __future__ import annotations

import enum
import logging
from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

import msgspec

from bootledger.positions import U64
from bootledger.projections.resume import (
    Decision,
    Resumable,
    Why,
    decide,
    only_without_progress,
)
from bootledger.projections.unfinished import UnfinishedIntent
from bootledger.statemachine.progress import State


class Liveness(enum.StrEnum):
    """Whether anybody is at it."""

    RUNNING = "running"
    """A live process holds the intent."""
    STOPPED_WITH_WORD = "stopped, with a word"
    """Suspended: the last event says why."""
    STOPPED_WITHOUT_WORD = "stopped, without a word"
    """The owner died: the last event is ordinary work."""
    UNKNOWN = "running or stopped, nobody can tell"
    """Of an earlier time: the ledger does not record whether an owner was alive."""


class DanglingIntent(msgspec.Struct, frozen=True):
    """One unfinished intent, as reported at each scan. An operator event.

    Times are milliseconds since 1970. `held_by` is who decided that it waits for a person,
    None if nobody did. `what_to_do` is the sentence for the operator.
    """

    intent_id: UUID
    op: str
    node_id: str
    liveness: Liveness
    state: State
    phase: State
    began_at_ms: U64
    since_ms: U64
    applied_lsn: U64 | None
    staged_bytes: U64
    size_bytes: U64 | None
    holder: str
    cause: str | None
    held_by: str | None
    retry_at_ms: U64 | None
    what_to_do: str

    @property
    def level(self) -> int:
        """Running is information; anything that stopped is a warning."""
        return logging.INFO if self.liveness is Liveness.RUNNING else logging.WARNING

    def describe(self) -> str:
        """Return one line: what dangles, where it stood, why, and what to do."""
        cause = f" ({self.cause})" if self.cause else ""
        lsn = "no LSN applied" if self.applied_lsn is None else f"LSN {self.applied_lsn} applied"
        return (
            f"{self.op} {self.intent_id} of node {self.node_id!r} is {self.liveness}{cause}: "
            f"{self.phase}, {lsn}. {self.what_to_do}"
        )


def report(unfinished: Sequence[UnfinishedIntent], ledger: str = "LEDGER") -> list[DanglingIntent]:
    """Return what to say about each unfinished intent, in the order given.

    `ledger` is what the commands in it call the ledger.
    """
    by_node: defaultdict[str, list[UnfinishedIntent]] = defaultdict(list)
    for intent in unfinished:
        by_node[intent.node_id].append(intent)
    decisions = {node_id: decide(node_id, mine) for node_id, mine in by_node.items()}
    return [_describe(intent, decisions[intent.node_id], ledger) for intent in unfinished]


def _describe(intent: UnfinishedIntent, decision: Decision, ledger: str) -> DanglingIntent:
    progress, snapshot = intent.progress, intent.progress.snapshot
    suspended = progress.suspension if progress.state is State.SUSPENDED else None
    if intent.running:
        liveness = Liveness.RUNNING
    elif suspended:
        liveness = Liveness.STOPPED_WITH_WORD
    elif intent.running is None:
        liveness = Liveness.UNKNOWN
    else:
        liveness = Liveness.STOPPED_WITHOUT_WORD
    return DanglingIntent(
        intent_id=intent.intent_id,
        op=intent.op,
        node_id=intent.node_id,
        liveness=liveness,
        state=progress.state,
        phase=progress.phase,
        began_at_ms=progress.begin.recorded_at_ms if progress.begin else 0,
        since_ms=progress.recorded_at_ms,
        applied_lsn=progress.applied_lsn,
        staged_bytes=snapshot.staged_bytes if snapshot else 0,
        size_bytes=snapshot.size_bytes if snapshot else None,
        holder=str(progress.holder),
        cause=suspended.cause if suspended else None,
        held_by=suspended.actor if suspended and progress.held else None,
        retry_at_ms=suspended.retry_at_ms if suspended else None,
        what_to_do=_advice(intent, decision, ledger),
    )


def _advice(intent: UnfinishedIntent, decision: Decision, ledger: str) -> str:
    if intent.running is None:
        return f"Then, if no owner was alive: {_advice(_stopped(intent), decision, ledger)}"
    if advice := _own_advice(intent, ledger):
        return advice
    if isinstance(decision, Resumable):
        if decision.intent.intent_id == intent.intent_id:
            return "Start the replica again: it resumes here."
        return "Start the replica again: completing it supersedes this one."
    if only_without_progress(decision):
        return "Start the replica again: it takes this one up, which has no progress yet."
    match decision.why:
        case Why.SEVERAL_WITH_PROGRESS if intent.progress.has_progress:
            return (
                "Several of this node have progress: decide which one counts, with `bootledger "
                f"adopt {ledger} {intent.intent_id}` or another one's id."
            )
        case Why.SEVERAL_WITH_PROGRESS:
            return "Completing another intent of this node supersedes this one."
        case Why.RUNNING:
            return "Another intent of this node is running; completing that supersedes this one."
        case Why.HELD:
            return "Another intent of this node is held: nothing starts until that ends."
        case _:
            return "Start the replica again: it begins afresh and supersedes this one."


def _stopped(intent: UnfinishedIntent) -> UnfinishedIntent:
    return msgspec.structs.replace(intent, running=False)


def _own_advice(intent: UnfinishedIntent, ledger: str) -> str | None:
    """Return what to do whatever becomes of its node, None if that decides."""
    if intent.progress.held and intent.progress.suspension is not None:
        actor = intent.progress.suspension.actor
        return (
            f"Held by {actor}, until a person decides: `bootledger release {ledger} "
            f"{intent.intent_id}`, or adopt, or abort."
        )
    if intent.running and intent.progress.state is State.SUSPENDED:
        return "Wait a few seconds: its owner is about to find out that it was taken away."
    if intent.running:
        return "Nothing to do: a live process works on it."
    return None
