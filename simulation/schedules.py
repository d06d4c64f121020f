"""Schedules of crashes, and the stable words for them.

    chunk.synced#3,log.committed#1

is a schedule of two crashes: the first life dies when it passes `chunk.synced` for the third time,
the second when it passes `log.committed` for the first time, the third lives to its end. Names and
ordinals survive a refactoring that bare numbers would not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

from bootledger.errors import InvalidValue

Schedule: TypeAlias = tuple[str, ...]
"""Where each life dies, as tokens of points; the life after the last one is to reach its end."""

_NAME = re.compile(r"[^\s#,/]+")
_TOKEN = re.compile(rf"{_NAME.pattern}#[1-9][0-9]*")


def check_name(name: str) -> None:
    """Raise `InvalidValue` if a point of this name could not be named in a schedule."""
    if not _NAME.fullmatch(name):
        raise InvalidValue(
            f"{name!r} is no name of a point",
            hint="words with dots, like my.index.written: no space, '#', ',' or '/'",
        )


def parse_schedule(words: str) -> Schedule:
    """Return the schedule that `words` stand for; empty words are the schedule without a crash.

    Raises `InvalidValue` with the part that is no point.
    """
    tokens = tuple(part.strip() for part in words.split(",")) if words.strip() else ()
    for token in tokens:
        if not _TOKEN.fullmatch(token):
            raise InvalidValue(
                f"{token!r} is no point at which a life can die",
                hint="a schedule looks like chunk.synced#3,log.committed#1",
            )
    return tokens


def words_of(schedule: Sequence[str]) -> str:
    """Return the words that `parse_schedule` reads."""
    return ",".join(schedule)


def point_name(token: str) -> str:
    """Return the name of the point that `token` counts: `chunk.synced` of `chunk.synced#3`."""
    return token.rpartition("#")[0]
