"""Owning an intent: check, append, move, and what to do when somebody else wrote.

An owner is one life of one process. It holds the intent's claim (released by the operating system
at any death), knows its own epoch, and writes events with the version that it expects. If somebody
else wrote in the meantime it reads again, and goes on only if epoch and holder are still its own.
"""

from __future__ import annotations

import time
from uuid import UUID

from bootledger.clock import Clock
from bootledger.errors import (
    ClosedByOperator,
    DivergedHistory,
    Fenced,
    IntentConflict,
    Refused,
    Unavailable,
)
from bootledger.projections.heads import decode_head, encode_head
from bootledger.projections.unfinished import list_unfinished
from bootledger.replica.endings import ending, supersede
from bootledger.statemachine.events import Complete, Event, Resume
from bootledger.statemachine.live import LiveIntent
from bootledger.statemachine.progress import FINAL, Progress, State, known
from bootledger.statemachine.ranges import Ranges
from bootledger.store.port import Append, Claim, EventStore

LOOK_EVERY_S = 0.5
"""How long an owner may not know that its intent was taken away, while it does not write."""


class IntentOwner:
    """One owner's hold on one intent. Not to be shared between threads.

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
    ) -> None:
        self.intent_id = intent_id
        self._store = store
        self._clock = clock
        self._claim: Claim | None = claim
        self._live = LiveIntent(progress)
        self._epoch = progress.epoch
        self._holder = progress.holder
        self._look_again_s = 0.0

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

    def check_owned(self, *, now: bool = False) -> None:
        """Raise `Fenced` or `ClosedByOperator` if the intent is not this owner's any more.

        For the midst of long work: it reads the intent's head, and that at most every
        `LOOK_EVERY_S` unless it must be known `now`; in between it costs nothing.
        """
        if self._claim is None:
            raise Refused(f"this handle has let go of intent {self.intent_id}")
        if not now and time.monotonic() < self._look_again_s:
            return
        self._look_again_s = time.monotonic() + LOOK_EVERY_S
        head = self._store.head(self.intent_id)
        if head is None or head.version != self.progress.version:
            self._refold()

    def record(self, event: Event) -> None:
        """Record any event: check it, make it durable, move.

        When this returns the event is durable; when it raises, `progress` is what is durable. After
        a suspension or a final event the handle lets go of the intent.
        """
        if self._claim is None:
            raise Refused(f"this handle has let go of intent {self.intent_id}")
        after = self._live.check(event)
        try:
            self._append(event, after)
        except IntentConflict:
            self._refold()
            after = self._live.check(event)
            self._append(event, after)
        self._live.move(event)
        if after.state is State.SUSPENDED or after.state in FINAL:
            self.close()

    def drop(self, lost: Ranges) -> None:
        """Record that staged ranges turned out to be damaged, so that they are fetched again.

        A drop is a resume by the same owner: it starts this owner's next epoch.
        """
        epoch = self._epoch + 1
        holder = known(self._holder, "the holder")
        self.record(Resume(recorded_at_ms=self._clock(), epoch=epoch, holder=holder, dropped=lost))
        self._epoch = epoch

    def _append(self, event: Event, after: Progress) -> None:
        batch = [Append(self.intent_id, self.progress.version, event, encode_head(after))]
        if isinstance(event, Complete):
            batch += self._superseded()
        try:
            self._store.append(batch)
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

    def _superseded(self) -> list[Append]:
        """Return the ends of the node's other intents: whatever is not running and not held."""
        return [
            supersede(other.intent_id, other.progress, self._clock(), by=self.intent_id)
            for other in list_unfinished(self._store, self._node_id())
            if other.intent_id != self.intent_id and not (other.running or other.progress.held)
        ]

    def _node_id(self) -> str:
        return known(self.progress.begin, "how it began").node_id

    def close(self) -> None:
        """Let go of the intent without a word; writes nothing. Harmless when repeated."""
        # Forgotten first: a release that raises is not to be tried again by whoever closes next.
        claim, self._claim = self._claim, None
        if claim is not None:
            self._live.close()
            claim.release()
