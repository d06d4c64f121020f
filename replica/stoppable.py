"""A source over a network, whose answers nobody waits for who was asked to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from functools import partial
from typing import Protocol, TypeVar

from bootledger.basebackup.manifest import Chunk
from bootledger.errors import Stopped
from bootledger.replica.forecasting import Informed
from bootledger.replica.ports import (
    Change,
    ChecksChunks,
    ChecksHistory,
    LastChange,
    LongPolling,
    Pause,
    Pin,
    Rejected,
    Source,
    SourceIdentity,
    go_on,
    unnoticed,
)
from bootledger.replica.wire import PrimaryInfo
from bootledger.threads import in_background

T = TypeVar("T")
_LOOK_EVERY_S = 0.1


class RemoteSource(Source, LongPolling, ChecksHistory, ChecksChunks, Informed, Protocol):
    """All that a source over a network can do."""


class StoppableSource:
    """`source`, with `stop` asked ten times a second while it is waited for.

    Once that returns a cause, every method raises `Stopped` with it. The request goes on in its
    thread until the link or its time-out ends it; what it brings is dropped. Only the chunks, which
    are fetched in threads anyway, are waited for by the caller.
    """

    def __init__(self, source: RemoteSource, stop: Callable[[], str | None]) -> None:
        self._source = source
        self._stop = stop

    def _check_stop(self) -> None:
        if cause := self._stop():
            raise Stopped(cause, hint="the same command goes on from here")

    def _ask(self, question: Callable[[], T], pause: Pause | None = None) -> T:
        answer = in_background(question)
        while not wait([answer], timeout=_LOOK_EVERY_S).done:
            (pause or self._check_stop)()
        return answer.result()

    def info(self) -> PrimaryInfo:
        """Ask the source; see `Informed`."""
        return self._ask(self._source.info)

    def identity(self) -> SourceIdentity:
        """Ask the source; see the port."""
        return self._ask(self._source.identity)

    def last_lsn(self) -> int:
        """Ask the source; see the port."""
        return self._ask(self._source.last_lsn)

    def pin(self, intent_id: str, generation: int, pause: Pause = go_on) -> Pin:
        """Ask the source; see the port."""
        given_up = threading.Event()

        def in_its_thread() -> None:
            if given_up.is_set():
                raise Stopped("nobody waits for this base backup any more")

        # What the caller asks in between touches the ledger, which is the caller's thread's.
        try:
            return self._ask(partial(self._source.pin, intent_id, generation, in_its_thread), pause)
        finally:
            given_up.set()

    def read_manifest(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Ask the source; see the port."""
        return self._ask(partial(self._source.read_manifest, token, offset_bytes, length_bytes))

    def read_chunk(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Ask the source; see the port."""
        return self._source.read_chunk(token, offset_bytes, length_bytes)

    def fetch_chunk(self, token: str, chunk: Chunk, rejected: Rejected = unnoticed) -> bytes:
        """Ask the source; see the port."""
        return self._source.fetch_chunk(token, chunk, rejected)

    def changes(self, after_lsn: int, limit: int) -> Sequence[Change]:
        """Ask the source; see the port."""
        return self._ask(partial(self._source.changes, after_lsn, limit))

    def changes_within(self, after_lsn: int, limit: int, wait_s: float) -> Sequence[Change]:
        """Ask the source; see the port."""
        return self._ask(partial(self._source.changes_within, after_lsn, limit, wait_s))

    def changes_following(
        self, last: LastChange, limit: int, wait_s: float = 0.0
    ) -> Sequence[Change]:
        """Ask the source; see the port."""
        return self._ask(partial(self._source.changes_following, last, limit, wait_s))

    def release(self, token: str) -> None:
        """Ask the source; see the port."""
        self._ask(partial(self._source.release, token))

    def close(self) -> None:
        """Do nothing: an attempt closes what the next one needs, and a request may be going on."""
