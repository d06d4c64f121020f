"""Requests that are nearly right: valid ones, damaged by chance, always the same for a seed."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from servers import OPERATE_TOKEN, READ_TOKEN

_WORDS = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b"\r\n\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 18446744073709551616\r\n",
    b"Content-Length: +5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"0;x=y\r\n\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
    b"Connection: keep-alive\r\n",
    b"Host: a\r\nHost: b\r\n",
    b"Range: bytes=0-\r\n",
    b"Range: bytes=0-1,2-3,-\r\n",
    b'If-Range: W/"\r\n',
    b"If-Match: " + b'"",' * 100 + b"\r\n",
    b"Accept-Encoding: zstd;q=,,;\r\n",
    b"X: " + b"y" * 2500 + b"\r\n",
    b"X: y\r\n" * 50,
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    b"http://x@y:99999/",
    b"%00",
    b"%2e%2e%2f",
    b"%",
    b"?",
    b"#",
    b"//",
    b"\xff\xfe",
    b"\xc3\x28",
    b"18446744073709551615",
    b"-1",
    b"1e9",
    b"\xd9\xa1",
    b"{" * 2000,
    b'"' + b"\\u0000" * 50,
    b"a" * 5000,
]
_TOKENS = [READ_TOKEN, OPERATE_TOKEN, "nobody-knows-this-token-0123456789", ""]


def valid_requests(backup: str, size_bytes: int) -> list[bytes]:
    """Return one request for each endpoint, with each kind of token."""
    body = b'{"intent_id":"fuzz","generation":1,"slot":"fuzz"}'
    base = f"/v1/base-backups/{backup}"
    plain = [
        ("GET", "/v1/primary", b"", ""),
        ("POST", "/v1/base-backups", body, ""),
        ("GET", f"{base}/manifest", b"", 'If-None-Match: "x"\r\n'),
        ("GET", f"{base}/data.mdb", b"", "Range: bytes=0-99\r\n"),
        ("HEAD", f"{base}/data.mdb", b"", 'If-Range: "x"\r\nRange: bytes=-5\r\n'),
        ("GET", f"{base}/chunks/0-{size_bytes}", b"", "Accept-Encoding: gzip, zstd;q=0.5\r\n"),
        ("DELETE", "/v1/base-backups/none.1", b"", ""),
        ("GET", "/v1/changes?after=0&limit=5&wait_ms=1&slot=fuzz", b"", ""),
        ("PUT", "/v1/slots/fuzz", b'{"lsn":5}', ""),
        ("GET", "/v1/slots", b"", ""),
        ("DELETE", "/v1/slots/none", b"", ""),
        ("GET", "/v1/base-backups", b"", ""),
        ("GET", "/metrics", b"", ""),
        ("GET", "/healthz", b"", ""),
        ("GET", "/readyz", b"", "Connection: close\r\n"),
    ]
    made = []
    for method, path, content, more in plain:
        for token in _TOKENS:
            head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:7433\r\n{more}"
            if token:
                head += f"Authorization: Bearer {token}\r\n"
            if content:
                head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
            made.append(head.encode() + b"\r\n" + content)
    return made


def mutated(valid: list[bytes], seed: int) -> Iterator[bytes]:
    """Yield damaged requests without end."""
    chance = Random(seed)
    while True:
        request = bytearray(chance.choice(valid))
        for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
            _damage(request, valid, chance)
        yield bytes(request)


def _damage(request: bytearray, valid: list[bytes], chance: Random) -> None:
    start = chance.randrange(len(request) + 1)
    end = min(len(request), start + chance.choice((1, 1, 2, 4, 16, 64)))
    match chance.randrange(8):
        case 0:  # a byte becomes another
            for place in range(start, end)[:4]:
                request[place] ^= 1 << chance.randrange(8)
        case 1:  # a piece is missing
            del request[start:end]
        case 2:  # the end is missing
            del request[start:]
        case 3:  # a piece comes again
            request[start:start] = request[start:end] * chance.choice((1, 2, 50))
        case 4:  # something else is in between
            request[start:start] = chance.choice(_WORDS)
        case 5:  # a header more, or a body
            head = request.find(b"\r\n")
            request[head + 2 : head + 2] = chance.choice(_WORDS)
        case 6:  # it goes on as another one
            other = chance.choice(valid)
            request[start:] = other[chance.randrange(len(other)) :]
        case _:  # chance itself
            request[start:end] = chance.randbytes(chance.choice((1, 2, 8, 100)))
