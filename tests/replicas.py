"""A small primary and its replica for tests: make them, replicate, compare."""

from __future__ import annotations

from pathlib import Path

import pytest

import bootledger
from bootledger.errors import Stopped
from bootledger.files import Files
from bootledger.operator_events import OperatorEvent
from bootledger.replica.database import Database
from bootledger.replica.loop import Outcome
from bootledger.replica.observer import Observer
from bootledger.replica.readers import open_current
from bootledger.replica.settings import Settings
from bootledger.statemachine import plan
from bootledger.statemachine.progress import Progress
from bootledger.statemachine.ranges import Range

NODE = "replica-1"
CHUNK_BYTES = 16 * 1024


def make_primary(path: Path, *, records: int = 200, value_bytes: int = 400) -> None:
    """Create a primary with some records."""
    Database.create(path, Files())
    write_more(path, records=records, value_bytes=value_bytes)


def write_more(path: Path, *, records: int = 20, value_bytes: int = 50, seed: int = 0) -> int:
    """Write records (some of them deletions) to the primary and return its last LSN."""
    with Database.open(path, Files(), name="primary") as primary:
        return primary.write(
            [
                (b"key-%d-%06d" % (seed, i), None if i % 7 == 3 else b"%d" % i * value_bytes)
                for i in range(records)
            ]
        )


def quiet(event: OperatorEvent) -> None:
    """Hear of dangling intents, and say nothing."""


class Counts(Observer):
    """Counts what came from the source, and remembers the steps."""

    def __init__(self) -> None:
        self.fetched: list[Range] = []
        self.steps: list[plan.Step] = []

    def on_step(self, step: plan.Step, progress: Progress) -> None:
        self.steps.append(step)

    def on_fetched(self, fetched: Range) -> None:
        self.fetched.append(fetched)


class StopsInTheCopy(Counts):
    """Asks to stop once that many chunks are staged."""

    def __init__(self, chunks: int) -> None:
        super().__init__()
        self._left = chunks

    def on_staged(self, staged: Range, progress: Progress) -> None:
        self._left -= 1

    def __call__(self) -> str | None:
        return "stopped by SIGTERM" if self._left <= 0 else None


def stop_in_the_copy(primary: Path, target: Path, *, chunks: int = 2) -> StopsInTheCopy:
    """Replicate until that many chunks are staged, and stop there; return what was seen."""
    seen = StopsInTheCopy(chunks)
    with pytest.raises(Stopped, match="SIGTERM"):
        replicate(primary, target, settings=Settings(stop=seen, clock=lambda: 1), observer=seen)
    return seen


def replicate(
    primary: Path,
    target: Path,
    *,
    files: Files | None = None,
    settings: Settings | None = None,
    observer: Observer | None = None,
    node_id: str = NODE,
    chunk_bytes: int = CHUNK_BYTES,
) -> Outcome:
    """Bring the target up to date once, in small chunks and without a word."""
    return bootledger.replicate(
        primary,
        target,
        node_id,
        settings=settings or Settings(batch_changes=10, clock=lambda: 1),
        observer=observer,
        sink=quiet,
        files=files,
        chunk_bytes=chunk_bytes,
    )


def assert_equal(primary: Path, target: Path) -> None:
    """Assert that CURRENT holds exactly what the primary holds, at the same LSN."""
    with Database.open(primary, Files(), name="primary") as database:
        expected = database.digest()
    with (
        open_current(target) as directory,
        Database.open(directory, Files(), name="applier") as replica,
    ):
        actual = replica.digest()
    assert actual == expected
