"""Waiting for another try: how long failures are borne, and what ends a wait before its time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from bootledger.errors import Stopped
from bootledger.replica.observer import Observer
from bootledger.replica.settings import Settings

_NAP_MS = 200
_LOOK_EVERY_NAPS = 5


@dataclass(frozen=True)
class Patience:
    """How long failures are borne and news waited for, and what waiting is.

    After `give_up_after_s` without any progress the last failure is raised, None never, 0 the first
    one. `poll_interval` is that of `ReplicaReplication`. `chance` draws the jitter, from 0 to 1;
    `now_s` never goes back.
    """

    give_up_after_s: float | None = None
    poll_interval: timedelta = timedelta(seconds=10)
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
    now_s: Callable[[], float] = time.monotonic

    def bears(self, since_s: float, delay_ms: int) -> bool:
        """Return whether another try after `delay_ms` is not too late, if none helped since."""
        if self.give_up_after_s is None:
            return True
        return self.now_s() - since_s + delay_ms / 1000 <= self.give_up_after_s


def wait(
    error: Exception,
    left_ms: int,
    settings: Settings,
    observer: Observer,
    patience: Patience,
    *,
    until: Callable[[], bool] = lambda: False,
) -> None:
    """Sleep because of `error`; `until`, asked every second and at the end, ends that.

    Raises `Stopped` at once if somebody asks for it.
    """
    naps = 0
    while left_ms > 0:
        if cause := settings.stop():
            raise Stopped(cause, hint="the same command goes on from here") from error
        if naps % _LOOK_EVERY_NAPS == 0:
            observer.on_waiting(error, left_ms / 1000)
            if until():
                return
        nap_ms = min(left_ms, _NAP_MS)
        patience.sleep(nap_ms / 1000)
        left_ms -= nap_ms
        naps += 1
    until()
