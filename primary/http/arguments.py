"""What a request says, checked before it is used. Pure.

Whatever is not as it should be is an `InvalidValue`; a path that leads nowhere is one, too.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qsl, unquote

from bootledger.basebackup.manifest import MAX_CHUNK_BYTES
from bootledger.errors import CorruptRecord, InvalidValue, SnapshotLost
from bootledger.positions import U64_MAX, check_node_id
from bootledger.replica.wire import MAX_WAIT_MS, decode_message

MAX_CHANGES = 100_000
"""How many changes may be asked for at once; fewer may come."""

_NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)
_TOKEN = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z._-]{0,127}", re.ASCII)
_EXTENT = re.compile(r"([0-9]{1,20})-([0-9]{1,20})", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MOST_FIELDS = 16

T = TypeVar("T")


class Wanted(NamedTuple):
    """Which changes are asked for, by whom, and how long news may be waited for."""

    after_lsn: int
    limit: int
    wait_ms: int
    slot: str | None
    after_digest: str | None


def number(text: str, name: str, *, least: int = 0, most: int = U64_MAX) -> int:
    """Return a number in decimal digits that lies between two others."""
    if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
        raise InvalidValue(f"{name} must be a number from {least} to {most}, not {text[:40]!r}")
    return int(text)


def token(text: str) -> str:
    """Return what can be the token of a base backup; `SnapshotLost` if it was never one."""
    if not _TOKEN.fullmatch(text):
        raise SnapshotLost("this is no token of a base backup")
    return text


def extent(text: str) -> tuple[int, int]:
    """Return offset and length of `OFFSET-LENGTH`: at least a byte, at most the longest chunk."""
    parts = _EXTENT.fullmatch(text)
    if parts is None:
        raise InvalidValue(f"a chunk is OFFSET-LENGTH, not {text[:60]!r}")
    return (
        number(parts[1], "offset"),
        number(parts[2], "length", least=1, most=MAX_CHUNK_BYTES),
    )


def slot_name(text: str) -> str:
    """Return the name of a slot from one part of a path, where it is percent-encoded UTF-8."""
    try:
        return check_node_id(unquote(text, errors="strict"))
    except UnicodeDecodeError:
        raise InvalidValue(f"no UTF-8: {text[:60]!r}") from None


def wanted(query: str) -> Wanted:
    """Return what the query of `GET /v1/changes` asks for. Fields that are unknown are ignored."""
    fields = _fields(query)
    if "after" not in fields:
        raise InvalidValue("after= is missing: after which LSN?")
    return Wanted(
        after_lsn=number(fields["after"], "after"),
        limit=min(number(fields.get("limit", "1000"), "limit", least=1), MAX_CHANGES),
        wait_ms=number(fields.get("wait_ms", "0"), "wait_ms", most=MAX_WAIT_MS),
        slot=_slot(fields),
        after_digest=_digest(fields),
    )


def slot_of(query: str) -> str | None:
    """Return which replica's slot a query names, if any. Fields that are unknown are ignored."""
    return _slot(_fields(query))


def _slot(fields: dict[str, str]) -> str | None:
    return check_node_id(fields["slot"]) if "slot" in fields else None


def _digest(fields: dict[str, str]) -> str | None:
    found = fields.get("after_digest")
    if found is not None and not _DIGEST.fullmatch(found):
        raise InvalidValue(f"after_digest must be a BLAKE3 in hex, not {found[:80]!r}")
    return found


def _fields(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
        )
    except ValueError as wrong:
        raise InvalidValue(f"a query that cannot be read: {str(wrong)[:80]}") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise InvalidValue("a field of the query comes twice")
    return fields


def message(body: bytes, kind: type[T]) -> T:
    """Return the JSON in the body of a request, as what it should be."""
    try:
        return decode_message(body, kind)
    except CorruptRecord as wrong:
        raise InvalidValue(str(wrong)) from wrong


def accepts_zstd(accept_encoding: str) -> bool:
    """Say whether the header allows `zstd`."""
    for each in accept_encoding.lower().split(","):
        name, _, quality = each.partition(";")
        if name.strip() == "zstd":
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
