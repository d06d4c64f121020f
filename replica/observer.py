"""Who wants to watch a replication at work: progress bars, demos, tests."""

from __future__ import annotations

from bootledger.basebackup.manifest import Chunk
from bootledger.projections.forecast import Forecast
from bootledger.replica.replication import ReplicaReplication
from bootledger.statemachine.plan import Step
from bootledger.statemachine.progress import Progress
from bootledger.statemachine.ranges import Range


class Observer:
    """Told what happens, as it happens; every method does nothing unless overridden.

    Called from the thread that replicates, after the fact. What it raises ends the run like any
    other error.
    """

    def on_step(self, step: Step, progress: Progress) -> None:
        """A step is about to be done."""

    def on_pinning(self, generation: int) -> None:
        """The source is asked for a base backup: it may have to read its whole database first."""

    def on_log_lost(self, lost: BaseException) -> None:
        """The log cannot be followed from here, as `lost` says: a new base backup is needed."""

    def on_fetched(self, fetched: Range) -> None:
        """These bytes of the base backup came from the source; no event claims them yet."""

    def on_reused(self, reused: Range) -> None:
        """These bytes were here already and did not come from the source; `on_staged` follows."""

    def on_rejected(self, place: str, chunk: Chunk, reason: str) -> None:
        """What `place` sent is not this chunk: it was dropped, and is fetched again.

        May be called from any thread, several at once.
        """

    def on_staged(self, staged: Range, progress: Progress) -> None:
        """These bytes are durable, and so is the event that says so."""

    def on_applied(self, applied_lsn: int, target_lsn: int) -> None:
        """Changes up to `applied_lsn` are durable; the source stood at `target_lsn`."""

    def on_following(self, replication: ReplicaReplication) -> None:
        """The source answered while it is followed; what it sent is durable."""

    def on_waiting(self, cause: BaseException, left_s: float) -> None:
        """Because of `cause` nothing goes on for `left_s` seconds; told again while they pass."""

    def on_forecast(self, forecast: Forecast) -> None:
        """Whether and when this bootstrap will converge, as far as that is known by now."""


class Relay(Observer):
    """Tells another observer everything: for who wants to hear as well, or to add to it."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def on_step(self, step: Step, progress: Progress) -> None:
        """Tell it."""
        self._observer.on_step(step, progress)

    def on_pinning(self, generation: int) -> None:
        """Tell it."""
        self._observer.on_pinning(generation)

    def on_log_lost(self, lost: BaseException) -> None:
        """Tell it."""
        self._observer.on_log_lost(lost)

    def on_fetched(self, fetched: Range) -> None:
        """Tell it."""
        self._observer.on_fetched(fetched)

    def on_reused(self, reused: Range) -> None:
        """Tell it."""
        self._observer.on_reused(reused)

    def on_rejected(self, place: str, chunk: Chunk, reason: str) -> None:
        """Tell it."""
        self._observer.on_rejected(place, chunk, reason)

    def on_staged(self, staged: Range, progress: Progress) -> None:
        """Tell it."""
        self._observer.on_staged(staged, progress)

    def on_applied(self, applied_lsn: int, target_lsn: int) -> None:
        """Tell it."""
        self._observer.on_applied(applied_lsn, target_lsn)

    def on_following(self, replication: ReplicaReplication) -> None:
        """Tell it."""
        self._observer.on_following(replication)

    def on_waiting(self, cause: BaseException, left_s: float) -> None:
        """Tell it."""
        self._observer.on_waiting(cause, left_s)

    def on_forecast(self, forecast: Forecast) -> None:
        """Tell it."""
        self._observer.on_forecast(forecast)
