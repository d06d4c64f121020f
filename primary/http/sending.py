"""Bytes on their way out: from a file by sendfile, at a rate, to whoever keeps taking them."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import BinaryIO, TypeVar

from aiohttp import web

from bootledger.pacing import Bucket
from bootledger.primary.http.limits import Limits
from bootledger.primary.http.threads import Threads

PIECE_MIN_BYTES = 16 * 1024
PIECE_MAX_BYTES = 1024 * 1024
THROUGH_MEMORY_MAX_BYTES = 256 * 1024
"""Longest piece that goes through memory: with TLS there is no sendfile."""
_IN_MEMORY_TOGETHER_BYTES = 4 * 1024 * 1024

T = TypeVar("T")

_FIRST_PIECE_BYTES = 256 * 1024
_QUICK_S, _SLOW_S = 0.5, 4.0


@dataclass(frozen=True)
class FilePart:
    """Bytes of an open file, as the body of an answer."""

    file: BinaryIO
    offset_bytes: int
    length_bytes: int


class Answer(web.StreamResponse):
    """An answer whose body is sent by a `Sender`; `sent_bytes` of it have left."""

    def __init__(
        self, status: int, body: bytes | FilePart = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status=status, headers=headers)
        self.body = body
        self.sent_bytes = 0
        self.length_bytes = len(body) if isinstance(body, bytes) else body.length_bytes


class StalledReader(ConnectionError):
    """The client took nothing, or next to nothing, for too long."""


class Sender:
    """Sends bodies. All answers of a server share its rate. Of one event loop.

    `sent_bytes` is how many bytes of bodies have left.
    """

    def __init__(self, limits: Limits, threads: Threads, max_bytes_per_s: float | None) -> None:
        self._stall_s = limits.stall_s
        self._threads = threads
        self._bucket: Bucket | None = None
        self._piece_max_bytes = PIECE_MAX_BYTES
        if max_bytes_per_s is not None:
            now_s = asyncio.get_running_loop().time()
            self._bucket = Bucket(max_bytes_per_s, now_s=now_s)
            # Small pieces share a small rate more evenly.
            fair = int(max_bytes_per_s / 16)
            self._piece_max_bytes = min(PIECE_MAX_BYTES, max(PIECE_MIN_BYTES, fair))
        self._sending = 0
        self.sent_bytes = 0

    async def send(self, request: web.BaseRequest, answer: Answer) -> None:
        """Send an answer, head and body; nothing is left in our buffers when this returns.

        Raises `ConnectionError` if the client is gone, `StalledReader` if it does not take it.
        """
        self._sending += 1
        try:
            await self._send(request, answer)
        finally:
            self._sending -= 1

    async def _send(self, request: web.BaseRequest, answer: Answer) -> None:
        length = 0 if request.method == "HEAD" else answer.length_bytes
        if answer.status != HTTPStatus.NO_CONTENT:
            answer.content_length = answer.length_bytes
        loop = asyncio.get_running_loop()
        await self._within(request, answer.prepare(request))
        piece_bytes = _FIRST_PIECE_BYTES
        while (left := length - answer.sent_bytes) > 0:
            piece = min(piece_bytes, self._piece_max_bytes, left)
            if self._bucket is not None:
                await asyncio.sleep(self._bucket.take(piece, loop.time()))
            began_s = loop.time()
            sent = await self._within(request, self._pass_on(request, answer, piece))
            answer.sent_bytes += sent
            self.sent_bytes += sent
            took_s = loop.time() - began_s
            if took_s < _QUICK_S:
                piece_bytes = min(piece_bytes * 2, PIECE_MAX_BYTES)
            elif took_s > _SLOW_S:
                piece_bytes = max(piece_bytes // 2, PIECE_MIN_BYTES)
        await self._within(request, answer.write_eof())
        await self._within(request, request.writer.drain())

    async def _within(self, request: web.BaseRequest, step: Awaitable[T]) -> T:
        """Await one step, and drop the client if it takes too long."""
        try:
            async with asyncio.timeout(self._stall_s):
                return await step
        except TimeoutError:
            if (transport := request.transport) is not None:
                transport.abort()
            raise StalledReader(f"next to nothing was taken in {self._stall_s} s") from None

    async def _pass_on(self, request: web.BaseRequest, answer: Answer, piece: int) -> int:
        body = answer.body
        if isinstance(body, bytes):
            part = memoryview(body)[answer.sent_bytes :]
            return await _write(request, part[: self._through_memory(piece)])
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        offset_bytes = body.offset_bytes + answer.sent_bytes
        fd = body.file.fileno()
        if transport.get_extra_info("sslcontext") is None:
            # A page that is not in memory yet would hold up everybody else: have it fetched.
            os.posix_fadvise(fd, offset_bytes, piece * 2, os.POSIX_FADV_WILLNEED)
            # A file system that cannot, or a client that is gone: writing tells which.
            with contextlib.suppress(asyncio.SendfileNotAvailableError):
                return _some(
                    await asyncio.get_running_loop().sendfile(
                        transport, body.file, offset_bytes, piece, fallback=False
                    )
                )
        read = partial(os.pread, fd, self._through_memory(piece), offset_bytes)
        data = await self._threads.run(read)
        return await _write(request, memoryview(data))

    def _through_memory(self, piece: int) -> int:
        """Return how much of a piece may be in memory at once: the more readers, the less."""
        share = max(PIECE_MIN_BYTES, _IN_MEMORY_TOGETHER_BYTES // self._sending)
        return min(piece, share, THROUGH_MEMORY_MAX_BYTES)


async def _write(request: web.BaseRequest, data: memoryview) -> int:
    await request.writer.write(data)
    await request.writer.drain()
    return _some(len(data))


def _some(sent: int) -> int:
    if not sent:
        raise ConnectionAbortedError("the file is shorter than it was")
    return sent
