"""What a bad link does to the bytes of a connection, and when: by a seed and a profile."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field

PIECE_BYTES = 512 * 1024
LINE_BYTES = 64 * 2**20
"""How much may be under way in one direction of a connection of a long line."""

UP, DOWN = "up", "down"
HARMS = ("cut", "reset", "truncate", "delay", "throttle", "corrupt", "duplicate", "swallow")


@dataclass(frozen=True)
class Profile:
    """What a link does. Harms have weights; distances between two of them are means.

    `refuse` is the chance that a connection is reset as soon as it is there. Bad weather is a time
    in which every connection is refused, or nothing passes.
    """

    harms: dict[str, float] = field(default_factory=dict)
    up_every_bytes: float = 0
    down_every_bytes: float = 0
    longest_delay_s: float = 0.2
    refuse: float = 0
    fair_s: float = 0
    foul_s: float = 0
    delay_s: float = 0
    bytes_per_s: float = 0


EVEN = dict.fromkeys(HARMS, 1.0)
PROFILES = {
    "clear": Profile(),
    "latency": Profile(delay_s=0.025),
    "slow": Profile(bytes_per_s=20e6),
    # For seconds: every harm but the one that only a time-out ends.
    "squalls": Profile(
        harms={**EVEN, "swallow": 0},
        up_every_bytes=8_000,
        down_every_bytes=150_000,
        longest_delay_s=0.05,
        bytes_per_s=4e6,
        refuse=0.05,
        fair_s=1.5,
        foul_s=0.15,
    ),
    # For minutes.
    "storm": Profile(
        harms={**EVEN, "swallow": 0.1},
        up_every_bytes=30_000,
        down_every_bytes=2_000_000,
        longest_delay_s=1.0,
        bytes_per_s=15e6,
        refuse=0.05,
        fair_s=15,
        foul_s=2,
    ),
    # Each harm alone, in what comes from the primary.
    **{kind: Profile({kind: 1}, down_every_bytes=400_000, longest_delay_s=0.02) for kind in HARMS},
    "refuse": Profile(refuse=0.5),
    "weather": Profile(fair_s=0.1, foul_s=0.1),
}


class Broken(Exception):
    """The connection is over."""


class Shared:
    """What the connections of a proxy have in common: the weather, the rate, and the counts."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.calm = False
        self.counts: Counter[str] = Counter()
        self.light = asyncio.Event()
        self.light.set()
        self._free_at = {UP: 0.0, DOWN: 0.0}

    async def pace(self, way: str, length_bytes: int) -> None:
        """Wait until so many bytes have passed a link of this rate."""
        if (rate := self.profile.bytes_per_s) and not self.calm:
            now = time.monotonic()
            self._free_at[way] = max(now, self._free_at[way]) + length_bytes / rate
            await asyncio.sleep(self._free_at[way] - now)


class Line:
    """Where bytes leave: after the delay of the line, in their order."""

    def __init__(self, sink: socket.socket, shared: Shared, way: str) -> None:
        self._sink, self._shared, self._way = sink, shared, way
        self._under_way: deque[tuple[float, bytes | memoryview]] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()

    async def send(self, data: bytes | memoryview) -> None:
        """Take bytes; waits while the line is full, or without a delay until they have left."""
        delay_s = self._shared.profile.delay_s
        if not delay_s:
            return await self._leave(data)
        self._under_way.append((time.monotonic() + delay_s, bytes(data)))
        self._bytes += len(data)
        self._changed.set()
        while self._bytes > LINE_BYTES:
            self._changed.clear()
            await self._changed.wait()
        return None

    async def end(self) -> None:
        """Say that no more comes, as soon as everything has left."""
        while self._bytes:
            self._changed.clear()
            await self._changed.wait()
        self._sink.shutdown(socket.SHUT_WR)

    async def deliver(self) -> None:
        """Let the bytes leave when they are due, for ever."""
        while True:
            while not self._under_way:
                self._changed.clear()
                await self._changed.wait()
            due_at, data = self._under_way.popleft()
            if (left_s := due_at - time.monotonic()) > 0:
                await asyncio.sleep(left_s)
            await self._leave(data)
            self._bytes -= len(data)
            self._changed.set()

    async def _leave(self, data: bytes | memoryview) -> None:
        if not len(data):
            return
        await self._shared.light.wait()
        await self._shared.pace(self._way, len(data))
        await asyncio.get_running_loop().sock_sendall(self._sink, data)
        self._shared.counts[f"{self._way}_bytes"] += len(data)


class Harm:
    """What happens to the bytes of one direction of one connection."""

    def __init__(self, link: Link, way: str, line: Line, source: socket.socket) -> None:
        profile = link.shared.profile
        self._link, self._way, self._line, self._source = link, way, line, source
        self._chance = random.Random(f"{link.seed} {link.number} {way}")
        self._every = profile.up_every_bytes if way == UP else profile.down_every_bytes
        self._kinds = [*profile.harms]
        self._weights = [*profile.harms.values()]
        self._left_bytes = self._distance()

    def _distance(self) -> int:
        return int(self._chance.expovariate(1 / self._every)) if self._every else sys.maxsize

    async def pass_on(self, data: memoryview) -> None:
        """Let bytes pass, and do what is due in between."""
        while len(data) > self._left_bytes and not self._link.shared.calm:
            await self._line.send(data[: self._left_bytes])
            data = data[self._left_bytes :]
            self._left_bytes = self._distance()
            (kind,) = self._chance.choices(self._kinds, self._weights)
            self._link.shared.counts[f"{kind}_{self._way}"] += 1
            data = await getattr(self, f"_{kind}")(data)
        self._left_bytes = max(0, self._left_bytes - len(data))
        await self._line.send(data)

    async def _cut(self, data: memoryview) -> memoryview:
        raise Broken

    async def _reset(self, data: memoryview) -> memoryview:
        self._link.reset = True
        raise Broken

    async def _truncate(self, data: memoryview) -> memoryview:
        await self._line.end()
        while await asyncio.get_running_loop().sock_recv(self._source, PIECE_BYTES):
            pass
        raise Broken

    async def _delay(self, data: memoryview) -> memoryview:
        await asyncio.sleep(self._chance.uniform(0, self._link.shared.profile.longest_delay_s))
        return data

    async def _throttle(self, data: memoryview) -> memoryview:
        slow, rest = data[:20_000], data[20_000:]
        for at in range(0, len(slow), 2_000):
            await self._line.send(slow[at : at + 2_000])
            await asyncio.sleep(0.005)
        return rest

    async def _corrupt(self, data: memoryview) -> memoryview:
        spoilt = bytearray(data)
        for _ in range(self._chance.randint(1, 4)):
            spoilt[self._chance.randrange(min(64, len(spoilt)))] ^= self._chance.randint(1, 255)
        return memoryview(spoilt)

    async def _duplicate(self, data: memoryview) -> memoryview:
        await self._line.send(data[: self._chance.randint(1, 4096)])
        return data

    async def _swallow(self, data: memoryview) -> memoryview:
        return data[self._chance.randint(1, 4096) :]


class Link:
    """One connection of a replica, and the one to the primary that goes with it."""

    def __init__(self, near: socket.socket, shared: Shared, seed: int, number: int) -> None:
        self.shared, self.seed, self.number = shared, seed, number
        self.reset = False
        self._near = near
        self._far = socket.socket()
        for each in (near, self._far):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def run(self, primary: tuple[str, int]) -> None:
        """Pass bytes in both directions until both ends have finished, or it is broken."""
        refused = random.Random(f"{self.seed} {self.number}").random() < self.shared.profile.refuse
        try:
            if refused and not self.shared.calm:
                self.shared.counts["refused"] += 1
                self.reset = True
                return
            try:
                await asyncio.get_running_loop().sock_connect(self._far, primary)
            except OSError:
                self.shared.counts["primary_was_not_there"] += 1
                self.reset = True
                return
            async with asyncio.TaskGroup() as group:
                up = Line(self._far, self.shared, UP)
                down = Line(self._near, self.shared, DOWN)
                delivering = [group.create_task(each.deliver()) for each in (up, down)]
                there = group.create_task(
                    self._pump(self._near, Harm(self, UP, up, self._near), up)
                )
                await self._pump(self._far, Harm(self, DOWN, down, self._far), down)
                await there
                for task in delivering:
                    task.cancel()
        except* (Broken, OSError):
            pass
        finally:
            self._close()

    async def _pump(self, source: socket.socket, harm: Harm, line: Line) -> None:
        loop = asyncio.get_running_loop()
        buffer = memoryview(bytearray(PIECE_BYTES))
        while length := await loop.sock_recv_into(source, buffer):
            await harm.pass_on(buffer[:length])
        await line.end()

    def _close(self) -> None:
        for each in (self._near, self._far):
            if self.reset:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            each.close()
