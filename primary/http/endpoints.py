"""What each request does: docs/protocol.md, one method for each line of its table."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

import msgspec
from aiohttp import web

from bootledger.basebackup.manifest import DATA_NAME, MANIFEST_NAME
from bootledger.errors import InvalidValue, SourceUnavailable
from bootledger.primary.http import arguments, browsers, files, metrics, seals
from bootledger.primary.http.arguments import Wanted
from bootledger.primary.http.connections import Connection
from bootledger.primary.http.limits import Held, Limits
from bootledger.primary.http.metrics import Metrics
from bootledger.primary.http.news import News
from bootledger.primary.http.problems import NotFound, TooLong, TooMany
from bootledger.primary.http.publications import Publications
from bootledger.primary.http.sending import Answer, FilePart
from bootledger.primary.http.threads import Threads
from bootledger.primary.service import Primary
from bootledger.replica.database import CHANGES_MAX_BYTES
from bootledger.replica.ports import Change
from bootledger.replica.wire import (
    CHANGES_TYPE,
    DIGEST_HEADER,
    MAX_MESSAGE_BYTES,
    Pinned,
    PinRequest,
    SlotRequest,
    encode_changes,
)

_BYTES_TYPE = "application/octet-stream"
_JSON_TYPE = "application/json"
# Changes are in memory as values, as records and as they travel.
_READING_CHANGES_BYTES = 3 * CHANGES_MAX_BYTES
_HELD_WAIT_S = 10.0
_TOUCH_EVERY_S = 1.0
_COMPRESS_WAIT_S = 2.0


@dataclass(frozen=True)
class Call:
    """A request on its way: what stands in its path, and what is given back once it is answered."""

    request: web.BaseRequest
    parts: tuple[str, ...]
    until_sent: contextlib.AsyncExitStack
    connection: Connection


class Endpoints:
    """Answers requests that are allowed. Raises errors of ours for whatever cannot be answered."""

    def __init__(
        self,
        primary: Primary,
        limits: Limits,
        threads: Threads,
        bulky: Threads,
        news: News,
        publications: Publications,
        counted: Metrics,
    ) -> None:
        self._primary = primary
        self._limits = limits
        self._threads = threads
        self._bulky = bulky
        self._news = news
        self._publications = publications
        self._metrics = counted
        self._held = Held(limits.held_bytes)
        self._reading = asyncio.Lock()

    async def primary(self, call: Call) -> Answer:
        """Tell which database this is and where it stands."""
        slot = arguments.slot_of(call.request.rel_url.raw_query_string)
        return _json(await self._threads.run(partial(self._primary.info, slot)))

    async def publish(self, call: Call) -> Answer:
        """Make a base backup, or tell how far it is."""
        wanted = arguments.message(await self._body(call), PinRequest)
        told = await self._publications.ask(wanted)
        if isinstance(told, Pinned):
            return _json(told)
        return _json(told, HTTPStatus.ACCEPTED, {"Retry-After": "1"})

    async def backups(self, _call: Call) -> Answer:
        """List every base backup."""
        found = await self._threads.run(self._primary.backups)
        return _json([each._asdict() for each in found])

    async def release(self, call: Call) -> Answer:
        """Let go of a base backup."""
        await self._threads.run(partial(self._primary.release, arguments.token(call.parts[0])))
        return Answer(HTTPStatus.NO_CONTENT)

    async def manifest(self, call: Call) -> Answer:
        """Send a manifest or a part of it."""
        return await self._file(call, MANIFEST_NAME)

    async def data(self, call: Call) -> Answer:
        """Send a base backup or a part of it."""
        return await self._file(call, DATA_NAME)

    async def chunk(self, call: Call) -> Answer:
        """Send some bytes of a base backup, compressed if that is allowed and pays."""
        token = arguments.token(call.parts[0])
        offset, length = arguments.extent(call.parts[1])
        wanted = {"Range": f"bytes={offset}-{offset + length - 1}"}
        found = await self._find(call, token, DATA_NAME, wanted)
        if found.selected.length_bytes != length:
            raise NotFound(f"the base backup ends at byte {found.size_bytes}")
        headers = _file_headers(found) | {"Vary": "Accept-Encoding"}
        del headers["Content-Range"], headers["ETag"]
        body: bytes | FilePart = found.part
        if arguments.accepts_zstd(call.request.headers.get("Accept-Encoding", "")):
            smaller = await self._compressed(call, found.part)
            if smaller is not None:
                headers["Content-Encoding"] = "zstd"
                body = smaller
        return Answer(HTTPStatus.OK, body, headers)

    async def changes(self, call: Call) -> Answer:
        """Send changes after an LSN; if there are none, wait for some."""
        wanted = arguments.wanted(call.request.rel_url.raw_query_string)
        answer, count = await self._read(call, wanted)
        if not count and await self._wait(wanted):
            answer, _ = await self._read(call, wanted)
        return answer

    async def slots(self, _call: Call) -> Answer:
        """List every slot."""
        return _json(await self._threads.run(self._primary.slots))

    async def hold_slot(self, call: Call) -> Answer:
        """Make a slot, or make it valid again."""
        name = arguments.slot_name(call.parts[0])
        lsn = arguments.message(await self._body(call), SlotRequest).lsn
        return _json(await self._threads.run(partial(self._primary.hold_slot, name, lsn)))

    async def drop_slot(self, call: Call) -> Answer:
        """Forget a slot."""
        name = arguments.slot_name(call.parts[0])
        await self._threads.run(partial(self._primary.drop_slot, name))
        return Answer(HTTPStatus.NO_CONTENT)

    async def metrics(self, _call: Call) -> Answer:
        """Tell what can be counted."""
        text = await self._threads.run(self._metrics.text)
        return Answer(HTTPStatus.OK, text, {"Content-Type": metrics.CONTENT_TYPE})

    async def alive(self, _call: Call) -> Answer:
        """Say that this process answers."""
        return Answer(HTTPStatus.OK, b"alive\n", {"Content-Type": "text/plain"})

    async def ready(self, _call: Call) -> Answer:
        """Say whether the database could be read a moment ago."""
        if self._news.failure is not None:
            raise SourceUnavailable("the database cannot be read now; the log says why")
        return Answer(HTTPStatus.OK, b"ready\n", {"Content-Type": "text/plain"})

    # --- what they share --------------------------------------------------------------------

    async def _body(self, call: Call) -> bytes:
        request = call.request
        browsers.check_json(request)
        if (request.content_length or 0) > MAX_MESSAGE_BYTES:
            raise _too_long_a_body()
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_s):
                while piece := await request.content.readany():
                    body += piece
                    if len(body) > MAX_MESSAGE_BYTES:
                        raise _too_long_a_body()
        except TimeoutError:
            raise TooLong(
                f"the body did not come within {self._limits.body_s} s", HTTPStatus.REQUEST_TIMEOUT
            ) from None
        except web.RequestPayloadError:
            raise InvalidValue("the body is not what its headers say") from None
        call.connection.answering(begun=True)
        seals.check_request(request, bytes(body))
        return bytes(body)

    async def _find(
        self, call: Call, token: str, name: str, headers: Mapping[str, str]
    ) -> files.Found:
        found = await self._threads.run(partial(files.find, self._primary, token, name, headers))
        call.until_sent.callback(found.file.close)
        return found

    async def _file(self, call: Call, name: str) -> Answer:
        token = arguments.token(call.parts[0])
        found = await self._find(call, token, name, call.request.headers)
        return Answer(found.selected.status, found.body, _file_headers(found))

    async def _compressed(self, call: Call, part: FilePart) -> bytes | None:
        try:
            reservation = await call.until_sent.enter_async_context(
                self._held.reserved(2 * part.length_bytes, wait_s=_COMPRESS_WAIT_S)
            )
        except TooMany:
            return None  # there is no memory for it now: the file can go as it is
        frame = await self._bulky.run(partial(files.compressed, part))
        self._held.shrink(reservation, len(frame or b""))
        return frame

    async def _wait(self, wanted: Wanted) -> bool:
        """Wait for news, and say whether there are any. The slot is not idle meanwhile.

        Who is gone without a word is taken for there until the wait ends: a minute at most.
        """
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + wanted.wait_ms / 1000
        while (left_s := ends_s - loop.time()) > 0 and not self._news.over:
            if await self._news.wait_beyond(wanted.after_lsn, min(left_s, _TOUCH_EVERY_S)):
                return True
            if wanted.slot is not None:
                with contextlib.suppress(TooMany):  # the next one will do
                    await self._threads.run(partial(self._primary.touch, wanted.slot))
        return False

    async def _read(self, call: Call, wanted: Wanted) -> tuple[Answer, int]:
        def read() -> list[Change]:
            after, slot, digest = wanted.after_lsn, wanted.slot, wanted.after_digest
            found = self._primary.changes(after, 1, slot, after_digest=digest)
            if wanted.limit > 1 and 0 < _size_bytes(found) <= CHANGES_MAX_BYTES:
                del found  # the next one may be large: not both at once
                found = self._primary.changes(after, wanted.limit, None)
            return found

        reservation = await call.until_sent.enter_async_context(
            self._held.reserved(_READING_CHANGES_BYTES, wait_s=_HELD_WAIT_S)
        )
        async with self._reading:  # one may be many times what was reserved
            found = await self._bulky.run(read)
            if _size_bytes(found) > CHANGES_MAX_BYTES:
                call.until_sent.enter_context(self._held.one_large())
            encoded, count = await self._bulky.run(partial(encode_changes, found)), len(found)
            del found
        self._held.shrink(reservation, len(encoded))
        return Answer(HTTPStatus.OK, encoded, {"Content-Type": CHANGES_TYPE}), count


def _size_bytes(changes: list[Change]) -> int:
    return sum(len(change.key) + len(change.value or b"") for change in changes)


def _json(
    value: object, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Answer:
    said = {"Content-Type": _JSON_TYPE, "Cache-Control": "no-store", **(headers or {})}
    return Answer(status, msgspec.json.encode(value), said)


def _file_headers(found: files.Found) -> dict[str, str]:
    headers = {
        "Content-Type": _BYTES_TYPE,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-transform",
        "ETag": found.tag,
    }
    if (content_range := found.selected.content_range(found.size_bytes)) is not None:
        headers["Content-Range"] = content_range
    if found.digest is not None:
        headers[DIGEST_HEADER] = found.digest
    return headers


def _too_long_a_body() -> TooLong:
    return TooLong(
        f"a body may have {MAX_MESSAGE_BYTES} bytes", HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    )
