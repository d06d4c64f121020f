"""The one open LMDB environment of a path in this process, and who is inside of it.

LMDB must not have a file open twice in one process. So there is one `SharedEnvironment` a file,
found by device and inode whatever name the file goes by, and counted by its handles
(`bootledger.environment.Environment`), which survive its being closed and opened again.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

import lmdb

from bootledger.errors import (
    BootledgerError,
    CorruptRecord,
    InvalidValue,
    StoreBusy,
    Unavailable,
    WrongProcess,
)
from bootledger.files import FileLock, Files, LockHeld, translated
from bootledger.lmdb_errors import sorted_errors

# Text, because these types exist for type checkers only.
Transaction: TypeAlias = "lmdb.Transaction[bytes]"
Databases: TypeAlias = "Mapping[str, lmdb._Database]"  # noqa: SLF001 - the stub has no other name

DEFAULT_WAIT_S = 10.0
DATA_NAME = "data.mdb"
WRITE_LOCK_NAME = "write.lock"
_MAX_READERS = 1024


class Opened(NamedTuple):
    """An open environment and its databases."""

    env: lmdb.Environment
    db: Databases


class _ThisThread(threading.local):
    inside = False


class SharedEnvironment:
    """What all handles of one file share. Made by `join`."""

    def __init__(
        self, path: Path, databases: tuple[str, ...], added: tuple[str, ...], map_size_bytes: int
    ) -> None:
        self.path = path
        self.databases = databases
        self.added = added
        self.map_size_bytes = map_size_bytes
        self.pid = os.getpid()
        self.handles = 0
        self.retired = False
        self.writing = threading.Lock()
        self.opened: Opened | None = None
        self._this_thread = _ThisThread()
        self._gate = threading.Condition()
        self._active = 0
        self._closing = False

    def check_process(self) -> None:
        """Raise `WrongProcess` if this was carried across a fork."""
        if self.pid != os.getpid():
            raise WrongProcess(
                f"{self.path} was opened by pid {self.pid} and is used by pid {os.getpid()}",
                hint="open it again after the fork",
            )

    def open(self) -> Opened:
        """Open the environment, which must not be open, and return it; all of it or nothing.

        Finding the databases takes a write transaction, because py-lmdb forgets what was found in
        a read transaction: so LMDB's mutex is waited for, which only a caller that holds the write
        lock knows to be short.
        """
        with sorted_errors(self.path), contextlib.ExitStack() as undo:
            env = lmdb.open(
                os.fspath(self.path),
                create=False,
                max_dbs=len(self.databases),
                map_size=self.map_size_bytes,
                max_readers=_MAX_READERS,
            )
            undo.callback(env.close)
            self._cover(env)
            env.reader_check()
            try:
                db = self._find_databases(env)
            except lmdb.MapResizedError:  # another process grew it between the two calls
                env.set_mapsize(0)
                db = self._find_databases(env)
            except lmdb.MapFullError:  # there was no room for the one that is added
                env.set_mapsize(2 * env.info()["map_size"])
                db = self._find_databases(env)
            self.opened = Opened(env, db)
            undo.pop_all()
        return self.opened

    def _cover(self, env: lmdb.Environment) -> None:
        """Make the file as long as its pages say, if somebody cut it.

        Touching a page beyond the end of a file kills the process; touching a page of zeros is an
        error that says so.
        """
        data = self.path / DATA_NAME
        needed_bytes = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
        if data.stat().st_size < needed_bytes:
            with translated(data):
                os.truncate(data, needed_bytes)

    def _find_databases(self, env: lmdb.Environment) -> Databases:
        try:
            return {
                name: env.open_db(name.encode(), create=name in self.added)
                for name in self.databases
            }
        except lmdb.NotFoundError:
            self._check_kind(env)
            raise

    def _check_kind(self, env: lmdb.Environment) -> None:
        """Refuse what is sound and something else; one of ours that lost a name is damaged."""
        with env.begin() as txn:
            found = {bytes(name) for name in txn.cursor().iternext(values=False)}
        ours = {name.encode() for name in self.databases}
        if found and 2 * len(found & ours) < len(ours):
            raise InvalidValue(
                f"{self.path} is an LMDB environment of another kind: it lacks most of "
                f"{', '.join(self.databases)}",
                hint="name the right directory",
            )

    @contextlib.contextmanager
    def inside(self) -> Iterator[Opened]:
        """Keep the environment open, and its map where it is, for the length of the block."""
        if self._this_thread.inside:
            raise RuntimeError("a transaction inside of a transaction would deadlock")
        try:
            with self._gate:
                while self._closing:
                    self._gate.wait()
                if self.retired:
                    raise Unavailable(f"{self.path} was closed meanwhile by `close_all`")
                opened = self.opened or self.open()
                self._active += 1
                self._this_thread.inside = True
            yield opened
        finally:
            if self._this_thread.inside:
                self._this_thread.inside = False
                with self._gate:
                    self._active -= 1
                    self._gate.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until nobody is inside, and let nobody in for the length of the block."""
        with self._gate:
            self._gate.wait_for(lambda: not self._closing)
            self._closing = True
        try:
            with self._gate:
                self._gate.wait_for(lambda: self._active == 0)
            yield
        finally:
            with self._gate:
                self._closing = False
                self._gate.notify_all()

    def set_map_size(self, size_bytes: int) -> None:
        """Grow the map to `size_bytes`; 0 takes the size that another process has chosen."""
        with self.alone(), sorted_errors(self.path):
            if self.opened is not None:
                self.opened.env.set_mapsize(size_bytes)
                self.map_size_bytes = self.opened.env.info()["map_size"]

    def reopen(self) -> None:
        """Close the environment and open it again; for a caller that holds the write lock.

        If that does not succeed, the next one to come inside tries again, and is told.
        """
        with self.alone():
            self._close()
            with contextlib.suppress(BootledgerError):
                self.open()

    def retire(self) -> None:
        """Close the environment for good: handles must join another one."""
        with self.alone():
            self.retired = True
            self._close()

    def _close(self) -> None:
        if self.opened is not None:
            self.opened.env.close()
            self.opened = None


_shared: dict[tuple[int, int], SharedEnvironment] = {}
_registry = threading.Lock()


def _new_registry_lock() -> None:
    # Another thread may have held it at the moment of the fork, and is not here to release it.
    global _registry  # noqa: PLW0603 - a lock cannot be reset in place
    _registry = threading.Lock()


os.register_at_fork(after_in_child=_new_registry_lock)


def join(
    path: Path,
    databases: tuple[str, ...],
    files: Files,
    *,
    added: tuple[str, ...],
    map_size_bytes: int,
    wait_s: float,
) -> SharedEnvironment:
    """Return the environment of `path` in this process, opened if it was not; one handle more.

    Those of the `databases` that are `added` are made if they are missing.

    Raises `InvalidValue` if nothing is there or it is open with other databases, `CorruptRecord`
    if it is not an environment of these databases, `StoreBusy` if another process writes for longer
    than `wait_s`.
    """
    with _registry:
        if not is_environment(path):
            raise InvalidValue(f"there is no database at {path}")
        stat = (path / DATA_NAME).stat()
        if not stat.st_size:
            raise CorruptRecord(f"{path / DATA_NAME} is empty", hint="restore it from a copy")
        key = (stat.st_dev, stat.st_ino)
        shared = _shared.get(key)
        if shared is not None and shared.pid != os.getpid():
            # Inherited through a fork: useless here, but LMDB counts it as open.
            if shared.opened is not None:
                shared.opened.env.close()
            shared = None
        if shared is None:
            shared = SharedEnvironment(path, databases, added, map_size_bytes)
            with write_lock(path, files, wait_s):
                shared.open()
            _shared[key] = shared
        elif shared.databases != databases:
            raise InvalidValue(
                f"{path} is open with the databases {shared.databases}, not {databases}"
            )
        shared.handles += 1
        return shared


def leave(shared: SharedEnvironment) -> None:
    """Give one handle back; the last one closes the environment."""
    with _registry:
        shared.handles -= 1
        if shared.handles == 0 and shared.pid == os.getpid() and not shared.retired:
            shared.retire()
            _forget(shared)


def close_all() -> None:
    """Close every environment of this process, whoever holds handles: what a death does.

    For crash simulations; handles that survive join again when they are used.
    """
    with _registry:
        for shared in list(_shared.values()):
            if shared.pid == os.getpid():
                shared.retire()
                _forget(shared)


def _forget(shared: SharedEnvironment) -> None:
    for key in [key for key, value in _shared.items() if value is shared]:
        del _shared[key]


def is_environment(path: Path) -> bool:
    """Return whether there is an LMDB data file in the directory `path`."""
    with translated(path):
        return (path / DATA_NAME).is_file()


def write_lock(path: Path, files: Files, wait_s: float) -> FileLock:
    """Take the write lock of the environment `path`, which comes before LMDB's own mutex.

    It is held until the end of a `with` block. Raises `StoreBusy` with the holder's pid if another
    process holds it longer than `wait_s`.
    """
    return take_write_lock(files.lock(path / WRITE_LOCK_NAME), wait_s)


def take_write_lock(lock: FileLock, wait_s: float) -> FileLock:
    """Take the lock of `write_lock`, for a caller that takes it again and again."""
    try:
        return lock.acquire(wait_s=wait_s)
    except LockHeld as held:
        raise StoreBusy(f"{lock.path.parent} is being written by {held.holder}") from held
