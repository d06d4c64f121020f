"""What was written and may not be on the disk: the atoms that power-loss states are made of. Pure.

Of a *chain* any prefix may reach the disk; chains are independent of each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from bootledger.simulation.powerloss.image import Change, Content, Names, NewSize, Patch, changed


class Data(NamedTuple):
    """A change of one file that is pending. `chain` is what it is in order with."""

    order: int
    chain: tuple[int, int]
    inode: int
    change: Change


class Entry(NamedTuple):
    """A name in a directory, and what it leads to from now on; None if it is gone."""

    directory: int
    name: str
    inode: int | None


class Naming(NamedTuple):
    """A change of names that is pending, all of it in one step."""

    order: int
    chain: tuple[int, int]
    entries: tuple[Entry, ...]


Chain: TypeAlias = tuple[Data, ...] | tuple[Naming, ...]


def cuts(each: Data) -> bool:
    """Return whether `each` may end the file earlier."""
    return isinstance(each.change, NewSize) and not each.change.grow_only


def trimmed(before: Data, cut: Data) -> Data | None:
    """Return what is left of `before` once `cut` is durable: nothing beyond where the file ends."""
    if not isinstance(before.change, Patch) or not isinstance(cut.change, NewSize):
        return before
    offset_bytes, data = before.change
    left = data[: max(cut.change.size_bytes - offset_bytes, 0)]
    if cut.change.grow_only or left == data:
        return before
    return before._replace(change=Patch(offset_bytes, left)) if left else None


def renamed(names: Mapping[int, Names], namings: Iterable[Naming]) -> Mapping[int, Names]:
    """Return `names` after `namings`, in their order."""
    result: dict[int, dict[str, int]] = {}
    for naming in namings:
        for directory, name, inode in naming.entries:
            if directory not in result:
                result[directory] = dict(names[directory])
            if inode is None:
                result[directory].pop(name, None)
            else:
                result[directory][name] = inode
    return {**names, **result} if result else names


def rewritten(content: Content, pending: Iterable[Data]) -> Content:
    """Return `content` after what was pending, in its order."""
    return changed(content, [each.change for each in sorted(pending)])
