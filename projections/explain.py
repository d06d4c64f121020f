"""One intent in plain words: what is true, why it did or did not resume, and what happens next.

Pure: it is told what was read, and says what that means. Finished intents are explained too.
"""

from __future__ import annotations

from typing import assert_never
from uuid import UUID

import msgspec

from bootledger.positions import U64
from bootledger.projections.resume import Decision, Resumable, Why, only_without_progress
from bootledger.statemachine import plan
from bootledger.statemachine.events import Abort, Complete
from bootledger.statemachine.progress import Progress, State, known


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator wants to know of one intent; every text is a sentence or more.

    `retry_at_ms` is from when on another try makes sense, None if nobody said. `verbs` are the
    operator's verbs that change something now, without `bootledger` and the ledger.
    """

    intent_id: UUID
    node_id: str
    state: State
    phase: State
    what: str
    on_disk: str
    applied_lsn: U64 | None
    staged_bytes: U64
    size_bytes: U64 | None
    holder: str
    running: bool | None
    target: str | None
    why: str
    next: str
    retry_at_ms: U64 | None
    verbs: tuple[str, ...]


def explain(
    intent_id: UUID, progress: Progress, decision: Decision, *, running: bool | None
) -> Explanation:
    """Return the explanation of an intent that has begun.

    `decision` is what the policy says of its node, `running` whether a live process owns it (None:
    nobody can tell). Raises `DivergedHistory` if it never began.
    """
    begin = known(progress.begin, "how it began")
    snapshot = progress.snapshot
    suspended = progress.suspension if progress.state is State.SUSPENDED else None
    return Explanation(
        intent_id=intent_id,
        node_id=begin.node_id,
        state=progress.state,
        phase=progress.phase,
        what=_what(progress, running=running),
        on_disk=_on_disk(progress),
        applied_lsn=progress.applied_lsn,
        staged_bytes=snapshot.staged_bytes if snapshot else 0,
        size_bytes=snapshot.size_bytes if snapshot else None,
        holder=str(progress.holder),
        running=running,
        target=begin.target.path if begin.target else None,
        why=_why(intent_id, progress, decision),
        next=_next(progress, decision, intent_id, running=running),
        retry_at_ms=suspended.retry_at_ms if suspended else None,
        verbs=_verbs(progress, decision),
    )


def _what(progress: Progress, *, running: bool | None) -> str:
    match progress.end:
        case Complete(total_records=None):
            return "It is completed: the replica is up to date."
        case Complete(total_records=total_records):
            return f"It is completed: the replica is up to date, with {total_records} records."
        case Abort() as abort:
            kept = "; what was staged is kept" if abort.keep_artifacts else ""
            return f"It was aborted by {abort.actor}: {abort.reason}{kept}."
        case None:
            pass
    if progress.state is State.SUSPENDED and progress.suspension is not None:
        held = progress.suspension
        word = f"held by {held.actor}" if progress.held else f"suspended ({held.cause_class})"
        late = " Its owner is alive and stops within seconds." if running else ""
        return f"It is {word}: {held.cause}. It stood in phase {progress.phase}.{late}"
    if running is None:
        return f"It is {progress.state}; whether its owner was alive, nobody can tell."
    if running:
        return f"It is {progress.state}: {progress.holder} works on it."
    return f"It is {progress.state}, but its owner ({progress.holder}) died without a word."


def _on_disk(progress: Progress) -> str:
    snapshot = progress.snapshot
    generation = f"generation {snapshot.generation}" if snapshot else "the database in service"
    match progress.end:
        case Complete():
            return f"CURRENT named {generation} at its end."
        case Abort() as abort if abort.keep_artifacts and snapshot:
            return f"What was staged of {generation} stays until it is discarded."
        case Abort():
            return "CURRENT is what it was; what was staged is removed by the next start."
        case None:
            pass
    match progress.phase:
        case State.BEGUN:
            return "Nothing was staged or applied for it."
        case State.TRANSFERRING if snapshot is not None:
            size = "an unknown number of" if snapshot.size_bytes is None else snapshot.size_bytes
            return (
                f"{snapshot.staged_bytes} of {size} bytes of {generation} are durably staged; "
                "CURRENT is untouched."
            )
        case State.PROMOTING:
            return f"{generation.capitalize()} is whole and verified; CURRENT names it or the old."
        case _:
            return (
                f"{generation.capitalize()} holds every change up to LSN {progress.applied_lsn}, "
                "perhaps a few more; CURRENT is untouched."
            )


def _why(intent_id: UUID, progress: Progress, decision: Decision) -> str:
    if not progress.unfinished:
        return "It is over: nothing resumes it."
    if isinstance(decision, Resumable):
        if decision.intent.intent_id == intent_id:
            return "It is the only one of its node with progress: the next start resumes it."
        return f"Its node resumes {decision.intent.intent_id}, which has progress."
    if only_without_progress(decision):
        return "It is the only one of its node, without progress: the next start takes it up."
    return f"Not resumed by itself: {decision.reason}."


def _next(progress: Progress, decision: Decision, intent_id: UUID, *, running: bool | None) -> str:
    if not progress.unfinished:
        return "Nothing."
    step = _step(plan.next_step(msgspec.structs.replace(progress, state=progress.phase)))
    if progress.state is not State.SUSPENDED and running:
        return f"Its owner goes on: {step}."
    if progress.held:
        return f"Nothing, until a person releases, adopts or aborts it; then: {step}."
    if isinstance(decision, Resumable):
        if decision.intent.intent_id == intent_id:
            return f"The next start goes on: {step}."
        return "It is superseded when the other one completes."
    if only_without_progress(decision):
        return f"The next start takes it up: {step}."
    match decision.why:
        case Why.SEVERAL_WITH_PROGRESS:
            return "Nothing, until a person adopts the one that counts."
        case Why.HELD:
            return "Nothing, until the hold on the node's other intent ends."
        case Why.RUNNING:
            return "Its node's next start, once the process that is alive has ended."
        case _:
            return "The next start begins afresh and supersedes it."


def _step(step: plan.Step) -> str:
    match step:
        case plan.FindPosition():
            return "it finds out whether the log can be followed, or a base backup is needed"
        case plan.Fetch(snapshot):
            return f"it fetches what is missing, from byte {snapshot.offset_bytes} on"
        case plan.Restore():
            return "it reads every byte again and opens the database"
        case plan.CatchUp(applied_lsn):
            return f"it applies the log from LSN {applied_lsn} on"
        case plan.Swap(generation):
            return f"it puts generation {generation} into service"
        case plan.BeginIntent() | plan.TakeUp() | plan.Nothing():
            return "nothing"
        case _:
            assert_never(step)


def _verbs(progress: Progress, decision: Decision) -> tuple[str, ...]:
    if isinstance(progress.end, Complete):
        return ()
    if progress.end is not None:
        return ("discard",)
    several = not isinstance(decision, Resumable) and decision.why is Why.SEVERAL_WITH_PROGRESS
    hold = ("release",) if progress.held else ("hold",)
    adopt = ("adopt",) if several or progress.held else ()
    return (*adopt, *hold, "abort", *(() if progress.phase is State.PROMOTING else ("discard",)))
