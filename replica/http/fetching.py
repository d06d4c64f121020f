"""Chunks from the primary and from mirrors, each compared with the manifest as it arrives."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from threading import Event, Lock

from bootledger.basebackup.manifest import DATA_NAME, Chunk
from bootledger.errors import CorruptChunk, Corrupted, SourceUnavailable
from bootledger.replica.http import answers
from bootledger.replica.http.asking import Asking
from bootledger.replica.http.compression import Chooser, Compression
from bootledger.replica.http.mirrors import Places, Standing
from bootledger.replica.http.retrying import WITHIN_S
from bootledger.replica.http.transport import Cut, Link, Wasted
from bootledger.replica.ports import CUT, Rejected

TRIES = 4
"""How often a place is asked for one chunk before it is given up for it."""
BUSY_WITHIN_S = 60.0
"""How long a chunk is asked for again where a server says that it is busy."""
_BACKOFF_S = 0.25

_jitter = random.SystemRandom()


class _Busy(SourceUnavailable):
    """The primary said after how many seconds it may be asked again."""

    def __init__(self, told: SourceUnavailable, wait_s: float) -> None:
        super().__init__(str(told), hint=told.hint)
        self.wait_s = wait_s
        self.told = told


class _Closed(SourceUnavailable):
    """Nobody wants the chunk any more."""


class _NotThere(Exception):
    """A mirror does not have this base backup."""


class Fetcher:
    """Fetches chunks from wherever it goes well. Thread-safe."""

    def __init__(self, ask: Asking, mirrors: Sequence[Link], compression: Compression) -> None:
        self._ask = ask
        self._primary = str(ask.link.address)
        self._mirrors = {str(link.address): link for link in mirrors}
        self._compression = compression
        self._chooser = Chooser()
        self._places = Places([self._primary, *self._mirrors])
        self._lock = Lock()
        self._closed = Event()

    def close(self) -> None:
        """Have whatever is fetched given up, at the latest when the answer that it waits for ends.

        No further try begins: `SourceUnavailable` is raised.
        """
        self._closed.set()

    def standings(self) -> list[Standing]:
        """Return what is held against each place, the primary first."""
        with self._lock:
            return self._places.standings(time.monotonic())

    def fetch(self, token: str, chunk: Chunk, rejected: Rejected) -> bytes:
        """Return the bytes that are `chunk`, as `ChecksChunks.fetch_chunk` promises.

        Damage on the way differs from time to time; a place that sends the very same wrong bytes
        `TRIES` times has them like that. `CorruptChunk` is for the latter.
        """
        tries = _Tries(token, chunk)
        while place := self._take(token, tries.misses):
            try:
                tries.wait(place, self._closed)
                data = self._fetch_from(place, token, chunk)
            except _Closed:
                raise
            except _NotThere:
                self._lacks(place, token)
                continue
            except _Busy as busy:
                tries.busy(place, busy)
                continue  # that is no fault
            except SourceUnavailable as error:
                if isinstance(error, Wasted):
                    cut = CUT if isinstance(error, Cut) else ""
                    rejected(place, chunk, f"{cut}{error}")
                tries.unavailable(place, error)
            except Corrupted as error:
                tries.damaged(place, error)
            else:
                if (reason := chunk.objection(data)) is None:
                    self._judge(place, right=True)
                    return data
                rejected(place, chunk, reason)
                tries.missed(place, reason)
            finally:
                self._put_back(place)
            self._judge(place, right=False)
        raise tries.outcome()

    def _fetch_from(self, place: str, token: str, chunk: Chunk) -> bytes:
        if place != self._primary:
            return self._from_mirror(self._mirrors[place], token, chunk)
        with self._lock:
            compressed = self._compression == "on" or (
                self._compression == "auto" and self._chooser.choose()
            )
        began_s = time.monotonic()
        data = self._from_primary(token, chunk, compressed=compressed)
        took_s = time.monotonic() - began_s
        with self._lock:
            self._chooser.measured(compressed=compressed, size_bytes=len(data), took_s=took_s)
        return data

    def _from_primary(self, token: str, chunk: Chunk, *, compressed: bool) -> bytes:
        base = f"/v1/base-backups/{token}"
        offset, length = chunk.offset_bytes, chunk.length_bytes
        if compressed:
            answer, asked = self._ask.once(
                "GET",
                f"{base}/chunks/{offset}-{length}",
                most_bytes=length,
                headers={"Accept-Encoding": answers.ZSTD},
                is_chunk=True,
            )
        else:
            answer, asked = self._ask.once(
                "GET",
                f"{base}/{DATA_NAME}",
                most_bytes=length,
                headers=range_of(offset, length),
                is_chunk=True,
            )
        try:
            if compressed:
                return answers.chunk(answer, asked, length)
            return answers.part(answer, asked, offset, length).data
        except Wasted:
            raise
        except SourceUnavailable as told:
            raise _Busy(told, answers.retry_after_s(answer)) from told

    def _from_mirror(self, link: Link, token: str, chunk: Chunk) -> bytes:
        offset, length = chunk.offset_bytes, chunk.length_bytes
        answer = link.ask(
            "GET",
            f"/{token}/{DATA_NAME}",
            most_bytes=length,
            headers=range_of(offset, length),
            is_chunk=True,
        )
        # An object store that may not be listed answers 403 for what is not there.
        if answer.status in (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN, HTTPStatus.GONE):
            raise _NotThere
        return answers.part(answer, None, offset, length).data

    def _take(self, token: str, misses: Counter[str]) -> str | None:
        with self._lock:
            return self._places.take(token, time.monotonic(), misses, TRIES)

    def _put_back(self, place: str) -> None:
        with self._lock:
            self._places.put_back(place)

    def _lacks(self, place: str, token: str) -> None:
        with self._lock:
            self._places.lacks(place, token, time.monotonic())

    def _judge(self, place: str, *, right: bool) -> None:
        with self._lock:
            judge = self._places.served if right else self._places.failed
            judge(place, time.monotonic())


class _Tries:
    """What came of asking for one chunk so far."""

    def __init__(self, token: str, chunk: Chunk) -> None:
        self.misses: Counter[str] = Counter()
        self._what = f"chunk {chunk.ordinal} at byte {chunk.offset_bytes} of base backup {token}"
        self._began_s = time.monotonic()
        self._reasons: dict[str, set[str]] = {}
        self._last: SourceUnavailable | Corrupted | None = None
        self._wait_s = 0.0

    def wait(self, place: str, closed: Event) -> None:
        """Wait before a place is asked again, and as long as it asked for; not once `closed`."""
        if self._wait_s or self.misses[place]:
            jitter_s = _jitter.uniform(0, _BACKOFF_S * 2 ** self.misses[place])
            time.sleep(self._wait_s + jitter_s)
        self._wait_s = 0.0
        if closed.is_set():
            raise _Closed("the source was closed")

    def missed(self, place: str, reason: str, *, for_good: bool = False) -> None:
        """Count a failure; `reason` says which wrong bytes came, empty if that is not known."""
        self.misses[place] = TRIES if for_good else self.misses[place] + 1
        self._reasons.setdefault(place, set()).add(reason)

    def busy(self, place: str, busy: _Busy) -> None:
        """Have the place asked again for as long as that makes sense."""
        self._last = busy.told
        self._wait_s = busy.wait_s
        self.missed(place, "")
        if self._lasts_s() < BUSY_WITHIN_S:
            self.misses[place] = min(self.misses[place], TRIES - 1)

    def unavailable(self, place: str, error: SourceUnavailable) -> None:
        """Count an answer that did not come, or was none."""
        self._last = error.plain if isinstance(error, Wasted) else error
        self.missed(place, "", for_good=self._lasts_s() > WITHIN_S)

    def damaged(self, place: str, error: Corrupted) -> None:
        """Ask elsewhere: the primary says that its copy is damaged; a mirror's may not be."""
        self._last = error
        self.missed(place, str(error), for_good=True)

    def outcome(self) -> SourceUnavailable | Corrupted:
        """Return what to raise when no place is left to ask."""
        if isinstance(self._last, Corrupted):
            return self._last
        told = "; ".join(f"{place}: {min(said)}" for place, said in self._reasons.items())
        if all(len(said) == 1 and "" not in said for said in self._reasons.values()):
            return CorruptChunk(
                f"{self._what} is wrong wherever it is fetched from, always in one way: {told}",
                hint="delete that base backup at the source: the next start asks for a new one",
            )
        return self._last or SourceUnavailable(
            f"{self._what} was damaged on the way again and again: {told}",
            hint="it is tried again; what lies in between that changes bytes?",
        )

    def _lasts_s(self) -> float:
        return time.monotonic() - self._began_s


def range_of(offset_bytes: int, length_bytes: int) -> dict[str, str]:
    """Return the header that asks for these bytes of a file."""
    return {"Range": f"bytes={offset_bytes}-{offset_bytes + length_bytes - 1}"}
