"""A source and an applier to simulate with: small, real, and every byte of them on disk.

`ListedSource` serves any snapshot and any list of changes: bring only your applier, and compare in
your check what it holds with what the list says. `FileApplier` keeps records in one flat file:
bring only your source.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Self

import msgspec

from bootledger.basebackup.manifest import DATA_NAME, Chunk, Header, decode, encode
from bootledger.errors import CorruptRecord, DivergedHistory, LogWindowLost
from bootledger.files import Files
from bootledger.replica.ports import Change, OpenApplier, Pause, Pin, Source, SourceIdentity, go_on
from bootledger.simulation.bootstrap import bootstrap
from bootledger.simulation.scenario import Broken, Scenario
from bootledger.simulation.world import World

SAMPLE_ID = "sample"


class ListedSource:
    """A source in memory: a snapshot at an LSN, and every change from the first one on.

    It holds no state that a life could change, so it is made anew in each of them. Tokens are made
    of the intent and the generation. `first_lsn` is the oldest change that is still kept.
    """

    def __init__(
        self,
        snapshot: bytes,
        snapshot_lsn: int,
        changes: Sequence[Change],
        *,
        database_id: str = SAMPLE_ID,
        chunk_bytes: int = 4096,
        first_lsn: int = 1,
    ) -> None:
        self._identity = SourceIdentity(database_id, 1)
        self._snapshot = snapshot
        self._changes = changes
        self._first_lsn = first_lsn
        header = Header(
            source_identity=database_id,
            timeline=1,
            start_lsn=snapshot_lsn,
            checkpoint_lsn=snapshot_lsn,
            path=DATA_NAME,
            size_bytes=len(snapshot),
            chunk_bytes=chunk_bytes,
            chunk_count=-(-len(snapshot) // chunk_bytes),
        )
        pieces = (snapshot[at : at + chunk_bytes] for at in range(0, len(snapshot), chunk_bytes))
        chunks = (Chunk.of(n, n * chunk_bytes, piece) for n, piece in enumerate(pieces))
        self._manifest = b"".join(encode(header, chunks))

    def identity(self) -> SourceIdentity:
        """Return the identity that it was made with, on timeline 1."""
        return self._identity

    def last_lsn(self) -> int:
        """Return the LSN of the last change in the list."""
        return self._changes[-1].lsn if self._changes else 0

    def pin(self, intent_id: str, generation: int, pause: Pause = go_on) -> Pin:
        """Return the pin of the one snapshot; nothing has to be kept for it."""
        manifest = decode(memoryview(self._manifest))
        return Pin(
            f"{intent_id}-{generation}",
            manifest.timeline,
            manifest.checkpoint_lsn,
            manifest.size_bytes,
            len(self._manifest),
            manifest.digest,
        )

    def read_manifest(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Return a part of the manifest."""
        return self._manifest[offset_bytes : offset_bytes + length_bytes]

    def read_chunk(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Return a part of the snapshot."""
        return self._snapshot[offset_bytes : offset_bytes + length_bytes]

    def changes(self, after_lsn: int, limit: int) -> Sequence[Change]:
        """Return what comes next in the list. Raises `LogWindowLost` before `first_lsn`."""
        if after_lsn + 1 < self._first_lsn:
            raise LogWindowLost(f"LSN {after_lsn + 1} is gone, {self._first_lsn} is kept")
        return [change for change in self._changes if change.lsn > after_lsn][:limit]

    def release(self, token: str) -> None:
        """Do nothing: there is nothing to release."""

    def close(self) -> None:
        """Do nothing: memory needs no closing."""


class FileDatabase(msgspec.Struct):
    """All of a very small database: what lies, as msgpack, in the file of a generation."""

    database_id: str
    timeline: int
    lsn: int
    records: dict[bytes, bytes]

    def apply(self, change: Change) -> None:
        """Take in the change that comes next."""
        self.lsn = change.lsn
        if change.value is None:
            self.records.pop(change.key, None)
        else:
            self.records[change.key] = change.value

    def encode(self) -> bytes:
        """Return the database as bytes, to be copied as a snapshot."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Return the database of a generation. Raises `CorruptRecord` if its file is none."""
        path = directory / DATA_NAME
        try:
            return msgspec.msgpack.decode(path.read_bytes(), type=cls)
        except msgspec.DecodeError as error:
            raise CorruptRecord(f"{path} is no database: {error}") from error


class FileApplier:
    """Applies to a `FileDatabase`: the file is replaced by the next one, whole, for each batch."""

    def __init__(self, files: Files, directory: Path) -> None:
        self._files = files
        self._path = directory / DATA_NAME
        self.database = FileDatabase.read(directory)

    def identity(self) -> SourceIdentity:
        """Return which database this is a copy of."""
        return SourceIdentity(self.database.database_id, self.database.timeline)

    def applied_lsn(self) -> int:
        """Return the LSN that the file holds."""
        return self.database.lsn

    def apply(self, changes: Sequence[Change]) -> None:
        """Apply what is new of the changes, and replace the file. Durable when this returns."""
        for change in changes:
            if change.lsn > self.database.lsn + 1:
                raise DivergedHistory(f"LSN {change.lsn} follows {self.database.lsn}")
            if change.lsn > self.database.lsn:
                self.database.apply(change)
        self._files.replace(self._path, self.database.encode(), name="database")

    def record_count(self) -> int:
        """Return how many records there are."""
        return len(self.database.records)

    def close(self) -> None:
        """Do nothing: every batch is durable, and nothing is kept open."""


SNAPSHOT_LSN = 40
LAST_LSN = 60
CHUNK_BYTES = 300


def sample_changes() -> list[Change]:
    """Return the changes of the sample: keys are written more than once, some are deleted."""
    return [
        Change(lsn, b"key-%02d" % (lsn % 17), None if lsn % 11 == 0 else b"%d " % lsn * 32)
        for lsn in range(1, LAST_LSN + 1)
    ]


def database_at(lsn: int) -> FileDatabase:
    """Return the sample's database as it is at an LSN."""
    database = FileDatabase(SAMPLE_ID, 1, 0, {})
    for change in sample_changes()[:lsn]:
        database.apply(change)
    return database


def build(world: World) -> tuple[Source, OpenApplier]:
    """Make the sample's source and applier: a `Build`."""
    return sample_source(), partial(FileApplier, world.files)


def check(world: World) -> None:
    """Compare all of the replica with the sample's database after its last change."""
    found = FileDatabase.read(world.database)
    if found != database_at(LAST_LSN):
        raise Broken(f"the replica holds {found}, not {database_at(LAST_LSN)}")


@cache
def sample_source() -> ListedSource:
    """Return the sample's source: six chunks, and twenty changes after them."""
    snapshot = database_at(SNAPSHOT_LSN).encode()
    return ListedSource(snapshot, SNAPSHOT_LSN, sample_changes(), chunk_bytes=CHUNK_BYTES)


def small() -> Scenario:
    """Return the small bootstrap: six chunks, then twenty changes in four batches."""
    return bootstrap(build, check)
