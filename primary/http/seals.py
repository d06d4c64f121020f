"""Seals (`bootledger.replica.seal`): a request that was changed on its way is not carried out."""

from __future__ import annotations

from aiohttp import web

from bootledger.errors import SourceUnavailable
from bootledger.primary.http.sending import Answer
from bootledger.replica.seal import SEAL_HEADER, is_sealed, seal_answer


def check_request(request: web.BaseRequest, body: bytes = b"") -> None:
    """Raise `SourceUnavailable` if a request is sealed and is not what was sealed."""
    seal = request.headers.get(SEAL_HEADER)
    if seal is None or is_sealed(seal, request.method, request.raw_path, request.headers, body):
        return
    raise SourceUnavailable(
        "the request was changed on its way",
        hint="it is asked again; what lies in between must not change paths, headers or bodies",
    )


def seal(request: web.BaseRequest, answer: Answer) -> None:
    """Seal an answer to a request that was sealed, unless it is a part of a file."""
    asked = request.headers.get(SEAL_HEADER)
    if asked is not None and isinstance(answer.body, bytes):
        answer.headers[SEAL_HEADER] = seal_answer(asked, answer.status, answer.body)
