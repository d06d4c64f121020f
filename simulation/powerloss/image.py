"""What is on a disk: names, sizes and pages of bytes, and one digest of it all.

A page is 4 KiB; one of zeros is not kept, so sparse files cost nothing. Contents are never
changed, only replaced: thousands of images share their pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from blake3 import blake3

from bootledger.simulation.powerloss.operations import ROOT, Kind

PAGE_BYTES = 4096
ZEROS = bytes(PAGE_BYTES)
_MARK_BYTES = 16


class Patch(NamedTuple):
    """Bytes at an offset, all within one page."""

    offset_bytes: int
    data: bytes


class NewSize(NamedTuple):
    """A new size; with `grow_only`, only where the file is shorter."""

    size_bytes: int
    grow_only: bool


Change: TypeAlias = Patch | NewSize


class Page(NamedTuple):
    """The bytes of a page that is not all zeros, and the digest of them in their place."""

    data: bytes
    mark: int


class Content(NamedTuple):
    """What a file holds. Two contents are equal exactly if size and mark are."""

    size_bytes: int
    pages: Mapping[int, Page]
    mark: int

    def data(self) -> bytes:
        """Return the bytes, whole."""
        data = bytearray(self.size_bytes)
        for index, page in self.pages.items():
            start = index * PAGE_BYTES
            data[start : start + PAGE_BYTES] = page.data[: self.size_bytes - start]
        return bytes(data)

    def has(self, change: Change) -> bool:
        """Return whether `change` would leave everything as it is."""
        if isinstance(change, NewSize):
            return change.size_bytes == self.size_bytes
        index, start = divmod(change.offset_bytes, PAGE_BYTES)
        end = start + len(change.data)
        page = self.pages[index].data if index in self.pages else ZEROS
        return index * PAGE_BYTES + end <= self.size_bytes and page[start:end] == change.data

    def identity(self) -> bytes:
        """Return what tells this content from every other one."""
        return self.size_bytes.to_bytes(8, "big") + self.mark.to_bytes(_MARK_BYTES, "big")


EMPTY = Content(0, {}, 0)


@lru_cache(maxsize=4096)
def _page(index: int, data: bytes) -> Page:
    digest = blake3(index.to_bytes(8, "big") + data).digest(length=_MARK_BYTES)
    return Page(data, int.from_bytes(digest, "big"))


def changed(content: Content, changes: Iterable[Change]) -> Content:
    """Return `content` after `changes`, in their order."""
    size_bytes = content.size_bytes
    pages = dict(content.pages)
    mark = content.mark
    touched: dict[int, bytes | bytearray] = {}
    for change in changes:
        if isinstance(change, Patch):
            size_bytes = max(size_bytes, change.offset_bytes + len(change.data))
            _patch(touched, pages, change)
        elif change.size_bytes > size_bytes:
            size_bytes = change.size_bytes
        elif not change.grow_only and change.size_bytes < size_bytes:
            size_bytes = change.size_bytes
            _cut(touched, pages, size_bytes)
    for index, data in touched.items():
        if index in pages:
            mark ^= pages.pop(index).mark
        if data != ZEROS:
            pages[index] = page = _page(index, bytes(data))
            mark ^= page.mark
    return Content(size_bytes, pages, mark)


def _patch(touched: dict[int, bytes | bytearray], pages: Mapping[int, Page], patch: Patch) -> None:
    """Put the bytes of `patch` into its page, in `touched`."""
    index, start = divmod(patch.offset_bytes, PAGE_BYTES)
    if len(patch.data) == PAGE_BYTES:
        touched[index] = patch.data
        return
    before = touched.get(index)
    if isinstance(before, bytearray):
        buffer = before
    else:
        if before is None:
            before = pages[index].data if index in pages else ZEROS
        touched[index] = buffer = bytearray(before)
    buffer[start : start + len(patch.data)] = patch.data


def _cut(touched: dict[int, bytes | bytearray], pages: Mapping[int, Page], size_bytes: int) -> None:
    """Make everything from `size_bytes` on zeros, in `touched`."""
    last, kept = divmod(size_bytes, PAGE_BYTES)
    for index in {*touched, *pages}:
        if index > last or (index == last and not kept):
            touched[index] = ZEROS
        elif index == last:
            before = touched[index] if index in touched else pages[index].data
            touched[index] = before[:kept].ljust(PAGE_BYTES, b"\0")


def patches(offset_bytes: int, data: bytes, block_bytes: int) -> Iterator[Patch]:
    """Yield `data` cut where blocks of `block_bytes` begin."""
    start = 0
    while start < len(data):
        at = offset_bytes + start
        end = start + block_bytes - at % block_bytes
        yield Patch(at, data[start:end])
        start = end


def content_of(data: bytes) -> Content:
    """Return the content of a file that holds `data`."""
    return changed(EMPTY, (*patches(0, data, PAGE_BYTES), NewSize(len(data), grow_only=False)))


Names: TypeAlias = Mapping[str, int]


@dataclass(frozen=True)
class Image:
    """A whole disk: the names of each directory, the content of each file, where links lead."""

    names: Mapping[int, Names] = field(default_factory=lambda: {ROOT: {}})
    contents: Mapping[int, Content] = field(default_factory=dict)
    targets: Mapping[int, str] = field(default_factory=dict)

    def entries(self) -> Iterator[tuple[str, int]]:
        """Yield path and inode of everything that can be reached, parents first, in order."""
        return entries(self.names)

    def kind(self, inode: int) -> Kind:
        """Return what an inode is."""
        if inode in self.contents:
            return Kind.FILE
        return Kind.DIRECTORY if inode in self.names else Kind.SYMLINK

    def tree(self) -> dict[str, bytes | str | None]:
        """Return path to bytes (a file), to a target (a symbolic link) or to None (a directory)."""
        return {
            path: self.contents[inode].data() if inode in self.contents else self.targets.get(inode)
            for path, inode in self.entries()
        }


def entries(names: Mapping[int, Names]) -> Iterator[tuple[str, int]]:
    """Yield path and inode of everything that `names` reach from the root, parents first."""
    waiting = [("", ROOT)]
    while waiting:
        prefix, directory = waiting.pop()
        for name, inode in sorted(names[directory].items()):
            path = prefix + name
            yield path, inode
            if inode in names:
                waiting.append((f"{path}/", inode))
