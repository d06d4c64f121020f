"""Which bytes of a file a request wants: Range, If-Range, If-Match, If-None-Match. Pure.

RFC 9110, for entities with a strong tag and without a date. One range at a time: several, or one
that makes no sense, are answered as not satisfiable rather than with the whole file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

_RANGE = re.compile(r"bytes[ \t]*=[ \t]*([0-9]{0,20})-([0-9]{0,20})[ \t]*", re.ASCII)
_TAGS = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"', re.ASCII)


@dataclass(frozen=True)
class Selected:
    """Bytes of a file, and the status that says how they were chosen; no bytes, if it is none."""

    status: HTTPStatus
    offset_bytes: int = 0
    length_bytes: int = 0

    def content_range(self, size_bytes: int) -> str | None:
        """Return the header that belongs to this status, or None."""
        if self.status is HTTPStatus.PARTIAL_CONTENT:
            last = self.offset_bytes + self.length_bytes - 1
            return f"bytes {self.offset_bytes}-{last}/{size_bytes}"
        if self.status is HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return f"bytes */{size_bytes}"
        return None


def select(headers: Mapping[str, str], tag: str, size_bytes: int) -> Selected:
    """Return what is to be answered for an entity of that strong tag (quoted) and size."""
    match = headers.get("If-Match")
    if match is not None and not _matches(match, tag, weak=False):
        return Selected(HTTPStatus.PRECONDITION_FAILED)
    none_match = headers.get("If-None-Match")
    if none_match is not None and _matches(none_match, tag, weak=True):
        return Selected(HTTPStatus.NOT_MODIFIED)
    whole = Selected(HTTPStatus.OK, 0, size_bytes)
    wanted = headers.get("Range")
    if wanted is None or headers.get("If-Range", tag).strip() != tag:
        return whole
    if not wanted.lower().lstrip().startswith("bytes"):
        return whole  # a unit that nobody here knows
    return _range(wanted, size_bytes)


def _range(wanted: str, size_bytes: int) -> Selected:
    none = Selected(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
    parts = _RANGE.fullmatch(wanted.lower().strip())
    if parts is None:
        return none
    first, last = parts.groups()
    if first:
        start = int(first)
        end = min(int(last) + 1, size_bytes) if last else size_bytes
    elif last:
        start, end = max(0, size_bytes - int(last)), size_bytes
    else:
        return none
    if start >= end:
        return none
    return Selected(HTTPStatus.PARTIAL_CONTENT, start, end - start)


def _matches(header: str, tag: str, *, weak: bool) -> bool:
    if header.strip() == "*":
        return True
    tags = _TAGS.findall(header)
    return tag in (each.removeprefix("W/") if weak else each for each in tags)
