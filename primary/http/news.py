"""Waiting for changes: one look at the database a few times a second, for everybody who waits."""

from __future__ import annotations

import asyncio
import logging

from bootledger.errors import BootledgerError
from bootledger.primary.http.threads import Threads
from bootledger.primary.service import Primary

LOOK_EVERY_S = 0.1

_log = logging.getLogger(__name__)


class News:
    """Knows the newest LSN, and wakes those who wait for one. Of one event loop.

    `over` says that the server stops: nobody waits any longer. `failure` says why the database
    could not be read at the last look, None if it could.
    """

    def __init__(self, primary: Primary, threads: Threads) -> None:
        self._primary = primary
        self._threads = threads
        self._changed = asyncio.Event()
        self.over = False
        self.last_lsn = 0
        self.failure: BootledgerError | None = None

    async def look(self) -> None:
        """Look once."""
        try:
            last_lsn = await self._threads.run(self._primary.last_lsn)
        except BootledgerError as error:
            if self.failure is None:
                _log.warning("the database cannot be read: %s", error)
            self.failure = error
            return
        self.failure = None
        if last_lsn != self.last_lsn:
            self.last_lsn = last_lsn
            self._wake()

    async def keep_looking(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def wait_beyond(self, lsn: int, wait_s: float) -> bool:
        """Wait until there is a change after `lsn`, and say whether there is one.

        Ends without one after `wait_s`, or when the server stops.
        """
        try:
            async with asyncio.timeout(wait_s):
                while self.last_lsn <= lsn and not self.over:
                    await self._changed.wait()
        except TimeoutError:
            return False
        return self.last_lsn > lsn

    def stop(self) -> None:
        """Have nobody wait any longer."""
        self.over = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
