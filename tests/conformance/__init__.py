"""Walks a folder of the reference's answers and judges ours by them; `walk` is the way in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from conformance.intent_log import walk_intent_log
from conformance.verdicts import Verdict, Walker

WALKERS: Mapping[str, Walker] = {
    "intent_log/cases.json": walk_intent_log,
}
"""Who walks which file, by its name in the folder."""


def walk(folder: Path) -> Iterator[tuple[str, Verdict]]:
    """Yield the file and the verdict of every case in `folder`.

    A file that nobody walks, and a walker that breaks down, are wrong verdicts of their own.
    """
    for path in sorted(folder.glob("*/*.json")):
        name = path.relative_to(folder).as_posix()
        walker = WALKERS.get(name)
        if walker is None:
            yield name, Verdict(name, wrong="nobody walks this file")
            continue
        yield from ((name, verdict) for verdict in walker(path))
