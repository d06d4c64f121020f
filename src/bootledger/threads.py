"""Work that other threads do: in order, or without anybody being kept by it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Thread
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    function: Callable[[T], R], items: Iterable[T], *, threads: int
) -> Iterator[tuple[T, R]]:
    """Yield each item with what `function` returns for it; up to `threads` are worked on at once.

    With one, the caller's own. The items are taken one by one, by the caller's thread, no further
    ahead than there are threads. What is raised ends the work, once what runs has ended.
    """
    if threads == 1:
        for item in items:
            yield item, function(item)
        return
    with ThreadPoolExecutor(threads) as pool:
        running: deque[tuple[T, Future[R]]] = deque()
        for item in items:
            running.append((item, pool.submit(function, item)))
            if len(running) > threads:
                first, done = running.popleft()
                yield first, done.result()
        for item, done in running:
            yield item, done.result()


def in_background(function: Callable[[], R]) -> Future[R]:
    """Return what `function` will return or raise, from a thread that keeps no process alive.

    Who does not want to wait any more may go: what comes then is dropped.
    """
    answer: Future[R] = Future()

    def run() -> None:
        try:
            answer.set_result(function())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            answer.set_exception(error)

    Thread(target=run, name="bootledger-background", daemon=True).start()
    return answer
