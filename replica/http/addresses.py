"""Addresses of primaries and mirrors: checked before anything is sent to them. Pure."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from bootledger.errors import InvalidValue, SnapshotLost

_PRINTABLE = re.compile(r"[!-~]+", re.ASCII)
_TOKEN = re.compile(r"(?!\.+$)[0-9A-Za-z._-]{1,255}", re.ASCII)
PORTS = {"http": 80, "https": 443}
"""The ports of the schemes that are spoken."""


class Address(NamedTuple):
    """Where a server is: `path` begins with a slash unless it is empty, and never ends with one."""

    scheme: str
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"

    @property
    def is_private(self) -> bool:
        """Whether nobody between here and there can read along: TLS, or this machine itself."""
        if self.scheme == "https" or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(url: object, what: str = "the address") -> Address:
    """Return the address in `url`: http or https, a host, perhaps a port and a path.

    Raises `InvalidValue` for anything else. User names, queries and fragments may be secrets, so
    what has one is not repeated in the message.
    """
    if not isinstance(url, str) or not _PRINTABLE.fullmatch(url) or "\\" in url:
        raise InvalidValue(f"{what} must be a URL of printable ASCII characters")
    if secret := [mark for mark in "@?#" if mark in url]:
        raise InvalidValue(
            f"{what} must have no user name, query or fragment (it contains {secret[0]!r})",
            hint="a token is given in a file of its own",
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as wrong:
        raise InvalidValue(f"{what} is no URL: {wrong}") from wrong
    if parts.scheme not in PORTS or not parts.hostname or port == 0:
        raise InvalidValue(f"{what} must be http://HOST:PORT or https://HOST:PORT, not {url!r}")
    path = parts.path.rstrip("/")
    if "//" in path or any(part in (".", "..") for part in path.split("/")):
        raise InvalidValue(f"{what} must have a plain path, not {parts.path!r}")
    return Address(parts.scheme, parts.hostname, port or PORTS[parts.scheme], path)


def check_token(token: object) -> str:
    """Return a token that may stand in a path. Of any other there is no base backup."""
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise SnapshotLost(f"there is no base backup {str(token)[:80]!r}")
    return token
