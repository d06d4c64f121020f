"""One request, tried a few times: backoff with jitter, within a bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from bootledger.errors import SourceUnavailable
from bootledger.replica.ports import Pause

T = TypeVar("T")

TRIES = 5
WITHIN_S = 10.0
"""No further try begins later than this after the first."""

FIRST_PAUSE_S = 0.5
"""Up to how long the first pause may take; the next ones are longer, up to 4 s."""

_PAUSE_EVERY_S = 1.0


class Patience:
    """The tries of one request. `asked_wait_s` may be set by a try, to what the server asked for.

    Raises what the last try raised. Only `passing` is tried again, at most `tries` times (`TRIES`),
    and no later than `within_s` after the first (`WITHIN_S`).
    """

    def __init__(
        self,
        passing: type[SourceUnavailable] = SourceUnavailable,
        *,
        tries: int | None = None,
        within_s: float | None = None,
        first_pause_s: float | None = None,
    ) -> None:
        self.asked_wait_s = 0.0
        self._backoff = wait_random_exponential(multiplier=first_pause_s or FIRST_PAUSE_S, max=4.0)
        self._retrying = Retrying(
            retry=retry_if_exception_type(passing),
            stop=stop_after_attempt(tries or TRIES) | stop_before_delay(within_s or WITHIN_S),
            wait=self._wait,
            reraise=True,
        )

    def __call__(self, attempt: Callable[[], T]) -> T:
        """Return what `attempt` returns, trying it again a few times."""
        return self._retrying(attempt)

    def _wait(self, state: RetryCallState) -> float:
        return self.asked_wait_s + self._backoff(state)


def wait(wait_s: float, pause: Pause) -> None:
    """Wait for a second, or longer if that is asked for; `pause` may end it in between."""
    until_s = time.monotonic() + max(wait_s, _PAUSE_EVERY_S)
    while (left_s := until_s - time.monotonic()) > 0:
        pause()
        time.sleep(min(left_s, _PAUSE_EVERY_S))
    pause()
