"""May this node resume, from where, and if not, why not: the single-resumer policy, as a function.

The policy is the seed's: a node resumes only its own intents; if several unfinished intents of it
have progress, none is resumed, and a person decides. While one of them is held, none is resumed
either. Two things are mended. An intent that never got as far as any progress does not stand in
the way: the next begin supersedes it, and a replication takes it up if there is no other. And the
answer "no" always comes with its reason.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from bootledger.projections.unfinished import UnfinishedIntent
from bootledger.statemachine.progress import State


@dataclass(frozen=True)
class ResumePoint:
    """Where an interrupted bootstrap goes on, and the evidence for it.

    `last_applied_lsn` and `snapshot_token` are None where none was told: absent is not zero.
    `snapshot_offset` is the first byte of the snapshot that is not staged. `phase` is what was
    going on. `version` and `epoch` identify the history that this was read from.
    """

    intent_id: UUID
    phase: State
    last_applied_lsn: int | None
    snapshot_token: str | None
    snapshot_offset: int
    version: int
    epoch: int


@dataclass(frozen=True)
class Resumable:
    """Yes: exactly this intent, from this point."""

    intent: UnfinishedIntent
    point: ResumePoint


class Why(enum.Enum):
    """Why a node does not resume."""

    NOTHING_UNFINISHED = "nothing unfinished"
    RUNNING = "a live process works on it"
    HELD = "an operator holds one of them"
    NO_PROGRESS = "no progress was recorded"
    SEVERAL_WITH_PROGRESS = "several have progress"


@dataclass(frozen=True)
class NotResumable:
    """No: `why` for programs, `reason` for people, and the intents that it is about."""

    why: Why
    reason: str
    intents: tuple[UUID, ...] = ()


Decision: TypeAlias = Resumable | NotResumable


def decide(node_id: str, unfinished: Sequence[UnfinishedIntent]) -> Decision:
    """Return whether `node_id` resumes one of the `unfinished` intents, and which."""
    mine = [intent for intent in unfinished if intent.node_id == node_id]
    ids = tuple(intent.intent_id for intent in mine)
    if not mine:
        return NotResumable(Why.NOTHING_UNFINISHED, f"node {node_id!r} has nothing unfinished")
    for intent in mine:
        if intent.running:
            return NotResumable(
                Why.RUNNING,
                f"intent {intent.intent_id} is running ({intent.progress.holder})",
                (intent.intent_id,),
            )
    for intent in mine:
        if intent.progress.held and intent.progress.suspension is not None:
            held = intent.progress.suspension
            return NotResumable(
                Why.HELD,
                f"intent {intent.intent_id} is held by {held.actor}: {held.cause}",
                (intent.intent_id,),
            )
    started = [intent for intent in mine if intent.progress.has_progress]
    if not started and len(mine) == 1:
        return NotResumable(
            Why.NO_PROGRESS,
            f"the intent of node {node_id!r} stopped before any progress was recorded; the next "
            "replication takes it up, a begin supersedes it",
            ids,
        )
    if not started:
        return NotResumable(
            Why.NO_PROGRESS,
            f"{len(mine)} intents of node {node_id!r} stopped before any progress was recorded; "
            "the next begin supersedes them",
            ids,
        )
    if len(started) > 1:
        return NotResumable(
            Why.SEVERAL_WITH_PROGRESS,
            f"{len(started)} unfinished intents of node {node_id!r} have progress: none is "
            "resumed, a person must decide which one counts",
            tuple(intent.intent_id for intent in started),
        )
    (only,) = started
    return Resumable(only, resume_point(only))


def only_without_progress(decision: Decision) -> bool:
    """Return whether it is about one lone intent without progress: a replication takes it up.

    Its base backup may be published already: going on finds it, beginning would not.
    """
    return (
        isinstance(decision, NotResumable)
        and decision.why is Why.NO_PROGRESS
        and len(decision.intents) == 1
    )


def resume_point(intent: UnfinishedIntent) -> ResumePoint:
    """Return where `intent` would go on."""
    progress = intent.progress
    snapshot = progress.snapshot
    return ResumePoint(
        intent_id=intent.intent_id,
        phase=progress.phase,
        last_applied_lsn=progress.applied_lsn,
        snapshot_token=snapshot.token if snapshot else None,
        snapshot_offset=snapshot.offset_bytes if snapshot else 0,
        version=progress.version,
        epoch=progress.epoch,
    )
