"""Threads that obtain chunks for an owner, and how it keeps them from writing when it is over.

The workers take chunks in order and report; the owner alone knows the ledger. Whatever touches
the candidate happens `at_the_file`: closing the workers waits for those that are there, and lets
nobody in afterwards. So an owner that was fenced or stopped has nobody who writes for it, although
a thread may still wait for a slow network: it drops what comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Condition, Lock, Thread
from types import TracebackType
from typing import NamedTuple, Self, TypeAlias

from bootledger.basebackup.manifest import Chunk
from bootledger.replica.window import Window

LEAVE_S = 1.0
"""How long an owner that leaves waits for its threads; one that hangs is left behind."""


class Fetched(NamedTuple):
    """A chunk came from the source."""

    chunk: Chunk


class Durable(NamedTuple):
    """A chunk is durable in the candidate, and may be claimed; `reused` ones were not fetched."""

    chunk: Chunk
    reused: bool


class Ended(NamedTuple):
    """A worker has ended, as nothing was left to do or because of `error`."""

    error: BaseException | None


Said: TypeAlias = Fetched | Durable | Ended


class Over(Exception):
    """The owner has left: what is being done is not wanted any more."""


class Workers:
    """Threads that call `work` with one of `chunks` after the other, as many as the link can use.

    A context manager: entering starts the threads, leaving ends them. `work` is called with the
    workers too: it is to call `at_the_file`, `wait` and `say`. At most `most` chunks are held at
    once.
    """

    def __init__(
        self, most: int, chunks: Iterator[Chunk], work: Callable[[Chunk, Workers], None]
    ) -> None:
        self._chunks = chunks
        self._work = work
        self._window = Window(most, now_s=time.monotonic())
        lock = Lock()  # one for all; conditions apart, as each wakes only who waits for it
        self._room, self._end, self._left = Condition(lock), Condition(lock), Condition(lock)
        self._in_flight = 0
        self._at_the_file = 0
        self._over = False
        self._no_more = False
        self._said: SimpleQueue[Said] = SimpleQueue()
        self._threads = [
            Thread(target=self._run, name=f"bootledger-copy-{number}", daemon=True)
            for number in range(most)
        ]

    # --- for the owner ----------------------------------------------------------------------

    def heard(self, wait_s: float) -> Iterator[Said]:
        """Yield what the workers have said, waiting up to `wait_s` for the first word."""
        try:
            yield self._said.get(timeout=wait_s) if wait_s else self._said.get_nowait()
            while True:
                yield self._said.get_nowait()
        except Empty:
            return

    @property
    def count(self) -> int:
        """How many threads there are; each of them ends with one `Ended`."""
        return len(self._threads)

    def close(self) -> None:
        """Let nobody write any more, and wait a little for the threads. Harmless when repeated.

        When this returns, nobody is at the file, and nobody comes back to it.
        """
        with self._left:
            self._over = True
            self._room.notify_all()
            self._end.notify_all()
            self._left.wait_for(lambda: self._at_the_file == 0)
        until_s = time.monotonic() + LEAVE_S
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until_s - time.monotonic()))

    def __enter__(self) -> Self:
        try:
            for thread in self._threads:
                thread.start()
        except BaseException:  # the system has no thread left: those that run are told to end
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- for the work -----------------------------------------------------------------------

    @contextmanager
    def at_the_file(self) -> Iterator[None]:
        """Keep the owner from leaving for the length of the block. Raises `Over` if it has left."""
        with self._left:
            if self._over:
                raise Over
            self._at_the_file += 1
        try:
            yield
        finally:
            with self._left:
                self._at_the_file -= 1
                self._left.notify_all()

    def wait(self, wait_s: float) -> None:
        """Wait, unless the owner leaves: then raise `Over`."""
        with self._end:
            if self._end.wait_for(lambda: self._over, wait_s):
                raise Over

    def say(self, word: Said) -> None:
        """Tell the owner."""
        self._said.put(word)

    def arrived(self, chunk: Chunk) -> None:
        """Take note of how fast chunks arrive."""
        with self._room:
            before = self._window.allowed
            self._window.arrived(chunk.length_bytes, time.monotonic())
            self._room.notify(max(0, self._window.allowed - before))

    # --- the threads ------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (chunk := self._take()) is not None:
                try:
                    self._work(chunk, self)
                except BaseException:  # it goes on; meanwhile nobody takes another
                    self._no_more = True
                    raise
                finally:
                    with self._room:
                        self._in_flight -= 1
                        self._room.notify()
        except Over:
            self.say(Ended(None))
        except BaseException as error:  # noqa: BLE001 - it goes on in the owner's thread
            self.say(Ended(error))
        else:
            self.say(Ended(None))

    def _take(self) -> Chunk | None:
        with self._room:
            self._room.wait_for(self._may_take)
            chunk = None if self._over or self._no_more else next(self._chunks, None)
            if chunk is None:
                self._no_more = True
                self._room.notify_all()
            else:
                self._in_flight += 1
            return chunk

    def _may_take(self) -> bool:
        return self._over or self._no_more or self._in_flight < self._window.allowed
