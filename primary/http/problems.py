"""Errors as answers: which status, which Problem. Pure."""

from __future__ import annotations

import math
from http import HTTPStatus

import msgspec
from msgspec.structs import replace

from bootledger.errors import (
    BootledgerError,
    Corrupted,
    DivergedHistory,
    InvalidValue,
    LogWindowLost,
    NotAllowed,
    OlderTimeline,
    OutOfSpace,
    Refused,
    SnapshotLost,
    SourceUnavailable,
)
from bootledger.primary.http.access import Unknown
from bootledger.replica.wire import problem_of

RETRY_AFTER_S = 1.0
"""When somebody who was turned away for now may ask again."""


class NotFound(InvalidValue):
    """There is nothing under this path."""


class WrongMethod(InvalidValue):
    """There is something under this path, but only for other `methods`."""

    def __init__(self, methods: list[str]) -> None:
        super().__init__(f"under this path there is only {', '.join(methods)}")
        self.methods = methods


class TooLong(InvalidValue):
    """The request is longer than it may be; `status` says what of it."""

    def __init__(self, message: str, status: HTTPStatus) -> None:
        super().__init__(message)
        self.status = status


class TooMany(SourceUnavailable):
    """More at once than this server takes on."""


# The first that fits counts, so what is special stands before what is general.
_STATUS: tuple[tuple[type[BootledgerError], HTTPStatus], ...] = (
    (Unknown, HTTPStatus.UNAUTHORIZED),
    (NotAllowed, HTTPStatus.FORBIDDEN),
    (NotFound, HTTPStatus.NOT_FOUND),
    (WrongMethod, HTTPStatus.METHOD_NOT_ALLOWED),
    (SnapshotLost, HTTPStatus.NOT_FOUND),
    (DivergedHistory, HTTPStatus.CONFLICT),
    (OlderTimeline, HTTPStatus.CONFLICT),
    (LogWindowLost, HTTPStatus.GONE),
    (OutOfSpace, HTTPStatus.INSUFFICIENT_STORAGE),
    (TooMany, HTTPStatus.TOO_MANY_REQUESTS),
    (Corrupted, HTTPStatus.INTERNAL_SERVER_ERROR),
    (Refused, HTTPStatus.BAD_REQUEST),
)


def status_of(error: BootledgerError) -> HTTPStatus:
    """Return the status that an error is answered with; whatever is only for now is a 503."""
    if isinstance(error, TooLong):
        return error.status
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    return HTTPStatus.SERVICE_UNAVAILABLE


def told(error: BootledgerError) -> tuple[HTTPStatus, dict[str, str], bytes]:
    """Return status, headers and body that tell the other side of an error."""
    status = status_of(error)
    headers = {}
    retry_after_ms = None
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        retry_after_ms = int(RETRY_AFTER_S * 1000)
        headers["Retry-After"] = str(math.ceil(RETRY_AFTER_S))
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="bootledger"'
    problem = replace(problem_of(error), retry_after_ms=retry_after_ms)
    return status, headers, msgspec.json.encode(problem)
