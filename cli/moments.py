"""Times for people: an age on the command line, and the moment that `--at` names."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, NamedTuple

import typer

from bootledger.errors import InvalidValue
from bootledger.positions import U64_MAX
from bootledger.projections.as_of import position_at
from bootledger.store.port import EventStore

At = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="POSITION|TIME",
        help="Answer as of the ledger's position, or as of a time (ISO 8601; local without a "
        "zone): the last event recorded at or before it.",
    ),
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AGE = re.compile(r"(\d{1,10})(s|min|h|d|w)")
_UNIT_MS = {"s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}


class Moment(NamedTuple):
    """A position of the ledger, and when its event was recorded; 0 before the first event."""

    position: int
    recorded_at_ms: int

    def __str__(self) -> str:
        if not self.position:
            return "before the first event"
        return f"as of position {self.position}, {when(self.recorded_at_ms)}"


def moment(store: EventStore, at: str) -> Moment:
    """Return the moment that a person named: digits are a position, anything else is a time.

    Raises `InvalidValue` if it is neither, or a position beyond the end.
    """
    digits = at.isascii() and at.isdecimal() and len(at) <= len(str(U64_MAX))
    position = int(at) if digits else position_at(store, _milliseconds(at))
    if position > (last := store.last_position()):
        raise InvalidValue(f"the ledger has no position {position}: it ends at {last}")
    if not position:
        return Moment(0, 0)
    return Moment(position, store.read(position - 1, 1)[0].event.recorded_at_ms)


def age_ms(text: str) -> int:
    """Return how many milliseconds `30d`, `12h`, `90min`, `45s` or `2w` are."""
    match = _AGE.fullmatch(text)
    if match is None:
        raise InvalidValue(f"{text!r} is no age", hint="write a number and s, min, h, d or w: 30d")
    return min(int(match[1]) * _UNIT_MS[match[2]], U64_MAX)


def when(time_ms: int) -> str:
    """Return a time as ISO 8601 with the local zone, to be copied into `--at`."""
    try:
        time = (_EPOCH + timedelta(milliseconds=time_ms)).astimezone()
    except (OverflowError, ValueError):
        return f"{time_ms} ms after 1970"
    return time.isoformat(sep=" ", timespec="milliseconds")


def _milliseconds(text: str) -> int:
    try:
        return (datetime.fromisoformat(text).astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)
    except (OverflowError, ValueError) as error:
        raise InvalidValue(
            f"{text!r} is neither a position nor a time: {error}",
            hint="write a number, or a time like 2026-11-25T10:30 or 2026-11-25T10:30:00+01:00",
        ) from error
