"""Seals on requests and answers, because JSON, paths and status codes have no checksum. Pure.

A proxy or a link that changes bytes could turn one LSN into another, or any word into "it is gone".
So a request says what it should be, and an answer says that and to which request it belongs: an
answer that was delayed or doubled is not mistaken for the answer to a later request. A seal is no
secret and keeps nobody out; TLS does that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from crc32c import crc32c

SEAL_HEADER = "Bootledger-Seal"
"""In a request `NONCE-CRC`, in its answer `CRC`; both in hex."""
SEALED_HEADERS = ("Authorization", "If-Match", "Range")
"""The headers of a request that decide what it means."""
SEALED_PART_MAX_BYTES = 2**20
"""Longest part of a manifest that a primary seals. A replica asks for no longer ones."""

_REQUEST_SEAL = re.compile(r"([0-9a-f]{16})-[0-9a-f]{8}", re.ASCII)


def seal_request(
    nonce: int, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
) -> str:
    """Return the seal of a request; `target` is the path with the query, as it travels."""
    return _sealed(f"{nonce:016x}", method, target, headers, body)


def is_sealed(
    seal: str, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
) -> bool:
    """Return whether a request arrived as it was sent."""
    found = _REQUEST_SEAL.fullmatch(seal)
    return found is not None and seal == _sealed(found[1], method, target, headers, body)


def seal_answer(request_seal: str, status: int, body: bytes = b"") -> str:
    """Return the seal of the answer to the request that came with `request_seal`."""
    return f"{crc32c(body, crc32c(f'{request_seal} {status} '.encode())):08x}"


def _sealed(nonce: str, method: str, target: str, headers: Mapping[str, str], body: bytes) -> str:
    meant = "\n".join((nonce, method, target, *(headers.get(name, "") for name in SEALED_HEADERS)))
    crc = crc32c(body, crc32c(f"{meant}\n".encode("utf-8", "surrogateescape")))
    return f"{nonce}-{crc:08x}"
