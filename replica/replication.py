"""The seed's record of a replica that follows: from whom, how far, and whether it is connected."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass
class ReplicaReplication:
    """How far a replica is that follows. Written by the follower; for others to read.

    `source_lsn` is where the source stood when it was last heard of, None before. `answers` counts
    how often it was. `poll_interval` is how long at most passes between two questions: a source
    that can wait for news is asked to wait so long, any other is asked again after it.
    """

    primary_addr: str
    poll_interval: timedelta = timedelta(seconds=10)
    last_applied_lsn: int = 0
    connected: bool = False
    source_lsn: int | None = None
    answers: int = 0

    @property
    def lag_changes(self) -> int | None:
        """How many changes are missing, of those that are known; None before any answer."""
        return None if self.source_lsn is None else max(0, self.source_lsn - self.last_applied_lsn)
