"""Blocking work, away from the event loop: in so many threads, and with so many waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from bootledger.primary.http.problems import TooMany

T = TypeVar("T")


class Threads:
    """A bounded pool of threads with a bounded queue. Of one event loop."""

    def __init__(self, threads: int, waiting: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most = threads + waiting
        self._running = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, or raise what it raises; `TooMany` if too many wait already.

        If the caller is cancelled, work that has begun is finished, and counts until it is.
        """
        return await asyncio.shield(self.start(work))

    def start(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Begin `work` and return its future, which must not be cancelled."""
        if self._running >= self._most:
            raise TooMany(f"{self._running} requests wait for the database already")
        self._running += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        future.add_done_callback(self._finished)
        return future

    def close(self) -> None:
        """Wait until what runs has ended; what waits does not begin any more."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _finished(self, future: asyncio.Future[T]) -> None:
        self._running -= 1
        if not future.cancelled():
            future.exception()  # heard: nobody may be there any longer who asked
