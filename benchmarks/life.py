"""What one life of the loop costs in CPU, beside the same commits on a bare LMDB file.

Run: python benchmarks/life.py [LIVES]

A lean life, as a simulation of crashes lives thousands of them: a source in memory serves a base
backup of 6 chunks and 20 changes, the applier is one small file; target, ledger and loop are the
real ones, on tmpfs. The bare ledger opens an environment and commits as many transactions of
as many puts. CPU time of this process, the least of all lives; quote the ratio.

LMDB allocates two megabytes at every opening to write. What glibc gives it of memory that was freed
before is cleared byte by byte; with MALLOC_MMAP_THRESHOLD_=524288 in the surroundings it is mapped
instead, and an opening takes half the time. Only a process that opens thousands needs to care.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import lmdb

from bootledger.basebackup.manifest import DATA_NAME, Chunk, Header, decode, encode
from bootledger.files import Files
from bootledger.operator_events import OperatorEvent
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.loop import Replication
from bootledger.replica.ports import Change, Pause, Pin, SourceIdentity, go_on
from bootledger.replica.settings import Settings
from bootledger.replica.target import LEDGER_NAME, Target
from bootledger.store.tables import DATABASES

NODE = "replica-1"
IDENTITY = SourceIdentity("0190a0a0-0000-7000-8000-000000000001", 1)
CHUNKS, CHUNK_BYTES = 6, 4096
SNAPSHOT_LSN, CHANGES, BATCH = 100, 20, 4
SIZE_BYTES = CHUNKS * CHUNK_BYTES
COMMITS = 16
"""Of such a life: begin, pin, six chunks, the restore, five batches, promote, complete."""


class MemorySource:
    """Keeps the promise of `bootledger.replica.ports.Source`, with one base backup for all."""

    def __init__(self) -> None:
        self._data = SNAPSHOT_LSN.to_bytes(8, "big").ljust(SIZE_BYTES, b"x")
        header = Header(
            source_identity=IDENTITY.database_id,
            timeline=IDENTITY.timeline,
            start_lsn=SNAPSHOT_LSN,
            checkpoint_lsn=SNAPSHOT_LSN,
            path=DATA_NAME,
            size_bytes=SIZE_BYTES,
            chunk_bytes=CHUNK_BYTES,
            chunk_count=CHUNKS,
        )
        starts = range(0, SIZE_BYTES, CHUNK_BYTES)
        chunks = [Chunk.of(i, at, self._data[at:][:CHUNK_BYTES]) for i, at in enumerate(starts)]
        self._manifest = b"".join(encode(header, chunks))
        self._digest = decode(self._manifest).digest
        self._log = [Change(SNAPSHOT_LSN + n, b"key", b"%d" % n) for n in range(1, CHANGES + 1)]

    def identity(self) -> SourceIdentity:
        """Return which database this is."""
        return IDENTITY

    def last_lsn(self) -> int:
        """Return the LSN of the newest change."""
        return SNAPSHOT_LSN + CHANGES

    def pin(self, intent_id: str, generation: int, pause: Pause = go_on) -> Pin:
        """Return the one base backup."""
        token = f"{intent_id}.{generation}"
        size_bytes = len(self._manifest)
        return Pin(token, IDENTITY.timeline, SNAPSHOT_LSN, SIZE_BYTES, size_bytes, self._digest)

    def read_manifest(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Return that part of the manifest."""
        return self._manifest[offset_bytes:][:length_bytes]

    def read_chunk(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Return that part of the base backup."""
        return self._data[offset_bytes:][:length_bytes]

    def changes(self, after_lsn: int, limit: int) -> Sequence[Change]:
        """Return changes after an LSN."""
        return self._log[after_lsn - SNAPSHOT_LSN :][:limit]

    def release(self, token: str) -> None:
        """Keep it: the next life asks for it again."""

    def close(self) -> None:
        """Keep everything."""


class FileApplier:
    """Keeps the applied LSN in the first bytes of the file, and of the changes nothing else."""

    def __init__(self, directory: Path) -> None:
        self._fd = os.open(directory / DATA_NAME, os.O_RDWR)

    def identity(self) -> SourceIdentity:
        """Return which database this is a copy of."""
        return IDENTITY

    def applied_lsn(self) -> int:
        """Return the LSN in the file."""
        return int.from_bytes(os.pread(self._fd, 8, 0), "big")

    def apply(self, changes: Sequence[Change]) -> None:
        """Advance the LSN, durably."""
        os.pwrite(self._fd, changes[-1].lsn.to_bytes(8, "big"), 0)
        os.fdatasync(self._fd)

    def record_count(self) -> int:
        """Return that there is one."""
        return 1

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


SOURCE = MemorySource()


def hear_nothing(event: OperatorEvent) -> None:
    """Hear of dangling intents, and say nothing."""


def live(place: Path) -> None:
    """Live once: from an empty directory to a replica in service."""
    files = Files()
    with (
        Target.open(
            place / "target", files, source_database_id=IDENTITY.database_id, node_id=NODE
        ) as target,
        IntentLog.open(target.path / LEDGER_NAME, files=files, sink=hear_nothing) as log,
    ):
        settings = Settings(batch_changes=BATCH)
        outcome = Replication(
            NODE, log, SOURCE, target, FileApplier, files=files, settings=settings
        ).run()
        assert outcome.applied_lsn == SOURCE.last_lsn()
        assert log.store.last_position() == COMMITS


def commit_as_often(place: Path) -> None:
    """Commit what a life commits, by hand: a frame, a head, and an entry of the index."""
    with lmdb.open(os.fspath(place / "bare"), max_dbs=len(DATABASES)) as env:
        with env.begin(write=True) as txn:
            log, heads, index, *_ = (env.open_db(name.encode(), txn=txn) for name in DATABASES)
        for number in range(COMMITS):
            with env.begin(write=True) as txn:
                txn.put(number.to_bytes(8, "big"), bytes(150), db=log, append=True)
                txn.put(bytes(16), bytes(500), db=heads)
                txn.put(bytes(20), bytes(4), db=index)


def least_ms(work: Callable[[Path], None], times: int) -> float:
    """Return the least CPU time that `work` took, in milliseconds."""
    took_ns: list[int] = []
    for _ in range(times):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
            began_ns = time.process_time_ns()
            work(Path(place))
            took_ns.append(time.process_time_ns() - began_ns)
    return min(took_ns) / 1e6


def main() -> None:
    """Measure and print."""
    lives = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    bare_ms, life_ms = least_ms(commit_as_often, lives), least_ms(live, lives)
    print(f"bare ledger  {bare_ms:6.2f} ms CPU")
    print(f"one life     {life_ms:6.2f} ms CPU")
    print(f"life / bare  {life_ms / bare_ms:6.1f}")


if __name__ == "__main__":
    main()
