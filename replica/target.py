"""The directory that a replica lives in, and the one process that may change it.

    TARGET/identity      whose it is: source, node, format
    TARGET/CURRENT       the name of the generation in service, or `none`
    TARGET/gen-0001/     a database; a promoted one is never renamed
    TARGET/gen-0001/intent   for which intent it was made
    TARGET/owner.lock    held by the owner for its life
    TARGET/ledger/       the default place of the ledger; not touched here

Nobody writes, swaps or deletes here without the owner's lock. Readers need none of it: see
`bootledger.replica.readers`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self
from uuid import UUID

from uuid_utils.compat import uuid7

from bootledger.clock import Clock, now_ms
from bootledger.errors import (
    CorruptRecord,
    DivergedHistory,
    InvalidValue,
    TargetBusy,
    WrongProcess,
)
from bootledger.files import FileLock, Files, LockHeld, temporary_path, translated
from bootledger.replica.identity import LEDGER_NAME, OWNER_LOCK_NAME, Identity, find_identity
from bootledger.replica.readers import (
    CURRENT_NAME,
    IDENTITY_NAME,
    INTENT_NAME,
    NO_GENERATION,
    READERS_LOCK_NAME,
    checked_current,
    current_directory,
    generation_name,
    has_database,
    open_current,
    parse_generation,
)

__all__ = ["LEDGER_NAME", "Identity", "Target", "current_directory", "open_current"]


class Target:
    """A target that this process owns. Open with `Target.open`, close when done.

    Everything that changes it refuses once it is closed, once its lock file is no longer the one
    that was locked (`TargetBusy`), and in a forked child (`WrongProcess`).
    """

    def __init__(self, path: Path, files: Files, lock: FileLock, identity: Identity) -> None:
        self.path = path
        self.identity = identity
        self._files = files
        self._lock = lock
        self._lock_stat = lock.path.stat()
        self._pid = os.getpid()

    @classmethod
    def open(
        cls,
        path: Path,
        files: Files,
        *,
        source_database_id: str,
        node_id: str,
        wait_s: float = 0.0,
        clock: Clock = now_ms,
        new_id: Callable[[], UUID] = uuid7,
    ) -> Self:
        """Take the target at `path` into possession, making it if it is missing or empty.

        A relative path, `..` and links are followed once, here. When this returns, the identity is
        durable, and no other process owns the target until `close` or the death of this one.
        `wait_s` is how long another owner is waited for. A new identity is made of `clock` and
        `new_id`.

        Raises `ForeignTarget` if it belongs to another source or node or is something else,
        `TargetBusy` if a live process owns it, `InvalidValue` if it is not a directory or has no
        parent, `ReadOnly`, `CorruptRecord` if identity or CURRENT cannot be believed,
        `UnknownFormat`. Nothing is created then.
        """
        wanted = Identity(
            source_database_id=source_database_id,
            node_id=node_id,
            target_id=str(new_id()),
            created_at_ms=clock(),
        )
        path = _resolved(path)
        # What is not ours is refused before there is even a lock file.
        if find_identity(path, wanted) is None:
            files.make_directory(path)
        lock = files.lock(path / OWNER_LOCK_NAME)
        try:
            lock.acquire(wait_s=wait_s)
        except LockHeld as held:
            raise TargetBusy(
                f"{path} is owned by {held.holder or 'another process'}",
                hint="wait for it, or stop that process",
            ) from held
        try:
            found = find_identity(path, wanted)
            if found is None:
                # CURRENT first: where there is an identity, a missing CURRENT is a damage.
                _write_current(path, NO_GENERATION, files)
                files.replace(path / IDENTITY_NAME, wanted.encode(), name="identity")
            else:
                files.sync_directory(path)  # a creation that died may have left its rename unsynced
            return cls(path, files, lock, found or wanted)
        except BaseException:  # an interrupt, too; it goes on
            lock.release()
            raise

    def current(self) -> int | None:
        """Return the generation in service, None before the first promotion.

        Raises `CorruptRecord` if CURRENT is missing or names what is not there.
        """
        return checked_current(self.path)

    def generations(self) -> list[int]:
        """Return the generations that have a directory, in order; other names are left alone."""
        with translated(self.path):
            found = (
                parse_generation(entry.name)
                for entry in os.scandir(self.path)
                if entry.is_dir(follow_symlinks=False)
            )
            return sorted(generation for generation in found if generation is not None)

    def directory(self, generation: int) -> Path:
        """Return where a generation lives, whether it is there or not."""
        return self.path / generation_name(generation)

    def create_generation(self, generation: int, intent_id: UUID | None = None) -> Path:
        """Make the directory of a generation if it is missing, and return it. Durable.

        It belongs to `intent_id` from then on, if one is given. Raises as `check_candidate`.
        """
        self.check_owned()
        self.check_candidate(generation, intent_id)
        directory = self.directory(generation)
        self._files.make_directory(directory)
        if intent_id is not None and self._made_for_line(generation) != _line(intent_id):
            self._files.replace(directory / INTENT_NAME, _line(intent_id), name="intent")
        return directory

    def check_candidate(self, generation: int, intent_id: UUID | None = None) -> None:
        """Check that a generation may be written to: it is newer than the one in service.

        Raises `DivergedHistory` if it is not. No history of this target leads there: readers use
        what CURRENT names, and its successor was never older.
        """
        current = self.current()
        if current is not None and generation <= current:
            raise DivergedHistory(
                f"generation {generation} is to be written, and CURRENT names generation {current}",
                hint="the ledger is older than the target, or was imported: abort the intent with "
                f"bootledger abort LEDGER {intent_id or 'INTENT'} --reason WHY, and start again",
            )

    def made_for(self, generation: int) -> UUID | None:
        """Return the intent that a generation belongs to, None if it does not say.

        Raises `CorruptRecord` if it says something that is no intent.
        """
        line = self._made_for_line(generation)
        if line is None:
            return None
        try:
            return UUID(line.decode().removesuffix("\n"))
        except ValueError as error:
            file = self.directory(generation) / INTENT_NAME
            raise CorruptRecord(
                f"{file} says {line.decode(errors='replace')!r}, which is no intent",
                hint=f"remove the file {file} if nobody needs what lies beside it: then it is "
                "garbage like any other",
            ) from error

    def _made_for_line(self, generation: int) -> bytes | None:
        file = self.directory(generation) / INTENT_NAME
        with translated(file), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return file.read_bytes()[:100]
        return None

    def promote(self, generation: int) -> None:
        """Put a generation into service: from here on CURRENT names it, durably.

        At any moment a reader, and a machine that lost power, finds the last generation or this
        one. Repeats harmlessly. The database must be complete and durable before.

        Raises `InvalidValue` if the generation has no database, or is older than the one in
        service: whoever has read the newer one must not see the past.
        """
        self.check_owned()
        directory = self.directory(generation)
        if not has_database(directory):
            raise InvalidValue(f"{directory} holds no database to promote")
        current = self.current()
        if current is not None and generation < current:
            raise InvalidValue(f"generation {generation} is older than {current}, in service")
        self._files.open(directory / READERS_LOCK_NAME, size_bytes=0).close()
        # Again, even if CURRENT says so already: a crash may have left the rename without its sync.
        _write_current(self.path, directory.name, self._files)

    def remove_unused(self, keep: Callable[[], Iterable[int]] = tuple) -> list[int]:
        """Remove every generation that is neither in service, nor to keep, nor held by a reader.

        `keep` is asked what that is only if there is more than the one in service. Returns what was
        removed, durably. What a reader holds goes with a later call.
        """
        self.check_owned()
        current = self.current()
        others = [generation for generation in self.generations() if generation != current]
        kept = set(keep()) if others else ()
        return [each for each in others if each not in kept and self.remove(each)]

    def remove_made_for(self, intent_id: UUID) -> tuple[list[int], list[int]]:
        """Remove the generations that belong to an intent; return those removed, and those left.

        Left is what is in service, and what a reader holds. A generation whose file is damaged
        does not say that it is this intent's, and is not touched. Durable when this returns.
        """
        self.check_owned()
        current = self.current()
        removed: list[int] = []
        left: list[int] = []
        for generation in self.generations():
            if self._made_for_line(generation) == _line(intent_id):
                gone = generation != current and self.remove(generation)
                (removed if gone else left).append(generation)
        return removed, left

    def remove(self, generation: int) -> bool:
        """Remove a generation unless a reader holds it; return whether it is gone, durably.

        Raises `InvalidValue` if it is in service.
        """
        self.check_owned()
        if generation == self.current():
            raise InvalidValue(f"generation {generation} is in service")
        directory = self.directory(generation)
        readers = self._files.lock(directory / READERS_LOCK_NAME)
        # Promotion makes the file. Where it is missing nobody reads, and to make it may take room
        # that is not there: removal is what a full disk needs.
        if readers.path.exists():
            try:
                readers.acquire()
            except LockHeld:
                return False
        try:
            self.check_owned()
            self._files.point("generation.removing")
            self._files.remove(directory)
            self._files.point("generation.removed")
        finally:
            readers.release()
        return True

    def remove_temporary(self, path: Path) -> None:
        """Remove what a replacement of `path`, a file of this target, left behind when it died."""
        self.check_owned()
        self._files.remove(temporary_path(path))

    def check_owned(self) -> None:
        """Raise as every change of a target does if it is not this process's any more."""
        if self._pid != os.getpid():
            raise WrongProcess(
                f"{self.path} is owned by pid {self._pid} and is used by pid {os.getpid()}",
                hint="open it again after the fork, when its owner has closed it",
            )
        if not self._lock.held:
            raise InvalidValue(f"this handle on {self.path} was closed")
        mine = False
        with contextlib.suppress(FileNotFoundError):
            mine = os.path.samestat(self._lock.path.stat(), self._lock_stat)
        if not mine:
            raise TargetBusy(
                f"{self._lock.path} was removed or replaced: {self.path} may have another owner",
                hint="stop this process; never remove the lock file of a live one",
            )

    def close(self) -> None:
        """Give the target up. Writes nothing. Harmless when repeated."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _resolved(path: Path) -> Path:
    if "\0" in os.fspath(path):
        raise InvalidValue(f"a path must not contain NUL: {str(path)!r:.80}")
    try:
        resolved = path.resolve()
    except (OSError, RuntimeError, UnicodeEncodeError) as error:
        raise InvalidValue(f"{str(path)!r:.80} cannot be followed: {error}") from error
    if resolved.is_symlink():  # Python 3.13 and newer stop quietly at a circle of links
        raise InvalidValue(f"{str(path)!r:.80} is a link that leads nowhere")
    return resolved


def _line(intent_id: UUID) -> bytes:
    return f"{intent_id}\n".encode()


def _write_current(path: Path, name: str, files: Files) -> None:
    files.replace(path / CURRENT_NAME, f"{name}\n".encode(), name="current")
