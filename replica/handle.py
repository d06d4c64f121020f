"""The seed's handle: what an owner says about its bootstrap, and what leaving it means."""

from __future__ import annotations

import warnings
from types import TracebackType
from typing import Literal, Self, TypeAlias
from uuid import UUID

from bootledger.clock import Clock
from bootledger.errors import BootledgerError, SimulatedCrash, Stopped
from bootledger.positions import check_u64
from bootledger.replica.cursor import staged_up_to
from bootledger.replica.endings import RetryAfter, cause_class_of, shortened, usual_retry
from bootledger.replica.owner import IntentOwner
from bootledger.statemachine.events import (
    Abort,
    AbortKind,
    CauseClass,
    Checkpoint,
    Complete,
    Suspend,
)
from bootledger.statemachine.progress import Progress, State
from bootledger.store.port import Claim, EventStore

OnExit: TypeAlias = Literal["abort", "suspend"]
"""What leaving a `with handle:` block without completing means: the seed's drop, or a pause."""


class BootstrapHandle(IntentOwner):
    """One owner's hold on one intent, from `IntentLog.begin` or `IntentLog.resume_unfinished`.

    Use it as a context manager. Leaving the block by an exception suspends, with the exception as
    the cause; leaving it normally without completing aborts (the seed's drop), or suspends with
    `on_exit="suspend"`. A handle that is garbage-collected writes nothing and warns. An owner that
    tries again by itself says with `retry_after_ms` when that will be.
    """

    def __init__(
        self,
        store: EventStore,
        clock: Clock,
        intent_id: UUID,
        progress: Progress,
        claim: Claim,
        on_exit: OnExit,
    ) -> None:
        super().__init__(store, clock, intent_id, progress, claim)
        self._on_exit = on_exit
        self.retry_after_ms: RetryAfter = usual_retry

    def checkpoint(self, last_applied_lsn: int, batches_applied: int) -> None:
        """Record that everything up to `last_applied_lsn` is durably applied."""
        self.record(
            Checkpoint(
                recorded_at_ms=self._clock(),
                applied_lsn=last_applied_lsn,
                batches=batches_applied,
                timeline=self.progress.timeline,
            )
        )

    def checkpoint_snapshot_transfer(
        self,
        snapshot_token: str,
        snapshot_offset: int,
        last_applied_lsn: int,
        batches_applied: int,
    ) -> None:
        """Record that the snapshot is durably staged up to `snapshot_offset`.

        The seed's cursor: the range from the first gap to the offset. An equal offset is no new
        bytes and legal; a lower one is refused. Another token opens the next generation.
        """
        check_u64(snapshot_offset, "snapshot_offset")
        self.record(
            staged_up_to(
                self.progress,
                snapshot_token,
                snapshot_offset,
                recorded_at_ms=self._clock(),
                applied_lsn=last_applied_lsn,
                batches=batches_applied,
            )
        )

    def suspend(
        self,
        cause: str,
        cause_class: CauseClass = "shutdown",
        *,
        retry_at_ms: int | None = None,
        actor: str | None = None,
    ) -> None:
        """Record why the bootstrap stands still, and let go. The next start resumes it."""
        self.record(
            Suspend(
                recorded_at_ms=self._clock(),
                cause=shortened(cause),
                cause_class=cause_class,
                retry_at_ms=retry_at_ms,
                actor=actor,
            )
        )

    def abort(
        self,
        reason: str,
        *,
        actor: str | None = None,
        kind: AbortKind = "operator",
        keep_artifacts: bool = False,
    ) -> None:
        """Record that it was ended on purpose, and let go. Final.

        `actor` is the node itself unless told otherwise.
        """
        self.record(
            Abort(
                recorded_at_ms=self._clock(),
                actor=actor or self._node_id(),
                reason=shortened(reason),
                abort_kind=kind,
                keep_artifacts=keep_artifacts,
            )
        )

    def complete(self, total_records: int, duration_ms: int) -> None:
        """Record that the replica is up to date, and let go. Final.

        In the same transaction the node's other unfinished intents are superseded, so that a stale
        LSN never returns; what an operator holds stays held.
        """
        event = Complete(
            recorded_at_ms=self._clock(), total_records=total_records, duration_ms=duration_ms
        )
        self.record(event)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, SimulatedCrash):
            # The dead write nothing, and their claim is the operating system's to release.
            self._claim = None
            self._live.close()
            return
        try:
            if self.closed:
                return
            if error is not None:
                self.suspend_because(error)
            elif self._on_exit == "suspend" or self.progress.state is State.PROMOTING:
                self.suspend("its owner left it without completing")
            else:
                self.abort("its owner left it without completing", kind="left")
        finally:
            self.close()

    def suspend_because(self, error: BaseException) -> None:
        """Suspend with an error as the cause; if that cannot be recorded, note it on the error."""
        try:
            cause = str(error) if isinstance(error, Stopped) else f"{type(error).__name__}: {error}"
            after_ms = self.retry_after_ms(error, self.progress)
            retry_at_ms = None if after_ms is None else self._clock() + after_ms
            self.suspend(cause, cause_class_of(error), retry_at_ms=retry_at_ms)
        except BootledgerError as second:
            # What went wrong first matters more; the intent stays resumable without the word.
            error.add_note(f"the suspension could not be recorded: {second}")

    def __del__(self) -> None:
        if getattr(self, "_claim", None) is not None:
            self.close()
            warnings.warn(
                f"intent {self.intent_id} was left without a word: use `with`, suspend or close",
                ResourceWarning,
                stacklevel=1,
                source=self,
            )
