"""What an answer means, checked before anything of it is used. Pure.

Only what the primary itself has sealed is believed to be an error of the primary. Whatever else
is wrong may be the link, or a proxy that talks for itself: `SourceUnavailable`, with what came.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import NamedTuple, TypeVar

import zstandard

from bootledger import errors
from bootledger.errors import (
    BootledgerError,
    CorruptRecord,
    InvalidValue,
    SnapshotLost,
    SourceUnavailable,
)
from bootledger.replica.http.transport import Answer, Wasted
from bootledger.replica.ports import Change
from bootledger.replica.seal import SEAL_HEADER, seal_answer
from bootledger.replica.wire import (
    CHANGES_TYPE,
    PROBLEM_TYPE,
    Problem,
    decode_changes,
    decode_message,
    error_of,
)

T = TypeVar("T")

JSON_TYPE = "application/json"
ZSTD = "zstd"
_MOST_RETRY_AFTER_S = 5.0
_MOST_RETRY_AFTER_MS = 300_000
"""Nobody stays away for longer because another said so."""
_LEAST_WINDOW_BYTES = 2**20
_MOST_DETAIL = 500
_TOLD = {
    kind.__name__
    for kind in (
        errors.InvalidValue,
        errors.NotAllowed,
        errors.SnapshotLost,
        errors.DivergedHistory,
        errors.OlderTimeline,
        errors.LogWindowLost,
        errors.SlotInvalid,
        errors.SourceUnavailable,
        errors.CorruptRecord,
        errors.CorruptManifest,
        errors.CorruptChunk,
        errors.UnknownFormat,
        errors.OutOfSpace,
    )
}
"""The errors of a primary that are its replicas' errors too: those of the protocol."""

_RANGE = re.compile(r"bytes ([0-9]{1,20})-([0-9]{1,20})/([0-9]{1,20})", re.ASCII)
_NO_RANGE = re.compile(r"bytes \*/([0-9]{1,20})", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)


def message(answer: Answer, asked: str, kind: type[T], *statuses: int) -> T:
    """Return the JSON message in an answer with one of these statuses (200 if none is named).

    `asked` is the seal of the request. Raises the error that the primary told of instead.
    """
    check_sealed(answer, asked, *statuses)
    if answer.kind != JSON_TYPE:
        raise _strange(answer, f"Content-Type {answer.kind!r} instead of JSON")
    try:
        return decode_message(answer.body, kind)
    except CorruptRecord as wrong:
        raise _strange(answer, str(wrong)) from wrong


def changes(answer: Answer, asked: str, after_lsn: int, limit: int) -> list[Change]:
    """Return the changes in an answer: up to `limit`, which follow `after_lsn`."""
    check_sealed(answer, asked)
    if answer.kind != CHANGES_TYPE:
        raise _strange(answer, f"Content-Type {answer.kind!r} instead of changes")
    try:
        found = decode_changes(answer.body, after_lsn)
    except (CorruptRecord, InvalidValue) as wrong:
        raise _strange(answer, str(wrong)) from wrong
    if len(found) > limit:
        raise _strange(answer, f"{len(found)} changes where up to {limit} were asked for")
    return found


def check_sealed(answer: Answer, asked: str, *statuses: int) -> None:
    """Raise unless the primary answered this request, and with one of `statuses`, 200 if none."""
    if not _is_sealed(answer, asked):
        raise _strange(answer, "without the primary's seal, or damaged on the way")
    if answer.status not in (statuses or (HTTPStatus.OK,)):
        raise _told(answer)


class Part(NamedTuple):
    """A part of a file, and how long the whole file is."""

    data: bytes
    size_bytes: int


def part(
    answer: Answer,
    asked: str | None,
    offset_bytes: int,
    length_bytes: int,
    *,
    size_bytes: int | None = None,
    digest: str | None = None,
    sealed: bool = False,
) -> Part:
    """Return the bytes of a file from `offset_bytes` on: fewer than asked only at its end.

    `asked` is the seal of the request to a primary, None of one to a mirror. `size_bytes` and
    `digest`, the strong tag, are those of the whole file, where they are known. `sealed` says
    whether the bytes themselves must be the primary's word.
    """
    match answer.status:
        case HTTPStatus.PARTIAL_CONTENT:
            found = _RANGE.fullmatch(answer.header("Content-Range"))
            if found is None:
                raise _strange(answer, f"the range {answer.header('Content-Range')[:80]!r}")
            first, last, size = map(int, found.groups())
            end = min(offset_bytes + length_bytes, size)
            spans = (first, last + 1, len(answer.body), size if size_bytes is None else size_bytes)
            if spans != (offset_bytes, end, end - offset_bytes, size):
                raise _strange(
                    answer,
                    f"bytes {first}-{last} of {size} and {len(answer.body)} of them, "
                    f"where {length_bytes} from {offset_bytes} on were asked for",
                )
            _check_plain(answer)
            if sealed and not _is_sealed(answer, asked or ""):
                raise _strange(answer, "without the primary's seal, or damaged on the way")
            if digest is not None and answer.header("ETag") not in ("", f'"{digest}"'):
                raise _strange(answer, "of another base backup than the one that was pinned")
            return Part(answer.body, size)
        case HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE if asked and _is_sealed(answer, asked):
            beyond = _NO_RANGE.fullmatch(answer.header("Content-Range"))
            if beyond is not None and offset_bytes >= int(beyond[1]) == (
                size_bytes or int(beyond[1])
            ):
                return Part(b"", int(beyond[1]))
        case _:
            pass
    raise _refused(answer, asked)


def chunk(answer: Answer, asked: str, length_bytes: int) -> bytes:
    """Return the bytes of a chunk that is a resource of its own, decompressed if need be."""
    if answer.status != HTTPStatus.OK:
        raise _refused(answer, asked)
    match answer.header("Content-Encoding").lower():
        case "" | "identity":
            data = answer.body
        case "zstd":
            data = _decompressed(answer, length_bytes)
        case other:
            raise _strange(answer, f"the Content-Encoding {other[:80]!r}")
    if len(data) != length_bytes:
        raise _strange(answer, f"{len(data)} bytes where {length_bytes} were asked for")
    return data


def retry_after_s(answer: Answer) -> float:
    """Return how long the other side asks to be left alone, within reason; 0 if it does not."""
    asked = answer.header("Retry-After")
    return min(float(asked), _MOST_RETRY_AFTER_S) if _SECONDS.fullmatch(asked) else 0.0


def _decompressed(answer: Answer, length_bytes: int) -> bytes:
    try:
        # A frame that tells its size is decompressed into that much memory at once.
        told = zstandard.get_frame_parameters(answer.body).content_size
        if told not in (length_bytes, zstandard.CONTENTSIZE_UNKNOWN):
            raise _strange(answer, f"{told} compressed bytes where {length_bytes} were asked for")
        window = max(_LEAST_WINDOW_BYTES, 1 << (length_bytes - 1).bit_length())
        return zstandard.ZstdDecompressor(max_window_size=window).decompress(
            answer.body, max_output_size=length_bytes, allow_extra_data=False
        )
    except zstandard.ZstdError as wrong:
        raise _strange(answer, f"a chunk that cannot be decompressed: {wrong}") from wrong


def _check_plain(answer: Answer) -> None:
    if (encoding := answer.header("Content-Encoding").lower()) not in ("", "identity"):
        raise _strange(answer, f"the Content-Encoding {encoding[:80]!r}")


def _refused(answer: Answer, asked: str | None) -> BootledgerError:
    if asked is None:
        return _strange(answer, "that is not the part of a file that was asked for")
    if not _is_sealed(answer, asked):
        return _strange(answer, "without the primary's seal, or damaged on the way")
    return _told(answer)


def _is_sealed(answer: Answer, asked: str) -> bool:
    return answer.header(SEAL_HEADER) == seal_answer(asked, answer.status, answer.body)


def _told(answer: Answer) -> BootledgerError:
    """Return the error that the primary has told of in an answer that it sealed."""
    if answer.status == HTTPStatus.PRECONDITION_FAILED:
        return SnapshotLost(f"{answer.place}: the base backup is not the one that was pinned")
    if answer.kind != PROBLEM_TYPE:
        return _strange(answer, f"Content-Type {answer.kind!r}")
    try:
        problem = decode_message(answer.body, Problem)
    except CorruptRecord as wrong:
        return _strange(answer, str(wrong))
    # It ends up on terminals and in ledgers, and an error of the primary's own affairs is not ours.
    detail, hint = (
        "".join(c if c.isprintable() else "�" for c in text[:_MOST_DETAIL])
        for text in (problem.detail, problem.hint)
    )
    name = problem.error if problem.error in _TOLD else SourceUnavailable.__name__
    told_ms = problem.retry_after_ms
    return error_of(
        Problem(
            error=name,
            detail=f"{answer.place}: {detail}",
            hint=hint,
            retry_after_ms=None if told_ms is None else min(told_ms, _MOST_RETRY_AFTER_MS),
        )
    )


def _strange(answer: Answer, what: str) -> Wasted:
    return Wasted(
        f"{answer.place}: an answer with status {answer.status}: {what}",
        hint="it is tried again; is that address a primary's, with nothing in between that "
        "answers for it or changes what it says?",
    )
