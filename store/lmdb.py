"""The durable adapter: one LMDB environment holds the ledger.

Six databases: `log` (position → frame), `archive` (block → compressed frames that were moved out
of the log), `heads` (intent → its end), `unfinished` (node and intent, the index), `projections`
(name → position and state), `meta`. An append writes log, heads and index in one transaction. One
intent's history is a walk from its head along the positions that each frame keeps of the one
before, so no index by intent is needed.

Beside the environment's own files the directory holds `owners/`, one lock file for each intent that
a live process owns, and `reserve`, room that is given up when the disk is full, so that the word
why can still be written.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Self
from uuid import UUID

from bootledger.artefacts import Finding
from bootledger.clock import Clock, now_ms
from bootledger.environment import (
    DEFAULT_MAP_SIZE_BYTES,
    DEFAULT_WAIT_S,
    MIB,
    Databases,
    Environment,
    Transaction,
    create_environment,
    creation_leftovers,
    write_lock,
)
from bootledger.environment_check import check_environment
from bootledger.errors import OutOfSpace
from bootledger.files import FileLock, Files, is_locked, translated
from bootledger.residency import keep_residency_low
from bootledger.shared_environment import DATA_NAME
from bootledger.store import archive, blocks, compaction, records, tables, verification
from bootledger.store.admission import (
    check_bounds,
    check_cutoff,
    check_expectation,
    check_projection_name,
    projection_conflict,
)
from bootledger.store.blocks import BlockCache
from bootledger.store.claims import claim_path, claims
from bootledger.store.codec import encode_event
from bootledger.store.port import (
    FIRST_ID,
    LAST_ID,
    Append,
    Compacted,
    Head,
    NodeExpectation,
    Positions,
    Recorded,
    SavedProjection,
)
from bootledger.store.verification import RecordCounts
from bootledger.watch import Watch, watch_nothing

RESERVE_BYTES = MIB
_FILES = Files()


class LmdbEventStore:
    """A ledger in a directory. Open with `LmdbEventStore.open`, close when done."""

    def __init__(self, env: Environment, files: Files) -> None:
        self._env = env
        self._files = files
        self._owners = env.path / "owners"
        self._reserve = env.path / "reserve"

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        create: bool = True,
        files: Files = _FILES,
        map_size_bytes: int = DEFAULT_MAP_SIZE_BYTES,
        wait_s: float = DEFAULT_WAIT_S,
        clock: Clock = now_ms,
    ) -> Self:
        """Open the ledger in the directory `path`; with `create`, make it if nothing is there.

        The directory appears whole and durable or not at all; its parent must exist. The map grows
        by itself from `map_size_bytes`; a write waits `wait_s` seconds for other writers. A new
        ledger keeps when it was made, by `clock`.

        Raises `InvalidValue` if there is no ledger and none can be made there, `CorruptRecord` if
        it is damaged, `UnknownFormat` if a newer version wrote it, `StoreBusy`, `OutOfSpace` or
        `ReadOnly` as the machine has it.
        """
        if create:
            initialise = partial(tables.initialise, clock=clock)
            create_environment(path, tables.DATABASES, initialise, files, wait_s=wait_s)
        env = Environment.open(
            path,
            tables.DATABASES,
            files,
            name="log",
            added=(tables.ARCHIVE,),
            map_size_bytes=map_size_bytes,
            wait_s=wait_s,
        )
        try:
            env.read(tables.check_format)
            store = cls(env, files)
            files.make_directory(store._owners)
            store._make_reserve()
        except BaseException:
            env.close()
            raise
        return store

    def append(
        self, batch: Sequence[Append], *, expect: NodeExpectation | None = None
    ) -> Sequence[int]:
        """Append a batch, durable when this returns; see the port."""
        payloads = [encode_event(item.event) for item in batch]

        def work(txn: Transaction, db: Databases) -> Sequence[int]:
            if expect is not None:
                check_expectation(expect, frozenset(tables.pending(txn, db, expect.node_id)))
            first = tables.last_position(txn, db) + 1
            for position, item in enumerate(batch, start=first):
                tables.append(txn, db, position, item, payloads[position - first])
            return range(first, first + len(batch))

        try:
            return self._env.write(work)
        except OutOfSpace:
            # The caller will want to write down why it stops: leave it the room to.
            self._files.remove(self._reserve)
            raise

    def head(self, intent_id: UUID) -> Head | None:
        """Return the end of the intent's history; see the port."""
        return self._env.read(partial(tables.head, intent_id=intent_id))

    def unfinished(self, node_id: str | None = None) -> Sequence[Head]:
        """Return the heads of unfinished intents, by intent id; see the port."""
        heads = self._env.read(partial(tables.pending_heads, node_id=node_id))
        return sorted(heads, key=lambda head: head.intent_id)

    def heads(self, first: UUID = FIRST_ID) -> Iterator[Head]:
        """Yield the heads of all intents, by intent id; see the port."""
        while found := self._env.read(partial(tables.heads, first=first)):
            yield from found
            self._let_go_of_pages()
            last = found[-1].intent_id
            if last == LAST_ID:
                return
            first = UUID(int=last.int + 1)

    def history(self, intent_id: UUID) -> Iterator[Recorded]:
        """Yield the intent's events, newest first, in bounded memory; see the port."""
        head = self.head(intent_id)
        if head is None:
            return
        position, version, cache = head.position, head.version, BlockCache()

        while position:
            found, position = self._env.read(
                partial(
                    tables.walk_back,
                    intent_id=intent_id,
                    position=position,
                    version=version,
                    cache=cache,
                )
            )
            version -= len(found)
            yield from found

    def read(self, after_position: int, limit: int) -> Sequence[Recorded]:
        """Return events after a position, oldest first; see the port."""
        check_bounds(after_position, limit)
        found: list[Recorded] = []
        cache = BlockCache()
        data = self._env.path / DATA_NAME

        def work(txn: Transaction, db: Databases) -> list[Recorded]:
            first = after_position + len(found) + 1
            batch = tables.read(txn, db, first, min(limit - len(found), tables.READ_BATCH), cache)
            if len(batch) == tables.READ_BATCH:  # somebody reads a lot
                keep_residency_low(data)
            return batch

        while len(found) < limit and (batch := self._env.read(work)):
            found += batch
        return found

    def last_position(self) -> int:
        """Return the position of the newest event; see the port."""
        return self._env.read(tables.last_position)

    def compact(self, after_position: int, before_ms: int) -> Compacted | None:
        """Move what may be archived of the next block, durable when this returns; see the port."""
        check_cutoff(after_position, before_ms)
        step = self._env.write(
            partial(compaction.move_block, after_position=after_position, before_ms=before_ms)
        )
        self._let_go_of_pages()
        return step

    def archived(self) -> Iterator[Positions]:
        """Yield which positions lie in the archive; see the port."""
        number: int | None = 0
        waiting: list[Positions] = []
        while number is not None:
            found, number = self._env.read(partial(blocks.ranges, first=number))
            waiting = archive.joined((*waiting, *found))
            yield from waiting[:-1]
            waiting = waiting[-1:]
        yield from waiting

    @staticmethod
    def check_file(path: Path, *, files: Files = _FILES, wait_s: float = DEFAULT_WAIT_S) -> None:
        """Check the structure of the file: the first layer of a verification, before any opening.

        Writers wait for a moment. Raises `CorruptRecord` for the first thing that is wrong,
        `StoreBusy` if another process writes for longer than `wait_s`, `OutOfSpace` if there is no
        room for the copy that is checked.
        """
        check_environment(path, files, wait_s=wait_s)

    def check_records(self, watch: Watch = watch_nothing) -> RecordCounts:
        """Check every record by itself and in its place: the second layer of a verification.

        `watch` is told the position that was reached and the last one. Holds nothing open for long.
        Raises `CorruptRecord` or `UnknownFormat` for the first that is not what it must be.
        """
        return verification.check_records(self._env, watch)

    def load_projection(self, name: str) -> SavedProjection | None:
        """Return what was saved under `name`; see the port."""
        check_projection_name(name)
        return self._env.read(partial(tables.projection, name=name))

    def save_projection(self, name: str, expected_position: int, saved: SavedProjection) -> None:
        """Replace what is saved under `name`, durable when this returns; see the port."""
        check_projection_name(name)
        key = name.encode()

        def work(txn: Transaction, db: Databases) -> None:
            before = tables.projection(txn, db, name)
            position = 0 if before is None else before.position
            if position != expected_position:
                raise projection_conflict(name, expected_position, position)
            txn.put(key, records.encode_projection(key, saved), db=db["projections"])

        self._env.write(work)

    def claim(self, intent_id: UUID, words: str) -> _LockClaim:
        """Take hold of an intent until released or this process dies; see the port."""
        lock = self._files.lock(claim_path(self._owners, intent_id))
        return _LockClaim(lock.acquire(words=words))

    def claimed(self, intent_id: UUID) -> bool:
        """Return whether a live process holds the intent; see the port."""
        return is_locked(claim_path(self._owners, intent_id))

    def claimant(self, intent_id: UUID) -> str | None:
        """Return the words of the live process that holds the intent; see the port."""
        words = self._files.lock(claim_path(self._owners, intent_id)).holder()
        return words if self.claimed(intent_id) else None

    def leftovers(self) -> Iterator[Finding]:
        """Yield what the dead left in and beside the ledger, and the claims; see the port."""
        yield from claims(self._owners, self._remove_claim)
        yield from creation_leftovers(self._env.path, self._files)

    def _remove_claim(self, path: Path) -> bool:
        with write_lock(self._env.path, self._files, DEFAULT_WAIT_S):
            return self._files.remove_lock(path)

    def close(self) -> None:
        """Give the store back. Harmless when repeated; claims are not released by it."""
        self._env.close()

    def _let_go_of_pages(self) -> None:
        """Keep a pass over the whole ledger from making all of it resident."""
        data = self._env.path / DATA_NAME
        self._env.read(lambda _txn, _db: keep_residency_low(data))

    def _make_reserve(self) -> None:
        with translated(self._reserve):
            if self._reserve.exists() and self._reserve.stat().st_size == RESERVE_BYTES:
                return
            # Room that was just given up is for the one who needs it, not for the next to open.
            if shutil.disk_usage(self._env.path).free < 2 * RESERVE_BYTES:
                return
        self._files.open(self._reserve, size_bytes=RESERVE_BYTES).close()


class _LockClaim:
    def __init__(self, lock: FileLock) -> None:
        self._lock = lock

    def release(self) -> None:
        """Let go and take the lock file away. Harmless when repeated."""
        self._lock.release(remove=True)
