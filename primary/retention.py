"""How long the change log is kept for a replica that does not come, and why no longer. Pure.

`Primary.enforce` carries it out: first slots beyond a limit are invalidated, then the log is pruned
up to what the valid ones, and `keep_changes`, leave over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from bootledger.errors import InvalidValue
from bootledger.positions import check_u64
from bootledger.replica.wire import Slot


@dataclass(frozen=True, kw_only=True)
class Retention:
    """What is kept; None is no such limit. Raises `InvalidValue` for a limit that is none.

    With `keep_changes` the log is pruned so that at least the newest so many changes stay; without,
    it is never pruned. A slot becomes invalid if it holds more than `slot_max_changes` changes or
    `slot_max_bytes` of the log, or if its replica was not heard of for `slot_idle_ms`. How many
    bytes a slot holds is an estimate: its share of the changes in the log, times the size of the
    log's pages on disk.
    """

    keep_changes: int | None = None
    slot_max_changes: int | None = None
    slot_max_bytes: int | None = None
    slot_idle_ms: int | None = None

    def __post_init__(self) -> None:
        """Check all limits."""
        for name, limit in vars(self).items():
            if limit is not None:
                check_u64(limit, name)
        if self.slot_idle_ms == 0:
            raise InvalidValue("slot_idle_ms must be at least 1: no replica is there all the time")


class Facts(NamedTuple):
    """What is true of the log at one moment; `watched_since_ms` is when this process began.

    Nobody could be heard of before that: time before it does not count as idle.
    """

    last_lsn: int
    pruned_lsn: int
    log_bytes: int
    now_ms: int
    watched_since_ms: int


def held_changes(slot: Slot, facts: Facts) -> int:
    """Return how many changes of the log the slot holds."""
    return max(0, facts.last_lsn - max(slot.acknowledged_lsn, facts.pruned_lsn))


def held_bytes(slot: Slot, facts: Facts) -> int:
    """Return how many bytes of the log the slot holds: its share of all changes in it."""
    kept = facts.last_lsn - facts.pruned_lsn
    return facts.log_bytes * held_changes(slot, facts) // kept if kept > 0 else 0


def why_invalid(slot: Slot, retention: Retention, facts: Facts) -> str | None:
    """Return why a valid slot is to be invalidated, with the numbers; None if it is not.

    The reason begins with one of `log-removed`, `horizon`, `bytes` and `idle-timeout`.
    """
    acknowledged = f"LSN {slot.acknowledged_lsn} is acknowledged"
    if slot.acknowledged_lsn < facts.pruned_lsn:
        return f"log-removed: {acknowledged}, but changes up to {facts.pruned_lsn} were pruned"
    held = held_changes(slot, facts)
    if retention.slot_max_changes is not None and held > retention.slot_max_changes:
        return (
            f"horizon: {acknowledged}, the newest is {facts.last_lsn}: {held} changes were held, "
            f"{retention.slot_max_changes} are allowed"
        )
    size_bytes = held_bytes(slot, facts)
    if retention.slot_max_bytes is not None and size_bytes > retention.slot_max_bytes:
        return (
            f"bytes: {acknowledged}, the newest is {facts.last_lsn}: about {size_bytes} bytes of "
            f"log were held, {retention.slot_max_bytes} are allowed"
        )
    idle_ms = facts.now_ms - max(slot.active_at_ms, facts.watched_since_ms)
    if retention.slot_idle_ms is not None and idle_ms > retention.slot_idle_ms:
        return (
            f"idle-timeout: the replica was not heard of for {idle_ms} ms, "
            f"{retention.slot_idle_ms} are allowed; {acknowledged}"
        )
    return None
