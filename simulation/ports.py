"""The caller's source and applier, each call a step that the simulation sees and may end.

Only calls that change something, or bring bytes, are points: a death before a question and one
after it leave the same. `ForwardingSource` changes nothing: it is what other sources begin with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from bootledger.replica.ports import (
    Applier,
    Change,
    HandsOver,
    OpenApplier,
    Pause,
    Pin,
    Source,
    SourceIdentity,
    go_on,
)
from bootledger.simulation.facts import Fetched
from bootledger.simulation.world import Closable, World

T = TypeVar("T")


class ForwardingSource:
    """Any `Source` as it is: to inherit from, and to override what is to be different."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def identity(self) -> SourceIdentity:
        """Ask the source; see the port."""
        return self._source.identity()

    def last_lsn(self) -> int:
        """Ask the source; see the port."""
        return self._source.last_lsn()

    def pin(self, intent_id: str, generation: int, pause: Pause = go_on) -> Pin:
        """Ask the source; see the port."""
        return self._source.pin(intent_id, generation, pause)

    def read_manifest(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Ask the source; see the port."""
        return self._source.read_manifest(token, offset_bytes, length_bytes)

    def read_chunk(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Ask the source; see the port."""
        return self._source.read_chunk(token, offset_bytes, length_bytes)

    def changes(self, after_lsn: int, limit: int) -> Sequence[Change]:
        """Ask the source; see the port."""
        return self._source.changes(after_lsn, limit)

    def release(self, token: str) -> None:
        """Ask the source; see the port."""
        self._source.release(token)

    def close(self) -> None:
        """Give the source back."""
        self._source.close()


class _Once:
    """Closes what it is given once, however often it is asked."""

    def __init__(self, inner: Closable) -> None:
        self._inner = inner
        self._closed = False

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._inner.close()


class WatchedSource:
    """A `Source` that passes `source.NAME` points, says what it brought, and is dead when it is."""

    def __init__(self, source: Source, world: World) -> None:
        self._source = source
        self._world = world
        self._once = _Once(source)
        world.closes(self._once)

    def _ask(self, question: Callable[[], T]) -> T:
        self._world.files.check_alive()
        return question()

    def identity(self) -> SourceIdentity:
        """Ask the source; see the port."""
        return self._ask(self._source.identity)

    def last_lsn(self) -> int:
        """Ask the source; see the port."""
        return self._ask(self._source.last_lsn)

    def pin(self, intent_id: str, generation: int, pause: Pause = go_on) -> Pin:
        """Ask the source. Passes `source.pinning` and `source.pinned`."""
        self._world.point("source.pinning")
        pin = self._source.pin(intent_id, generation, pause)
        self._world.point("source.pinned")
        return pin

    def read_manifest(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Ask the source; see the port."""
        return self._ask(lambda: self._source.read_manifest(token, offset_bytes, length_bytes))

    def read_chunk(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Ask the source, and say what came. Passes `source.fetched`."""
        data = self._ask(lambda: self._source.read_chunk(token, offset_bytes, length_bytes))
        self._world.say(Fetched(token, offset_bytes, offset_bytes + length_bytes))
        self._world.point("source.fetched")
        return data

    def hand_over(self, token: str, path: Path) -> None:
        """Ask a source that can. Passes `source.handing_over` and `source.handed_over` then."""
        if isinstance(self._source, HandsOver):
            self._world.point("source.handing_over")
            self._source.hand_over(token, path)
            self._world.point("source.handed_over")

    def changes(self, after_lsn: int, limit: int) -> Sequence[Change]:
        """Ask the source; see the port."""
        return self._ask(lambda: self._source.changes(after_lsn, limit))

    def release(self, token: str) -> None:
        """Ask the source. Passes `source.releasing` and `source.released`."""
        self._world.point("source.releasing")
        self._source.release(token)
        self._world.point("source.released")

    def close(self) -> None:
        """Give the source back."""
        self._once.close()


class WatchedApplier:
    """An `Applier` that passes `applier.applying` and `applier.applied`, and is dead when it is."""

    def __init__(self, applier: Applier, world: World) -> None:
        self._applier = applier
        self._world = world
        self._once = _Once(applier)
        world.closes(self._once)

    def identity(self) -> SourceIdentity:
        """Ask the applier; see the port."""
        self._world.files.check_alive()
        return self._applier.identity()

    def applied_lsn(self) -> int:
        """Ask the applier; see the port."""
        self._world.files.check_alive()
        return self._applier.applied_lsn()

    def apply(self, changes: Sequence[Change]) -> None:
        """Have the applier apply. Passes `applier.applying` and `applier.applied`."""
        self._world.point("applier.applying")
        self._applier.apply(changes)
        self._world.point("applier.applied")

    def record_count(self) -> int:
        """Ask the applier; see the port."""
        self._world.files.check_alive()
        return self._applier.record_count()

    def close(self) -> None:
        """Give the database back."""
        self._once.close()


def watched_applier(open_applier: OpenApplier, world: World) -> OpenApplier:
    """Return an `OpenApplier` whose appliers are watched. Passes `applier.opening`, `.opened`."""

    def open_watched(directory: Path) -> Applier:
        world.point("applier.opening")
        applier = WatchedApplier(open_applier(directory), world)
        world.point("applier.opened")
        return applier

    return open_watched
