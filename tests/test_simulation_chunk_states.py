"""The order of a chunk and its event, against every disk that a loss of power may leave. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bootledger.simulation.powerloss import Rules, States, Trace
from bootledger.simulation.powerloss.image import Image
from bootledger.simulation.powerloss.namespace import Namespace
from bootledger.simulation.powerloss.operations import (
    ROOT,
    Acknowledge,
    Kind,
    Operation,
    Sync,
    Write,
)
from bootledger.simulation.powerloss.states import DEFAULT_BUDGET

CHUNKS = 4
CHUNK = bytes(range(1, 65)) * 2
BLOCK_BYTES = 16
"""Small, so that a chunk can be torn in many ways: eight blocks."""

Protocol = Callable[["Writer", int], None]


class Writer:
    """Writes chunks and their events, and what it did."""

    def __init__(self) -> None:
        self._names = Namespace(Image())
        self.operations: list[Operation] = []

    def make(self, path: str) -> None:
        self._did(self._names.make(path, Kind.FILE))

    def write(self, path: str, data: bytes) -> None:
        inode = self._names.existing(path)
        self._names.written(inode, len(data))
        self._did(Write(path, inode, 0, data))

    def sync(self, path: str) -> None:
        self._did(Sync(path, self._names.existing(path)))

    def sync_names(self) -> None:
        self._did(Sync(".", ROOT))

    def rename(self, path: str, to: str) -> None:
        self._did(self._names.rename(path, to))

    def event(self, number: int) -> None:
        """Record that the chunk is staged, durably, and promise it."""
        self.make(f"event-{number}")
        self.write(f"event-{number}", b"staged")
        self.sync(f"event-{number}")
        self.sync_names()
        self._did(Acknowledge(b"%d" % number))

    def _did(self, operation: Operation | None) -> None:
        if operation is not None:
            self.operations.append(operation)


def _stage(writer: Writer, number: int, *, fsync: bool = True, dirsync: bool = True) -> None:
    writer.make(f"new-{number}")
    writer.write(f"new-{number}", CHUNK)
    if fsync:
        writer.sync(f"new-{number}")
    writer.rename(f"new-{number}", f"chunk-{number}")
    if dirsync:
        writer.sync_names()


def sound(writer: Writer, number: int) -> None:
    """Data, sync, rename, sync of the name; then the event."""
    _stage(writer, number)
    writer.event(number)


def event_first(writer: Writer, number: int) -> None:
    """The event before what it claims."""
    writer.event(number)
    _stage(writer, number)


def no_fsync(writer: Writer, number: int) -> None:
    """Renamed without a sync of the data."""
    _stage(writer, number, fsync=False)
    writer.event(number)


def no_sync_of_the_name(writer: Writer, number: int) -> None:
    """The data is durable and its name is not, when the event is."""
    _stage(writer, number, dirsync=False)
    writer.event(number)


def rename_then_fsync_too_late(writer: Writer, number: int) -> None:
    """Renamed and claimed, and synced only then."""
    _stage(writer, number, fsync=False)
    writer.event(number)
    writer.sync(f"chunk-{number}")


def in_place_without_fsync(writer: Writer, number: int) -> None:
    """Written where it is to be, and not synced."""
    writer.make(f"chunk-{number}")
    writer.write(f"chunk-{number}", CHUNK)
    writer.event(number)


def _states(
    protocol: Protocol, block_bytes: int = BLOCK_BYTES, budget: int = DEFAULT_BUDGET
) -> States:
    writer = Writer()
    for number in range(CHUNKS):
        protocol(writer, number)
    trace = Trace(Path("/nowhere"), Image(), tuple(writer.operations))
    return States(trace, Rules.STRICT, block_bytes, budget=budget)


def _lies(states: States) -> Iterator[str]:
    """Yield the token of each disk on which an event is there, or was promised, and is not true."""
    for state in states:
        tree = states.image(state).tree()
        for number in range(CHUNKS):
            claimed = tree.get(f"event-{number}") == b"staged"
            promised = b"%d" % number in state.acknowledged
            if (claimed or promised) and tree.get(f"chunk-{number}") != CHUNK:
                yield state.token
            if promised and not claimed:
                yield state.token


def test_no_disk_has_an_event_without_its_chunk() -> None:
    """Every legal disk of the sound order, cut into small blocks."""
    states = _states(sound)
    assert states.exhaustive
    assert states.legal > 500
    assert list(_lies(states)) == []


@pytest.mark.parametrize(
    "protocol",
    [
        event_first,
        no_fsync,
        no_sync_of_the_name,
        rename_then_fsync_too_late,
        in_place_without_fsync,
    ],
)
def test_each_wrong_order_is_caught(protocol: Protocol) -> None:
    """Some disk of it has an event that lies, and its token leads to it again."""
    states = _states(protocol, 64)
    token = next(_lies(states))
    assert states.replay(token).token == token
