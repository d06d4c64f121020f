"""A server, from listening to the last answer."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import resource
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from bootledger.errors import BootledgerError, InvalidValue, Unavailable
from bootledger.primary.http.access import Tokens, tls_context
from bootledger.primary.http.connections import Doorman, listen, read_little_with_tls
from bootledger.primary.http.endpoints import Endpoints
from bootledger.primary.http.limits import Limits
from bootledger.primary.http.metrics import Metrics
from bootledger.primary.http.news import News
from bootledger.primary.http.publications import Publications
from bootledger.primary.http.sending import Sender
from bootledger.primary.http.service import Service
from bootledger.primary.http.threads import Threads
from bootledger.primary.service import Primary

_PUBLISHING_THREADS = 4
_FILES_A_CONNECTION = 2
_FILES_BESIDES = 128

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where a server listens, and who may ask it.

    `tokens` is a file of bearer tokens, `certificate` and `key` are what TLS needs; with
    `client_ca` clients must show a certificate, too. `insecure` allows to listen without them
    where others can connect.
    """

    host: str
    port: int
    tokens: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    insecure: bool = False
    max_bytes_per_s: float | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        """Refuse what would not keep anybody out."""
        if (self.certificate is None) != (self.key is None):
            raise InvalidValue("a certificate needs its key, and the other way round")
        if self.client_ca is not None and self.certificate is None:
            raise InvalidValue("certificates of clients need TLS: name a certificate and its key")
        protected = self.tokens is not None and self.certificate is not None
        if not (self.insecure or protected or is_loopback(self.host)):
            raise InvalidValue(
                f"{self.host} can be reached by others: without tokens and TLS anybody there could "
                "read the database",
                hint="give --tokens, --tls-cert and --tls-key, or say --insecure",
            )

    @property
    def own_name(self) -> str | None:
        """The only name under which it may be asked; None if it keeps others out by tokens.

        Or if it keeps nobody out: what is told to be open to others is open under any name.
        """
        if self.tokens is not None or (self.insecure and not is_loopback(self.host)):
            return None
        return self.host

    def url(self, port: int) -> str:
        """Return the address under which it listens."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.certificate is None else 'https'}://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Say whether only this machine can connect to `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(primary: Primary, options: Options, listening: Callable[[str], None]) -> None:
    """Serve `primary` until SIGTERM or SIGINT. Call it from the main thread.

    `listening` is called with the address once connections are accepted. SIGHUP reads tokens and
    certificates again, those of client authorities too, for connections that come afterwards.
    Raises `InvalidValue` for tokens and certificates that cannot be used, and an address that is
    none; `Unavailable` for one that is in use.
    """
    read_little_with_tls()
    asyncio.run(_Server(primary, options).run(listening))


class _Server:
    def __init__(self, primary: Primary, options: Options) -> None:
        self._options = options
        self._primary = primary
        self._tls_at_start = _tls(options)
        self._tokens = _tokens(options)
        allow_open_files(options.limits.connections)

    async def run(self, listening: Callable[[str], None]) -> None:
        limits, primary = self._options.limits, self._primary
        with _listener(self._options) as listener, contextlib.ExitStack() as stack:
            threads = Threads(limits.threads, limits.waiting, "database")
            stack.callback(threads.close)
            bulky = Threads(limits.bulky_threads, limits.waiting, "bulky")
            stack.callback(bulky.close)
            publishing = Threads(_PUBLISHING_THREADS, limits.publications, "publishing")
            stack.callback(publishing.close)
            doorman = self._doorman = Doorman(limits, self._tls_at_start)
            sender = Sender(limits, threads, self._options.max_bytes_per_s)
            news = News(primary, threads)
            publications = Publications(primary, publishing, limits.publications)
            metrics = Metrics(
                primary, lambda: (doorman.count, publications.running, sender.sent_bytes)
            )
            endpoints = Endpoints(primary, limits, threads, bulky, news, publications, metrics)
            self._service = Service(
                endpoints, sender, metrics, limits, self._tokens, self._options.own_name
            )
            server = web.Server(self._service.handle, handler_cancellation=True)
            await news.look()
            stop = self._signals()
            tasks = [
                asyncio.create_task(work)
                for work in (
                    stop.wait(),
                    doorman.accept(listener, server),
                    news.keep_looking(),
                    _enforce(primary, threads, metrics, limits.enforce_every_s),
                )
            ]
            try:
                listening(self._options.url(listener.getsockname()[1]))
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                _log.info("stopping")
                for task in tasks:
                    task.cancel()
                listener.close()
                news.stop()
                publications.stop()
                server.pre_shutdown()
                await server.shutdown(limits.stop_s)
                await doorman.close()

    def _signals(self) -> asyncio.Event:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._read_again)
        return stop

    def _read_again(self) -> None:
        try:
            # Refused as a whole, or taken as a whole: nothing of what is in use is changed.
            tls, tokens = _tls(self._options), _tokens(self._options)
            self._doorman.tls, self._service.tokens = tls, tokens
        except BootledgerError as wrong:
            _log.error("tokens and certificates stay as they were: %s", wrong)
        else:
            _log.info("tokens and certificates were read again")


async def _enforce(primary: Primary, threads: Threads, metrics: Metrics, every_s: float) -> None:
    while True:
        try:
            invalidated = await threads.run(primary.enforce)
        except BootledgerError as error:
            _log.warning("the retention could not be carried out: %s", error)
        else:
            for slot in invalidated:
                metrics.invalidated.inc()
                _log.warning("slot %r is invalid: %s", slot.name, slot.invalid_because)
        await asyncio.sleep(every_s)


def _tokens(options: Options) -> Tokens | None:
    return None if options.tokens is None else Tokens.read(options.tokens)


def _tls(options: Options) -> ssl.SSLContext | None:
    if options.certificate is None or options.key is None:
        return None
    return tls_context(options.certificate, options.key, options.client_ca)


@contextlib.contextmanager
def _listener(options: Options) -> Iterator[socket.socket]:
    try:
        listener = listen(options.host, options.port)
    except (OSError, OverflowError) as error:
        where = f"{options.host}:{options.port}"
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise Unavailable(
                f"{where} is in use", hint="end what listens there, or take another port"
            ) from error
        raise InvalidValue(f"cannot listen on {where}: {error}") from error
    with listener:
        yield listener


def allow_open_files(connections: int) -> None:
    """Raise the limit of open files as far as that many connections need.

    Raises `InvalidValue` if the system does not allow so many.
    """
    needed = connections * _FILES_A_CONNECTION + _FILES_BESIDES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise InvalidValue(
                f"{connections} connections need {needed} open files, {hard} are allowed",
                hint="raise the limit (ulimit -Hn), or take fewer: --max-connections",
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
