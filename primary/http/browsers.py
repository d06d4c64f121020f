"""What a web page may ask for: nothing. Its browser asks in the name of whoever looks at it.

A browser reaches what listens on loopback, and the page's own name may lead there, too (DNS
rebinding). It cannot help saying which page it is that asks, and which name it was told.
"""

from __future__ import annotations

import ipaddress
from http import HTTPStatus
from urllib.parse import urlsplit

from aiohttp import web

from bootledger.errors import NotAllowed
from bootledger.primary.http.problems import TooLong

_JSON_TYPE = "application/json"


class NotJson(TooLong):
    """The body has a type that any page may send. It is not read."""


def check_not_a_page(request: web.BaseRequest, own_name: str | None) -> None:
    """Raise `NotAllowed` if the request comes from a web page, or may come from one.

    `own_name` is the name under which the server may be asked besides `localhost` and addresses,
    which no page's name can become; None allows every name.
    """
    if "Origin" in request.headers:
        raise NotAllowed("web pages may not ask: the request has an Origin header")
    if own_name is None:
        return
    for host in request.headers.getall("Host", ()):
        if not _is_ours(host, own_name):
            raise NotAllowed(
                f"this primary is not called {host[:80]!r}",
                hint="ask it by its address, or have it ask for tokens: --tokens",
            )


def check_json(request: web.BaseRequest) -> None:
    """Raise `NotJson` unless the body is said to be JSON: a page must ask before it may say so."""
    if request.content_type != _JSON_TYPE:
        raise NotJson(f"a body must be {_JSON_TYPE}", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)


def _is_ours(host: str, own_name: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name in ("localhost", own_name.lower()):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
