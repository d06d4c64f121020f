"""How much of everything there may be, and who takes part of what is shared."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from bootledger.primary.http.problems import TooMany


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a server takes on. Everything beyond is refused, dropped or waits.

    The defaults carry fifty replicas with sixteen requests each, in less than 200 MB.
    """

    connections: int = 1024
    """So many are answered at once. Some more are told to come again, the rest is closed at once;
    one address may have seven eighths of them."""
    requests: int = 1024
    """Requests that are being answered at once."""
    threads: int = 8
    """How many of them may be in the database or on the disk at once."""
    bulky_threads: int = 2
    """How many read changes or compress chunks: each thread keeps what it once took of memory."""
    waiting: int = 1024
    """How many of them may wait for that."""
    head_s: float = 10.0
    """How long a new connection may take until its first request is there whole."""
    idle_s: float = 60.0
    """How long until the next one is there whole."""
    body_s: float = 10.0
    """How long the body of a request may take."""
    stall_s: float = 30.0
    """How long a client may take for a piece of an answer before it is dropped; a piece is so long
    as it took in about a second, and at least 16 KiB."""
    line_bytes: int = 4096
    """Longest request line."""
    header_bytes: int = 2048
    """Longest header field."""
    headers: int = 40
    """How many header fields there may be."""
    ahead_bytes: int = 16 * 1024
    """How much may be sent before what was asked is answered."""
    held_bytes: int = 24 * 2**20
    """Answers that are held in memory, together: changes, and compressed chunks."""
    publications: int = 256
    """How many base backups may be asked for at once; one at a time is made."""
    enforce_every_s: float = 5.0
    """How often the retention is carried out."""
    stop_s: float = 5.0
    """How long answers may take that are under way when the server stops."""


class Held:
    """Shares out the bytes that answers may take in memory. Of one event loop."""

    def __init__(self, most_bytes: int) -> None:
        self._free = self._most = most_bytes
        self._freed = asyncio.Event()
        self._large = False

    @contextlib.contextmanager
    def one_large(self) -> Iterator[None]:
        """Hold an answer that is larger than what was reserved for it: one at a time.

        Raises `TooMany` at once if there is one: waiting would be to hold another one meanwhile.
        """
        if self._large:
            raise TooMany("a large answer is on its way to somebody else")
        self._large = True
        try:
            yield
        finally:
            self._large = False

    @contextlib.asynccontextmanager
    async def reserved(self, size_bytes: int, *, wait_s: float) -> AsyncIterator[Reservation]:
        """Reserve so many bytes for the length of the block; more than there are count as all.

        Raises `TooMany` if they are not free within `wait_s`.
        """
        size = min(size_bytes, self._most)
        try:
            async with asyncio.timeout(wait_s):
                while self._free < size:
                    await self._freed.wait()
        except TimeoutError:
            raise TooMany("too many answers are held in memory for slower readers") from None
        self._free -= size
        reservation = Reservation(size)
        try:
            yield reservation
        finally:
            self._give_back(reservation.size_bytes)

    def shrink(self, reservation: Reservation, size_bytes: int) -> None:
        """Give back what turned out not to be needed."""
        spare = reservation.size_bytes - size_bytes
        if spare > 0:
            reservation.size_bytes = size_bytes
            self._give_back(spare)

    def _give_back(self, size_bytes: int) -> None:
        self._free += size_bytes
        self._freed.set()
        self._freed = asyncio.Event()


@dataclass
class Reservation:
    """What is held now."""

    size_bytes: int


class Admission:
    """Counts connections, in all and by address. Of one event loop."""

    def __init__(self, limits: Limits) -> None:
        self._most = limits.connections
        self._most_an_address = max(1, limits.connections * 7 // 8)
        self._spare = max(8, limits.connections // 16)
        self._by_address: Counter[str] = Counter()
        self.count = 0

    @property
    def crowded(self) -> bool:
        """Whether a new connection is one too many: it is answered, and told to come again."""
        return self.count > self._most

    @contextlib.contextmanager
    def counted(self, address: str) -> Iterator[bool]:
        """Count a connection for the length of the block; yield whether it may stay at all."""
        self.count += 1
        self._by_address[address] += 1
        try:
            yield (
                self.count <= self._most + self._spare
                and self._by_address[address] <= self._most_an_address
            )
        finally:
            self.count -= 1
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]
