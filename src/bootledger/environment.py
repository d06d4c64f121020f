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
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias, TypeVar

import lmdb

from bootledger.errors import (
    BootledgerError,
    CorruptRecord,
    InvalidValue,
    OutcomeUnknown,
    OutOfSpace,
    ReadOnly,
    StoreBusy,
    Unavailable,
    WrongProcess,
)
from bootledger.files import Files, LockHeld, translated
from bootledger.residency import flat_residency

if TYPE_CHECKING:
    Transaction: TypeAlias = lmdb.Transaction[bytes]
    Databases: TypeAlias = Mapping[str, lmdb._Database]

T = TypeVar("T")

MIB = 2**20
DEFAULT_MAP_SIZE_BYTES = 1024 * MIB
DEFAULT_WAIT_S = 10.0
WRITE_LOCK_NAME = "write.lock"
_MAX_READERS = 1024


def create_environment(
    path: Path,
    databases: tuple[str, ...],
    initialise: Callable[[Transaction, Databases], None],
    files: Files,
    *,
    wait_s: float = DEFAULT_WAIT_S,
) -> bool:
    """Create the environment directory `path`, with its databases and first records, in one step.

    At any moment, also after a loss of power, `path` is either not there or whole. Returns whether
    this call created it; False if it was there already, or another process was faster. A leftover
    of a creation that died is removed.

    Raises `InvalidValue` if the parent is missing or `path` is something else than an environment,
    `StoreBusy` if another process creates it for longer than `wait_s`.
    """
    if _is_environment(path):
        return False
    if not path.parent.is_dir():
        raise InvalidValue(f"{path.parent} is not a directory", hint="create the parent first")
    lock = files.lock(path.with_name(f".{path.name}.creating.lock"))
    try:
        lock.acquire(wait_s=wait_s)
    except LockHeld as held:
        raise StoreBusy(f"{path} is being created by {held.holder}") from held
    try:
        if _is_environment(path):
            return False
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InvalidValue(f"{path} exists and is not a database", hint="choose another path")
        building = path.with_name(f".{path.name}.creating")
        files.remove(building)
        files.make_directory(building)
        _build(building, databases, initialise)
        files.point("environment.built")
        with translated(path):
            building.replace(path)
        files.point("environment.renamed")
        files.sync_directory(path.parent)
        files.point("environment.created")
        return True
    finally:
        lock.release(remove=True)


def _build(
    path: Path, databases: tuple[str, ...], initialise: Callable[[Transaction, Databases], None]
) -> None:
    with _sorted_errors(path):
        # The format is named, so that nothing in the process's surroundings can change it.
        with lmdb.open(os.fspath(path), max_dbs=len(databases), lib_version=0) as env:
            db = {name: env.open_db(name.encode()) for name in databases}
            with env.begin(write=True) as txn:
                initialise(txn, db)
    for target in (path / "data.mdb", path):
        fd = os.open(target, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class _Shared:
    """The one open `lmdb.Environment` of a path in this process, and who is inside of it."""

    def __init__(self, path: Path, databases: tuple[str, ...], map_size_bytes: int) -> None:
        self.path = path
        self.names = databases
        self.pid = os.getpid()
        self.handles = 0
        self.map_size_bytes = map_size_bytes
        self.env: lmdb.Environment | None = None
        self.db: dict[str, lmdb._Database] = {}
        self.writing = threading.Lock()
        self._inside = threading.local()
        self._gate = threading.Condition()
        self._active = 0
        self._closing = False
        self._open()

    def _open(self) -> None:
        with _sorted_errors(self.path):
            self.env = lmdb.open(
                os.fspath(self.path),
                create=False,
                max_dbs=len(self.names),
                map_size=self.map_size_bytes,
                max_readers=_MAX_READERS,
            )
            self.env.reader_check()
            self.db = {name: self.env.open_db(name.encode(), create=False) for name in self.names}

    @contextlib.contextmanager
    def inside(self) -> Iterator[lmdb.Environment]:
        """Keep the environment open, and its map where it is, for the length of the block."""
        if self.pid != os.getpid():
            raise WrongProcess(
                f"{self.path} was opened by pid {self.pid} and is used by pid {os.getpid()}",
                hint="open it again after the fork",
            )
        if getattr(self._inside, "flag", False):
            raise RuntimeError("a transaction inside of a transaction would deadlock")
        with self._gate:
            self._gate.wait_for(lambda: not self._closing)
            if self.env is None:
                self._open()
            assert self.env is not None  # noqa: S101 - `_open` raises or sets it
            env = self.env
            self._active += 1
        self._inside.flag = True
        try:
            yield env
        finally:
            self._inside.flag = False
            with self._gate:
                self._active -= 1
                self._gate.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until nobody is inside, and let nobody in for the length of the block."""
        with self._gate:
            self._gate.wait_for(lambda: not self._closing)
            self._closing = True
            self._gate.wait_for(lambda: self._active == 0)
        try:
            yield
        finally:
            with self._gate:
                self._closing = False
                self._gate.notify_all()

    def set_map_size(self, size_bytes: int) -> None:
        """Grow the map to `size_bytes`; 0 takes the size that another process has chosen."""
        with self.alone(), _sorted_errors(self.path):
            if self.env is not None:
                self.env.set_mapsize(size_bytes)
                self.map_size_bytes = self.env.info()["map_size"]

    def close(self) -> None:
        """Close the environment; the next one to come inside opens it again."""
        with self.alone():
            if self.env is not None:
                self.env.close()
                self.env = None


_open_environments: dict[tuple[int, int], _Shared] = {}
_registry = threading.Lock()


class Environment:
    """A handle on an LMDB environment. Open with `Environment.open`, close when done.

    `name` is what its points are called: `NAME.writing`, `NAME.committing`, `NAME.committed`.
    """

    def __init__(self, shared: _Shared, files: Files, name: str, wait_s: float) -> None:
        self._shared = shared
        self._files = files
        self._name = name
        self._wait_s = wait_s
        self._closed = False
        self._lock = files.lock(shared.path / WRITE_LOCK_NAME)

    @classmethod
    def open(
        cls,
        path: Path,
        databases: tuple[str, ...],
        files: Files,
        *,
        name: str,
        map_size_bytes: int = DEFAULT_MAP_SIZE_BYTES,
        wait_s: float = DEFAULT_WAIT_S,
    ) -> Self:
        """Open an existing environment, or join the one that this process has open already.

        The map grows by itself: `map_size_bytes` only says where it starts. `wait_s` is how long a
        write waits for other writers. Slots of readers that died are cleared.

        Raises `InvalidValue` if nothing is there, `CorruptRecord` if it is not an environment of
        these databases.
        """
        if not _is_environment(path):
            raise InvalidValue(f"there is no database at {path}")
        with _registry:
            stat = (path / "data.mdb").stat()
            key = (stat.st_dev, stat.st_ino)
            shared = _open_environments.get(key)
            if shared is not None and shared.pid != os.getpid():
                # Inherited through a fork: useless here, but LMDB counts it as open.
                if shared.env is not None:
                    shared.env.close()
                shared = None
            if shared is None:
                shared = _Shared(path, databases, map_size_bytes)
                _open_environments[key] = shared
            shared.handles += 1
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
        self._check_open()
        while True:
            try:
                with self._shared.inside() as env, _sorted_errors(self.path):
                    with env.begin(buffers=False) as txn:
                        return work(txn, self._shared.db)
            except lmdb.MapResizedError:
                self._shared.set_map_size(0)
            except lmdb.ReadersFullError as error:
                if not self._clear_readers():
                    raise Unavailable(f"{self.path} has no reader slot left") from error

    def write(self, work: Callable[[Transaction, Databases], T]) -> T:
        """Return `work(txn, db)`, durable as a whole; if `work` raises, nothing happened.

        `work` is run again from its start if the map had to grow. Raises `StoreBusy` if another
        writer takes longer than `wait_s`, `OutOfSpace` and `OutcomeUnknown` if the commit failed:
        then read before writing on.
        """
        self._check_open()
        with self._alone_among_writers():
            while True:
                try:
                    return self._write_once(work)
                except lmdb.MapFullError:
                    self._shared.set_map_size(2 * self._shared.map_size_bytes)
                except lmdb.MapResizedError:
                    self._shared.set_map_size(0)

    def _write_once(self, work: Callable[[Transaction, Databases], T]) -> T:
        self._files.point(f"{self._name}.writing")
        committing = False
        try:
            with self._shared.inside() as env, _sorted_errors(self.path):
                txn = env.begin(write=True)
                try:
                    result = work(txn, self._shared.db)
                    self._files.point(f"{self._name}.committing")
                    committing = True
                    txn.commit()
                except BaseException:
                    txn.abort()
                    raise
        except (Unavailable, CorruptRecord) as error:
            # After a failed commit LMDB's view of the file is not to be trusted any more.
            self._shared.close()
            if committing and not isinstance(error, OutOfSpace | CorruptRecord):
                raise OutcomeUnknown(
                    f"the commit to {self.path} failed: {error}",
                    hint="what was acknowledged before is safe; read again to see whether this is",
                ) from error
            raise
        self._files.point(f"{self._name}.committed")
        return result

    @contextlib.contextmanager
    def _alone_among_writers(self) -> Iterator[None]:
        if not self._shared.writing.acquire(timeout=self._wait_s):
            raise StoreBusy(f"{self.path}: another thread has been writing for {self._wait_s} s")
        try:
            try:
                self._lock.acquire(wait_s=self._wait_s)
            except LockHeld as held:
                raise StoreBusy(
                    f"{self.path} is being written by {held.holder} for more than {self._wait_s} s"
                ) from held
            try:
                yield
            finally:
                self._lock.release()
        finally:
            self._shared.writing.release()

    def _clear_readers(self) -> int:
        with self._shared.inside() as env:
            return env.reader_check()

    def copy(self, directory: Path) -> None:
        """Write a compact, consistent copy as `directory/data.mdb`, while writers go on.

        Streamed: memory does not grow with the database. Durable when this returns, except for the
        name of `directory` itself.
        """
        self._check_open()
        with self._shared.inside() as env, _sorted_errors(self.path), translated(directory):
            with flat_residency(self.path / "data.mdb"):
                env.copy(os.fspath(directory), compact=True)
            fd = os.open(directory / "data.mdb", os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        self._files.sync_directory(directory)

    def close(self) -> None:
        """Give the handle back; the last one closes the environment. Harmless when repeated."""
        with _registry:
            if self._closed:
                return
            self._closed = True
            self._shared.handles -= 1
            if self._shared.handles == 0 and self._shared.pid == os.getpid():
                self._shared.close()
                for key in [k for k, s in _open_environments.items() if s is self._shared]:
                    del _open_environments[key]

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidValue(f"this handle on {self.path} was closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def close_all() -> None:
    """Close every environment of this process, whoever holds handles: what a death does.

    For crash simulations; handles that survive open their environment again when used.
    """
    with _registry:
        for shared in _open_environments.values():
            shared.close()
        _open_environments.clear()


def _is_environment(path: Path) -> bool:
    return (path / "data.mdb").is_file()


@contextlib.contextmanager
def _sorted_errors(path: Path) -> Iterator[None]:
    """Sort LMDB's errors by who must act; what is handled by trying again passes unchanged."""
    try:
        yield
    except (lmdb.MapFullError, lmdb.MapResizedError, lmdb.ReadersFullError, BootledgerError):
        raise
    except (
        lmdb.CorruptedError,
        lmdb.InvalidError,
        lmdb.NotFoundError,
        lmdb.PageNotFoundError,
        lmdb.VersionMismatchError,
    ) as error:
        raise CorruptRecord(
            f"{path} is not a sound LMDB environment: {error}",
            hint="restore it from a copy; do not touch lock.mdb",
        ) from error
    except (lmdb.DiskError, lmdb.Error) as error:
        text = str(error)
        if isinstance(error, lmdb.DiskError) or "No space left" in text:
            raise OutOfSpace(f"no room left for {path}: {text}", hint="free some space") from error
        if "Permission denied" in text or "Read-only" in text:
            raise ReadOnly(f"cannot write {path}: {text}") from error
        raise Unavailable(f"{path}: {text}") from error
