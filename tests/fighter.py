"""One of several processes that want the same target, and the diary of what it did there.

A diary is a file outside of ledger and target. Each line is written at once, with the time of the
one clock that all processes of a machine share, so it outlives its writer's SIGKILL.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Self

import msgspec
from replicas import CHUNK_BYTES, NODE, quiet

from bootledger.errors import Refused, Unavailable
from bootledger.files import FileLock, Files, OpenFile
from bootledger.primary.source import LocalSource
from bootledger.replica.database import Database
from bootledger.replica.identity import OWNER_LOCK_NAME
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.loop import Replication
from bootledger.replica.settings import Settings
from bootledger.replica.target import LEDGER_NAME, Target
from bootledger.statemachine.events import Event
from bootledger.store.codec import encode_event
from bootledger.store.lmdb import LmdbEventStore
from bootledger.store.port import Append, NodeExpectation


class Note(msgspec.Struct):
    """One line of a diary: when, what, and about what."""

    at_ns: int
    what: str
    about: str = ""
    digest: str = ""


class Diary:
    """Writes notes; each is in the file when `note` returns."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        path = directory / f"{os.getpid()}-{time.monotonic_ns()}"
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, what: str, about: object = "", digest: str = "") -> None:
        """Write one line."""
        line = msgspec.json.encode(Note(time.monotonic_ns(), what, str(about), digest))
        os.write(self._fd, line + b"\n")


def read_diary(path: Path) -> list[Note]:
    """Return the whole lines of a diary."""
    lines = path.read_bytes().rpartition(b"\n")[0].splitlines()
    return [msgspec.json.decode(line, type=Note) for line in lines]


class NotedFiles(Files):
    """Real files; every write and every lock is noted, before and after."""

    def __init__(self, diary: Diary) -> None:
        self._diary = diary

    def point(self, name: str) -> None:
        """Note the commits to the replica's databases, which LMDB writes."""
        if name in ("applier.committing", "applier.committed"):
            self._diary.note("write", name)

    def make_directory(self, path: Path) -> None:
        self._diary.note("write", path)
        super().make_directory(path)

    def replace_from(
        self,
        path: Path,
        pieces: Iterable[bytes | memoryview],
        *,
        name: str,
        temporary: Path | None = None,
    ) -> None:
        self._diary.note("write", path)
        super().replace_from(path, pieces, name=name, temporary=temporary)
        self._diary.note("write", path)

    def remove(self, path: Path) -> None:
        self._diary.note("write", path)
        super().remove(path)
        self._diary.note("write", path)

    def open(self, path: Path, *, size_bytes: int | None = None) -> OpenFile:
        if size_bytes is not None:
            self._diary.note("write", path)
        file = super().open(path, size_bytes=size_bytes)
        return _NotedFile(path, file._fd, self._diary)

    def lock(self, path: Path) -> FileLock:
        return _NotedLock(path, self, self._diary)


class _NotedFile(OpenFile):
    def __init__(self, path: Path, fd: int, diary: Diary) -> None:
        super().__init__(path, fd)
        self._diary = diary

    def write_at(self, offset_bytes: int, data: bytes | memoryview) -> None:
        self._diary.note("write", self.path)
        super().write_at(offset_bytes, data)
        self._diary.note("write", self.path)


class _NotedLock(FileLock):
    def __init__(self, path: Path, files: NotedFiles, diary: Diary) -> None:
        super().__init__(path, files.point)
        self._diary = diary

    def acquire(self, *, wait_s: float = 0.0, words: str = "") -> Self:
        super().acquire(wait_s=wait_s, words=words)
        self._diary.note("locked", self.path, self._seen())
        return self

    def release(self, *, remove: bool = False) -> None:
        if self.held:
            self._diary.note("unlocking", self.path, self._seen())
        super().release(remove=remove)

    def _seen(self) -> str:
        return digest_of(self.path.parent) if self.path.name == OWNER_LOCK_NAME else ""


def digest_of(target: Path) -> str:
    """Return a digest of what lies in a target, but for its ledger and for locks."""
    seen = []
    for path in sorted(target.rglob("*")):
        if path.is_relative_to(target / LEDGER_NAME) or not path.is_file():
            continue
        if path.suffix != ".lock" and path.name != "lock.mdb" and LEDGER_NAME not in path.name:
            stat = path.stat()
            seen.append(f"{path} {stat.st_size} {stat.st_mtime_ns}")
    return sha256("\n".join(seen).encode()).hexdigest()


class NotedStore(LmdbEventStore):
    """The durable store; what it acknowledged is noted when it has been."""

    diary: Diary

    def append(
        self, batch: Sequence[Append], *, expect: NodeExpectation | None = None
    ) -> Sequence[int]:
        positions = super().append(batch, expect=expect)
        for position, item in zip(positions, batch, strict=True):
            words = acknowledged(position, str(item.intent_id), item.expected_version + 1)
            self.diary.note("acknowledged", words, event_digest(item.event))
        return positions


def acknowledged(position: int, intent_id: str, version: int) -> str:
    """Return how an acknowledged event is called in a diary."""
    return f"{position} {intent_id} {version}"


def event_digest(event: Event) -> str:
    """Return what tells an event from another one."""
    return sha256(encode_event(event)).hexdigest()


def open_log(target: Path, files: Files, diary: Diary, *, create: bool) -> IntentLog:
    """Open the target's ledger; every acknowledged event is noted."""
    store = NotedStore.open(target / LEDGER_NAME, files=files, create=create)
    store.diary = diary
    return IntentLog(store, sink=quiet)


def replicate_once(primary: Path, target: Path, diary: Diary) -> None:
    """Bring the target up to date once, as `bootledger.replicate` does."""
    files = NotedFiles(diary)
    with LocalSource.open(primary, files, chunk_bytes=CHUNK_BYTES, wait_s=1) as source:
        database_id = source.identity().database_id
        with (
            Target.open(target, files, source_database_id=database_id, node_id=NODE) as opened,
            open_log(opened.path, files, diary, create=True) as log,
        ):
            Replication(
                NODE,
                log,
                source,
                opened,
                partial(Database.open, files=files, name="applier"),
                files=files,
                settings=Settings(batch_changes=40),
            ).run()


def fight(primary: Path, target: Path, diaries: Path, seed: int) -> None:
    """Replicate again and again until killed; note how each try ended.

    What may happen in a fight is to be refused and to be told to wait. Anything else ends it, with
    a traceback on standard error.
    """
    diary, chance = Diary(diaries), random.Random(seed)
    while True:
        diary.note("trying")
        try:
            replicate_once(primary, target, diary)
            diary.note("completed")
        except (Refused, Unavailable) as error:
            diary.note(type(error).__name__, error)
        time.sleep(chance.uniform(0, 0.02))


def fight_life_after_life(primary: Path, target: Path, diaries: Path, seed: int) -> None:
    """Fight in a child, print its pid, and let another one fight as soon as it was killed.

    A fork is a new life in no time, which a new start of Python is not.
    """
    for life in itertools.count():
        child = os.fork()
        if child == 0:
            fight(primary, target, diaries, seed + life)
        os.write(sys.stdout.fileno(), b"%d\n" % child)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            sys.exit("a fighter gave up")
