"""Compaction of a ledger: step by step to the end, with a sum at the end."""

from __future__ import annotations

from typing import NamedTuple

from bootledger.clock import Clock, now_ms
from bootledger.positions import check_u64
from bootledger.store.port import EventStore
from bootledger.watch import Watch, watch_nothing


class Compaction(NamedTuple):
    """What a compaction moved: that many events, in that many transactions.

    The log holds `log_bytes` less, the archive `archive_bytes` more. The file stays as large as it
    is; the pages that became free are used again.
    """

    events: int
    log_bytes: int
    archive_bytes: int
    steps: int

    @property
    def saved_bytes(self) -> int:
        """How much less the same events take now; below 0 for a few that compress badly."""
        return self.log_bytes - self.archive_bytes


def compact(
    store: EventStore, older_than_ms: int, *, clock: Clock = now_ms, watch: Watch = watch_nothing
) -> Compaction:
    """Archive every finished intent whose last event was recorded more than that long ago.

    May be interrupted anywhere, by anything: what was moved is moved, and the next one goes on.
    Writers go on meanwhile; each step keeps them waiting for one short transaction. `watch` is told
    the position that was reached and the last one. Raises as `EventStore.compact` does, and
    `InvalidValue` for an age that is no u64.
    """
    before_ms = max(clock() - check_u64(older_than_ms, "older_than_ms"), 0)
    done = Compaction(0, 0, 0, 0)
    position = 0
    while step := store.compact(position, before_ms):
        position = step.position
        done = Compaction(
            done.events + step.events,
            done.log_bytes + step.log_bytes,
            done.archive_bytes + step.archive_bytes,
            done.steps + 1,
        )
        watch(position, max(position, store.last_position()))
    return done
