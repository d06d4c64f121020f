"""What is asked of a primary: every request sealed, every answer checked, a few tries each."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TypeVar

import msgspec

from bootledger.replica.http.answers import retry_after_s
from bootledger.replica.http.retrying import Patience
from bootledger.replica.http.transport import Answer, Link, Wasted
from bootledger.replica.seal import SEAL_HEADER, seal_request
from bootledger.replica.wire import MAX_MESSAGE_BYTES

T = TypeVar("T")


class Asking:
    """Asks the primary at the end of `link`; `headers` go along. Thread-safe."""

    def __init__(self, link: Link, headers: dict[str, str]) -> None:
        self.link = link
        self._headers = headers

    def __call__(
        self,
        method: str,
        target: str,
        check: Callable[[Answer, str], T],
        *,
        body: msgspec.Struct | None = None,
        most_bytes: int = MAX_MESSAGE_BYTES,
        headers: dict[str, str] | None = None,
        wait_s: float = 0.0,
    ) -> T:
        """Return what `check` makes of the answer and the seal of the request; tries a few times.

        Raises `SourceUnavailable` in the end, or at once any other error that `check` raises.
        """
        patience = Patience()

        def attempt() -> T:
            answer, asked = self.once(
                method, target, body=body, most_bytes=most_bytes, headers=headers, wait_s=wait_s
            )
            patience.asked_wait_s = retry_after_s(answer)
            return check(answer, asked)

        try:
            return patience(attempt)
        except Wasted as wasted:
            raise wasted.plain from wasted

    def once(
        self,
        method: str,
        target: str,
        *,
        body: msgspec.Struct | None = None,
        most_bytes: int = MAX_MESSAGE_BYTES,
        headers: dict[str, str] | None = None,
        wait_s: float = 0.0,
        is_chunk: bool = False,
    ) -> tuple[Answer, str]:
        """Return the answer, unchecked, and the seal of the request. Tries once."""
        data = b"" if body is None else msgspec.json.encode(body)
        sent = {**self._headers, **(headers or {})}
        asked = seal_request(secrets.randbits(64), method, target, sent, data)
        sent[SEAL_HEADER] = asked
        if data:
            sent["Content-Type"] = "application/json"
        answer = self.link.ask(
            method,
            target,
            body=data,
            headers=sent,
            most_bytes=most_bytes,
            wait_s=wait_s,
            is_chunk=is_chunk,
        )
        return answer, asked
