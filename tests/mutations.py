"""HTTP answers, damaged in every way that a link, a proxy or a hostile server can think of."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

_NUMBER = re.compile(rb"\d+")
_ODD_NUMBERS = (b"0", b"-1", b"00", b"1e9", b"4294967296", b"18446744073709551616", b"9" * 400)
_ODD_LINES = (
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Content-Encoding: zstd",
    b"Content-Encoding: gzip",
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Content-Range: bytes 0-0/1",
    b"Content-Range: bytes */0",
    b"Connection: close",
    b"Retry-After: 99999999",
    b"Location: http://127.0.0.1:1/",
    b"Content-Type: text/html",
    b"no colon at all",
    b": no name",
    b" folded",
    b"X: " + b"y" * 70_000,
    b"\xff\xfe\x00",
)
_STATUSES = (b"100", b"101", b"103", b"200", b"202", b"204", b"206", b"301", b"304", b"400")
_MORE_STATUSES = (b"401", b"404", b"409", b"410", b"412", b"416", b"429", b"500", b"503", b"999")

Mutation = Callable[[random.Random, bytes], bytes]


def _place(chance: random.Random, data: bytes) -> int:
    """Return a place to damage: in the head as often as in the body."""
    head = data.find(b"\r\n\r\n") + 4
    inside = chance.random() < 0.5 and 4 <= head < len(data)
    return chance.randrange(head, len(data)) if inside else chance.randrange(min(head, len(data)))


def _flip(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 5, 40))):
        changed[_place(chance, data)] ^= chance.choice((1, 2, 4, 16, 32, 128, 255))
    return bytes(changed)


def _cut(chance: random.Random, data: bytes) -> bytes:
    return data[: _place(chance, data)]


def _insert(chance: random.Random, data: bytes) -> bytes:
    at = _place(chance, data)
    return data[:at] + chance.randbytes(chance.choice((1, 2, 100, 5000))) + data[at:]


def _remove(chance: random.Random, data: bytes) -> bytes:
    at = _place(chance, data)
    return data[:at] + data[at + chance.choice((1, 2, 50, 1000)) :]


def _double(chance: random.Random, data: bytes) -> bytes:
    at = _place(chance, data)
    length = chance.choice((1, 10, 1000, len(data)))
    return data[: at + length] + data[at : at + length] + data[at + length :]


def _swap(chance: random.Random, data: bytes) -> bytes:
    first, second = sorted((_place(chance, data), _place(chance, data)))
    return data[:first] + data[second:] + data[first:second]


def _number(chance: random.Random, data: bytes) -> bytes:
    found = list(_NUMBER.finditer(data[: 2 * data.find(b"\r\n\r\n")])) or [None]
    number = chance.choice(found)
    if number is None:
        return data[:-1]
    near = b"%d" % (int(number[0][:20]) + chance.choice((-1, 1, 10, 2**20)))
    new = chance.choice((near, near, *_ODD_NUMBERS))
    return data[: number.start()] + new + data[number.end() :]


def _status(chance: random.Random, data: bytes) -> bytes:
    return data[:9] + chance.choice(_STATUSES + _MORE_STATUSES) + data[12:]


def _line(chance: random.Random, data: bytes) -> bytes:
    head, mark, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    at = chance.randrange(1, len(lines) + 1)
    match chance.randrange(4):
        case 0:
            lines.insert(at, chance.choice(_ODD_LINES))
        case 1:
            lines.insert(at, lines[at - 1])
        case 2:
            del lines[at - 1]
        case _:
            lines[at:at] = [b"X-%d: y" % i for i in range(chance.choice((3, 99, 200)))]
    return b"\r\n".join(lines) + mark + body


def _chunked(chance: random.Random, data: bytes) -> bytes:
    head, mark, body = data.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
    pieces = [body[i : i + 1000] for i in range(0, len(body), 1000)]
    encoded = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    whole = b"\r\n".join((*lines, b"Transfer-Encoding: chunked")) + mark + encoded
    return whole if chance.random() < 0.2 else _flip(chance, whole)


def _before(chance: random.Random, data: bytes) -> bytes:
    other = chance.choice(
        (
            b"HTTP/1.1 100 Continue\r\n\r\n" * chance.choice((1, 3, 500)),
            b"\r\n",
            b"HTTP/1.1 200 OK\n\n",
        )
    )
    return other + data


def _nothing_left(chance: random.Random, data: bytes) -> bytes:
    return chance.choice((b"", b"HTTP/1.1 200 OK", chance.randbytes(300), b"\0" * 70_000))


MUTATIONS: Sequence[Mutation] = (
    _flip,
    _cut,
    _insert,
    _remove,
    _double,
    _swap,
    _number,
    _status,
    _line,
    _chunked,
    _before,
    _nothing_left,
)


def damaged(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Return an answer that differs from `data`; `others` are answers to other requests."""
    while True:
        changed = chance.choice(others) if chance.random() < 0.05 else data
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            if changed:
                changed = chance.choice(MUTATIONS)(chance, changed)
        if changed != data:
            return changed
