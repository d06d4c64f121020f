"""Make a new LMDB environment appear in one step: whole, durable, or not at all.

Creating one in place is not crash-atomic: LMDB writes the first pages without syncing them and
never syncs the directory. So it is built beside its place and renamed into it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb

from bootledger.artefacts import Artefact, Finding
from bootledger.errors import InvalidValue, StoreBusy
from bootledger.files import Files, LockHeld, translated
from bootledger.lmdb_errors import sorted_errors
from bootledger.shared_environment import (
    DATA_NAME,
    DEFAULT_WAIT_S,
    WRITE_LOCK_NAME,
    Databases,
    Transaction,
    is_environment,
)


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
    path = Path(os.path.realpath(path))
    if is_environment(path):
        # Whoever renamed it into place may have died before its name was durable.
        files.sync_directory(path.parent)
        return False
    if not path.parent.is_dir():
        raise InvalidValue(f"{path.parent} is not a directory", hint="create the parent first")
    lock = files.lock(_creation_lock(path))
    try:
        lock.acquire(wait_s=wait_s)
    except LockHeld as held:
        raise StoreBusy(f"{path} is being created by {held.holder}") from held
    try:
        return _create_locked(path, databases, initialise, files)
    finally:
        lock.release(remove=True)


def creation_leftovers(path: Path, files: Files) -> Iterator[Finding]:
    """Yield what creations of the existing environment `path` left beside it when they died."""
    lock = files.lock(_creation_lock(path))

    def remove() -> bool:
        try:
            lock.acquire()
        except LockHeld:
            return False
        try:
            files.remove(_building(path))
        finally:
            lock.release(remove=True)
        return True

    left = [each for each in (_building(path), lock.path) if each.exists()]
    if left:
        artefact = Artefact.at(left[0], "unfinished creation", "the process that made it died")
        yield Finding(artefact, remove)  # both of them


def _building(path: Path) -> Path:
    return path.with_name(f".{path.name}.creating")


def _creation_lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.creating.lock")


def _create_locked(
    path: Path,
    databases: tuple[str, ...],
    initialise: Callable[[Transaction, Databases], None],
    files: Files,
) -> bool:
    if is_environment(path):
        files.sync_directory(path.parent)
        return False
    with translated(path):
        taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    if taken:
        raise InvalidValue(f"{path} exists and is not a database", hint="choose another path")
    building = _building(path)
    files.remove(building)
    files.make_directory(building)
    files.point("environment.building")
    _build(building, databases, initialise)
    files.point("environment.built")
    with translated(path):
        building.replace(path)
    files.point("environment.renamed")
    files.sync_directory(path.parent)
    files.point("environment.created")
    return True


def _build(
    path: Path, databases: tuple[str, ...], initialise: Callable[[Transaction, Databases], None]
) -> None:
    # The format is named, so that nothing in the process's surroundings can change it. What the
    # system says when py-lmdb makes the directory, which is there, it raises as an OSError.
    with (
        translated(path),
        sorted_errors(path),
        lmdb.open(os.fspath(path), max_dbs=len(databases), lib_version=0) as env,
        env.begin(write=True) as txn,
    ):
        db = {name: env.open_db(name.encode(), txn=txn) for name in databases}
        initialise(txn, db)
    with translated(path):
        # Made here, so that on a full disk a writer needs no room to lock.
        (path / WRITE_LOCK_NAME).touch()
        for target in (path / DATA_NAME, path):
            fd = os.open(target, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
