"""Who is let in, and how long anybody may take to ask.

aiohttp's server has limits on lines and headers, and closes a connection that is idle for too long.
What it lacks is here: how many connections there may be, how long the first request may take to
come, how much may be sent ahead, and errors of parsing that quote nothing.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from http import HTTPStatus

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import LineTooLong

from bootledger.errors import InvalidValue
from bootledger.primary.http.limits import Admission, Limits
from bootledger.primary.http.problems import TooLong, told
from bootledger.replica.wire import PROBLEM_TYPE

SERVER_NAME = "bootledger"

_READ_BYTES = 16 * 1024
_HANDSHAKE_S = 10.0
_LINGER_S = 0.5
_TOO_MANY_FILES_S = 0.5
_BACKLOG = 512

_log = logging.getLogger(__name__)


class Connection(web.RequestHandler):
    """One connection: aiohttp's, with less patience.

    `crowded` says that it is one too many: its first request is turned away.
    """

    def __init__(self, server: web.Server, limits: Limits, *, crowded: bool) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=limits.idle_s,
            access_log=_log,
            access_log_class=_NoAccessLog,
            logger=_log,
            max_line_size=limits.line_bytes,
            max_field_size=limits.header_bytes,
            max_headers=limits.headers,
            lingering_time=_LINGER_S,
            auto_decompress=False,
        )
        self.crowded = crowded
        self.closed = asyncio.get_running_loop().create_future()
        self._limits = limits
        self._asked = False
        self._silence: asyncio.TimerHandle | None = None
        self._ahead_bytes: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        if isinstance(transport, asyncio.WriteTransport):
            # To drain is to have everything sent. (With TLS, 0 would count as full when empty.)
            high = 0 if transport.get_extra_info("sslcontext") is None else 1
            transport.set_write_buffer_limits(high=high, low=0)
        _read_little(transport)
        super().connection_made(transport)
        self._silence = self._loop.call_later(self._limits.head_s, self._drop_silent)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let whoever counts connections know."""
        super().connection_lost(exc)
        if self._silence is not None:
            self._silence.cancel()
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Take what was sent; who sends much while an answer is under way is dropped."""
        if self._ahead_bytes is not None:
            self._ahead_bytes += len(data)
            if self._ahead_bytes > self._limits.ahead_bytes:
                self.drop()
                return
        super().data_received(data)

    def answering(self, *, begun: bool) -> None:
        """Hear that the head of a request is there, and whether the answer is under way.

        It is from when the body was read, or none is expected, until all of it was sent.
        """
        self._asked = True
        self._ahead_bytes = 0 if begun else None

    def drop(self) -> None:
        """Close at once, whatever is under way."""
        transport = self.transport
        self.force_close()
        if transport is not None:
            transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no request. Neither answer nor log quote it: it may hold a secret."""
        self._asked = True
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had begun")
        if status == HTTPStatus.BAD_REQUEST:  # the parser's
            error = _not_http(exc, self._limits)
        else:
            _log.error("a request could not be answered", exc_info=exc)
            error = InvalidValue("this request could not be answered")
        code, headers, body = told(error)
        answer = web.Response(status=code, body=body, headers=headers, content_type=PROBLEM_TYPE)
        answer.headers["Server"] = SERVER_NAME
        answer.force_close()
        return answer

    def _drop_silent(self) -> None:
        if not self._asked and self.transport is not None:
            self.drop()


class Doorman:
    """Accepts connections and counts them, also those that are still shaking hands. One loop's.

    `tls` may be replaced while it runs: it counts for connections that come afterwards.
    """

    def __init__(self, limits: Limits, tls: ssl.SSLContext | None) -> None:
        self._limits = limits
        self.tls = tls
        self._admission = Admission(limits)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def count(self) -> int:
        """How many connections there are."""
        return self._admission.count

    async def accept(self, listener: socket.socket, server: web.Server) -> None:
        """Let connections in until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    continue  # whoever came has left again
                _log.warning("no connection can be accepted: %s", error)
                await asyncio.sleep(_TOO_MANY_FILES_S)
                continue
            task = loop.create_task(self._serve(connection, address[0], server))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Let go of connections that are still there."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, connection: socket.socket, address: str, server: web.Server) -> None:
        with self._admission.counted(address) as welcome:
            if not welcome:
                connection.close()
                return
            protocol = Connection(server, self._limits, crowded=self._admission.crowded)
            tls = self.tls
            try:
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: protocol,
                    connection,
                    ssl=tls,
                    ssl_handshake_timeout=None if tls is None else _HANDSHAKE_S,
                )
            except OSError as error:  # an SSLError, a reset and a time-out are such
                _log.debug("no connection with %s: %s", address, error)
                connection.close()
                return
            await protocol.closed


def read_little_with_tls() -> None:
    """Have this process read 16 KiB at a time from each connection with TLS, instead of 256.

    Each has a buffer of that size from its first byte on, and a thousand of them would be 256 MiB;
    nobody sends us more. asyncio has this for the whole process alone: for one that only serves.
    """
    SSLProtocol.max_size = _READ_BYTES


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes any that is free. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    listener.setblocking(False)
    return listener


class _NoAccessLog(AbstractAccessLogger):
    """Says nothing: the service writes its own line for each request."""

    @property
    def enabled(self) -> bool:
        return False

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None: ...


def _read_little(transport: asyncio.BaseTransport) -> None:
    """Have a plain transport read 16 KiB at a time instead of 256: nobody sends us more."""
    if hasattr(transport, "max_size"):
        transport.max_size = _READ_BYTES


def _not_http(exc: BaseException | None, limits: Limits) -> InvalidValue:
    if isinstance(exc, LineTooLong):
        if exc.args[1:2] == (limits.line_bytes,):
            return TooLong("the request line is too long", HTTPStatus.REQUEST_URI_TOO_LONG)
        return TooLong("a header is too long", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    if "Too many" in str(exc):
        return TooLong("too many headers", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    return InvalidValue("this is no HTTP request")
