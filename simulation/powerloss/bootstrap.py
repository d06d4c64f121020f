"""A whole replication as a life to record and to recover: log, chunks, applier and promotion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from bootledger.files import Files
from bootledger.local import replicate
from bootledger.operator_events import OperatorEvent
from bootledger.replica.database import Database
from bootledger.replica.observer import Observer
from bootledger.replica.readers import open_current
from bootledger.replica.settings import Settings
from bootledger.replica.target import LEDGER_NAME
from bootledger.simulation.powerloss.strace import Acknowledge
from bootledger.statemachine.events import Complete, Event, Resume, SnapshotChunk
from bootledger.statemachine.plan import Step
from bootledger.statemachine.progress import Progress
from bootledger.statemachine.ranges import Range
from bootledger.store.lmdb import LmdbEventStore

NODE = "replica-1"
_DONE = b"done"
_EVENTS = b"events "
_LSN = b"LSN "
_MOST_EVENTS = 10_000


class Bootstrap:
    """A small primary, replicated into an empty target while it is written to.

    `records` of about `value_bytes` are copied in chunks of `chunk_bytes`; when the first chunk is
    staged, the primary gets half as many new ones, which come by way of its log.
    """

    def __init__(
        self,
        *,
        records: int = 40,
        value_bytes: int = 300,
        chunk_bytes: int = 2**14,
        batch_changes: int = 10,
        files: Callable[[], Files] = Files,
    ) -> None:
        self._records = records
        self._value_bytes = value_bytes
        self._chunk_bytes = chunk_bytes
        self._batch_changes = batch_changes
        self._files = files

    def prepare(self, place: Path) -> None:
        """Make the primary, before the recording."""
        Database.create(place / "primary", Files())
        _write(place, self._records, self._value_bytes)

    def run(self, place: Path, acknowledge: Acknowledge) -> None:
        """Replicate once. Acknowledges each event, each write to the primary, and the end."""
        self._replicate(place, _Writer(partial(self._write, place), acknowledge))
        acknowledge(_DONE)

    def recover(self, place: Path, acknowledged: Sequence[bytes]) -> None:
        """Replicate again, to the end, and check everything that was promised.

        What was acknowledged is there before anything is done. After it the replica equals the
        primary, one intent led there, and nothing of what it claimed as durable was ever missing.
        """
        if _DONE in acknowledged:
            _assert_equal(place)
            if not isinstance(last := _events(place)[-1], Complete):
                raise AssertionError(f"the end was acknowledged, and the ledger ends with {last}")
        if any(data.startswith(_EVENTS) for data in acknowledged):
            _assert_events(place, max(_numbers(_EVENTS, acknowledged)))
        self._replicate(place, None)
        _assert_equal(place)
        with Database.open(place / "primary", Files(), name="primary") as primary:
            lsn = primary.last_lsn()
        promised = max(_numbers(_LSN, acknowledged), default=0)
        if lsn < promised:
            raise AssertionError(f"the primary is at LSN {lsn}, and {promised} was acknowledged")
        _assert_nothing_was_lost(place)

    def _write(self, place: Path) -> int:
        return _write(place, self._records // 2, self._value_bytes)

    def _replicate(self, place: Path, observer: Observer | None) -> None:
        replicate(
            place / "primary",
            place / "target",
            NODE,
            settings=Settings(batch_changes=self._batch_changes),
            observer=observer,
            sink=_hear_nothing,
            files=self._files(),
            chunk_bytes=self._chunk_bytes,
        )


def _hear_nothing(event: OperatorEvent) -> None: ...


class _Writer(Observer):
    """Somebody who writes to the primary while it is copied, once, and hears of every event."""

    def __init__(self, write: Callable[[], int], acknowledge: Acknowledge) -> None:
        self._write: Callable[[], int] | None = write
        self._acknowledge = acknowledge

    def on_step(self, step: Step, progress: Progress) -> None:
        """Say how many events are durable now."""
        self._acknowledge(_EVENTS + b"%d" % progress.version)

    def on_staged(self, staged: Range, progress: Progress) -> None:
        """Say how many events are durable now; write, and say what is durable then."""
        self._acknowledge(_EVENTS + b"%d" % progress.version)
        write, self._write = self._write, None
        if write is not None:
            self._acknowledge(_LSN + b"%d" % write())


def _write(place: Path, records: int, value_bytes: int) -> int:
    """Write records to the primary, and delete one of before; return its last LSN."""
    with Database.open(place / "primary", Files(), name="primary") as primary:
        first = primary.last_lsn()
        numbers = range(first, first + records)
        new = [(b"key-%06d" % number, b"%d" % number * value_bytes) for number in numbers]
        return primary.write([*new, (b"key-%06d" % (first // 2), None)])


def _assert_equal(place: Path) -> None:
    with Database.open(place / "primary", Files(), name="primary") as primary:
        expected = primary.digest()
    with (
        open_current(place / "target") as directory,
        Database.open(directory, Files(), name="applier") as replica,
    ):
        actual = replica.digest()
    if actual != expected:
        raise AssertionError(f"the primary is {expected}, the replica {actual}")


def _numbers(prefix: bytes, acknowledged: Sequence[bytes]) -> list[int]:
    return [int(data[len(prefix) :]) for data in acknowledged if data.startswith(prefix)]


def _events(place: Path) -> list[Event]:
    with closing(LmdbEventStore.open(place / "target" / LEDGER_NAME, create=False)) as store:
        return [recorded.event for recorded in store.read(0, _MOST_EVENTS)]


def _assert_events(place: Path, promised: int) -> None:
    if (found := len(_events(place))) < promised:
        raise AssertionError(f"{promised} events were acknowledged, and {found} are there")


def _assert_nothing_was_lost(place: Path) -> None:
    """Look into the ledger: what a chunk's event claims was there whenever it was looked for."""
    events = _events(place)
    if dropped := [
        event.dropped for event in events if isinstance(event, Resume) and event.dropped
    ]:
        raise AssertionError(f"claimed as durable and not there: {dropped}")
    if (copies := {event.generation for event in events if isinstance(event, SnapshotChunk)}) != {
        1
    }:
        raise AssertionError(f"one base backup was to be copied, not {copies}")
