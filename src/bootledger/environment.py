"""One LMDB environment per path and process, used by the rules.

LMDB is dependable if its rules are kept; this module keeps them, so that its users need not know
them. The ledger, the primary's database and the replica's database all go through it.

- An environment is *created* in a temporary directory, synced and renamed into place, because
  creating one in place is not crash-atomic.
- A path is open once per process, whatever name it goes by; `Environment` is a handle on the shared
  one, and survives that one being closed and opened again underneath.
- A transaction is a call of `read` or `write` with a function: it never leaves its thread, never
  stays open, and a write can be redone whole (the map was full, another process grew it).
- Writers of several processes queue at a lock file of ours, with a time-out and the holder's pid,
  because LMDB's own mutex cannot be interrupted.
- Any failure of a commit means that the outcome is unknown: the environment is closed and opened
  again, and the caller reads before it writes on.
- Nothing is used across a fork. Nothing here ever opens `lock.mdb`.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self, TypeVar

import lmdb

from bootledger.environment_creation import create_environment, creation_leftovers
from bootledger.errors import (
    CorruptRecord,
    InvalidValue,
    OutcomeUnknown,
    OutOfSpace,
    StoreBusy,
    Unavailable,
)
from bootledger.files import Files, translated
from bootledger.flat_copy import copy_file
from bootledger.lmdb_errors import sorted_errors
from bootledger.shared_environment import (
    DATA_NAME,
    DEFAULT_WAIT_S,
    WRITE_LOCK_NAME,
    Databases,
    SharedEnvironment,
    Transaction,
    close_all,
    join,
    leave,
    take_write_lock,
    write_lock,
)

__all__ = [
    "DEFAULT_MAP_SIZE_BYTES",
    "DEFAULT_WAIT_S",
    "MIB",
    "WRITE_LOCK_NAME",
    "Databases",
    "Environment",
    "Transaction",
    "close_all",
    "create_environment",
    "creation_leftovers",
    "write_lock",
]

T = TypeVar("T")

MIB = 2**20
DEFAULT_MAP_SIZE_BYTES = 1024 * MIB


class Environment:
    """A handle on an LMDB environment. Open with `Environment.open`, close when done.

    `name` is what its points are called: `NAME.writing`, `NAME.committing`, `NAME.committed`.
    """

    def __init__(self, shared: SharedEnvironment, files: Files, name: str, wait_s: float) -> None:
        self._shared = shared
        self._files = files
        self._name = name
        self._wait_s = wait_s
        self._closed = False
        self._write_lock = files.lock(shared.path / WRITE_LOCK_NAME)

    @classmethod
    def open(
        cls,
        path: Path,
        databases: tuple[str, ...],
        files: Files,
        *,
        name: str,
        added: tuple[str, ...] = (),
        map_size_bytes: int = DEFAULT_MAP_SIZE_BYTES,
        wait_s: float = DEFAULT_WAIT_S,
    ) -> Self:
        """Open an existing environment, or join the one that this process has open already.

        Those of the `databases` that are named in `added` are made, empty, if they are missing: an
        older version did not know them.

        The map grows by itself: `map_size_bytes` only says where it starts. `wait_s` is how long a
        write waits for other writers. Slots of readers that died are cleared.

        Raises `InvalidValue` if nothing is there or it lacks one of these databases,
        `CorruptRecord` if it is no sound environment, `StoreBusy` if another process writes for
        longer than `wait_s`, `ReadOnly` where LMDB may not write (readers too need its lock file).
        """
        path = Path(os.path.realpath(path))
        shared = join(
            path, databases, files, added=added, map_size_bytes=map_size_bytes, wait_s=wait_s
        )
        return cls(shared, files, name, wait_s)

    @property
    def path(self) -> Path:
        """The directory of the environment."""
        return self._shared.path

    def read(self, work: Callable[[Transaction, Databases], T]) -> T:
        """Return `work(txn, db)`, run in a read transaction of its own.

        Keep it short: pages cannot be reused while it lasts. It must not call back into this
        handle, nor keep `txn`.
        """
        shared = self._joined()
        while True:
            try:
                with (
                    shared.inside() as (env, db),
                    sorted_errors(self.path),
                    env.begin(buffers=False) as txn,
                ):
                    return work(txn, db)
            except lmdb.MapResizedError:
                shared.set_map_size(0)
            except lmdb.ReadersFullError as error:
                with shared.inside() as (env, _):
                    if not env.reader_check():
                        raise Unavailable(f"{self.path} has no reader slot left") from error

    def write(self, work: Callable[[Transaction, Databases], T]) -> T:
        """Return `work(txn, db)`, durable as a whole; if `work` raises, nothing happened.

        `work` is run again from its start if the map had to grow. Raises `StoreBusy` if another
        writer takes longer than `wait_s`, `OutOfSpace` and `OutcomeUnknown` if the commit failed:
        then read before writing on.
        """
        shared = self._joined()
        with self._alone_among_writers(shared):
            while True:
                try:
                    return self._write_once(shared, work)
                except lmdb.MapFullError:
                    shared.set_map_size(2 * shared.map_size_bytes)
                except lmdb.MapResizedError:
                    shared.set_map_size(0)

    def _write_once(
        self, shared: SharedEnvironment, work: Callable[[Transaction, Databases], T]
    ) -> T:
        self._files.point(f"{self._name}.writing")
        committing = False
        try:
            with shared.inside() as (env, db), sorted_errors(self.path):
                txn = env.begin(write=True)
                try:
                    result = work(txn, db)
                    self._files.point(f"{self._name}.committing")
                except BaseException:
                    txn.abort()
                    raise
                committing = True
                txn.commit()
        except (Unavailable, CorruptRecord) as error:
            # After a failed commit LMDB's view of the file is not to be trusted any more.
            shared.reopen()
            if committing and not isinstance(error, OutOfSpace | CorruptRecord):
                raise OutcomeUnknown(
                    f"the commit to {self.path} failed: {error}",
                    hint="what was acknowledged before is safe; read again to see whether this is",
                ) from error
            raise
        self._files.point(f"{self._name}.committed")
        return result

    @contextlib.contextmanager
    def _alone_among_writers(self, shared: SharedEnvironment) -> Iterator[None]:
        deadline = time.monotonic() + self._wait_s
        if not shared.writing.acquire(timeout=self._wait_s):
            raise StoreBusy(f"{self.path}: another thread has been writing for {self._wait_s} s")
        try:
            take_write_lock(self._write_lock, max(deadline - time.monotonic(), 0))
            yield
        finally:
            self._write_lock.release()
            shared.writing.release()

    def copy(self, directory: Path, pause: Callable[[], None] = lambda: None) -> None:
        """Write a consistent copy as `directory/data.mdb`, while writers go on.

        Streamed: memory does not grow with the database. Durable when this returns, except for the
        name of `directory` itself. `pause` is called again and again; what it raises ends the copy.
        """
        shared = self._joined()
        self._files.point(f"{self._name}.copying")
        with shared.inside() as (env, _), sorted_errors(self.path), translated(directory):
            copy_file(env, self.path / DATA_NAME, directory / DATA_NAME, pause)
        self._files.sync_directory(directory)

    def close(self) -> None:
        """Give the handle back; the last one closes the environment. Harmless when repeated."""
        if not self._closed:
            self._closed = True
            leave(self._shared)

    def _joined(self) -> SharedEnvironment:
        if self._closed:
            raise InvalidValue(f"this handle on {self.path} was closed")
        self._shared.check_process()
        if self._shared.retired:
            self._shared = join(
                self.path,
                self._shared.databases,
                self._files,
                added=self._shared.added,
                map_size_bytes=self._shared.map_size_bytes,
                wait_s=self._wait_s,
            )
        return self._shared

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
