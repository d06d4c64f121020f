"""Never giving up: attempt after attempt, on the same intent, until the replica is up to date.

A failure that time may mend suspends the intent with its cause and the time of the next attempt,
which is then made: not before, and not later. That attempt resumes the same intent under the next
epoch. Where nothing is left to bootstrap, the source is followed, and a failure is waited for in
the same way, without a word in the ledger: there is no intent that stands still.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from uuid import UUID

from bootledger.errors import (
    ClosedByOperator,
    Corrupted,
    GuardRefused,
    IntentConflict,
    LogWindowLost,
    NodeBusy,
    Stopped,
    Unavailable,
)
from bootledger.files import Files
from bootledger.replica.backoff import FIRST_MS, SENT_WRONG, backoff_ms
from bootledger.replica.endings import ending, retry_after_ms
from bootledger.replica.following import Following, ReplicaReplication
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.loop import Outcome, Replication
from bootledger.replica.observer import Observer
from bootledger.replica.ports import OpenApplier, Source
from bootledger.replica.settings import Settings
from bootledger.replica.target import Target
from bootledger.replica.waiting import Patience, wait
from bootledger.statemachine.events import Abort
from bootledger.statemachine.progress import Progress


class _Mark(NamedTuple):
    """What a try may have moved: if nothing of it has changed, it came to nothing."""

    generation: int
    staged_bytes: int
    applied_lsn: int | None
    phase: str
    answers: int


@dataclass
class _Row:
    """Failures in a row: how many, how many of them wrong bytes; the chance for the next."""

    chance: float
    failures: int = 0
    wrong: int = 0
    since_s: float | None = None
    mark: _Mark | None = field(default=None)


class Keeper:
    """Keeps the target's node up to date with a source, whatever happens in between.

    `open_source` is called for every attempt, and what it returns is closed after it. `replication`
    says at any time how far it is. `observer` may be replaced before the work begins. The caller
    opens and closes `log` and target.
    """

    def __init__(
        self,
        log: IntentLog,
        open_source: Callable[[], Source],
        target: Target,
        open_applier: OpenApplier,
        replication: ReplicaReplication,
        *,
        files: Files | None = None,
        settings: Settings | None = None,
        observer: Observer | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._node_id = target.identity.node_id
        self.log = log
        self._open_source = open_source
        self._target = target
        self._open_applier = open_applier
        self._state = replication
        self._files = files or Files()
        self.observer = observer or Observer()
        self._patience = patience or Patience()
        self._row = _Row(self._patience.chance())
        self._known: set[UUID] = set()
        self._settings = replace(settings or Settings(), retry_after_ms=self._recorded_ms)

    def bring_up_to_date(self) -> Outcome:
        """Bring the target up to date once, however many attempts it takes; return the last's.

        Raises `Stopped` if somebody asked for that, `ClosedByOperator` if somebody held or ended
        the intent, `NodeBusy`, and every `Refused` and `Corrupted` at once; what time may mend only
        once the patience is at its end. `CorruptChunk` and `CorruptManifest` are borne a few times.
        """
        while True:
            before = self._epochs()
            self._known.update(before)
            try:
                with closing(self._open_source()) as source:
                    outcome = self._run(self._replication(source))
            except IntentConflict:
                self._check_closed()
                raise
            except (Unavailable, Corrupted, OSError) as error:
                self._bear(error, before)
            else:
                self._row = _Row(self._patience.chance())
                return outcome

    def follow(self) -> Outcome:
        """Bring the target up to date and keep it so, until somebody asks to stop.

        Returns the outcome of the last bootstrap, with the LSN that was applied in the end. If the
        log is lost, another bootstrap begins. Raises as `bring_up_to_date`: `Stopped` only if what
        was asked to stop was a bootstrap.
        """
        outcome = self.bring_up_to_date()
        while True:
            try:
                try:
                    with closing(self._open_source()) as source:
                        self._following(source).run()
                except LogWindowLost as lost:
                    self._wait(lost, round(self._patience.chance() * FIRST_MS))
                except (Unavailable, Corrupted, OSError) as error:
                    self._bear(error, self._epochs())
                    continue
            except Stopped:
                return replace(outcome, applied_lsn=self._state.last_applied_lsn)
            outcome = self.bring_up_to_date()

    def _run(self, replication: Replication) -> Outcome:
        try:
            return replication.run()
        finally:
            if replication.intent_id is not None:
                self._known.add(replication.intent_id)

    def _replication(self, source: Source) -> Replication:
        return Replication(
            self._node_id,
            self.log,
            source,
            self._target,
            self._open_applier,
            files=self._files,
            settings=self._settings,
            observer=self.observer,
            check_begin=self._check_closed,
        )

    def _following(self, source: Source) -> Following:
        return Following(
            source,
            self._target,
            self._open_applier,
            self._state,
            self._settings,
            self.observer,
            sleep=self._patience.sleep,
        )

    # --- Failures ---------------------------------------------------------------------------

    def _bear(self, error: Exception, before: Mapping[UUID, int]) -> None:
        """Wait until it is time for the next attempt; raise the error if there will be none."""
        if not isinstance(error, Stopped):
            self._check_closed()
        self._note(error, before)
        progress = next(iter(self._unfinished().values()), None)
        delay_ms = self._delay_ms(error, progress)
        if delay_ms is None:
            raise error
        row = self._row_after(progress)
        self._row = replace(
            row,
            failures=row.failures + 1,
            wrong=row.wrong + isinstance(error, SENT_WRONG),
            since_s=self._patience.now_s() if row.since_s is None else row.since_s,
            chance=self._patience.chance(),
        )
        self._wait(error, delay_ms)

    def _note(self, error: Exception, before: Mapping[UUID, int]) -> None:
        """Record why nothing goes on, if the attempt failed before it took the intent up."""
        unfinished = self.log.list_unfinished(self._node_id)
        if len(unfinished) != 1 or unfinished[0].running or unfinished[0].progress.held:
            return
        (intent,) = unfinished
        if before.get(intent.intent_id) != intent.progress.epoch or isinstance(error, Stopped):
            return
        try:
            with self.log.resume_unfinished(intent, on_exit="suspend") as handle:
                handle.retry_after_ms = self._recorded_ms
                handle.suspend_because(error)
        except NodeBusy:
            raise
        except (IntentConflict, GuardRefused, Unavailable) as second:
            # What went wrong first matters more; the wait looks at the intent again.
            error.add_note(f"it could not be recorded: {second}")

    def _recorded_ms(self, error: BaseException, progress: Progress) -> int | None:
        """Return what the ledger is told: the attempt that will be made, or that makes sense."""
        delay_ms = self._delay_ms(error, progress)
        return retry_after_ms(error) if delay_ms is None else delay_ms

    def _delay_ms(self, error: BaseException, progress: Progress | None) -> int | None:
        """Return after how long the next attempt is made, None if none is. Changes nothing."""
        row = self._row_after(progress)
        delay_ms = backoff_ms(error, row.failures, row.chance, wrong=row.wrong)
        since_s = self._patience.now_s() if row.since_s is None else row.since_s
        bears = delay_ms is not None and self._patience.bears(since_s, delay_ms)
        return delay_ms if bears else None

    def _row_after(self, progress: Progress | None) -> _Row:
        """Return the row of failures that one more belongs to: a new one after any progress."""
        snapshot = progress.snapshot if progress else None
        mark = _Mark(
            progress.generation if progress else 0,
            snapshot.staged_bytes if snapshot else 0,
            progress.applied_lsn if progress else None,
            progress.phase if progress else "",
            self._state.answers,
        )
        if mark == self._row.mark:
            return self._row
        return _Row(self._row.chance, mark=mark)

    # --- Waiting ----------------------------------------------------------------------------

    def _wait(self, error: Exception, left_ms: int) -> None:
        """Sleep, unless somebody asks to stop or has something to say about the intent."""
        before = self._unfinished()
        wait(
            error,
            left_ms,
            self._settings,
            self.observer,
            self._patience,
            until=lambda: self._ruled(before),
        )

    def _ruled(self, before: Mapping[UUID, Progress]) -> bool:
        """Return whether an operator has handed the intent on to the next start: that is now.

        Raises as `_check_closed`.
        """
        self._check_closed()
        return any(
            self.log.progress_of(intent_id).version != old.version
            for intent_id, old in before.items()
        )

    def _check_closed(self) -> None:
        """Raise `ClosedByOperator` if somebody held or aborted what this keeper has worked on.

        It is remembered over all attempts: whenever that was said, nothing new begins after it.
        """
        for intent_id in self._known:
            now = self.log.progress_of(intent_id)
            if now.held or (isinstance(now.end, Abort) and now.end.abort_kind == "operator"):
                raise ClosedByOperator(
                    f"intent {intent_id} is {ending(now)}",
                    hint="bootledger explain LEDGER INTENT says what ends that",
                )

    def _unfinished(self) -> dict[UUID, Progress]:
        mine = self.log.list_unfinished(self._node_id)
        return {intent.intent_id: intent.progress for intent in mine}

    def _epochs(self) -> dict[UUID, int]:
        return {intent_id: progress.epoch for intent_id, progress in self._unfinished().items()}
