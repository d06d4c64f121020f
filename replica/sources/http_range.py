"""One version of one file of any web server, asked for in ranges; nothing it says is believed."""

from __future__ import annotations

import base64
import binascii
import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from math import inf
from typing import NoReturn

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from bootledger.errors import InvalidValue, NotAllowed, SnapshotLost, SourceUnavailable
from bootledger.files import MAX_FILE_BYTES
from bootledger.replica.http.access import Access
from bootledger.replica.http.retrying import Patience
from bootledger.replica.http.transport import Link
from bootledger.replica.sources.http_access import check_url

_PIECE_BYTES = 2**18
_STRONG = re.compile(r'"[!#-~\x80-\xff]{1,250}"')
_RANGE = re.compile(r"bytes (\d{1,20})-(\d{1,20})/(\d{1,20})", re.ASCII)
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/=]{44}):")
_SECOND_S = 1.0
"""A Last-Modified counts seconds: what was written in the same one looks the same."""


@dataclass(frozen=True)
class Remote:
    """One version of a file, as its server tells it.

    `validator` is what goes into If-Range, `fingerprint` all that the version is known by; `sha256`
    is of the whole, if the server said it (Repr-Digest).
    """

    size_bytes: int
    validator: str
    fingerprint: str
    sha256: bytes | None


class Transient(SourceUnavailable):
    """It may well work the next time."""


class RangeReader:
    """Asks one server for parts of one file. For several threads. Close it when done."""

    def __init__(
        self,
        url: str,
        access: Access,
        *,
        trust_last_modified: bool = False,
        connections: int = 1,
        timeout_s: float = 30.0,
        request_s: float = 600.0,
        attempts: int = 5,
        first_pause_s: float = 0.2,
    ) -> None:
        """Make a reader; nothing is asked yet.

        Raises `InvalidValue` as `check_url`, and for unusable certificates.

        `timeout_s` is how long to wait for a connection, for the whole head of an answer, and for
        any further bytes; `request_s` how long all of an answer may take, to `timeout_s` more;
        `attempts` how often a request is made that fails in passing.
        """
        address, self._query = check_url(url, access)
        self.shown = str(address)
        self._access = access
        self._trust_last_modified = trust_last_modified
        self._request_s = request_s
        self._attempts, self._first_pause_s = attempts, first_pause_s
        self._link = Link(
            address,
            access.context() if address.scheme == "https" else None,
            connections,
            timeout_s=timeout_s,
        )

    def look(self) -> Remote:
        """Return the version that is there now, by asking for its first byte.

        Raises `InvalidValue` if the server cannot serve ranges of one version (no ranges, no strong
        ETag, a redirect) or the file is empty, `NotAllowed`, `SourceUnavailable`.
        """
        remote, _ = self._patiently(0, 1, None)
        return remote

    def read(self, remote: Remote, offset_bytes: int, length_bytes: int) -> bytes:
        """Return that part of a version: those bytes, all of them, and no others.

        Raises `SnapshotLost` if the server has another version, otherwise as `look`.
        """
        _, data = self._patiently(offset_bytes, length_bytes, remote)
        return data

    def close(self) -> None:
        """Close the connections."""
        self._link.close()

    def _patiently(
        self, offset_bytes: int, length_bytes: int, pinned: Remote | None
    ) -> tuple[Remote, bytes]:
        patience = Patience(
            Transient, tries=self._attempts, within_s=inf, first_pause_s=self._first_pause_s
        )
        return patience(lambda: self._ask(offset_bytes, length_bytes, pinned))

    def _ask(
        self, offset_bytes: int, length_bytes: int, pinned: Remote | None
    ) -> tuple[Remote, bytes]:
        end_bytes = offset_bytes + length_bytes
        headers = {
            **self._access.sent(),
            "Range": f"bytes={offset_bytes}-{end_bytes - 1}",
            "Accept-Encoding": "identity",
        }
        if pinned is not None:
            headers["If-Range"] = pinned.validator
        deadline_s = time.monotonic() + self._request_s
        try:
            answer = self._link.begin("GET", self._query, headers=headers)
        except SourceUnavailable as none:
            raise Transient(str(none), hint=none.hint) from None  # its cause may show the query
        try:
            if answer.status != 206:  # noqa: PLR2004 - the one that is asked for
                self._refuse(answer, pinned)
            remote = self._told(answer, offset_bytes, end_bytes, pinned)
            data = self._body(answer, length_bytes, deadline_s)
        except BaseException as error:
            answer.close()  # what else comes on this connection is not for us
            if isinstance(error, HTTPError | OSError | HTTPException):
                broken = self._link.broken(error)
                raise Transient(str(broken), hint=broken.hint) from None
            raise
        finally:
            answer.release_conn()
        return remote, data

    def _told(
        self,
        answer: BaseHTTPResponse,
        offset_bytes: int,
        end_bytes: int,
        pinned: Remote | None,
    ) -> Remote:
        """Return what the head of an answer says, once it is what was asked for."""
        said = answer.headers.get("Content-Range", "")
        match = _RANGE.fullmatch(said)
        if match is None:
            raise SourceUnavailable(f"{self.shown}: 206 with Content-Range {said!r:.80}")
        first, last, size_bytes = map(int, match.groups())
        if size_bytes > MAX_FILE_BYTES:
            raise SourceUnavailable(f"{self.shown} claims to have {size_bytes} bytes")
        if (encoding := answer.headers.get("Content-Encoding", "identity")) != "identity":
            raise SourceUnavailable(
                f"{self.shown}: sent in encoding {encoding!r:.40}, none was allowed"
            )
        remote = self._version(answer, size_bytes)
        if pinned is not None and pinned.fingerprint != remote.fingerprint:
            raise SnapshotLost(
                f"{self.shown} changed: {remote.fingerprint}, pinned was {pinned.fingerprint}"
            )
        if (first, last + 1) != (offset_bytes, end_bytes):
            raise SourceUnavailable(
                f"{self.shown}: bytes {first} to {last} came, asked for were {offset_bytes} to "
                f"{end_bytes - 1}"
            )
        return remote

    def _version(self, answer: BaseHTTPResponse, size_bytes: int) -> Remote:
        etag = answer.headers.get("ETag", "")
        digest = _sha256(answer.headers.get("Repr-Digest", ""))
        if _STRONG.fullmatch(etag):
            return Remote(size_bytes, etag, f"{etag} {size_bytes}", digest)
        modified = answer.headers.get("Last-Modified", "")
        if not self._trust_last_modified:
            raise InvalidValue(
                f"{self.shown} has no strong ETag, but {etag[:80]!r}: two versions could be mixed",
                hint="have the server send one, or trust its Last-Modified, which does not tell "
                "two versions of one second apart",
            )
        if not modified or len(modified) > 100:  # noqa: PLR2004 - a date has 29
            raise InvalidValue(f"{self.shown} has neither a strong ETag nor a Last-Modified")
        self._check_rested(modified, answer.headers.get("Date", ""))
        return Remote(size_bytes, modified, f"{etag[:255]} {modified} {size_bytes}", digest)

    def _check_rested(self, modified: str, date: str) -> None:
        """A date tells a version only if nothing else can be written in its second any more."""
        try:
            since = parsedate_to_datetime(date) - parsedate_to_datetime(modified)
        except (ValueError, TypeError):
            raise InvalidValue(
                f"{self.shown}: Last-Modified {modified!r:.40} and Date {date!r:.40} cannot be "
                "compared"
            ) from None
        if since.total_seconds() <= _SECOND_S:
            raise Transient(f"{self.shown} was written just now: another write may look the same")

    def _body(self, answer: BaseHTTPResponse, length_bytes: int, deadline_s: float) -> bytes:
        """Return exactly `length_bytes`, reading never more than one byte beyond them."""
        body = bytearray()
        while len(body) <= length_bytes:
            piece = answer.read1(min(_PIECE_BYTES, length_bytes + 1 - len(body)))
            if not piece:
                break
            body += piece
            if time.monotonic() > deadline_s:
                raise Transient(f"{self.shown}: no whole answer within {self._request_s:.0f} s")
        if len(body) != length_bytes:
            less = "fewer" if len(body) < length_bytes else "more"
            raise Transient(f"{self.shown}: {less} than the {length_bytes} bytes announced came")
        return bytes(body)

    def _refuse(self, answer: BaseHTTPResponse, pinned: Remote | None) -> NoReturn:
        """Raise what an answer without the asked-for bytes means."""
        what = f"{self.shown}: {answer.status}"
        match answer.status:
            case 200 if pinned is not None and not self._is_same(answer, pinned):
                raise SnapshotLost(f"{self.shown} changed, pinned was {pinned.fingerprint}")
            case 200 if pinned is not None:
                raise Transient(f"{what}: the whole file came, a range was asked for")
            case 200:
                raise InvalidValue(f"{what}: it serves no ranges", hint="copy it by other means")
            case 412 | 416 if pinned is not None:
                raise SnapshotLost(f"{what}: changed, pinned was {pinned.fingerprint}")
            case 416:
                raise SourceUnavailable(f"{what}: empty, there is nothing to copy")
            case 401 | 403:
                raise NotAllowed(what, hint="the token or the signature is wrong, or too old")
            case 408 | 425 | 429 | 500 | 502 | 503 | 504:
                raise Transient(what)
            case status if 300 <= status < 400:  # noqa: PLR2004 - the redirects
                raise InvalidValue(f"{what}: it is elsewhere", hint="give the address it leads to")
            case _:
                raise SourceUnavailable(what)

    def _is_same(self, answer: BaseHTTPResponse, pinned: Remote) -> bool:
        return pinned.validator in {answer.headers.get("ETag"), answer.headers.get("Last-Modified")}


def _sha256(header: str) -> bytes | None:
    match = _DIGEST.search(header)
    if match is None:
        return None
    try:
        return base64.b64decode(match[1], validate=True)
    except binascii.Error:
        return None  # a digest that says nothing
