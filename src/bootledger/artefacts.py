"""What lies on disk and may be garbage: found by whoever it belongs to, swept in one place.

Whoever owns a place (a target, a ledger, a primary's base backups) yields what it finds there, with
the reason why it stays or may go. Nothing is removed by finding it.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from bootledger.positions import U64
from bootledger.system_errors import translated

NOT_OURS = "it is none of bootledger's names"


class Artefact(msgspec.Struct, frozen=True):
    """One thing on disk: what it is, where, how many bytes it takes up, why it stays or goes."""

    kind: str
    path: str
    size_bytes: U64
    why: str

    @classmethod
    def at(cls, path: Path, kind: str, why: str) -> Artefact:
        """Return what lies at `path`, with its size. Nothing there counts as 0 bytes."""
        return cls(kind, str(path), bytes_on_disk(path), why)


class Finding(NamedTuple):
    """An artefact, and how it is removed; None if it stays.

    `remove` returns whether it is gone, durably; False if somebody took it in the meantime.
    """

    artefact: Artefact
    remove: Callable[[], bool] | None = None


class Swept(msgspec.Struct, frozen=True):
    """What a sweep removed (or would remove, if nothing was to be changed) and what it left."""

    removed: list[Artefact]
    left: list[Artefact]
    dry_run: bool

    @property
    def freed_bytes(self) -> int:
        """How many bytes the removed artefacts took up."""
        return sum(artefact.size_bytes for artefact in self.removed)


def sweep(findings: Iterable[Finding], *, dry_run: bool = False) -> Swept:
    """Remove what may be removed, one after the other, and return what became of each finding.

    With `dry_run` nothing is removed. Cut short at any point it may be done again. Raises what a
    removal raises; what was removed before that is gone.
    """
    swept = Swept([], [], dry_run)
    for artefact, remove in findings:
        if remove is None:
            swept.left.append(artefact)
        elif dry_run or remove():
            swept.removed.append(artefact)
        else:
            swept.left.append(msgspec.structs.replace(artefact, why="somebody is using it"))
    return swept


def bytes_on_disk(path: Path) -> int:
    """Return how many bytes `path`, or everything below it, takes up. Follows no links.

    A file of several names, like those of base backups that are shared, counts in equal parts.
    """
    with translated(path):
        found = (path, *path.rglob("*")) if path.is_dir() and not path.is_symlink() else (path,)
        total = 0
        for item in found:
            try:
                found_stat = item.lstat()
            except FileNotFoundError:  # somebody else removed it
                continue
            names = found_stat.st_nlink if stat.S_ISREG(found_stat.st_mode) else 1
            total += found_stat.st_blocks * 512 // names
        return total
