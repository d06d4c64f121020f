"""What a replica shows of itself, and whom it believes: tokens and certificates."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bootledger.errors import InvalidValue
from bootledger.files import translated
from bootledger.replica.seal import SEAL_HEADER

_TOKEN = re.compile(r"[!-~]{1,4096}", re.ASCII)
_TOKEN_FILE_MAX_BYTES = 8192
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[!-~]([ -~]{0,4094}[!-~])?")
_OURS = {
    "accept-encoding",
    "content-length",
    "content-type",
    "host",
    "if-match",
    "if-range",
    "range",
    "transfer-encoding",
    SEAL_HEADER.lower(),
}


@dataclass(frozen=True, kw_only=True)
class Access:
    """How to be let in. `repr` shows no secret.

    `token` is a bearer token; `headers` go along as they are, and may be secrets, too. `ca` is a
    file of certificates (PEM) that are believed instead of those of this system; `certificate` and
    `key` are the client's own. A secret goes in clear text to another machine only if `insecure`
    allows it. None of this goes to mirrors, except that their certificates may come from `ca` as
    well.

    Checked when it is made: raises `InvalidValue`, which never quotes a secret.
    """

    token: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        """Refuse a token that cannot stand in a header, and half of a client certificate."""
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise InvalidValue("a token has 1 to 4096 printable ASCII characters and no spaces")
        for name, value in self.headers.items():
            if not _NAME.fullmatch(name) or name.lower() in _OURS:
                raise InvalidValue(f"a header {name!r:.60} cannot be set")
            if not _VALUE.fullmatch(value):
                raise InvalidValue(f"the value of header {name} must be printable ASCII")
        if (self.certificate is None) != (self.key is None):
            raise InvalidValue("a client certificate and its key are given together")

    @property
    def secret(self) -> bool:
        """Whether anything is sent that others must not see."""
        return self.token is not None or bool(self.headers)

    def sent(self) -> dict[str, str]:
        """Return what is sent along with every request."""
        bearer = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        return {**self.headers, **bearer}

    def context(self) -> ssl.SSLContext:
        """Return how to speak TLS. Raises `InvalidValue` for unusable files."""
        context = _context()
        if self.ca is None:
            context.load_default_certs()
        else:
            _trust(context, self.ca)
        if self.certificate is not None:
            try:
                # Without a password here, OpenSSL would ask for one at the terminal.
                context.load_cert_chain(self.certificate, self.key, password=lambda: "")
            except (OSError, ValueError) as wrong:
                raise InvalidValue(
                    f"{self.certificate} and {self.key} are not a certificate and its key: {wrong}"
                ) from wrong
        return context

    def mirror_context(self) -> ssl.SSLContext:
        """Return how to speak TLS with a mirror, which may be anybody's."""
        context = _context()
        context.load_default_certs()
        if self.ca is not None:
            _trust(context, self.ca)
        return context


def read_token(path: Path) -> str:
    """Return the token that is all of a file. Raises `InvalidValue`, without a word of it."""
    with translated(path):
        if not path.is_file():
            raise InvalidValue(f"there is no file {path} to read a token from")
        with path.open("rb") as file:
            data = file.read(_TOKEN_FILE_MAX_BYTES + 1)
    words = data.split()
    if len(words) != 1 or len(data) > _TOKEN_FILE_MAX_BYTES or not data.isascii():
        raise InvalidValue(
            f"{path} does not hold one token", hint="the client's file is the token alone"
        )
    return words[0].decode()


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(ca)
    except (OSError, ValueError) as wrong:
        raise InvalidValue(f"{ca} is not a file of certificates: {wrong}") from wrong
