"""Traces that are written by hand: what a process did to an empty disk, path by path."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from bootledger.simulation.powerloss import Rules, State, States, Trace
from bootledger.simulation.powerloss.image import PAGE_BYTES, Image
from bootledger.simulation.powerloss.namespace import Namespace
from bootledger.simulation.powerloss.operations import (
    Acknowledge,
    Kind,
    Operation,
    Sync,
    SyncAll,
    Write,
)

Tree: TypeAlias = dict[str, bytes | str | None]


class Script:
    """Does one thing after the other to an empty disk, whose root is the path of no name."""

    def __repr__(self) -> str:
        return "\n".join(f"{each!s:.150}" for each in self.operations)

    def __init__(self) -> None:
        self._namespace = Namespace(Image())
        self.operations: list[Operation] = []

    def make(self, path: str) -> None:
        self._did(self._namespace.make(path, Kind.FILE))

    def make_directory(self, path: str) -> None:
        self._did(self._namespace.make(path, Kind.DIRECTORY))

    def write(self, path: str, data: bytes, offset: int = 0, *, synced: bool = False) -> None:
        inode = self._namespace.existing(path)
        self._namespace.written(inode, offset + len(data))
        self._did(Write(path, inode, offset, data, synced))

    def resize(self, path: str, size: int) -> None:
        self._did(self._namespace.resize(path, self._namespace.existing(path), size))

    def rename(self, path: str, to: str) -> None:
        self._did(self._namespace.rename(path, to))

    def link(self, path: str, to: str) -> None:
        self._did(self._namespace.link(path, to))

    def remove(self, path: str) -> None:
        self._did(self._namespace.remove(path))

    def sync(self, path: str) -> None:
        self._did(Sync(path, self._namespace.existing(path)))

    def sync_all(self) -> None:
        self._did(SyncAll())

    def acknowledge(self, data: bytes) -> None:
        self._did(Acknowledge(data))

    def _did(self, operation: Operation | None) -> None:
        if operation is not None:
            self.operations.append(operation)

    def trace(self) -> Trace:
        return Trace(Path("/nowhere"), Image(), tuple(self.operations))

    def states(self, rules: Rules = Rules.STRICT, block_bytes: int = PAGE_BYTES) -> States:
        return States(self.trace(), rules, block_bytes)

    def left_at_the_end(
        self, rules: Rules = Rules.STRICT, block_bytes: int = PAGE_BYTES
    ) -> list[Tree]:
        """What may be left when everything was done; one tree may be told more than once."""
        states = self.states(rules, block_bytes)
        return [states.image(state).tree() for state in all_of(states, len(states.moments) - 1)]


def all_of(states: States, moment: int) -> Iterator[State]:
    """Every choice of one moment, also where it leaves what an earlier moment may leave too."""
    lengths = [len(chain) for chain in states.moments[moment].chains]
    for kept in itertools.product(*(range(length + 1) for length in lengths)):
        yield states.state(moment, kept)
