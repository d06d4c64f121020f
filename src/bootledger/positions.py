"""Numbers that travel: checked u64 values, and positions on a timeline.

An LSN (log sequence number) numbers the changes of a database, from 1 up; LSN 0 is the position
before the first change. Absent (`None`) and zero are different things everywhere.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec

from bootledger.errors import InvalidValue

U64_MAX = 2**64 - 1

type_u64 = msgspec.Meta(ge=0, description="an unsigned 64-bit integer")

U64 = Annotated[int, type_u64]
"""An integer from 0 to 2**64 - 1; decoding refuses anything else, floats and booleans included."""

FIRST_TIMELINE = 1
NODE_ID_MAX_BYTES = 255
"""A node id is part of an LMDB key, and those end at 511 bytes."""
TEXT_MAX_BYTES = 1024
"""Longest free text (a cause, a reason, a token, an actor) in one event."""


class Position(NamedTuple):
    """A point in a database's history. Compares by timeline first, then by LSN.

    Its text form, `3/1042`, is the same everywhere it is printed.
    """

    timeline: int
    lsn: int

    def __str__(self) -> str:
        return f"{self.timeline}/{self.lsn}"


def check_u64(value: object, name: str) -> int:
    """Return `value` if it is an `int` within u64, else raise `InvalidValue` naming it.

    Booleans and floats are refused, even whole ones: an LSN that went through a float has
    already lost its low bits above 2**53.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidValue(f"{name} must be an integer, not {value!r}")
    if not 0 <= value <= U64_MAX:
        raise InvalidValue(f"{name} must lie between 0 and 2**64 - 1, not {value}")
    return value


def check_text(value: object, name: str, *, max_bytes: int = TEXT_MAX_BYTES) -> str:
    """Return `value` if it is a non-empty string of at most `max_bytes` in UTF-8 without NUL.

    Raises `InvalidValue` otherwise, quoting no more than the beginning of what was given.
    """
    if not isinstance(value, str):
        raise InvalidValue(f"{name} must be a string, not {type(value).__name__}")
    if not value:
        raise InvalidValue(f"{name} must not be empty")
    if "\0" in value:
        raise InvalidValue(f"{name} must not contain NUL: {value[:40]!r}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidValue(f"{name} is not encodable as UTF-8: {value[:40]!r}") from None
    if size > max_bytes:
        raise InvalidValue(f"{name} is {size} bytes long, {max_bytes} are allowed: {value[:40]!r}…")
    return value


def check_node_id(value: object) -> str:
    """Return `value` if it can name a node: non-empty text of at most `NODE_ID_MAX_BYTES`."""
    return check_text(value, "node id", max_bytes=NODE_ID_MAX_BYTES)
