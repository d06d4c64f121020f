"""Where histories go that no ledger can hold: kept whole, with the reason, for a person to look at.

A file of `LEDGER/quarantine/` is written once and never changed; docs/format.md has its format.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import msgspec
from blake3 import blake3

from bootledger.files import Files

QUARANTINE_NAME = "quarantine"
FORMAT_NAME = "bootledger-quarantine"
FORMAT = 1


@dataclass(frozen=True)
class Quarantined:
    """One intent's history that was not imported: why, and its records as they were found.

    `intent` is the id as it is written, or in its canonical form; `lines` are the numbers of the
    records' lines in the file that they come from. `records` reads the records again each time that
    it is called: nobody holds all of them.
    """

    intent: str
    reason: str
    lines: array[int]
    records: Callable[[], Iterator[bytes]]


Quarantine: TypeAlias = Callable[[Quarantined], None]
"""Keeps a history durably before it returns; keeping the same one again changes nothing."""


class _Header(msgspec.Struct, frozen=True):
    format: str
    version: int
    intent: str
    reason: str
    lines: list[int]


class QuarantineFolder:
    """Keeps histories in the directory `quarantine` of a ledger, one file each."""

    def __init__(self, ledger: Path, files: Files) -> None:
        self.path = ledger / QUARANTINE_NAME
        self._files = files

    def __call__(self, kept: Quarantined) -> None:
        """Write one history. Durable when this returns; does nothing if it is there already."""
        digest = blake3()
        for piece in _pieces(kept):
            digest.update(piece)
        path = self.path / f"{digest.hexdigest()[:32]}.jsonl"
        if not path.exists():
            self._files.make_directory(self.path)
            self._files.replace_from(path, _pieces(kept), name="quarantine")


def _pieces(kept: Quarantined) -> Iterator[bytes]:
    intent, reason = _plain(kept.intent), _plain(kept.reason)
    header = _Header(FORMAT_NAME, FORMAT, intent, reason, kept.lines.tolist())
    yield msgspec.json.encode(header) + b"\n"
    for record in kept.records():
        yield record + b"\n"


def _plain(text: str) -> str:
    """Return `text` without what cannot be written as UTF-8."""
    return text.encode(errors="backslashreplace").decode()
