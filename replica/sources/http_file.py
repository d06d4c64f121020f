"""A file on any web server that serves ranges, as a `Source`. Needs the extra `network`.

A server tells no digests of its chunks, so there is no manifest before every byte is here. `pin`
therefore downloads: into the spool, whose data becomes the copy by a rename. So nothing is fetched
twice, nothing takes room twice, and a death costs what was in flight.

What protects the bytes: the strong ETag and If-Range pin one version, TLS the way; each range is
checked to be the one that was asked for, and whole. From its arrival on, a chunk is known by its
CRC32C and BLAKE3. Only a SHA-256 of the whole, from the caller or the server, says that what
arrived is what was meant.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from bootledger.basebackup.manifest import Chunk, Header, Manifest
from bootledger.basebackup.publishing import DEFAULT_CHUNK_BYTES
from bootledger.errors import CorruptChunk, InvalidValue, SnapshotLost
from bootledger.files import Files, OpenFile
from bootledger.pacing import Bucket
from bootledger.replica.ports import Pause
from bootledger.replica.sources.http_range import RangeReader, Remote
from bootledger.replica.sources.snapshots import SnapshotSource
from bootledger.replica.sources.spool import Spool
from bootledger.replica.sources.sums import Sums
from bootledger.threads import in_background
from bootledger.watch import Watch, watch_nothing

_LOOK_EVERY_S = 0.25
"""How long a stop may go unnoticed while nothing arrives."""


class HttpFileSource(SnapshotSource):
    """One file of a web server: a snapshot without a log."""

    def __init__(  # noqa: PLR0913 - each is the caller's choice, by name
        self,
        reader: RangeReader,
        spool: Path,
        files: Files,
        *,
        name: str | None = None,
        identity: str | None = None,
        chunk_bytes: int = DEFAULT_CHUNK_BYTES,
        in_flight: int = 1,
        max_bytes_per_s: float | None = None,
        sha256_hex: str | None = None,
        watch: Watch = watch_nothing,
    ) -> None:
        """Make a source of what `reader` reads; nothing is asked yet.

        `spool` is a directory on the replica's side, one for each target, made in an existing
        parent. `name` is what the copy is called, `identity` which source this is: without them,
        the last name in the address, and the address without its query. Up to `in_flight` ranges
        of `chunk_bytes` are asked for at once, and not more than `max_bytes_per_s` on average.
        `sha256_hex` is what the whole must sum up to. `watch` is told of bytes that are here, and
        of how many there are.
        """
        self._reader = reader
        self._files = files
        self._in_flight = in_flight
        self._bucket = max_bytes_per_s and Bucket(max_bytes_per_s, now_s=time.monotonic())
        self._sha256 = None if sha256_hex is None else _parsed(sha256_hex)
        self._watch = watch
        self._remote: Remote | None = None
        super().__init__(
            identity or reader.shown,
            Spool(spool, files),
            name or unquote(PurePosixPath(reader.shown).name),
            chunk_bytes=chunk_bytes,
        )

    def _check_there(self) -> None:
        self._reader.look()

    def _look(self) -> int:
        self._remote = self._reader.look()
        return self._spool.observe(self._remote.fingerprint)

    def _make(self, lsn: int, pause: Pause) -> None:
        remote = self._pinned_remote()
        header = self._header(lsn, remote.size_bytes)
        self._spool.unpublish()
        path = self._spool.data_path
        with (
            self._files.open(path, size_bytes=remote.size_bytes) as data,
            self._spool.sums(header) as sums,
        ):
            self._download(remote, header, data, sums, pause)
            expected = self._sha256 or remote.sha256
            if expected is not None:
                self._check_whole(data, sums, header, expected, pause)
            self._spool.publish(header, sums.chunks())

    def _download(
        self, remote: Remote, header: Header, data: OpenFile, sums: Sums, pause: Pause
    ) -> None:
        """Bring every chunk that is not here yet. Each is durable before its sums are."""

        def fetch(ordinal: int) -> bytes:
            return self._reader.read(remote, *sums.extent(ordinal))

        missing = list(sums.missing())
        here_bytes = header.size_bytes - sum(sums.extent(ordinal)[1] for ordinal in missing)
        self._watch(here_bytes, header.size_bytes)
        for ordinal, arrived in self._arriving(missing, fetch, pause):
            offset_bytes, length_bytes = sums.extent(ordinal)
            data.write_at(offset_bytes, arrived)
            data.sync()
            self._files.point("range.synced")
            sums.put(Chunk.of(ordinal, offset_bytes, arrived))
            sums.sync()
            self._files.point("range.noted")
            here_bytes += length_bytes
            self._watch(here_bytes, header.size_bytes)
            self._pace(length_bytes, pause)

    def _arriving(
        self, ordinals: list[int], fetch: Callable[[int], bytes], pause: Pause
    ) -> Iterator[tuple[int, bytes]]:
        """Yield each chunk as it comes, in order, with others on their way meanwhile."""
        coming: deque[tuple[int, Future[bytes]]] = deque()
        for ordinal in ordinals:
            pause()
            coming.append((ordinal, in_background(partial(fetch, ordinal))))
            if len(coming) == self._in_flight:
                first, future = coming.popleft()
                yield first, _waited_for(future, pause)
        for ordinal, future in coming:
            yield ordinal, _waited_for(future, pause)

    def _pace(self, length_bytes: int, pause: Pause) -> None:
        if self._bucket:
            until_s = time.monotonic() + self._bucket.take(length_bytes, time.monotonic())
            while (left_s := until_s - time.monotonic()) > 0:
                time.sleep(min(left_s, _LOOK_EVERY_S))
                pause()

    def _check_whole(
        self, data: OpenFile, sums: Sums, header: Header, expected: bytes, pause: Pause
    ) -> None:
        whole = sha256()
        for ordinal in range(header.chunk_count):
            pause()
            whole.update(data.read_at(*sums.extent(ordinal)))
        if whole.digest() != expected:
            self._spool.distrust()  # nothing that is here can be believed: all of it comes again
            raise CorruptChunk(
                f"{self._name} has SHA-256 {whole.hexdigest()}, expected {expected.hex()}",
                hint="the server has another file, or a damaged one; start again to fetch it again",
            )

    def _read(self, manifest: Manifest, offset_bytes: int, length_bytes: int) -> bytes:
        if self._spool.data_path.exists():
            with self._files.open(self._spool.data_path) as data:
                return data.read_at(offset_bytes, length_bytes)
        # It was handed over: what of it was damaged since comes from the server once more.
        version = self._spool.version()
        remote = self._pinned_remote()
        if version is None or (version.lsn, version.fingerprint) != (
            manifest.checkpoint_lsn,
            remote.fingerprint,
        ):
            raise SnapshotLost(f"{self._reader.shown} changed since it was pinned")
        return self._reader.read(remote, offset_bytes, length_bytes)

    def _pinned_remote(self) -> Remote:
        if self._remote is None:
            self._remote = self._reader.look()
        return self._remote

    def close(self) -> None:
        """Give spool and connections back. What was downloaded stays."""
        super().close()
        self._reader.close()


def _waited_for(future: Future[bytes], pause: Pause) -> bytes:
    """Return what comes. If `pause` raises, the request ends by itself, and nobody listens."""
    while not wait([future], timeout=_LOOK_EVERY_S).done:
        pause()
    return future.result()


def _parsed(sha256_hex: str) -> bytes:
    try:
        digest = bytes.fromhex(sha256_hex)
    except ValueError:
        digest = b""
    if len(digest) != sha256().digest_size:
        raise InvalidValue(f"{sha256_hex!r:.80} is no SHA-256", hint="it has 64 hex digits")
    return digest
