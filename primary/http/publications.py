"""Base backups in the making: each goes on by itself, and is asked for until it is there."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from bootledger.errors import BootledgerError, SourceUnavailable
from bootledger.primary.http.problems import TooMany
from bootledger.primary.http.threads import Threads
from bootledger.primary.service import Primary
from bootledger.replica.wire import Pinned, PinRequest, Publishing

ANSWER_WITHIN_S = 1.0
"""So long a request waits for its base backup before it is told how far that is."""
FORGET_AFTER_S = 300.0
"""What nobody asked for any more since it ended is forgotten; the base backup itself stays."""

_log = logging.getLogger(__name__)


@dataclass
class _Publication:
    done_bytes: int = 0
    size_bytes: int = 0
    ended_at_s: float | None = None
    result: asyncio.Future[Pinned] = field(init=False)

    def progress(self, done_bytes: int, size_bytes: int) -> None:
        self.done_bytes, self.size_bytes = done_bytes, size_bytes


class Publications:
    """What is being published, one for each request that differs. Of one event loop.

    It goes on when whoever asked is gone: they ask again. `running` is how many there are.
    """

    def __init__(self, primary: Primary, threads: Threads, most: int) -> None:
        self._primary = primary
        self._threads = threads
        self._most = most
        self._stopping = False
        self._known: dict[PinRequest, _Publication] = {}

    @property
    def running(self) -> int:
        """How many are under way."""
        return sum(each.ended_at_s is None for each in self._known.values())

    async def ask(self, request: PinRequest) -> Pinned | Publishing:
        """Return the base backup if it is there within `ANSWER_WITHIN_S`, else how far it is.

        Raises what publishing it raised, once; who asks then has it tried again.
        """
        self._forget_old()
        publication = self._known.get(request)
        if publication is None:
            publication = self._known[request] = self._start(request)
        await asyncio.wait((publication.result,), timeout=ANSWER_WITHIN_S)
        if not publication.result.done():
            return Publishing(done_bytes=publication.done_bytes, size_bytes=publication.size_bytes)
        if self._known.get(request) is publication:
            del self._known[request]
        return publication.result.result()

    def stop(self) -> None:
        """Have everything end that is under way, soon."""
        self._stopping = True

    def _start(self, request: PinRequest) -> _Publication:
        if len(self._known) >= self._most:
            raise TooMany(f"{len(self._known)} base backups are asked for already")
        publication = _Publication()

        def work() -> Pinned:
            return self._primary.pin(request, self._pause, publication.progress)

        publication.result = self._threads.start(work)
        publication.result.add_done_callback(lambda result: self._ended(request, result))
        return publication

    def _pause(self) -> None:
        if self._stopping:
            raise SourceUnavailable("the primary's server stops", hint="ask again when it is back")

    def _ended(self, request: PinRequest, result: asyncio.Future[Pinned]) -> None:
        if (publication := self._known.get(request)) is not None:
            publication.ended_at_s = asyncio.get_running_loop().time()
        if result.cancelled():
            return
        match result.exception():
            case None:
                pinned = result.result()
                _log.info("slot %r has a base backup at LSN %d", request.slot, pinned.lsn)
            case BootledgerError() as error:
                _log.warning("no base backup for slot %r: %s", request.slot, error)
            case bug:
                _log.error("no base backup for slot %r", request.slot, exc_info=bug)

    def _forget_old(self) -> None:
        now_s = asyncio.get_running_loop().time()
        for request, publication in list(self._known.items()):
            ended = publication.ended_at_s
            if ended is not None and now_s - ended > FORGET_AFTER_S:
                del self._known[request]
