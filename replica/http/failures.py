"""Why there is no answer, in words: what whoever looks after the link can act on. Pure.

All of it is `SourceUnavailable`, a certificate that is not believed too: it may expire and be
renewed, a clock may be wrong, a middlebox on a bad link may answer in the primary's place for a
while. Nothing was sent to whoever showed it, so asking again costs nothing and tells nobody a
token; the words say from the first attempt on that a person may have to act.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator

from urllib3.exceptions import (
    ConnectTimeoutError,
    EmptyPoolError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)

from bootledger.errors import SourceUnavailable

_AGAIN = "it is tried again"


def no_answer(
    place: str, error: BaseException, *, connect_s: float, patience_s: float
) -> SourceUnavailable:
    """Return what to raise for `error` of a request to `place`; both times are for the words."""
    said, hint = _words(list(_causes(error)), connect_s, patience_s)
    return SourceUnavailable(f"{place}: {said}", hint=hint)


def _words(  # noqa: C901 - one case for each kind
    causes: list[BaseException], connect_s: float, patience_s: float
) -> tuple[str, str]:
    last = causes[-1]
    for cause in causes[::-1]:  # what is nearest to the system is most exact
        match cause:
            case ssl.SSLCertVerificationError():
                return (
                    f"TLS failed: the certificate is not believed: {cause.verify_message}",
                    "is it signed by the CA that was given, for this name, and for this day? "
                    + _AGAIN,
                )
            case SSLError() | ssl.SSLError():
                return (
                    f"TLS failed: {cause}",
                    "does it speak https, and does it ask for a client certificate?",
                )
            case socket.gaierror():
                return f"no connection: the name is not found: {cause.strerror}", _AGAIN
            case ConnectionRefusedError():
                return "no connection: it is refused, nobody listens there", _AGAIN
            case http.client.RemoteDisconnected():
                return "the connection broke: it was closed before an answer came", _AGAIN
            case ConnectionResetError() | BrokenPipeError() | ConnectionAbortedError():
                return f"the connection broke: it was reset: {cause.strerror or cause}", _AGAIN
            case EmptyPoolError():
                return "no connection is free: all wait for answers", _AGAIN
            case ReadTimeoutError():
                return _too_late(patience_s)
            case NewConnectionError():
                return f"no connection: {last}", _AGAIN
            case ConnectTimeoutError():
                return f"no connection within {connect_s:g} s", _AGAIN
    if isinstance(last, TimeoutError):
        return _too_late(patience_s)
    return f"the connection broke: {str(last) or type(last).__name__}", _AGAIN


def _too_late(patience_s: float) -> tuple[str, str]:
    return f"the answer did not come in time: nothing for {patience_s:g} s, or too slow", _AGAIN


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
