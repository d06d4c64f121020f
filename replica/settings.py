"""How a replication goes about its work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bootledger.clock import Clock, now_ms
from bootledger.errors import InvalidValue
from bootledger.positions import check_u64
from bootledger.replica.endings import RetryAfter, usual_retry
from bootledger.replica.ports import Pause

DEFAULT_BATCH_CHANGES = 1000
DEFAULT_LAG_CHANGES = 1000
IN_FLIGHT_BYTES = 96 * 2**20
"""How many bytes of chunks are held in memory at once, unless one chunk alone is longer."""


def never() -> str | None:
    """Return None: nobody asks the loop to stop."""
    return None


def trusted(directory: Path, pause: Pause) -> None:
    """Do nothing: bytes that are what the source has are as good as the source."""


@dataclass(frozen=True)
class Settings:
    """How a replication goes about its work.

    `batch_changes` is how many changes are applied in one transaction. The replica counts as caught
    up when it has everything that the source had when the log phase began and lags by at most
    `lag_changes`. Before a copy is restored, every byte of it is read again in any case;
    `verify_staged` does so at the start too, so that damage is known early.
    Up to `max_in_flight` chunks are fetched at once, each in a thread of its own: more than 1 only
    if the source's `read_chunk` may be called from several threads. Of long chunks, which the
    source cuts, only as many as `IN_FLIGHT_BYTES` can hold. `max_bytes_per_s` bounds what is
    fetched of a base backup, None not at all.
    A failure is recorded with the time of the next try, which is `retry_after_ms` of it and of how
    far the bootstrap is, None where no try makes sense.
    `check_restored` is given the directory of a copy when every byte of it was compared with the
    manifest, before anything opens it; what it raises keeps it closed. `Database.check_unopened` is
    for what came over a network.
    While it follows, the replica keeps the newest `keep_changes` of what it applied in its own log
    and forgets the rest, None nothing. Its own recovery needs none of them, and the last one tells
    whether its history is the source's: so at least 1. Replicas of this replica may need more.
    `stop` is asked between steps and within long ones; what it returns is recorded as the cause.
    """

    batch_changes: int = DEFAULT_BATCH_CHANGES
    lag_changes: int = DEFAULT_LAG_CHANGES
    verify_staged: bool = False
    max_in_flight: int = 1
    max_bytes_per_s: float | None = None
    retry_after_ms: RetryAfter = usual_retry
    check_restored: Callable[[Path, Pause], None] = trusted
    keep_changes: int | None = None
    stop: Callable[[], str | None] = never
    clock: Clock = now_ms

    def in_flight(self, chunk_bytes: int) -> int:
        """Return how many chunks of up to `chunk_bytes` may be fetched at once."""
        return min(self.max_in_flight, max(1, IN_FLIGHT_BYTES // chunk_bytes))

    def __post_init__(self) -> None:
        """Raise `InvalidValue` if not even the last change were kept."""
        if self.keep_changes is not None and check_u64(self.keep_changes, "keep_changes") < 1:
            raise InvalidValue("keep_changes must be at least 1: the last one tells the history")
