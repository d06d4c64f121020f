"""The order of a chunk and its event, against every disk that a loss of power may leave. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pytest
from scripts import Script
from tallies import Tally

from bootledger.simulation.powerloss import Rules, States
from bootledger.simulation.powerloss.states import DEFAULT_BUDGET

CHUNKS = 4
CHUNK = bytes(range(1, 65)) * 2
BLOCK_BYTES = 16
"""Small, so that a chunk can be torn in many ways: eight blocks."""
SECTOR_BYTES = 512

Protocol = Callable[["Writer", int], None]


class Writer(Script):
    """Writes chunks and their events."""

    def __init__(self, chunk: bytes = CHUNK) -> None:
        super().__init__()
        self.chunk = chunk

    def event(self, number: int) -> None:
        """Record that the chunk is staged, durably, and promise it."""
        self.make(f"event-{number}")
        self.write(f"event-{number}", b"staged")
        self.sync(f"event-{number}")
        self.sync("")
        self.acknowledge(b"%d" % number)


def _stage(writer: Writer, number: int, *, fsync: bool = True, dirsync: bool = True) -> None:
    writer.make(f"new-{number}")
    writer.write(f"new-{number}", writer.chunk)
    if fsync:
        writer.sync(f"new-{number}")
    writer.rename(f"new-{number}", f"chunk-{number}")
    if dirsync:
        writer.sync("")


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
    writer.write(f"chunk-{number}", writer.chunk)
    writer.event(number)


def sound_two_at_once(writer: Writer, number: int) -> None:
    """Two chunks are written before either of them is synced, and claimed in the other order."""
    for each in (number, number + 1):
        writer.make(f"new-{each}")
        writer.write(f"new-{each}", writer.chunk)
    for each in (number + 1, number):
        writer.sync(f"new-{each}")
        writer.rename(f"new-{each}", f"chunk-{each}")
        writer.sync("")
        writer.event(each)


def _states(
    protocol: Protocol,
    block_bytes: int = BLOCK_BYTES,
    budget: int = DEFAULT_BUDGET,
    *,
    numbers: Iterable[int] = range(CHUNKS),
    chunk: bytes = CHUNK,
    rules: Rules = Rules.STRICT,
) -> States:
    writer = Writer(chunk)
    for number in numbers:
        protocol(writer, number)
    return States(writer.trace(), rules, block_bytes, budget=budget)


def _lies(states: States, chunks: int = CHUNKS, chunk: bytes = CHUNK) -> Iterator[str]:
    """Yield the token of each disk on which an event is there, or was promised, and is not true."""
    for state in states:
        tree = states.image(state).tree()
        for number in range(chunks):
            claimed = tree.get(f"event-{number}") == b"staged"
            promised = b"%d" % number in state.acknowledged
            if (claimed or promised) and tree.get(f"chunk-{number}") != chunk:
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


@pytest.mark.crash
@pytest.mark.parametrize(
    ("protocol", "sectors", "rules", "numbers", "least"),
    [
        (sound, 9, Rules.STRICT, range(24), 15_000),
        (sound, 12, Rules.EXT4, range(16), 20_000),
        (sound, 40, Rules.STRICT, range(8), 25_000),
        (sound_two_at_once, 16, Rules.STRICT, range(0, 16, 2), 40_000),
    ],
)
def test_no_disk_of_many_has_an_event_without_its_chunk(
    protocol: Protocol,
    sectors: int,
    rules: Rules,
    numbers: range,
    least: int,
    tally: Tally,
) -> None:
    """Torn at any sectors: every subset of nine, by chance of more, and of two chunks at once."""
    chunk = bytes(range(1, 129)) * 4 * sectors
    budget = least * 11 // 10 if sectors > 9 else DEFAULT_BUDGET * 5
    states = _states(protocol, SECTOR_BYTES, budget, numbers=numbers, chunk=chunk, rules=rules)
    assert states.exhaustive or sectors > 9
    assert list(_lies(states, numbers.stop, chunk)) == []
    judged = sum(1 for _ in states)
    assert judged >= least
    tally(f"chunks in memory, {'every subset' if states.exhaustive else 'sampled'}", judged)
