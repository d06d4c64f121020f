"""The loop that brings a target up to date: ask what is next, do it, record it, ask again.

There is no code here for recovery. `next_step` looks at the folded history only, every step may be
repeated, and a start after a crash is a start like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from uuid import UUID

from bootledger.errors import ClosedByOperator, ForeignTarget, NodeBusy, SourceChanged, Undecided
from bootledger.files import Files
from bootledger.projections.resume import NotResumable, Resumable, Why
from bootledger.projections.unfinished import UnfinishedIntent
from bootledger.replica.agreement import check_timeline
from bootledger.replica.handle import BootstrapHandle
from bootledger.replica.housekeeping import needed_generations
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.observer import Observer
from bootledger.replica.ports import OpenApplier, Source
from bootledger.replica.settings import Settings
from bootledger.replica.steps import Steps
from bootledger.replica.target import Target
from bootledger.replica.whereabouts import check_target, ref_of
from bootledger.statemachine.plan import next_step
from bootledger.statemachine.progress import State, known


@dataclass(frozen=True)
class Outcome:
    """What a replication achieved: the target's database holds everything up to `applied_lsn`.

    `generation` is the one that CURRENT names; `copied` says whether a base backup was needed;
    `epochs` counts the starts that it took.
    """

    intent_id: str
    applied_lsn: int
    generation: int
    copied: bool
    epochs: int


class Replication:
    """One run of one node's replication from `source` into `target`, with the intents of `log`.

    The caller opens and closes all three, and holds the target's lock by having it open. What
    `check_begin` raises forbids to begin an intent; `intent_id` is the one that is worked on.
    """

    def __init__(
        self,
        node_id: str,
        log: IntentLog,
        source: Source,
        target: Target,
        open_applier: OpenApplier,
        *,
        files: Files | None = None,
        settings: Settings | None = None,
        observer: Observer | None = None,
        check_begin: Callable[[], None] = lambda: None,
    ) -> None:
        self._check_begin = check_begin
        self.intent_id: UUID | None = None
        self._node_id = node_id
        self._log = log
        self._source = source
        self._target = target
        self._settings = settings or Settings()
        self._observer = observer or Observer()
        self._identity = source.identity()
        if self._identity.database_id != target.identity.source_database_id:
            raise ForeignTarget(
                f"{target.path} belongs to {target.identity}, not to {self._identity.database_id}",
                hint="name the right source, or another target",
            )
        self._steps = Steps(
            source,
            self._identity,
            target,
            open_applier,
            files or Files(),
            self._settings,
            self._observer,
            kept=self._needed,
        )

    def run(self) -> Outcome:
        """Bring the target up to date, whatever state it is in, and return what was achieved.

        Resumes the node's interrupted intent if there is one, else begins another; after one that
        was being promoted, another follows the log. When this returns, the intent is completed and
        CURRENT names a database that is up to date. When it raises, the intent is suspended with
        the error as its cause, unless somebody else owns it.

        Raises `NodeBusy`, `SourceChanged`, `Undecided`, `ClosedByOperator` or `Fenced` (stop),
        `Unavailable` (try again later; `Stopped` if that was asked for), `Corrupted` (look).
        """
        outcome, was_promoting = self._run_one()
        if not was_promoting:
            return outcome
        # A promotion that a crash interrupted was finished as it stood; the source has moved on.
        followed, _ = self._run_one()
        return replace(followed, copied=True)

    def _run_one(self) -> tuple[Outcome, bool]:
        """Take up one intent and bring it to its end; say whether it was already promoting."""
        with self._take_up() as handle:
            self.intent_id = handle.intent_id
            handle.retry_after_ms = self._settings.retry_after_ms
            was_promoting = handle.progress.phase is State.PROMOTING
            self._steps.inherit(handle)
            self._target.remove_unused(keep=self._needed)
            if self._settings.verify_staged:
                self._steps.verify_staged(handle)
            while handle.progress.unfinished:
                self._steps.check_stop(handle)
                step = next_step(handle.progress)
                self._observer.on_step(step, handle.progress)
                self._steps.do(step, handle)
        self._target.remove_unused(keep=self._needed)
        outcome = Outcome(
            intent_id=str(handle.intent_id),
            applied_lsn=known(handle.progress.applied_lsn, "the applied LSN"),
            generation=known(self._target.current(), "CURRENT"),
            copied=handle.progress.snapshot is not None,
            epochs=handle.progress.epoch,
        )
        return outcome, was_promoting

    def _needed(self) -> Collection[int]:
        return needed_generations(self._log, self._target, self._node_id)

    def _take_up(self) -> BootstrapHandle:
        self._log.scan_and_report()
        decision = self._log.decide(self._node_id)
        match decision:
            case Resumable():
                return self._resume(decision.intent)
            case NotResumable(why=Why.NO_PROGRESS, intents=(only,)):
                # Its base backup may be published already: going on finds it, beginning would not.
                return self._resume(
                    next(i for i in self._log.list_unfinished(self._node_id) if i.intent_id == only)
                )
            case NotResumable(why=Why.NOTHING_UNFINISHED | Why.NO_PROGRESS):
                return self._begin()
            case NotResumable(why=Why.RUNNING):
                raise NodeBusy(decision.reason, hint="wait for it, or stop that process")
            case NotResumable(why=Why.HELD):
                raise ClosedByOperator(
                    decision.reason, hint="bootledger release LEDGER INTENT ends the hold"
                )
            case NotResumable(why=Why.SEVERAL_WITH_PROGRESS):
                ids = ", ".join(map(str, decision.intents))
                raise Undecided(
                    decision.reason, hint=f"bootledger adopt LEDGER INTENT, with one of {ids}"
                )
            case _:
                raise AssertionError(f"an answer without a consequence: {decision}")

    def _begin(self) -> BootstrapHandle:
        for intent in self._log.list_unfinished(self._node_id):
            self._check_target(intent)
        source_lsn = self._source.last_lsn()
        self._check_begin()
        return self._log.begin(
            self._node_id,
            source_lsn,
            source_lsn,
            source_identity=self._identity.database_id,
            timeline=self._identity.timeline,
            last_generation=max(self._target.generations(), default=0),
            target=ref_of(self._target),
            on_exit="suspend",
        )

    def _resume(self, intent: UnfinishedIntent) -> BootstrapHandle:
        begun_with = known(intent.progress.begin, "how it began").source_identity
        if begun_with not in {None, self._identity.database_id}:
            raise SourceChanged(
                f"intent {intent.intent_id} began with source {begun_with}, "
                f"this source is {self._identity.database_id}",
                hint=f"name the right source, or give it up: bootledger abort LEDGER "
                f"{intent.intent_id} --reason WHY",
            )
        # An older one has nothing to say to what was begun on a newer one.
        if intent.progress.timeline > self._identity.timeline:
            check_timeline(
                f"intent {intent.intent_id}", intent.progress.timeline, self._identity.timeline
            )
        self._check_target(intent)
        return self._log.resume_unfinished(intent, on_exit="suspend")

    def _check_target(self, intent: UnfinishedIntent) -> None:
        begin = known(intent.progress.begin, "how it began")
        check_target(intent.intent_id, begin, self._target)
