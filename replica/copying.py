"""Copying a base backup into its candidate: one chunk after the other, or several at once.

The bytes of a chunk are taken from where they are already, if they are: the candidate's own file
(what a process wrote and had no time to claim, or what an earlier base backup left at that place),
then the database in service, whose pages keep their place from one base backup to the next. What is
nowhere is fetched. The manifest's BLAKE3 decides, whatever the bytes come from.

Only the owner's thread touches the ledger. It claims what its workers made durable, with few
events: so while the ledger commits one, the chunks for the next arrive.
"""

from __future__ import annotations

import time
from threading import Lock

from bootledger.basebackup.manifest import Chunk
from bootledger.basebackup.staging import Candidate
from bootledger.errors import CorruptChunk, SimulatedCrash, Unavailable
from bootledger.files import OpenFile
from bootledger.pacing import Bucket
from bootledger.replica.claims import Claims
from bootledger.replica.handle import BootstrapHandle
from bootledger.replica.observer import Observer
from bootledger.replica.ports import ChecksChunks, Pause, Source
from bootledger.replica.settings import Settings
from bootledger.replica.workers import Durable, Ended, Fetched, Workers
from bootledger.statemachine.progress import Snapshot

_LOOK_EVERY_S = 0.25
"""How long a stop, or the loss of the intent, may go unnoticed while nothing arrives."""


class Copying:
    """The copy of one base backup, on behalf of `handle`. `candidate` has been prepared.

    `in_service` is the database that CURRENT names, if there is one, opened as a file of bytes.
    """

    def __init__(
        self,
        source: Source,
        snapshot: Snapshot,
        candidate: Candidate,
        *,
        in_service: OpenFile | None,
        handle: BootstrapHandle,
        settings: Settings,
        observer: Observer,
        check_stop: Pause,
    ) -> None:
        self._source = source
        self._snapshot = snapshot
        self._candidate = candidate
        self._in_service = in_service
        self._handle = handle
        self._settings = settings
        self._observer = observer
        self._check_stop = check_stop
        self._claims = Claims(handle, settings, observer)
        self._pace = _Pace(settings.max_bytes_per_s)

    def run(self) -> None:
        """Stage and claim every missing chunk. When this returns, none is missing.

        Raises what the source, the disk and the ledger raise, `CorruptChunk`, and what `check_stop`
        raises, within a second. By then nobody writes to the candidate; what was made durable is
        claimed, or lies there to be found by the next start.
        """
        if self._settings.max_in_flight == 1:
            self._one_by_one()
        else:
            self._several()

    def _one_by_one(self) -> None:
        for chunk in self._candidate.missing(self._snapshot.staged):
            self._check_stop()
            data = self._found(chunk)
            reused = data is not None
            if data is None:
                self._sleep(self._pace.wait_s(chunk.length_bytes))
                data = self._fetch(chunk)
                self._observer.on_fetched(chunk.range)
            self._handle.check_owned()
            self._stage(chunk, data, reused=reused)
            self._claims.add(chunk.range, reused=reused)
            self._claims.record()

    def _sleep(self, wait_s: float) -> None:
        until_s = time.monotonic() + wait_s
        while (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(left_s, _LOOK_EVERY_S))
            self._check_stop()

    def _several(self) -> None:
        missing = self._candidate.missing(self._snapshot.staged)
        most = self._settings.in_flight(self._candidate.manifest.chunk_bytes)
        workers = Workers(most, missing, self._work)
        with workers:
            running, error = workers.count, None
            while running and error is None:
                ended, error = self._hear(workers, _LOOK_EVERY_S)
                running -= ended
                if error is None:
                    self._claims.record()
                    self._check_stop()
        if error is not None:
            self._hear(workers, 0)  # what the others made durable until they were told
            if not isinstance(error, SimulatedCrash):  # the dead claim nothing
                self._claims.record()
            raise error

    def _hear(self, workers: Workers, wait_s: float) -> tuple[int, BaseException | None]:
        """Take in what the workers say; return how many ended, and the first error among it."""
        ended, error = 0, None
        for word in workers.heard(wait_s):
            match word:
                case Fetched(chunk):
                    self._observer.on_fetched(chunk.range)
                case Durable(chunk, reused):
                    self._claims.add(chunk.range, reused=reused)
                case Ended(why):
                    ended += 1
                    error = error or why
        return ended, error

    def _work(self, chunk: Chunk, workers: Workers) -> None:
        with workers.at_the_file():
            data = self._found(chunk)
            if data is not None:
                self._stage(chunk, data, reused=True)
                return workers.say(Durable(chunk, reused=True))
        workers.wait(self._pace.wait_s(chunk.length_bytes))
        data = self._fetch(chunk)
        workers.say(Fetched(chunk))
        workers.arrived(chunk)
        with workers.at_the_file():
            self._stage(chunk, data, reused=False)
            return workers.say(Durable(chunk, reused=False))

    def _found(self, chunk: Chunk) -> bytes | None:
        """Return the chunk if its bytes are here already, at its place."""
        data = self._candidate.found(chunk)
        if data is None and self._in_service is not None:
            try:
                data = self._in_service.read_at(chunk.offset_bytes, chunk.length_bytes)
            except Unavailable:
                return None  # a disk that cannot read what is in service is a reason to fetch it
            if chunk.objection(data):
                return None
        return data

    def _fetch(self, chunk: Chunk) -> bytes:
        token = self._snapshot.token
        if isinstance(self._source, ChecksChunks):
            return self._source.fetch_chunk(token, chunk, self._observer.on_rejected)
        return self._source.read_chunk(token, chunk.offset_bytes, chunk.length_bytes)

    def _stage(self, chunk: Chunk, data: bytes, *, reused: bool) -> None:
        compared = reused or isinstance(self._source, ChecksChunks)
        try:
            self._candidate.stage(chunk, data, compared=compared)
        except CorruptChunk as wrong:
            raise CorruptChunk(
                f"{wrong} (base backup {self._snapshot.token})",
                hint="start again to fetch it again; if it stays like this, delete that base "
                "backup at the source: the next start asks for a new one",
            ) from wrong


class _Pace:
    """A bandwidth limit that threads share, or none."""

    def __init__(self, max_bytes_per_s: float | None) -> None:
        now_s = time.monotonic()
        self._bucket = max_bytes_per_s and Bucket(max_bytes_per_s, now_s=now_s)
        self._lock = Lock()

    def wait_s(self, size_bytes: int) -> float:
        """Take `size_bytes`, and return how long to wait before they may be fetched."""
        if not self._bucket:
            return 0.0
        with self._lock:
            return self._bucket.take(size_bytes, time.monotonic())
