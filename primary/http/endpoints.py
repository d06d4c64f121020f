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
from bootledger.primary.http import arguments, files, metrics, seals
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
        wait_s = wanted.wait_ms / 1000
        if not count and wait_s and await self._news.wait_beyond(wanted.after_lsn, wait_s):
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

    async def _read(self, call: Call, wanted: Wanted) -> tuple[Answer, int]:
        def read() -> tuple[int, bytes]:
            found = self._primary.changes(
                wanted.after_lsn, wanted.limit, wanted.slot, after_digest=wanted.after_digest
            )
            return len(found), encode_changes(found)

        reservation = await call.until_sent.enter_async_context(
            self._held.reserved(_READING_CHANGES_BYTES, wait_s=_HELD_WAIT_S)
        )
        count, encoded = await self._bulky.run(read)
        self._held.shrink(reservation, len(encoded))
        return Answer(HTTPStatus.OK, encoded, {"Content-Type": CHANGES_TYPE}), count


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
