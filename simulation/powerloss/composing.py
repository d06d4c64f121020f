"""Puts the disks of one moment together: what it has in common is worked out once. Pure."""

from __future__ import annotations

from typing import TypeAlias

from blake3 import blake3

from bootledger.simulation.powerloss.image import Content, Image, Names, entries
from bootledger.simulation.powerloss.moments import Moment
from bootledger.simulation.powerloss.pending import Data, Naming, renamed, rewritten

_MOST_CACHED = 4096

Kept: TypeAlias = tuple[int, ...]
"""How much of each chain of a moment reached the disk."""


class Composer:
    """Puts the disks of one moment together, and keeps the parts for the next one."""

    def __init__(self, moment: Moment) -> None:
        self._durable = moment.durable
        self._naming: list[tuple[int, tuple[Naming, ...]]] = []
        self._data: dict[int, list[tuple[int, tuple[Data, ...]]]] = {}
        for index, chain in enumerate(moment.chains):
            if isinstance(chain[0], Naming):
                self._naming.append((index, chain))
            else:
                self._data.setdefault(chain[0].inode, []).append((index, chain))
        self._identities = {
            inode: content.identity() for inode, content in moment.durable.contents.items()
        }
        self._layouts: dict[Kept, tuple[dict[int, Names], list[tuple[bytes, int]]]] = {}
        self._contents: dict[tuple[int, Kept], tuple[Content, bytes]] = {}

    def image(self, kept: Kept) -> Image:
        """Return the disk that has `kept`."""
        names, _ = self._layout(kept)
        changed = {inode: self._content(inode, kept)[0] for inode in self._data}
        return Image(names, {**self._durable.contents, **changed}, self._durable.targets)

    def digest(self, kept: Kept) -> bytes:
        """Return the BLAKE3 digest of all that can be read on the disk that has `kept`."""
        _, layout = self._layout(kept)
        parts: list[bytes] = []
        for header, inode in layout:
            parts.append(header)
            if inode in self._data:
                parts.append(self._content(inode, kept)[1])
            elif inode in self._identities:
                parts.append(self._identities[inode])
        return blake3(b"".join(parts)).digest(length=16)

    def _layout(self, kept: Kept) -> tuple[dict[int, Names], list[tuple[bytes, int]]]:
        key = tuple(kept[index] for index, _ in self._naming)
        if (found := self._layouts.get(key)) is None:
            left = (each for index, chain in self._naming for each in chain[: kept[index]])
            names = renamed(self._durable.names, sorted(left))
            layout = [(self._header(path, inode), inode) for path, inode in entries(names)]
            if len(self._layouts) >= _MOST_CACHED:
                self._layouts.clear()
            self._layouts[key] = found = (dict(names), layout)
        return found

    def _header(self, path: str, inode: int) -> bytes:
        kind = self._durable.kind(inode).value
        target = self._durable.targets.get(inode, "")
        return f"\0{kind}\0{path}\0{target}\0".encode(errors="surrogateescape")

    def _content(self, inode: int, kept: Kept) -> tuple[Content, bytes]:
        chains = self._data[inode]
        key = (inode, tuple([kept[index] for index, _ in chains]))
        if (found := self._contents.get(key)) is None:
            left = [each for index, chain in chains for each in chain[: kept[index]]]
            content = rewritten(self._durable.contents[inode], left)
            if len(self._contents) >= _MOST_CACHED:
                self._contents.clear()
            self._contents[key] = found = (content, content.identity())
        return found
