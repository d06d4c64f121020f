"""Sets of bytes as sorted, disjoint, half-open ranges; adjacent ranges are always merged.

`Ranges` is a plain tuple of `Range`, so it prints, compares and encodes as what it is. Everything
here is pure; what is given must already be normal (as every function here returns it).
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from bootledger.errors import InvalidValue


class Range(NamedTuple):
    """The bytes from `start_bytes` up to, but not including, `end_bytes`."""

    start_bytes: int
    end_bytes: int


Ranges: TypeAlias = tuple[Range, ...]

MAX_ISLANDS = 64
"""How many separate ranges may be staged beyond the first gap; it bounds the size of `Progress`."""


def total_bytes(ranges: Ranges) -> int:
    """Return how many bytes the set holds."""
    return sum(end - start for start, end in ranges)


def first_gap_bytes(ranges: Ranges) -> int:
    """Return the first offset that is not in the set."""
    return ranges[0].end_bytes if ranges and ranges[0].start_bytes == 0 else 0


def islands(ranges: Ranges) -> int:
    """Return how many separate ranges lie beyond the first gap.

    Whoever adds from the first gap on never makes more of them.
    """
    return len(ranges) - (first_gap_bytes(ranges) > 0)


def overlaps(ranges: Ranges, other: Range) -> bool:
    """Return whether any byte of `other` is in the set; an empty range overlaps nothing."""
    return any(max(start, other[0]) < min(end, other[1]) for start, end in ranges)


def contains(ranges: Ranges, other: Range) -> bool:
    """Return whether every byte of `other` is in the set."""
    return other[0] >= other[1] or any(
        start <= other[0] and other[1] <= end for start, end in ranges
    )


def add(ranges: Ranges, new: Range) -> Ranges:
    """Return the set with the bytes of `new` added; an empty range adds nothing."""
    start, end = new
    if start > end:
        raise InvalidValue(f"a range cannot end before it starts: {start}..{end}")
    if start == end:
        return ranges
    before = tuple(r for r in ranges if r.end_bytes < start)
    after = tuple(r for r in ranges if r.start_bytes > end)
    touched = ranges[len(before) : len(ranges) - len(after)]
    if touched:
        start = min(start, touched[0].start_bytes)
        end = max(end, touched[-1].end_bytes)
    return (*before, Range(start, end), *after)


def subtract(ranges: Ranges, gone: Range) -> Ranges:
    """Return the set without the bytes of `gone`."""
    start, end = gone
    if start >= end:
        return ranges
    pieces = (
        piece
        for r in ranges
        for piece in (
            Range(r.start_bytes, min(r.end_bytes, start)),
            Range(max(r.start_bytes, end), r.end_bytes),
        )
    )
    return tuple(piece for piece in pieces if piece.start_bytes < piece.end_bytes)


def gaps(ranges: Ranges, size_bytes: int) -> Ranges:
    """Return what is missing from the set below `size_bytes`."""
    missing: Ranges = (Range(0, size_bytes),) if size_bytes else ()
    for r in ranges:
        missing = subtract(missing, r)
    return missing


def to_drop(staged: Ranges, failed: Ranges, max_islands: int) -> Ranges:
    """Return what to take away from `staged` so that nothing of `failed` is left in it.

    That is more than `failed` where what stays would form more than `max_islands` islands: the
    first ones stay.
    """
    kept = staged
    for gone in failed:
        kept = subtract(kept, gone)
    dropped = staged
    for stays in kept[:max_islands]:
        dropped = subtract(dropped, stays)
    return dropped
