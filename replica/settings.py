"""How a replication goes about its work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bootledger.clock import Clock, now_ms

DEFAULT_BATCH_CHANGES = 1000
DEFAULT_LAG_CHANGES = 1000


def never() -> str | None:
    """Return None: nobody asks the loop to stop."""
    return None


@dataclass(frozen=True)
class Settings:
    """How a replication goes about its work.

    `batch_changes` is how many changes are applied in one transaction. The replica counts as caught
    up when it has everything that the source had when the log phase began and lags by at most
    `lag_changes`. Before a copy is restored, every byte of it is read again in any case;
    `verify_staged` does so at the start too, so that damage is known early.
    `stop` is asked between steps and within long ones; what it returns is recorded as the cause.
    """

    batch_changes: int = DEFAULT_BATCH_CHANGES
    lag_changes: int = DEFAULT_LAG_CHANGES
    verify_staged: bool = False
    stop: Callable[[], str | None] = never
    clock: Clock = now_ms
