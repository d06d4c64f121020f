"""Where an intent stands in numbers: how far, how fast, how far behind, and what comes next.

Pure: everything is derived from the fold, from the newest events and from what was read of its
owner. What the log cannot know is None; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, assert_never
from uuid import UUID

import msgspec

from bootledger.positions import U64
from bootledger.projections.resume import Decision, Resumable, Why, decide, only_without_progress
from bootledger.projections.unfinished import UnfinishedIntent
from bootledger.statemachine import plan
from bootledger.statemachine.events import Checkpoint, Event, SnapshotChunk
from bootledger.statemachine.progress import Progress, State

RECENT_EVENTS = 16
"""A rate is taken over at most so many of an intent's newest events."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where one intent stands.

    Times are milliseconds since 1970. `running` says whether a live process owns it, which `owner`
    describes; None of an earlier time, of which nobody can tell. `share` (0 to 1) is how much of
    the phase is done. `lag_changes` is how many changes the replica lacks at least: of those that
    the log knows the source to have. Rates are those of the work that goes on: there is none of
    work that stands still, nor of an earlier time. `next` is a short phrase.
    `progress` is all that is true of the intent.
    """

    intent_id: UUID
    node_id: str
    state: State
    phase: State
    running: bool | None
    owner: str | None
    epoch: U64
    began_at_ms: U64
    recorded_at_ms: U64
    staged_bytes: U64
    size_bytes: U64 | None
    share: float | None
    applied_lsn: U64 | None
    lag_changes: U64 | None
    bytes_per_s: float | None
    changes_per_s: float | None
    next: str
    progress: Progress


class Rates(NamedTuple):
    """How fast it goes; None where that is not what is being done, or the log cannot tell."""

    bytes_per_s: float | None = None
    changes_per_s: float | None = None


class Source(NamedTuple):
    """What was read of an intent: its fold, who owns it (None: nobody), its newest events first."""

    progress: Progress
    owner: str | None
    recent: Iterable[Event]


def standings(sources: Mapping[UUID, Source], *, then: bool = False) -> list[Standing]:
    """Return where each intent stands, in the order given; all unfinished ones must be among them.

    With `then`, they were read of an earlier time, of which nobody knows who was alive.
    """
    unfinished: dict[UUID, UnfinishedIntent] = {
        intent_id: UnfinishedIntent(
            intent_id, source.progress, 0, None if then else source.owner is not None
        )
        for intent_id, source in sources.items()
        if source.progress.unfinished
    }
    mine: dict[str, list[UnfinishedIntent]] = {}
    for intent in unfinished.values():
        mine.setdefault(intent.node_id, []).append(intent)
    decisions = {node_id: decide(node_id, intents) for node_id, intents in mine.items()}
    return [
        _standing(intent_id, source, unfinished.get(intent_id), decisions, then=then)
        for intent_id, source in sources.items()
    ]


def _standing(
    intent_id: UUID,
    source: Source,
    unfinished: UnfinishedIntent | None,
    decisions: Mapping[str, Decision],
    *,
    then: bool,
) -> Standing:
    progress, snapshot, begin = source.progress, source.progress.snapshot, source.progress.begin
    rates = rates_of(source.recent) if source.owner is not None else Rates()
    return Standing(
        intent_id=intent_id,
        node_id=begin.node_id if begin else "",
        state=progress.state,
        phase=progress.phase,
        running=None if then else source.owner is not None,
        owner=None if then else source.owner,
        epoch=progress.epoch,
        began_at_ms=begin.recorded_at_ms if begin else 0,
        recorded_at_ms=progress.recorded_at_ms,
        staged_bytes=snapshot.staged_bytes if snapshot else 0,
        size_bytes=snapshot.size_bytes if snapshot else None,
        share=share_of(progress),
        applied_lsn=progress.applied_lsn,
        lag_changes=lag_of(progress),
        bytes_per_s=rates.bytes_per_s,
        changes_per_s=rates.changes_per_s,
        next=what_next(unfinished, decisions[unfinished.node_id]) if unfinished else "",
        progress=progress,
    )


def rates_of(recent: Iterable[Event]) -> Rates:
    """Return how fast an intent goes, from its newest events, newest first.

    Over the newest run of chunks, or of checkpoints of one timeline: a suspension, a resume or
    another phase ends the run. Bytes are those fetched, without what was found here. Nothing if
    there are fewer than two events, or no time between them.
    """
    events = iter(recent)
    newest = next(events, None)
    match newest:
        case SnapshotChunk():
            fetched, oldest = 0, newest
            for event in events:
                if not isinstance(event, SnapshotChunk) or event.generation != newest.generation:
                    break
                fetched, oldest = fetched + oldest.length_bytes, event
            return Rates(bytes_per_s=_per_s(fetched, oldest, newest))
        case Checkpoint():
            first = newest
            for event in events:
                if not isinstance(event, Checkpoint) or event.timeline != newest.timeline:
                    break
                first = event
            return Rates(
                changes_per_s=_per_s(newest.applied_lsn - first.applied_lsn, first, newest)
            )
        case _:
            return Rates()


def _per_s(count: int, oldest: Event, newest: Event) -> float | None:
    elapsed_ms = newest.recorded_at_ms - oldest.recorded_at_ms
    return count * 1000 / elapsed_ms if elapsed_ms > 0 and count >= 0 else None


def lag_of(progress: Progress) -> int | None:
    """Return how many changes the replica lacks at least; None if the log does not know any.

    The log knows where the source stood when the intent began, and not how far it went since.
    """
    begin, applied_lsn = progress.begin, progress.applied_lsn
    if begin is None or begin.source_lsn is None or applied_lsn is None:
        return None
    if begin.timeline != progress.timeline or begin.source_lsn <= applied_lsn:
        return None
    return begin.source_lsn - applied_lsn if progress.unfinished else None


def share_of(progress: Progress) -> float | None:
    """Return how much of the phase is done, 0 to 1; None if the log cannot tell.

    Of a catch-up: of the way from the snapshot's LSN to the LSN at which it is expected to end.
    """
    snapshot, begin = progress.snapshot, progress.begin
    if progress.state is State.COMPLETED:
        return 1.0
    match progress.phase:
        case State.TRANSFERRING if snapshot is not None and snapshot.size_bytes:
            return min(1.0, snapshot.staged_bytes / snapshot.size_bytes)
        case State.CATCHING_UP if snapshot is not None and begin is not None:
            start, end, now = snapshot.lsn, begin.target_lsn_hint, progress.applied_lsn
            if start is None or end is None or now is None or end <= start:
                return None
            if begin.timeline != progress.timeline:
                return None
            return min(1.0, max(0, now - start) / (end - start))
        case _:
            return None


def what_next(intent: UnfinishedIntent, decision: Decision) -> str:
    """Return in a short phrase what comes next of an unfinished intent, and what it waits for."""
    progress = intent.progress
    step = _step(plan.next_step(msgspec.structs.replace(progress, state=progress.phase)))
    if intent.running:
        return "its owner stops" if progress.state is State.SUSPENDED else step
    if progress.held:
        return "release, adopt or abort it"
    phrase = _if_stopped(intent, decision, step)
    return phrase if intent.running is not None else f"if no owner was alive: {phrase}"


def _if_stopped(intent: UnfinishedIntent, decision: Decision, step: str) -> str:
    if isinstance(decision, Resumable):
        if decision.intent.intent_id == intent.intent_id:
            return f"start it again: {step}"
        return "start the other: supersedes it"
    if only_without_progress(decision):
        return "start it again: taken up"
    match decision.why:
        case Why.SEVERAL_WITH_PROGRESS:
            return "adopt the one that counts"
        case Why.HELD:
            return "waits: another is held"
        case Why.RUNNING:
            return "waits: another is running"
        case _:
            return "start it again: afresh"


def _step(step: plan.Step) -> str:
    match step:
        case plan.FindPosition():
            return "finds where to start"
        case plan.Fetch():
            return "copies"
        case plan.Restore():
            return "restores"
        case plan.CatchUp():
            return "applies the log"
        case plan.Swap():
            return "promotes"
        case plan.BeginIntent() | plan.TakeUp() | plan.Nothing():
            return ""
        case _:
            assert_never(step)
