"""How a file is asked for over HTTP: its address, and what is shown to be allowed to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import urllib3
from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from bootledger.errors import InvalidValue
from bootledger.files import translated

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")
_OURS = {"range", "if-range", "accept-encoding", "host", "content-length", "transfer-encoding"}


@dataclass(frozen=True, kw_only=True)
class HttpAccess:
    """What a server wants to see, and whom to believe; no secret of it is ever shown.

    `token` goes as a bearer token, `headers` as they are. `ca` is a file of certificates to believe
    instead of the system's, `certificate` and `key` are this side's own.
    """

    token: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be sent, naming no secret."""
        if self.token is not None and not _VALUE.fullmatch(self.token):
            raise InvalidValue("the token must be one line of printable ASCII")
        for name, value in self.headers.items():
            if not _NAME.fullmatch(name) or name.lower() in _OURS:
                raise InvalidValue(f"a header {name!r:.60} cannot be set")
            if not _VALUE.fullmatch(value):
                raise InvalidValue(f"the value of header {name} must be printable ASCII")

    @property
    def secret(self) -> bool:
        """Whether anything is sent that others must not see."""
        return self.token is not None or bool(self.headers)

    def sent(self) -> dict[str, str]:
        """Return the headers to send."""
        bearer = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        return {**self.headers, **bearer}

    def pool(self, *, connections: int, timeout_s: float) -> urllib3.PoolManager:
        """Return the connections; certificates are always checked."""
        return urllib3.PoolManager(
            maxsize=connections,
            retries=False,
            timeout=urllib3.Timeout(connect=timeout_s, read=timeout_s),
            cert_reqs="CERT_REQUIRED",
            ca_certs=None if self.ca is None else str(self.ca),
            cert_file=None if self.certificate is None else str(self.certificate),
            key_file=None if self.key is None else str(self.key),
        )


def read_token(path: Path) -> str:
    """Return the token that is all of a file. Raises `InvalidValue` if it is not one line."""
    with translated(path):
        text = path.read_bytes()[:65536].decode("ascii", "replace").strip()
    if not _VALUE.fullmatch(text):
        raise InvalidValue(f"{path} must hold one line, the token")
    return text


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


def check_url(url: str, access: HttpAccess) -> Url:
    """Return the parsed address of a file.

    Raises `InvalidValue` if it is none, holds a user or a password, or if a secret would travel
    to another machine without TLS. Nothing after its path is shown.
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
    if access.secret and parsed.scheme == "http" and not _is_local(parsed.host):
        raise InvalidValue(
            f"a secret would travel to {parsed.host} for everybody to read",
            hint="use https",
        )
    return parsed


def shown(url: Url) -> str:
    """Return an address without its query, which may be a signature."""
    return Url(scheme=url.scheme, host=url.host, port=url.port, path=url.path).url


def _is_local(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
