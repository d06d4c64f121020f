"""The disk under a trace: what is durable, what is pending, and what may be left of it. Pure.

Every operation becomes *atoms* that stay pending until something is synced. When the power goes,
each of them may have reached the disk or not, whatever their order, except that

- the writes to one block (a page of 4 KiB or a sector of 512 bytes) arrive in their order, because
  it is the block that is written; so do the sizes of one file and the names of one directory;
- a rename is one step: the new name and the end of the old one;
- where a file ends beyond what was written of it, there are zeros, never somebody's old bytes.

`Rules.STRICT` promises nothing else: what was not synced by its own fsync (a file for its bytes,
a directory for the names in it) may be lost. `Rules.EXT4` is what a journal adds: names change in
their order, any fsync makes all of them durable, and a file is not longer than what was written.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from bootledger.simulation.powerloss.image import (
    EMPTY,
    PAGE_BYTES,
    Change,
    Image,
    NewSize,
    Patch,
    changed,
    patches,
)
from bootledger.simulation.powerloss.operations import (
    Acknowledge,
    Kind,
    Link,
    Make,
    Operation,
    Remove,
    Rename,
    Resize,
    Sync,
    SyncAll,
    Write,
)
from bootledger.simulation.powerloss.pending import (
    Chain,
    Data,
    Entry,
    Naming,
    cuts,
    renamed,
    trimmed,
)


class Rules(Enum):
    """What a file system promises."""

    STRICT = "strict"
    EXT4 = "ext4"


_SIZE = -1
_FILE_NAMES = -2
_DIRECTORY_NAMES = -3
_JOURNAL = -4


class Disk:
    """A disk that holds `image` and is written to; `durable` is what no loss of power can take."""

    def __init__(self, image: Image, rules: Rules, block_bytes: int = PAGE_BYTES) -> None:
        self.durable = image
        self._rules = rules
        self._block_bytes = block_bytes
        self._order = 0
        self._sizes = {inode: content.size_bytes for inode, content in image.contents.items()}
        self._data: dict[int, list[Data]] = {}
        self._names: list[Naming] = []

    def do(self, operation: Operation) -> None:
        """Do an operation; nothing of it is durable yet."""
        match operation:
            case Write(_, inode, offset_bytes, data, _):
                self._write(inode, offset_bytes, data)
            case Resize(_, inode, size_bytes):
                self._sizes[inode] = size_bytes
                self._change(inode, _SIZE, NewSize(size_bytes, grow_only=False))
            case Make(_, inode, kind, directory, name, target):
                self._make(inode, kind, target)
                self._name(inode, Entry(directory, name, inode))
            case Link(_, inode, directory, name):
                self._name(inode, Entry(directory, name, inode))
            case Rename(_, inode, directory, name, to_directory, to_name):
                old, new = Entry(directory, name, None), Entry(to_directory, to_name, inode)
                self._name(inode, old, new)
            case Remove(_, inode, directory, name):
                self._name(inode, Entry(directory, name, None))
            case Sync() | SyncAll() | Acknowledge():
                pass

    def sync(self, operation: Operation) -> None:
        """Make durable what `operation`, a sync that was done, makes durable."""
        match operation:
            case Sync(_, inode):
                if inode in self._data:
                    self._flush(inode, self._data.pop(inode))
                self._flush_names(inode)
            case SyncAll():
                for inode in list(self._data):
                    self._flush(inode, self._data.pop(inode))
                self._settle(self._names)
                self._names = []
            case Write(_, inode, offset_bytes, data, True):
                self._flush_blocks(inode, offset_bytes, offset_bytes + len(data))
            case _:
                pass

    def chains(self) -> tuple[Chain, ...]:
        """Return what is pending: of each chain any prefix may reach the disk. By age.

        What would change nothing is left out: the bytes are there already.
        """
        data: dict[tuple[int, int], list[Data]] = {}
        for inode, pending in self._data.items():
            found: dict[tuple[int, int], list[Data]] = {}
            for each in pending:
                found.setdefault(each.chain, []).append(each)
            if not any(cuts(each) for each in pending):
                content = self.durable.contents[inode]
                found = {
                    chain: atoms
                    for chain, atoms in found.items()
                    if not all(content.has(each.change) for each in atoms)
                }
            data.update(found)
        names: dict[tuple[int, int], list[Naming]] = {}
        for naming in self._names:
            names.setdefault(naming.chain, []).append(naming)
        chains: list[Chain] = [*map(tuple, data.values()), *map(tuple, names.values())]
        return tuple(sorted(chains, key=lambda chain: chain[0].order))

    # --- Pending ---------------------------------------------------------------------------------

    def _make(self, inode: int, kind: Kind, target: str) -> None:
        """Let there be an inode: it is on no disk that can be read until a name leads to it."""
        names, contents, targets = self.durable.names, self.durable.contents, self.durable.targets
        if kind is Kind.FILE:
            self._sizes[inode] = 0
            contents = {**contents, inode: EMPTY}
        elif kind is Kind.DIRECTORY:
            names = {**names, inode: {}}
        else:
            targets = {**targets, inode: target}
        self.durable = Image(names, contents, targets)

    def _write(self, inode: int, offset_bytes: int, data: bytes) -> None:
        end_bytes = offset_bytes + len(data)
        if end_bytes > self._sizes[inode]:
            self._sizes[inode] = end_bytes
            if self._rules is Rules.STRICT:
                self._change(inode, _SIZE, NewSize(end_bytes, grow_only=True))
        hole = False
        for patch in patches(offset_bytes, data, self._block_bytes):
            hole = self._is_hole(inode, patch)
            if not hole:
                self._change(inode, patch.offset_bytes // self._block_bytes, patch)
        if hole and self._rules is Rules.EXT4:
            self._change(inode, _SIZE, NewSize(end_bytes, grow_only=True))

    def _change(self, inode: int, block: int, change: Change) -> None:
        self._order += 1
        self._data.setdefault(inode, []).append(Data(self._order, (inode, block), inode, change))

    def _is_hole(self, inode: int, patch: Patch) -> bool:
        """Return whether `patch` does no more than to grow the file with zeros."""
        return (
            not any(patch.data)
            and patch.offset_bytes >= self.durable.contents[inode].size_bytes
            and not any(
                cuts(each) or each.chain[1] == patch.offset_bytes // self._block_bytes
                for each in self._data.get(inode, ())
            )
        )

    def _name(self, inode: int, *entries: Entry) -> None:
        self._order += 1
        if self._rules is Rules.EXT4:
            chain = (_JOURNAL, _JOURNAL)
        elif inode in self.durable.names:
            chain = (inode, _DIRECTORY_NAMES)  # else it could have two names, which cannot be
        else:
            chain = (self._order, _FILE_NAMES)
        self._names.append(Naming(self._order, chain, entries))

    # --- Durable ---------------------------------------------------------------------------------

    def _flush(self, inode: int, pending: Iterable[Data]) -> None:
        content = changed(self.durable.contents[inode], [each.change for each in pending])
        contents = {**self.durable.contents, inode: content}
        self.durable = Image(self.durable.names, contents, self.durable.targets)

    def _flush_blocks(self, inode: int, start_bytes: int, end_bytes: int) -> None:
        """Flush the blocks of a range, and the size if they lie outside of it or it was cut."""
        blocks = range(start_bytes // self._block_bytes, -(-end_bytes // self._block_bytes))
        pending = self._data.pop(inode, [])
        grown = end_bytes > self.durable.contents[inode].size_bytes or any(map(cuts, pending))
        now: list[Data] = []
        later: list[Data] = []
        for each in pending:
            block = each.chain[1]
            if grown if block == _SIZE else block in blocks:
                now.append(each)
                left = (trimmed(before, each) for before in later)
                later = [before for before in left if before is not None]
            else:
                later.append(each)
        self._flush(inode, now)
        if later:
            self._data[inode] = later

    def _flush_names(self, inode: int) -> None:
        if self._rules is Rules.EXT4:
            now, self._names = self._names, []
            self._settle(now)
            return
        now = []
        later: list[Naming] = []
        settled: set[tuple[int, str]] = set()
        for naming in reversed(self._names):
            entries = {(entry.directory, entry.name) for entry in naming.entries}
            # What a durable change replaced cannot come back.
            if entries & settled or any(entry.directory == inode for entry in naming.entries):
                settled |= entries
                now.append(naming)
            else:
                later.append(naming)
        self._names = later[::-1]
        self._settle(now[::-1])

    def _settle(self, namings: Iterable[Naming]) -> None:
        names = renamed(self.durable.names, namings)
        self.durable = Image(names, self.durable.contents, self.durable.targets)
