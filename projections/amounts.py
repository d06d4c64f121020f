"""Amounts in words: times, sizes, counts and rates, as an operator says them."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_SIZES = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")
_LONGEST_S = 100 * 365 * 86_400
_THOUSAND = 1000
_SMALLEST = 1e-300
_HAIR = 1e-9
"""More than what is lost in the last digits of a float."""


def duration(seconds: float) -> str:
    """Return a time in its two largest units: `2 h 10 min`, `45 s`; tenths below ten seconds."""
    if seconds >= _LONGEST_S:
        return "more than a century"
    if seconds < 10:  # noqa: PLR2004 - where a tenth is more than a hundredth of it
        return f"{max(0.0, seconds):.1f} s"
    left = round(seconds)
    for (unit_s, unit), (smaller_s, smaller) in pairwise(_UNITS):
        whole, part = divmod(round(left / smaller_s), unit_s // smaller_s)
        if whole:
            return f"{whole} {unit} {part} {smaller}" if part else f"{whole} {unit}"
    return f"{left} s"


def size(size_bytes: float) -> str:
    """Return a size with three digits: `812 bytes`, `1.25 GB`; kB are 1,000 bytes."""
    power = 0
    while size_bytes >= _THOUSAND and power < len(_SIZES) - 1:
        size_bytes, power = size_bytes / _THOUSAND, power + 1
    return f"{size_bytes:.3g} {_SIZES[power]}" if power else f"{size_bytes:.0f} bytes"


def count(number: float) -> str:
    """Return a number with its thousands apart: `1,200`; with a digit after the point below ten."""
    whole = number >= 10 or number == int(number)  # noqa: PLR2004 - the ten of the docstring
    return f"{number:,.0f}" if whole else f"{number:.1f}"


def rounded_up(number: float) -> float:
    """Return the next number of two digits and zeros: 2,137 becomes 2,200."""
    return _rounded(number * (1 + _HAIR), math.ceil)


def rounded_down(number: float) -> float:
    """Return the last number of two digits and zeros: 2,137 becomes 2,100."""
    return _rounded(number * (1 - _HAIR), math.floor)


def _rounded(number: float, whole: Callable[[float], int]) -> float:
    if not _SMALLEST < number < math.inf:
        return number
    unit = 10.0 ** (math.floor(math.log10(number)) - 1)
    return whole(number / unit) * unit
