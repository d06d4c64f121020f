"""Where histories go that no ledger can hold: kept whole, with the reason, for a person to look at.

A file of `LEDGER/quarantine/` is written once and never changed; docs/format.md has its format.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import msgspec
from blake3 import blake3

from bootledger.files import Files

QUARANTINE_NAME = "quarantine"
FORMAT_NAME = "bootledger-quarantine"
FORMAT = 1


class Quarantined(msgspec.Struct, frozen=True):
    """One intent's history that was not imported: why, and its records as they were found.

    `intent` is the id as it is written, or in its canonical form; `lines` are the numbers of the
    records' lines in the file that they come from.
    """

    intent: str
    reason: str
    lines: list[int]
    records: list[bytes]


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
        header = _Header(FORMAT_NAME, FORMAT, _plain(kept.intent), _plain(kept.reason), kept.lines)
        data = b"\n".join((msgspec.json.encode(header), *kept.records, b""))
        path = self.path / f"{blake3(data).hexdigest()[:32]}.jsonl"
        if not path.exists():
            self._files.make_directory(self.path)
            self._files.replace(path, data, name="quarantine")


def _plain(text: str) -> str:
    """Return `text` without what cannot be written as UTF-8."""
    return text.encode(errors="backslashreplace").decode()
