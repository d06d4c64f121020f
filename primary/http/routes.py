"""Which request leads where, and which scope it needs: the table of docs/protocol.md."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from bootledger.primary.http.access import Scope
from bootledger.primary.http.endpoints import Call, Endpoints
from bootledger.primary.http.problems import NotFound, WrongMethod
from bootledger.primary.http.sending import Answer

Handler: TypeAlias = Callable[[Endpoints, Call], Awaitable[Answer]]


@dataclass(frozen=True)
class Route:
    """One line of the protocol's table; `name` is what it is called in metrics."""

    method: str
    path: re.Pattern[str]
    scope: Scope | None
    handler: Handler
    name: str


def _route(method: str, path: str, scope: Scope | None, handler: Handler) -> Route:
    pattern = re.sub(r"\\\{\w+\\\}", "([^/]{1,1024})", re.escape(path))
    return Route(method, re.compile(pattern), scope, handler, f"{method} {path}")


_BACKUP = "/v1/base-backups/{token}"
ROUTES = (
    _route("GET", "/v1/primary", Scope.READ, Endpoints.primary),
    _route("POST", "/v1/base-backups", Scope.READ, Endpoints.publish),
    _route("GET", "/v1/base-backups", Scope.OPERATE, Endpoints.backups),
    _route("GET", f"{_BACKUP}/manifest", Scope.READ, Endpoints.manifest),
    _route("GET", f"{_BACKUP}/data.mdb", Scope.READ, Endpoints.data),
    _route("HEAD", f"{_BACKUP}/manifest", Scope.READ, Endpoints.manifest),
    _route("HEAD", f"{_BACKUP}/data.mdb", Scope.READ, Endpoints.data),
    _route("GET", f"{_BACKUP}/chunks/{{extent}}", Scope.READ, Endpoints.chunk),
    _route("DELETE", _BACKUP, Scope.READ, Endpoints.release),
    _route("GET", "/v1/changes", Scope.READ, Endpoints.changes),
    _route("GET", "/v1/slots", Scope.OPERATE, Endpoints.slots),
    _route("PUT", "/v1/slots/{name}", Scope.READ, Endpoints.hold_slot),
    _route("DELETE", "/v1/slots/{name}", Scope.OPERATE, Endpoints.drop_slot),
    _route("GET", "/metrics", Scope.OPERATE, Endpoints.metrics),
    _route("GET", "/healthz", None, Endpoints.alive),
    _route("GET", "/readyz", None, Endpoints.ready),
)


def route_of(method: str, path: str) -> tuple[Route, tuple[str, ...]]:
    """Return where a request leads, and the parts of its path that vary.

    Raises `NotFound` and `WrongMethod`.
    """
    methods = []
    for route in ROUTES:
        if (match := route.path.fullmatch(path)) is not None:
            if route.method == method:
                return route, match.groups()
            methods.append(route.method)
    if methods:
        raise WrongMethod(methods)
    raise NotFound("there is nothing under this path", hint="docs/protocol.md has all paths")
