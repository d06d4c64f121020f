"""A run, told step by step, for a person who has to understand how it came to its end.

    life 1
        directory: making; current: writing, written, renamed, synced
        records event 1: begin node_id=simulated source_lsn=60 target_lsn_hint=60
        source: pinning, pinned
        asks to record event 2: snapshot_chunk token=... and never hears of it
        DIES at log.committing#2
    life 2
        ...
        reaches its end
    WRONG: ...

The points of a commit are told only where it did not come back: else it says all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import assert_never

import msgspec

from bootledger.simulation.engines import Life
from bootledger.simulation.facts import (
    Appended,
    Appending,
    Began,
    Fetched,
    Flipped,
    Noted,
    Passed,
    Refused,
)
from bootledger.simulation.raising import LifeFailed, place_of
from bootledger.simulation.schedules import point_name
from bootledger.statemachine.events import Event, kind_of

_STEP = "    "
_SILENT = {"recorded_at_ms", "holder", "op", "target", "labels"}
"""What events say that no reader of a story needs."""


def tell(lives: Sequence[Life], end: str) -> tuple[str, ...]:
    """Return the story of `lives`, one line a step; `end` says what is wrong, or that it is not."""
    return (*_lines(lives), end)


def _lines(lives: Sequence[Life]) -> Iterator[str]:
    for number, life in enumerate(lives, start=1):
        yield f"life {number}"
        yield from (_STEP + line for line in _steps(life))


def _steps(life: Life) -> Iterator[str]:
    passed: list[str] = []
    asked = ""
    for fact in life.facts:
        if isinstance(fact, Began):
            continue
        if isinstance(fact, Passed):
            passed.append(fact.token)
            continue
        if not asked:
            yield from _told(passed)
        passed.clear()
        if isinstance(fact, Appending):
            asked = " and ".join(f"event {s.version}: {words_of(s.event)}" for s in fact.batch)
            continue
        yield _line(fact, asked)
        if isinstance(fact, Appended | Refused):
            asked = ""
    if asked:
        yield f"asks to record {asked} and never hears of it"
    yield from _told(passed[:-1] if life.died_at else passed)
    yield _end(life)
    if isinstance(life.error, LifeFailed):
        yield from (_STEP + line for line in life.error.trace.splitlines())


def _line(fact: Appended | Refused | Fetched | Flipped | Noted, asked: str) -> str:
    match fact:
        case Appended():
            return f"records {asked}"
        case Refused():
            return f"asks to record {asked} and is refused: {fact.error}"
        case Fetched():
            return f"fetches bytes {fact.start_bytes} to {fact.end_bytes}"
        case Flipped():
            where = f"bit {fact.bit} of byte {fact.offset_bytes}"
            return f"PLANTED: {where} of generation {fact.generation} is flipped"
        case Noted():
            return fact.words
        case _:
            assert_never(fact)


def _end(life: Life) -> str:
    if life.died_at is not None:
        return f"DIES at {life.died_at}"
    if (error := life.stopped_by) is not None:
        return f"STOPS: {type(error).__name__}: {error}"
    if life.error is None:
        return "reaches its end"
    at = place_of(life.error)
    return f"RAISES an error at {at}" if at else "RAISES an error"


def _told(passed: Sequence[str]) -> Iterator[str]:
    """Yield at most one line: the points in their order, those of one thing together."""
    if passed:
        names = (point_name(token).rpartition(".") for token in passed)
        things = groupby(names, key=lambda name: name[0])
        yield "; ".join(f"{thing}: {', '.join(n[2] for n in steps)}" for thing, steps in things)


def words_of(event: Event) -> str:
    """Return an event as one line: its kind and what it says, without what is unsaid."""
    told = {
        name: value
        for name, value in msgspec.structs.asdict(event).items()
        if name not in _SILENT and value not in (None, (), [], {})
    }
    return " ".join((kind_of(event), *(f"{name}={value}" for name, value in told.items())))
