"""Staging: the chunks of a base backup, straight into the one file that becomes the database.

The order that everything rests on: the bytes of a chunk are checked, written and synced; then the
caller records the event that claims them. So after any crash the claimed bytes are there. Bytes
that no event claims mean nothing until they were compared with the manifest.

Claims are `Ranges` of bytes, fetches are whole chunks, because only a whole chunk can be checked. A
chunk of which a part is claimed already is fetched whole and written over itself; what its event
then claims is the part that no event claimed before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import Self

from bootledger.basebackup.manifest import Chunk, Manifest
from bootledger.errors import CorruptChunk, ForeignTarget, Unavailable
from bootledger.files import Files, OpenFile, translated
from bootledger.statemachine.ranges import MAX_ISLANDS, Ranges, add, gaps, to_drop
from bootledger.threads import in_order


class Candidate:
    """The file at the manifest's path inside of `directory`, while a base backup is staged there.

    Its owner holds the lock of the target: nobody else writes to the file. Nothing is opened or
    written before the first method that says so. Close it, or use it as a context manager; closing
    writes nothing. The manifest stays open as long as it is used here, and is not closed with it.
    """

    def __init__(self, directory: Path, manifest: Manifest, files: Files) -> None:
        self.manifest = manifest
        self.path = directory / manifest.path
        self._directory = directory
        self._files = files
        self._file: OpenFile | None = None
        self._syncs: _Syncs

    def prepare(self) -> None:
        """Make the directory and the file, with room for every byte. Harmless when repeated.

        When this returns, the file is as long as the manifest says, its blocks are allocated, its
        name is durable, and the bytes that were there are there still. The parent of the directory
        must exist.

        Raises `ForeignTarget` if something else than a file is in the way, a longer file, or a
        symbolic link that would lead out of the directory; `OutOfSpace` if there is no room, and no
        new file is left behind then; `ReadOnly`.
        """
        self._exists()
        for parent in reversed(self.path.relative_to(self._directory).parents):
            self._files.make_directory(self._directory / parent)
        self.close()
        self._take_up(self._files.open(self.path, size_bytes=self.manifest.size_bytes))

    def missing(self, staged: Ranges) -> Iterator[Chunk]:
        """Yield the chunks of which any byte is not in `staged`, in order, one by one."""
        return self.manifest.covering(gaps(staged, self.manifest.size_bytes))

    def stage(self, chunk: Chunk, data: bytes | memoryview, *, compared: bool = False) -> None:
        """Write `data`, which must be `chunk`. Durable when this returns, and not before.

        `compared` says that somebody has just compared the two. Thread-safe once `prepare` has
        returned, for different chunks.

        Raises `CorruptChunk` with what was expected and what came, and nothing is written;
        `OutOfSpace` or `Unavailable` if the disk fails, and the bytes must not be claimed.
        Passes `chunk.verified`, `chunk.written` and `chunk.synced`.
        """
        if not compared and (reason := chunk.objection(data)):
            raise CorruptChunk(
                f"chunk {chunk.ordinal} at byte {chunk.offset_bytes}: {reason}",
                hint="fetch it again; if it stays like this, the source's copy is damaged",
            )
        file = self._opened()
        self._files.point("chunk.verified")
        file.write_at(chunk.offset_bytes, data)
        self._files.point("chunk.written")
        self._syncs.sync()
        self._files.point("chunk.synced")

    def found(self, chunk: Chunk) -> bytes | None:
        """Return the bytes that lie at the place of `chunk` if they are that chunk, else None.

        They may be what a process wrote before it died, or what another base backup left there. To
        be claimed they have to be staged like any others: a sync alone would not do, because after
        one that failed the system may keep the bytes in memory, call them written, and never try
        again.

        Allocated emptiness is not read. Thread-safe once `prepare` has returned. Raises
        `Unavailable` if the disk cannot read.
        """
        file = self._opened()
        if next(file.written(*chunk.range), None) is None:
            return None
        data = file.read_at(chunk.offset_bytes, chunk.length_bytes)
        return None if chunk.objection(data) else data

    def damaged(
        self, staged: Ranges, pause: Callable[[], None] = lambda: None, *, threads: int = 1
    ) -> Ranges:
        """Read everything that `staged` claims again, and return what of it has to be dropped.

        That is the claimed part of every chunk that does not match the manifest, also of one that
        is claimed in part and not there as a whole; and more, where what stays would form more than
        `MAX_ISLANDS`. All of it if the file is gone; nothing if every byte is as it should be.

        `pause` is called before each chunk; what it raises ends the reading. With more than one of
        `threads`, that many chunks are read and compared at once.

        Writes nothing. Raises `ForeignTarget` as `prepare`, `Unavailable` if the disk cannot read.
        """
        if self._file is None and not self._exists():
            return staged
        file = self._opened()

        def is_damaged(chunk: Chunk) -> bool:
            data = file.read_at(chunk.offset_bytes, chunk.length_bytes)
            return chunk.objection(data) is not None

        failed: Ranges = ()
        chunks = _paced(self.manifest.covering(staged), pause)
        for chunk, wrong in in_order(is_damaged, chunks, threads=threads):
            if wrong:
                failed = add(failed, chunk.range)
        return to_drop(staged, failed, MAX_ISLANDS)

    def close(self) -> None:
        """Close the file. Harmless when repeated."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _opened(self) -> OpenFile:
        if self._file is None:
            self._exists()
            return self._take_up(self._files.open(self.path))
        return self._file

    def _take_up(self, file: OpenFile) -> OpenFile:
        self._file, self._syncs = file, _Syncs(file)
        return file

    def _exists(self) -> bool:
        """Return whether the file is there; refuse whatever we would not have put there."""
        with translated(self.path):
            if self._directory.exists() and not self._directory.is_dir():
                raise ForeignTarget(f"{self._directory} is not a directory")
            for name in reversed(self.path.relative_to(self._directory).parents[:-1]):
                place = self._directory / name
                if place.is_symlink() or (place.exists() and not place.is_dir()):
                    raise ForeignTarget(f"{place} is not a directory of its own")
            if self.path.is_symlink() or (self.path.exists() and not self.path.is_file()):
                raise ForeignTarget(f"{self.path} is not a regular file")
            exists = self.path.exists()
            if exists and self.path.stat().st_size > self.manifest.size_bytes:
                raise ForeignTarget(
                    f"{self.path} has {self.path.stat().st_size} bytes, "
                    f"the base backup only {self.manifest.size_bytes}",
                    hint="it is not what was staged before: move it away if nobody needs it",
                )
            return exists


class _Syncs:
    """The syncs of one file for several threads: one at a time, each for all that was written.

    Who comes while one runs waits for it, and then syncs for all who wait. Never two at once, and
    none after one that failed: the system reports bytes that it could not write to one of those who
    ask, and forgets about them, so the next sync would be believed for nothing.
    """

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self._lock = Lock()
        self._begun = 0
        self._failed = False

    def sync(self) -> None:
        """Make durable what the caller has written. Raises `Unavailable` if that is not certain."""
        begun_before = self._begun
        with self._lock:
            if self._failed:
                raise Unavailable(f"an earlier sync of {self._file.path} failed")
            if self._begun > begun_before:
                return  # another's sync began after the caller's write, and has ended
            self._begun += 1
            self._failed = True
            self._file.sync()
            self._failed = False


def _paced(chunks: Iterator[Chunk], pause: Callable[[], None]) -> Iterator[Chunk]:
    for chunk in chunks:
        pause()
        yield chunk
