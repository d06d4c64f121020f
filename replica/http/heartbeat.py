"""Signs of life, for a slot that would be invalidated if its replica were not heard of."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Lock, Thread

from bootledger.errors import BootledgerError

BEATS = 4
"""How often a replica is heard of within the time after which it counts as gone."""
LEAST_S, MOST_S = 0.1, 60.0

_log = logging.getLogger(__name__)


class Heartbeat:
    """Calls `beat` from a daemon thread of its own, from `within` until `stop`. Thread-safe.

    What it raises of ours is logged, and the next beat comes when it would have come anyway.
    """

    def __init__(self, beat: Callable[[], object]) -> None:
        self._beat = beat
        self._lock = Lock()
        self._stopped = Event()
        self._every_s = MOST_S
        self._thread: Thread | None = None

    def within(self, idle_ms: int | None) -> None:
        """Beat `BEATS` times in `idle_ms`, from now on; None changes nothing."""
        if idle_ms is None:
            return
        with self._lock:
            self._every_s = min(max(idle_ms / 1000 / BEATS, LEAST_S), MOST_S)
            if self._thread is None and not self._stopped.is_set():
                self._thread = Thread(target=self._run, name="bootledger-beats", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Have no further beat begin; one that is under way is not waited for."""
        with self._lock:
            self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._every_s):
            try:
                self._beat()
            except BootledgerError as error:
                if not self._stopped.is_set():
                    _log.debug("no sign of life: %s", error)
