"""The address of a file on a web server, and headers for it, from a file."""

from __future__ import annotations

import re
from pathlib import Path

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from bootledger.errors import InvalidValue
from bootledger.files import translated
from bootledger.replica.http.access import Access
from bootledger.replica.http.addresses import PORTS, Address

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def read_headers(path: Path) -> dict[str, str]:
    """Return the headers in a file, one `Name: value` a line; empty lines and `#` lines count not.

    Raises `InvalidValue` with the number of a line that is none.
    """
    with translated(path):
        lines = path.read_bytes()[:65536].decode("ascii", "replace").splitlines()
    headers: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, value = line.partition(":")
        if not colon or not _NAME.fullmatch(name):
            raise InvalidValue(f"line {number} of {path} is no header", hint="write Name: value")
        headers[name] = value.strip()
    return headers


def check_url(url: str, access: Access) -> tuple[Address, str]:
    """Return the address of a file, and its query, which may be a signature: it is never shown.

    Raises `InvalidValue` if it is none, holds a user or a password, or if a secret would travel
    to another machine without TLS.
    """
    try:
        parsed = parse_url(url)
    except LocationParseError:
        raise InvalidValue("this is no address", hint="give it as https://HOST/PATH") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise InvalidValue("this is no http or https address", hint="give https://HOST/PATH")
    if parsed.auth is not None:
        raise InvalidValue(
            f"the address of {parsed.host} holds a user or a password",
            hint="what is secret belongs into a file: a token, or headers",
        )
    address = Address(
        parsed.scheme,
        parsed.host.strip("[]"),
        parsed.port or PORTS[parsed.scheme],
        parsed.path or "/",
    )
    if access.secret and not access.insecure and not address.is_private:
        raise InvalidValue(
            f"a secret would travel to {parsed.host} for everybody to read",
            hint="use https",
        )
    return address, "" if parsed.query is None else f"?{parsed.query}"
