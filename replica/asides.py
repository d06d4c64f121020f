"""A question that somebody else waits for, when whoever asks has more to do than to wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

from bootledger.errors import SourceUnavailable

T = TypeVar("T")


class Aside(Generic[T]):
    """Asks `question` in a daemon thread, one at a time. Of one thread."""

    def __init__(self, question: Callable[[], T]) -> None:
        self._question = question
        self._answer: Future[T] | None = None

    def __call__(self, wait_s: float | None) -> T:
        """Return the answer, waiting up to `wait_s` for it; None is without end.

        Raises what `question` raises; `SourceUnavailable` if the answer is not there in time. A
        question that is still under way then is waited for by the next call.
        """
        if self._answer is None or self._answer.done():
            self._answer = Future()
            threading.Thread(
                target=self._ask, args=(self._answer,), name="bootledger-aside", daemon=True
            ).start()
        if not wait([self._answer], timeout=wait_s).done:
            raise SourceUnavailable(f"no answer within {wait_s:g} s")
        return self._answer.result()

    def _ask(self, answer: Future[T]) -> None:
        try:
            answer.set_result(self._question())
        except BaseException as error:  # noqa: BLE001 - it is raised where it was asked
            answer.set_exception(error)
