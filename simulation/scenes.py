"""A story as the steps of a sequence diagram: who did what, and where each life ended.

It reads the lines of `bootledger.simulation.stories`, so that the violations of a report that was
kept can be drawn as well as one that was just found.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

from bootledger.diagrams.sequence import Kind, Step

SOURCE, REPLICA, LEDGER, APPLIER = LANES = ("source", "replica", "ledger", "applier")
"""Who takes part, from left to right."""

_LONGEST = 160
"""Characters of a step; the story has the rest."""
_FETCHED = "fetched"
_LOG = "log"
"""What the points of the ledger's commits are called by."""
_RIGHT = "everything is as it must be"
_RECORDS = re.compile(r"records (event .*)")
_REFUSED = re.compile(r"asks to record (.*) and is (refused: .*)")
_UNHEARD = re.compile(r"asks to record (.*) and never hears of it")
_FETCHES = re.compile(r"fetches (bytes .*)")
_DIES = re.compile(r"DIES at (.*)")
_POINTS = re.compile(r"[^\s:;]+: [^;]+(; [^\s:;]+: [^;]+)*")
_IDENTIFIER = re.compile(r" (token|manifest_digest|source_identity|node_id)=\S+")


def scenes(story: Sequence[str]) -> tuple[Step, ...]:
    """Return the steps of a story, in its order; a line of no known form is a note."""
    return tuple(step for line in story for step in _scenes(line))


def _scenes(line: str) -> Iterator[Step]:
    words = line.strip()
    if not line.startswith(" "):
        kind = Kind.RIGHT if words == _RIGHT else Kind.WRONG
        kind = Kind.LIFE if re.fullmatch(r"life \d+", words) else kind
        yield _step(kind, words, REPLICA)
    elif match := _RECORDS.fullmatch(words):
        yield _step(Kind.CALL, _plain(match[1]), REPLICA, LEDGER)
    elif match := _REFUSED.fullmatch(words):
        yield _step(Kind.CALL, f"{_plain(match[1])}: {match[2]}", REPLICA, LEDGER)
    elif match := _UNHEARD.fullmatch(words):
        yield _step(Kind.LOST, _plain(match[1]), REPLICA, LEDGER)
    elif match := _FETCHES.fullmatch(words):
        yield _step(Kind.CALL, match[1], SOURCE, REPLICA)
    elif match := _DIES.fullmatch(words):
        yield _step(Kind.DEATH, f"dies at {match[1]}", REPLICA)
    elif _POINTS.fullmatch(words):
        yield from _points(words.split("; "))
    else:
        yield _step(Kind.NOTE, words, REPLICA)


def _points(parts: Sequence[str]) -> Iterator[Step]:
    """Yield calls for what source and applier do, and a note for what happens in between.

    What happens while the applier applies is the applier's.
    """
    where, noted = REPLICA, list[str]()
    for part in parts:
        thing, _, did = part.partition(": ")
        if thing in {SOURCE, APPLIER}:
            yield from _noted(where, noted)
            noted.clear()
            if did == _FETCHED:
                continue  # a line of its own says which bytes
            if where == REPLICA or did.split(", ")[-1].endswith("ing"):
                yield _step(Kind.CALL, did, REPLICA, thing)
            else:
                yield _step(Kind.NOTE, did, thing)
            where = thing if did.endswith("applying") else REPLICA
        elif thing == _LOG:
            yield from _noted(where, noted)
            noted.clear()
            yield _step(Kind.NOTE, did, LEDGER)
        else:
            noted.append(part)
    yield from _noted(where, noted)


def _noted(where: str, parts: Sequence[str]) -> Iterator[Step]:
    if parts:
        yield _step(Kind.NOTE, "; ".join(parts), where)


def _plain(words: str) -> str:
    """Return an event's words without what is long and tells a reader nothing."""
    return _IDENTIFIER.sub("", words)


def _step(kind: Kind, words: str, source: str, target: str | None = None) -> Step:
    return Step(
        kind, textwrap.shorten(words, _LONGEST, placeholder=" ..."), source, target or source
    )
