"""A request, from its head to the last byte of its answer, and one line in the log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re

from aiohttp import web

from bootledger.errors import BootledgerError, SourceUnavailable
from bootledger.primary.http import seals
from bootledger.primary.http.access import Tokens, check_allowed
from bootledger.primary.http.browsers import check_not_a_page
from bootledger.primary.http.connections import SERVER_NAME, Connection
from bootledger.primary.http.endpoints import Call, Endpoints
from bootledger.primary.http.limits import Limits
from bootledger.primary.http.metrics import Metrics
from bootledger.primary.http.problems import TooLong, TooMany, WrongMethod, told
from bootledger.primary.http.routes import Route, route_of
from bootledger.primary.http.sending import Answer, Sender, StalledReader
from bootledger.replica.wire import PROBLEM_TYPE

ACCESS_LOG = "bootledger.primary.http.access"
"""The name of the logger that gets one line for each request."""

_SHOWN_CHARACTERS = 8
_PART_MAX_CHARACTERS = 80
_VARIES = re.compile(r"\{\w+\}")
_WITH_BODY = ("POST", "PUT")

_log = logging.getLogger(__name__)
_access_log = logging.getLogger(ACCESS_LOG)


class Service:
    """Handles the requests of all connections. Of one event loop.

    `tokens` may be replaced while it runs; None allows everything to everybody who can connect,
    but to no web page: `own_name` is as in `check_not_a_page`.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        sender: Sender,
        counted: Metrics,
        limits: Limits,
        tokens: Tokens | None,
        own_name: str | None,
    ) -> None:
        self.tokens = tokens
        self._own_name = own_name
        self._endpoints = endpoints
        self._sender = sender
        self._metrics = counted
        self._limits = limits
        self._in_progress = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; whatever goes wrong is an answer, or the end of the connection."""
        connection = request.protocol
        assert isinstance(connection, Connection)  # noqa: S101 - the server makes no others
        began_s = asyncio.get_running_loop().time()
        connection.answering(begun=request.method not in _WITH_BODY)
        self._in_progress += 1
        outcome = _Outcome(request)
        try:
            async with contextlib.AsyncExitStack() as until_sent:
                answer = await self._answer(connection, request, outcome, until_sent)
                answer.headers["Server"] = SERVER_NAME
                seals.seal(request, answer)
                outcome.answer = answer
                await self._sender.send(request, answer)
        except StalledReader as stalled:
            self._metrics.dropped.inc()
            outcome.ended = str(stalled)
            connection.drop()
        except ConnectionError:
            outcome.ended = "the client is gone"
            connection.drop()
        finally:
            self._in_progress -= 1
            connection.answering(begun=False)
            took_s = asyncio.get_running_loop().time() - began_s
            self._metrics.requests.labels(outcome.endpoint, outcome.status).inc()
            _access_log.info("%s", outcome.line(took_s))
        return outcome.answer or Answer(0)

    async def _answer(
        self,
        connection: Connection,
        request: web.BaseRequest,
        outcome: _Outcome,
        until_sent: contextlib.AsyncExitStack,
    ) -> Answer:
        try:
            self._check_room(connection)
            check_not_a_page(request, self._own_name)
            if request.method not in _WITH_BODY:
                seals.check_request(request)
            route, parts = route_of(request.method, request.rel_url.raw_path)
            outcome.route, outcome.parts = route, parts
            check_allowed(self.tokens, route.scope, request.headers.get("Authorization"))
            call = Call(request, parts, until_sent, connection)
            return await route.handler(self._endpoints, call)
        except BootledgerError as error:
            if told(error)[0] >= 500 and not isinstance(error, SourceUnavailable):  # noqa: PLR2004 - 5xx
                _log.warning("%s: %s: %s", outcome.endpoint, type(error).__name__, error)
            return _problem(error, close=connection.crowded)
        except Exception:  # noqa: BLE001 - whatever else it is, it is ours: the others go on
            _log.exception("%s could not be answered", outcome.endpoint)
            return _problem(SourceUnavailable("an error of the server; its log says more"))

    def _check_room(self, connection: Connection) -> None:
        if connection.crowded:
            raise SourceUnavailable("too many connections", hint="come again later")
        if self._in_progress > self._limits.requests:
            raise TooMany(f"{self._limits.requests} requests are being answered already")


class _Outcome:
    """What there is to say about a request when it is over."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self.route: Route | None = None
        self.parts: tuple[str, ...] = ()
        self.answer: Answer | None = None
        self.ended = ""

    @property
    def endpoint(self) -> str:
        """What it is called in metrics: there are only so many names."""
        return "unknown" if self.route is None else self.route.name

    @property
    def status(self) -> str:
        """The status, empty if no answer had begun."""
        return "" if self.answer is None else str(self.answer.status)

    def line(self, took_s: float) -> str:
        """Return one line without secrets: no header, no query, no unknown path, no whole token."""
        status = self.status or "-"
        sent = 0 if self.answer is None else self.answer.sent_bytes
        ended = f", {self.ended}" if self.ended else ""
        path = self.endpoint
        for number, name in enumerate(_VARIES.findall(path)):
            path = path.replace(name, _shown(name, self.parts[number]), 1)
        return f"{self._request.remote} {path} {status} {sent} bytes {took_s:.3f} s{ended}"


def _shown(name: str, part: str) -> str:
    """Return a part of a path for the log. Who has a whole token can release its base backup."""
    if name == "{token}":
        return ascii(part[:_SHOWN_CHARACTERS])[1:-1] + "\u2026"
    return ascii(part[:_PART_MAX_CHARACTERS])[1:-1]


def _problem(error: BootledgerError, *, close: bool = False) -> Answer:
    status, headers, body = told(error)
    headers |= {"Content-Type": PROBLEM_TYPE, "Cache-Control": "no-store"}
    answer = Answer(status, body, headers)
    if isinstance(error, WrongMethod):
        answer.headers["Allow"] = ", ".join(error.methods)
    if close or isinstance(error, TooLong):  # the rest of it is not waited for
        answer.force_close()
    return answer
