"""A run, told step by step, for a person who has to understand how it came to its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import assert_never

import msgspec

from bootledger.simulation.engines import Life
from bootledger.simulation.facts import (
    Appended,
    Appending,
    Began,
    Fact,
    Fetched,
    Noted,
    Passed,
    Refused,
)
from bootledger.statemachine.events import Event, kind_of


def tell(lives: Sequence[Life], end: str) -> tuple[str, ...]:
    """Return the story of `lives`, one line a step; `end` is how it ended."""
    return tuple(_lines(lives, end))


def _lines(lives: Sequence[Life], end: str) -> Iterator[str]:
    for number, life in enumerate(lives, start=1):
        yield f"life {number}"
        for fact in life.facts:
            if line := line_of(fact):
                yield f"  {line}"
        yield "  reached its end" if life.died_at is None else f"  DIED at {life.died_at}"
    yield end


def line_of(fact: Fact) -> str:
    """Return the line for one fact, empty if it is not worth one."""
    match fact:
        case Began():
            return ""
        case Passed():
            return fact.token
        case Appending():
            return "; ".join(f"event {said.version}: {words_of(said.event)}" for said in fact.batch)
        case Appended():
            return "durable"
        case Refused():
            return f"refused: {fact.error}"
        case Fetched():
            return f"fetched bytes {fact.start_bytes} to {fact.end_bytes}"
        case Noted():
            return fact.words
        case _:
            assert_never(fact)


def words_of(event: Event) -> str:
    """Return an event as one line: its kind and what it says, without what is the default."""
    told = {
        name: value
        for name, value in msgspec.to_builtins(event).items()
        if name not in {"kind", "recorded_at_ms", "holder", "target", "op", "labels"}
    }
    return " ".join((kind_of(event), *(f"{name}={value}" for name, value in told.items())))
