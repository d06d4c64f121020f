"""A primary that speaks the protocol from memory, and a server that says whatever it is told to.

What it says is what docs/protocol.md says, made from a `LocalSource`: what there is to be mutated,
and to be compared with the real server.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus
from typing import NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import zstandard

from bootledger.basebackup.manifest import DATA_NAME
from bootledger.errors import BootledgerError, InvalidValue, LogWindowLost, SnapshotLost
from bootledger.primary.source import LocalSource
from bootledger.replica.seal import SEAL_HEADER, is_sealed, seal_answer
from bootledger.replica.wire import (
    CHANGES_TYPE,
    PROBLEM_TYPE,
    Pinned,
    PinRequest,
    PrimaryInfo,
    Problem,
    Slot,
    SlotRequest,
    encode_changes,
    problem_of,
)

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class Asked(NamedTuple):
    """A request as it arrived; names of headers are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""

    @classmethod
    def parse(cls, head: bytes, body: bytes = b"") -> Self:
        first, *rest = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        pairs = (line.partition(":") for line in rest if line)
        return cls(method, target, {name.lower(): value.strip() for name, _, value in pairs}, body)


class Headers(dict[str, str]):
    """Headers by their names in lower case."""

    def get(self, name: str, default: str = "") -> str:
        return super().get(name.lower(), default)


def http_answer(status: int, body: bytes, headers: dict[str, str]) -> bytes:
    """Return an answer as it travels."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    if status != HTTPStatus.NO_CONTENT:
        headers = {"Content-Length": str(len(body)), **headers}
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Honest:
    """Answers requests as a primary does that holds what `source` holds."""

    def __init__(self, source: LocalSource) -> None:
        self.source = source
        self.slots: dict[str, int] = {}
        self.asked: list[Asked] = []

    def __call__(self, asked: Asked) -> bytes:
        """Return the answer to a request, as it travels."""
        self.asked.append(asked)
        seal = asked.headers.get(SEAL_HEADER.lower(), "")
        assert is_sealed(seal, asked.method, asked.target, Headers(asked.headers), asked.body)
        try:
            status, body, headers = self._answer(asked)
        except BootledgerError as error:
            status = {SnapshotLost: 404, InvalidValue: 400, LogWindowLost: 410}.get(
                type(error), 409
            )
            body, headers = msgspec.json.encode(problem_of(error)), {"Content-Type": PROBLEM_TYPE}
        if status != HTTPStatus.PARTIAL_CONTENT or asked.target.endswith("/manifest"):
            headers = {**headers, SEAL_HEADER: seal_answer(seal, status, body)}
        return http_answer(status, body, headers)

    def _answer(self, asked: Asked) -> tuple[int, bytes, dict[str, str]]:
        parts = urlsplit(asked.target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        match asked.method, parts.path.strip("/").split("/")[1:]:
            case "GET", ["primary"]:
                return _json(self._info())
            case "POST", ["base-backups"]:
                return _json(self._pin(msgspec.json.decode(asked.body, type=PinRequest)))
            case "GET", ["base-backups", token, "manifest" | "data.mdb" as name]:
                return self._file(asked, token, name)
            case "GET", ["base-backups", token, "chunks", extent]:
                offset, length = map(int, extent.split("-"))
                return _chunk(asked, self.source.read_chunk(token, offset, length))
            case "DELETE", ["base-backups", token]:
                self.source.release(token)
                return 204, b"", {}
            case "GET", ["changes"]:
                found = self.source.changes(int(query["after"]), int(query["limit"]))
                return 200, encode_changes(found), {"Content-Type": CHANGES_TYPE}
            case "PUT", ["slots", name]:
                lsn = msgspec.json.decode(asked.body, type=SlotRequest).lsn
                self.slots[unquote(name)] = lsn
                return _json(
                    Slot(name=unquote(name), acknowledged_lsn=lsn, created_at_ms=1, active_at_ms=1)
                )
        raise InvalidValue(f"{asked.method} {asked.target}")

    def _info(self) -> PrimaryInfo:
        identity = self.source.identity()
        return PrimaryInfo(
            database_id=identity.database_id,
            timeline=identity.timeline,
            last_lsn=self.source.last_lsn(),
            pruned_lsn=0,
            size_bytes=1,
            log_bytes=1,
        )

    def _pin(self, request: PinRequest) -> Pinned:
        pin = self.source.pin(request.intent_id, request.generation)
        return Pinned(**pin._asdict())

    def _file(self, asked: Asked, token: str, name: str) -> tuple[int, bytes, dict[str, str]]:
        read = self.source.read_chunk if name == DATA_NAME else self.source.read_manifest
        size = 0
        while piece := len(read(token, size, 2**20)):
            size += piece
        found = _RANGE.fullmatch(asked.headers["range"])
        assert found is not None
        first, last = map(int, found.groups())
        if first >= size:
            problem = Problem(error="InvalidValue", detail="beyond the end")
            kind = {"Content-Type": PROBLEM_TYPE, "Content-Range": f"bytes */{size}"}
            return 416, msgspec.json.encode(problem), kind
        data = read(token, first, last + 1 - first)
        span = f"bytes {first}-{first + len(data) - 1}/{size}"
        return 206, data, {"Content-Type": "application/octet-stream", "Content-Range": span}


def _json(message: msgspec.Struct) -> tuple[int, bytes, dict[str, str]]:
    return 200, msgspec.json.encode(message), {"Content-Type": "application/json"}


def _chunk(asked: Asked, data: bytes) -> tuple[int, bytes, dict[str, str]]:
    kind = {"Content-Type": "application/octet-stream"}
    small = zstandard.ZstdCompressor(level=1).compress(data)
    if "zstd" in asked.headers["accept-encoding"] and len(small) < len(data):
        return 200, small, {**kind, "Content-Encoding": "zstd"}
    return 200, data, kind


class Speaker:
    """A server on loopback that answers with the pieces that `answer` returns, as they come.

    It closes the connection after an answer that ends with None. Use it as a context manager.
    """

    def __init__(
        self, answer: Callable[[Asked], Iterable[bytes | None] | bytes], *, port: int = 0
    ) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.connections = 0
        self._open: set[socket.socket] = set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed at the end
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.add(connection)
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as incoming, suppress(OSError):
            while (asked := _next_request(incoming)) is not None:
                said = self._answer(asked)
                for piece in (said,) if isinstance(said, bytes) else said:
                    if piece is None:
                        return
                    connection.sendall(piece)
        self._open.discard(connection)


def _next_request(incoming: Iterable[bytes]) -> Asked | None:
    head = b""
    for line in incoming:
        if line == b"\r\n":
            asked = Asked.parse(head)
            length = int(asked.headers.get("content-length", "0"))
            return asked._replace(body=incoming.read(length))
        head += line
    return None
