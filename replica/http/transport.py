"""One request and its answer, on urllib3: bounded in time and in bytes, whatever the server does.

An answer is a status, headers and at most as many bytes as were asked for. Everything else is a
`SourceUnavailable` that says what came instead.
"""

from __future__ import annotations

import http.client
import io
import re
import ssl
import time
from dataclasses import dataclass, field
from socket import socket
from typing import TYPE_CHECKING

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.util.response import assert_header_parsing

from bootledger.errors import SourceUnavailable
from bootledger.replica.http.addresses import Address
from bootledger.replica.http.failures import no_answer
from bootledger.replica.wire import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CONNECT_S = 5.0
"""How long a connection and its TLS handshake may take."""
PATIENCE_S = 20.0
"""How long the head of an answer may take, and its body beyond what `LEAST_BYTES_PER_S` allows."""
LEAST_BYTES_PER_S = 4096
"""A body that comes slower than this, after `PATIENCE_S`, counts as a link that hangs."""

POOL_S = 20
"""How long a request waits for a connection when all are taken."""
_CONTROL_CONNECTIONS = 4

_HEADERS = {"User-Agent": "bootledger", "Accept-Encoding": "identity"}
_LENGTH = re.compile(r"[0-9]{1,19}", re.ASCII)


class Wasted(SourceUnavailable):
    """Something came that cannot be used, or only a part of it. Does not leave this package."""

    @property
    def plain(self) -> SourceUnavailable:
        """The same for everybody else."""
        return SourceUnavailable(str(self), hint=self.hint)


class Cut(Wasted):
    """Only a part came: the connection broke off in the body."""


@dataclass(frozen=True)
class Answer:
    """What a server said. Names of headers are in lower case; of several of a name, all count."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)
    place: str
    took_s: float

    def header(self, name: str) -> str:
        """Return a header's value, empty if there is none."""
        return self.headers.get(name.lower(), "")

    @property
    def kind(self) -> str:
        """The media type, without its parameters."""
        return self.header("Content-Type").partition(";")[0].strip().lower()


class Link:
    """A server, with up to `connections` open connections for chunks. Thread-safe. Close it.

    Whatever else is asked has a few connections of its own: it waits for no chunk.
    """

    def __init__(
        self,
        address: Address,
        context: ssl.SSLContext | None,
        connections: int,
        *,
        timeout_s: float | None = None,
    ) -> None:
        """`context` is needed for https. `timeout_s` is for `CONNECT_S` and `PATIENCE_S`."""
        self.address = address
        self._chunks = _pool(address, context, connections)
        self._control = _pool(address, context, _CONTROL_CONNECTIONS)
        self._connect_s = CONNECT_S if timeout_s is None else timeout_s
        self._patience_s = PATIENCE_S if timeout_s is None else timeout_s

    def ask(
        self,
        method: str,
        target: str,
        *,
        most_bytes: int,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        wait_s: float = 0.0,
        is_chunk: bool = False,
    ) -> Answer:
        """Return the answer; `target` follows the address. `wait_s` is how long it may be held.

        Raises `SourceUnavailable` if there is none, or one with more than `most_bytes`, or no
        connection is free within `POOL_S`; `Wasted` if it broke off in the body. An error may
        always have `MAX_MESSAGE_BYTES`.
        """
        began_s = time.monotonic()
        response = self.begin(
            method, target, body=body, headers=headers, wait_s=wait_s, is_chunk=is_chunk
        )
        whole = False
        try:
            head = {name.lower(): value for name, value in response.headers.items()}
            length = self._length(head, response.status, most_bytes)
            data = response.read(length) if length else b""
            if len(data) != length:
                raise Cut(f"{self.address}: the answer ends after {len(data)} of {length} bytes")
            whole = True
        except (HTTPError, OSError, http.client.HTTPException, ValueError) as error:
            cut = self.broken(error)
            raise Cut(str(cut), hint=cut.hint) from error
        finally:
            if not whole:
                response.close()
            response.release_conn()  # a closed connection, too, has its place in the pool
        return Answer(response.status, head, data, str(self.address), time.monotonic() - began_s)

    def begin(
        self,
        method: str,
        target: str,
        *,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        wait_s: float = 0.0,
        is_chunk: bool = True,
    ) -> urllib3.BaseHTTPResponse:
        """Return an answer of which only the head was read, for who reads the body with more care.

        Whoever asked closes it unless the body was read to its end, and releases its connection.
        What reading it raises, `broken` says in words. Raises `SourceUnavailable` if none came.
        """
        try:
            return (self._chunks if is_chunk else self._control).urlopen(
                method,
                self.address.path + target,
                body=body or None,
                headers={**_HEADERS, **(headers or {})},
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
                pool_timeout=POOL_S,
                timeout=urllib3.Timeout(connect=self._connect_s, read=self._patience_s + wait_s),
            )
        except (HTTPError, OSError, http.client.HTTPException, ValueError) as error:
            # ValueError: http.client and ssl raise it for some heads that are not HTTP.
            raise self.broken(error) from error

    def close(self) -> None:
        """Close the connections that nobody uses; the others close when their answer is there."""
        self._chunks.close()
        self._control.close()

    def _length(self, head: dict[str, str], status: int, most_bytes: int) -> int:
        if status in (http.HTTPStatus.NO_CONTENT, http.HTTPStatus.NOT_MODIFIED):
            return 0
        length = head.get("content-length", "")
        if "transfer-encoding" in head or not _LENGTH.fullmatch(length):
            raise SourceUnavailable(
                f"{self.address}: an answer with status {status} that does not tell its length",
                hint="a proxy in between must pass Content-Length on",
            )
        if status >= http.HTTPStatus.BAD_REQUEST:
            most_bytes = MAX_MESSAGE_BYTES
        if int(length) > most_bytes:
            raise SourceUnavailable(
                f"{self.address}: an answer with status {status} and {length} bytes, "
                f"at most {most_bytes} were asked for"
            )
        return int(length)

    def broken(self, error: Exception) -> SourceUnavailable:
        """Return what to raise for `error`, which asking or reading raised."""
        return no_answer(
            str(self.address), error, connect_s=self._connect_s, patience_s=self._patience_s
        )


class _Paced(io.RawIOBase):
    """A socket's stream with a deadline that moves on with what has arrived of the body."""

    def __init__(self, stream: io.RawIOBase, sock: socket, patience_s: float) -> None:
        self._stream = stream
        self._sock = sock
        self._deadline_s = time.monotonic() + patience_s
        self._patience_s = patience_s
        self.in_body = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the answer comes too slowly")
        self._sock.settimeout(min(left_s, self._patience_s))
        count = self._stream.readinto(buffer)
        if self.in_body and count:
            self._deadline_s += count / LEAST_BYTES_PER_S
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer that is read through a `_Paced`; its head must be one."""

    def __init__(self, sock: socket, *args: object, method: str | None = None) -> None:
        super().__init__(sock, method=method)
        # urllib3 has set the socket's time-out to how long an answer may take.
        self._paced = _Paced(self.fp.detach(), sock, sock.gettimeout() or PATIENCE_S)
        self.fp = io.BufferedReader(self._paced)

    def begin(self) -> None:
        super().begin()
        assert_header_parsing(self.msg)
        self._paced.in_body = True


class _Connection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def _pool(address: Address, context: ssl.SSLContext | None, connections: int) -> HTTPConnectionPool:
    if address.scheme == "https":
        return _SecurePool(
            address.host, address.port, maxsize=connections, block=True, ssl_context=context
        )
    return _Pool(address.host, address.port, maxsize=connections, block=True)
