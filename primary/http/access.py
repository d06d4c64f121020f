"""Who may ask for what: bearer tokens with a scope, and certificates."""

from __future__ import annotations

import enum
import hmac
import os
import re
import ssl
import stat
from hashlib import sha256
from pathlib import Path
from typing import Self

from bootledger.errors import InvalidValue, NotAllowed
from bootledger.files import translated

TOKEN_MIN_CHARACTERS = 16
TOKEN_MAX_CHARACTERS = 256

_TOKEN = re.compile(
    rf"[A-Za-z0-9._~+/=-]{{{TOKEN_MIN_CHARACTERS},{TOKEN_MAX_CHARACTERS}}}", re.ASCII
)
_BEARER = re.compile(rf"[Bb]earer +([!-~]{{1,{TOKEN_MAX_CHARACTERS}}}) *", re.ASCII)
_FILE_MAX_BYTES = 64 * 1024


class Scope(enum.StrEnum):
    """What a token allows: `operate` includes `read`."""

    READ = "read"
    OPERATE = "operate"


class Tokens:
    """The tokens that a server knows, each with its scope. Holds their digests, never themselves.

    Two tokens are compared as digests, all of them each time and each in constant time: how long an
    answer takes says nothing about which token was nearly right.
    """

    def __init__(self, scopes: dict[bytes, Scope]) -> None:
        self._scopes = scopes

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file with one `SCOPE TOKEN` a line; `#` begins a comment.

        Raises `InvalidValue` if everybody on the machine may read it, if a line is none of these,
        or if there is no token at all. No message quotes what stands in the file.
        """
        scopes: dict[bytes, Scope] = {}
        for number, line in enumerate(_secret_text(path).splitlines(), start=1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if len(words) != 2 or words[0] not in list(Scope):  # noqa: PLR2004 - scope and token
                raise InvalidValue(f"{path}, line {number}: not `read TOKEN` or `operate TOKEN`")
            if not _TOKEN.fullmatch(words[1]):
                raise InvalidValue(
                    f"{path}, line {number}: a token has {TOKEN_MIN_CHARACTERS} to "
                    f"{TOKEN_MAX_CHARACTERS} of A-Z, a-z, 0-9 and ._~+/=-",
                    hint="`openssl rand -hex 32` makes one",
                )
            digest = _digest(words[1])
            if digest in scopes:
                raise InvalidValue(f"{path}, line {number}: this token stands there twice")
            scopes[digest] = Scope(words[0])
        if not scopes:
            raise InvalidValue(f"{path} has no token", hint="one `SCOPE TOKEN` a line")
        return cls(scopes)

    def __repr__(self) -> str:
        return f"<{len(self._scopes)} tokens>"

    def scope_of(self, authorization: str | None) -> Scope | None:
        """Return what an `Authorization` header allows, None if it is missing or unknown."""
        bearer = _BEARER.fullmatch(authorization or "")
        asked = _digest(bearer[1]) if bearer else b""
        found = None
        for digest, scope in self._scopes.items():
            if hmac.compare_digest(digest, asked):
                found = scope
        return found


def check_allowed(tokens: Tokens | None, needed: Scope | None, authorization: str | None) -> bool:
    """Raise `NotAllowed` if the header does not allow what is needed; return whether it is known.

    Without tokens everything is allowed: who may connect is decided elsewhere.
    """
    if tokens is None or needed is None:
        return True
    scope = tokens.scope_of(authorization)
    if scope is None:
        raise Unknown(
            "no token that this primary knows", hint="name the file of the token: --token-file"
        )
    if needed is Scope.OPERATE and scope is not Scope.OPERATE:
        raise NotAllowed("this token allows to read, not to operate")
    return True


class Unknown(NotAllowed):
    """Nobody knows who asks: 401, where `NotAllowed` itself is 403."""


def tls_context(certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """Return what a server needs for TLS 1.2 or newer; with `client_ca`, certificates are required.

    Raises `InvalidValue` for files that are not what they should be, and for a key that everybody
    on the machine may read.
    """
    _secret_text(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as wrong:  # an SSLError is an OSError
        raise InvalidValue(f"no certificate with its key: {certificate}, {key}: {wrong}") from wrong
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except (OSError, ValueError) as wrong:
            raise InvalidValue(f"no certificate authority: {client_ca}: {wrong}") from wrong
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted, and nobody is there to type its password")


def _secret_text(path: Path) -> str:
    with translated(path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as missing:
            raise InvalidValue(f"there is no file {path}") from missing
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_size > _FILE_MAX_BYTES:
                raise InvalidValue(f"{path} is no small regular file")
            if found.st_mode & stat.S_IROTH:
                raise InvalidValue(
                    f"everybody may read {path}, and it holds a secret", hint=f"chmod 600 {path}"
                )
            data = os.pread(fd, _FILE_MAX_BYTES, 0)
        finally:
            os.close(fd)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidValue(f"{path} is no text") from None


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()
