"""The owner's hold on one bootstrap: check, append, move.

A handle is one life of one owner. It holds the intent's claim (released by the operating system at
any death), knows its own epoch, and writes events with the version it expects. If somebody else
wrote in the meantime it reads again, and goes on only if epoch and holder are still its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Literal, Self, TypeAlias
from uuid import UUID

from bootledger.clock import Clock
from bootledger.errors import (
    BootledgerError,
    ClosedByOperator,
    DivergedHistory,
    Fenced,
    IntentConflict,
    Refused,
    SimulatedCrash,
    Unavailable,
)
from bootledger.projections.heads import decode_head, encode_head
from bootledger.projections.unfinished import list_unfinished
from bootledger.replica.endings import cause_class_of, ending, shortened, supersede
from bootledger.statemachine.events import (
    Abort,
    AbortKind,
    CauseClass,
    Checkpoint,
    Complete,
    Event,
    SnapshotChunk,
    Suspend,
)
from bootledger.statemachine.live import LiveIntent
from bootledger.statemachine.progress import FINAL, Progress, State
from bootledger.store.port import Append, Claim, EventStore

OnExit: TypeAlias = Literal["abort", "suspend"]
"""What leaving a `with handle:` block without completing means: the seed's drop, or a pause."""


class BootstrapHandle:
    """One owner's hold on one intent, from `IntentLog.begin` or `IntentLog.resume_unfinished`.

    Use it as a context manager. Leaving the block by an exception suspends, with the exception as
    the cause; leaving it normally without completing aborts (the seed's drop), or suspends with
    `on_exit="suspend"`. A handle that is garbage-collected writes nothing and warns. Not to be
    shared between threads.

    Every method that records an event raises `IllegalEvent` or `GuardRefused` if the table refuses
    (nothing changed), `Fenced` if another owner has taken over, `ClosedByOperator` if the intent
    was held or ended by somebody else, and `Unavailable` if the store could not write.
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
        self.intent_id = intent_id
        self._store = store
        self._clock = clock
        self._claim: Claim | None = claim
        self._live = LiveIntent(progress)
        self._epoch = progress.epoch
        self._holder = progress.holder
        self._on_exit = on_exit

    # --- What is true -----------------------------------------------------------------------

    @property
    def progress(self) -> Progress:
        """The fold of every event that is known to be durable."""
        return self._live.progress

    @property
    def last_applied_lsn(self) -> int | None:
        """The applied LSN, or None before one was told."""
        return self.progress.applied_lsn

    @property
    def closed(self) -> bool:
        """Whether this handle has let go of the intent."""
        return self._claim is None

    # --- What happens -----------------------------------------------------------------------

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
        snapshot = self.progress.snapshot
        goes_on = (
            snapshot is not None
            and snapshot.token == snapshot_token
            and self.progress.state is State.TRANSFERRING
        )
        start = snapshot.offset_bytes if snapshot is not None and goes_on else 0
        if snapshot_offset < start:
            raise Refused(f"offset {snapshot_offset} is below {start}, which is staged already")
        self.record(
            SnapshotChunk(
                recorded_at_ms=self._clock(),
                token=snapshot_token,
                generation=self.progress.generation + (0 if goes_on else 1),
                offset_bytes=start,
                length_bytes=snapshot_offset - start,
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

        In the same transaction the node's older unfinished intents are superseded, so that a stale
        LSN never returns.
        """
        event = Complete(
            recorded_at_ms=self._clock(), total_records=total_records, duration_ms=duration_ms
        )
        self._record(event, self._superseded)

    def record(self, event: Event) -> None:
        """Record any event: check it, make it durable, move.

        When this returns the event is durable; when it raises, `progress` is what is durable. After
        a suspension or a final event the handle lets go of the intent.
        """
        self._record(event, lambda: ())

    def _record(self, event: Event, also: Callable[[], Sequence[Append]]) -> None:
        if self._claim is None:
            raise Refused(f"this handle has let go of intent {self.intent_id}")
        after = self._live.check(event)
        try:
            self._append(event, after, also)
        except IntentConflict:
            self._refold()
            after = self._live.check(event)
            self._append(event, after, also)
        self._live.move(event)
        if after.state is State.SUSPENDED or after.state in FINAL:
            self.close()

    def _append(self, event: Event, after: Progress, also: Callable[[], Sequence[Append]]) -> None:
        append = Append(self.intent_id, self.progress.version, event, encode_head(after))
        try:
            self._store.append((append, *also()))
        except Unavailable:
            if not self._landed(after):
                raise

    def _landed(self, after: Progress) -> bool:
        """Return whether an append of unknown outcome is there; raise if somebody else's is."""
        try:
            head = self._store.head(self.intent_id)
        except Unavailable:
            return False
        if head is None or head.version == self.progress.version:
            return False
        if decode_head(head) == after:
            return True
        self._refold()
        return False

    def _refold(self) -> None:
        """Take what is durable as true, if this owner still owns it."""
        head = self._store.head(self.intent_id)
        if head is None:
            raise DivergedHistory(f"intent {self.intent_id} has vanished from the ledger")
        progress = decode_head(head)
        if progress.state in FINAL or progress.held:
            self.close()
            raise ClosedByOperator(
                f"intent {self.intent_id} is {ending(progress)}",
                hint="stop: nothing that this process does for it counts any more",
            )
        if (progress.epoch, progress.holder) != (self._epoch, self._holder):
            self.close()
            raise Fenced(
                f"intent {self.intent_id} was taken over by {progress.holder} "
                f"(epoch {progress.epoch}; this is epoch {self._epoch})",
                hint="stop: another process owns this bootstrap now",
            )
        self._live.close()
        self._live = LiveIntent(progress)

    def _superseded(self) -> Sequence[Append]:
        return [
            supersede(older.intent_id, older.progress, self._clock(), by=self.intent_id)
            for older in list_unfinished(self._store, self._node_id())
            if older.intent_id.bytes < self.intent_id.bytes and not older.running
        ]

    def _node_id(self) -> str:
        return self.progress.begin.node_id if self.progress.begin else ""

    # --- Leaving ----------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the intent without a word; writes nothing. Harmless when repeated."""
        if self._claim is not None:
            self._claim.release()
            self._claim = None
            self._live.close()

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
                self._suspend_because(error)
            elif self._on_exit == "suspend" or self.progress.state is State.PROMOTING:
                self.suspend("its owner left it without completing")
            else:
                self.abort("its owner left it without completing", kind="left")
        finally:
            self.close()

    def _suspend_because(self, error: BaseException) -> None:
        try:
            self.suspend(f"{type(error).__name__}: {error}", cause_class_of(error))
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
