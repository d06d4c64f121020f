"""RedDB's intent log as it lies on disk: lines of JSON, found again one by one whatever happened.

One record is one JSON object on a line: `id`, `op`, `phase`, `ts`, `actor`, `args`, and on some of
them `progress` or `summary`. RedDB gives up the whole file at one byte that is not UTF-8, and loses
a record that was appended to a torn line. Here damage stays where it is: what can be read of a line
is read, what cannot is a `Damage` with its place. Bounded in time and memory, whatever the file
holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, TypeAlias
from uuid import UUID

OP = "replica_bootstrap"
MAX_LINE_BYTES = 64 * 1024
"""RedDB writes at most 3,072 bytes; a torn line carries a few records at most."""
MAX_PIECES = 64
"""How often a reader starts again within one damaged line."""

_PHASE = re.compile(r"running|completed|aborted|checkpoint_\+?[0-9]{1,64}", re.ASCII)
_U32_MAX = 2**32 - 1
_UUID = re.compile(
    r"(urn:uuid:)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}|"
    r"\{[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\}",
    re.ASCII | re.IGNORECASE,
)
_START = re.compile(r'\{\s*"(?:actor|args|id|op|phase|progress|summary|ts)"\s*:', re.ASCII)
_BLANK = b" \t\r\n"
_LONGEST_INT = 40


class Place(NamedTuple):
    """Where something stands in the file: which line, from 1, at which byte, and how many."""

    line: int
    offset_bytes: int
    length_bytes: int


class Record(NamedTuple):
    """One record of a replica bootstrap. Beyond `intent` and `phase` nothing is checked yet.

    `intent` is the id in its canonical form, or as it is written if it is not a UUID.
    """

    place: Place
    intent: UUID | str
    phase: str
    fields: dict[str, object]


class Foreign(NamedTuple):
    """A record of another operation than a replica bootstrap."""

    place: Place
    op: str


class Damage(NamedTuple):
    """Bytes that are no record, and why not."""

    place: Place
    reason: str


Found: TypeAlias = Record | Foreign | Damage


def read_log(file: BinaryIO) -> Iterator[Found]:
    """Yield everything that the file holds, from its first byte on. Blank lines are nothing.

    Lines end at a line feed, and at nothing else.
    """
    file.seek(0)
    number, offset = 1, 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        length = len(line)
        if length > MAX_LINE_BYTES and not line.endswith(b"\n"):
            length += _skip_line(file)
            reason = f"{length} bytes are too long for a line"
            yield Damage(Place(number, offset, length), reason)
        else:
            yield from read_line(line, number, offset)
        number += 1
        offset += length


def _skip_line(file: BinaryIO) -> int:
    skipped = 0
    while piece := file.readline(MAX_LINE_BYTES):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
    return skipped


def read_line(line: bytes, number: int, offset_bytes: int) -> Iterator[Found]:
    """Yield what one line holds: a record, or the records and the damage in what is torn.

    After bytes that are no JSON the reader goes on where the next record seems to begin.
    """
    # Bytes that are not UTF-8 become lone surrogates, so that what is around them can be read.
    text = line.rstrip(_BLANK).decode(errors="surrogateescape")
    at = 0
    for pieces_left in reversed(range(MAX_PIECES)):
        at += len(text[at:]) - len(text[at:].lstrip(" \t\r\n"))
        if at == len(text):
            return
        place = Place(number, offset_bytes + _size(text[:at]), 0)
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            start = _START.search(text, at + 1) if pieces_left else None
            end = start.start() if start else len(text)
            reason = "nested too deep" if isinstance(error, RecursionError) else "no JSON"
            found: Found = Damage(place, reason)
        else:
            found = _classified(value, place, text[at:end])
        yield found._replace(place=place._replace(length_bytes=_size(text[at:end])))
        at = end


def _size(text: str) -> int:
    return len(text.encode(errors="surrogateescape"))


def _classified(value: object, place: Place, text: str) -> Found:
    try:
        text.encode()
    except UnicodeEncodeError:
        return Damage(place, "bytes that are not UTF-8")
    if not isinstance(value, dict):
        return Damage(place, "no object")
    intent, op, phase = (value.get(name) for name in ("id", "op", "phase"))
    for name, field in (("id", intent), ("op", op), ("phase", phase)):
        if not isinstance(field, str):
            return Damage(place, f"no {name}" if field is None else f"its {name} is no text")
    if op != OP:
        return Foreign(place, str(op))
    if not _is_phase(str(phase)):
        return Damage(place, f"there is no phase {phase!r:.40}")
    return Record(place, canonical(str(intent)), str(phase), value)


def _is_phase(phase: str) -> bool:
    if not _PHASE.fullmatch(phase):
        return False
    return not phase.startswith("checkpoint_") or checkpoint_number(phase) <= _U32_MAX


def checkpoint_number(phase: str) -> int:
    """Return the number in the phase of a checkpoint."""
    return int(phase.removeprefix("checkpoint_"))


def canonical(intent: str) -> UUID | str:
    """Return an id as the UUID that it is, however it is written, or else as it is."""
    return UUID(intent) if _UUID.fullmatch(intent) else intent


def _int(digits: str) -> int | float:
    # Python refuses to read an integer of thousands of digits; nobody needs its value.
    return int(digits) if len(digits) < _LONGEST_INT else float(digits)


def _constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


# RedDB reads raw control characters within strings, so they are read here.
_DECODER = json.JSONDecoder(strict=False, parse_int=_int, parse_constant=_constant)
