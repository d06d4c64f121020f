"""Publishing one base backup: the copy, then the manifest that makes it one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from bootledger.basebackup.manifest import DATA_NAME, MANIFEST_NAME
from bootledger.basebackup.publishing import describe
from bootledger.errors import BootledgerError, OutOfSpace
from bootledger.files import Files, translated
from bootledger.replica.database import Database
from bootledger.replica.ports import Pause

Progress: TypeAlias = Callable[[int, int], None]
"""Told of a publication how many bytes are done, of how many. Both are for people."""


def publish(
    database: Database,
    directory: Path,
    files: Files,
    *,
    chunk_bytes: int,
    begun: Callable[[], None],
    pause: Pause,
    progress: Progress,
) -> None:
    """Publish a base backup of `database` as `directory`. Durable when this returns.

    `begun` is called when the directory is there and still empty, `pause` is asked and `progress`
    told again and again. Each byte is written and then read again:
    it is half done in between. If it raises, nothing is left behind; after a death, a directory
    without a manifest may be. Raises `OutOfSpace` at once if the disk has less room than that.
    """
    data = directory / DATA_NAME
    size_bytes = (database.path / DATA_NAME).stat().st_size
    described_bytes = 0

    def copying() -> None:
        pause()
        progress(min(data.stat().st_size, size_bytes) // 2, size_bytes)

    def describing() -> None:
        nonlocal described_bytes
        pause()
        progress((size_bytes + min(described_bytes, size_bytes)) // 2, size_bytes)
        described_bytes += chunk_bytes

    check_room(directory.parent, size_bytes)
    try:
        files.make_directory(directory)
        begun()
        start_lsn = database.last_lsn()
        files.point("basebackup.copying")
        database.copy(directory, copying)
        files.point("basebackup.copied")
        # Writers went on: only the copy itself can tell at which LSN it was made.
        with Database.open(directory, files, name="basebackup") as copy:
            identity, lsn = copy.identity(), copy.last_lsn()
        with files.open(data) as file:
            describe(
                file,
                source_identity=identity.database_id,
                timeline=identity.timeline,
                start_lsn=start_lsn,
                checkpoint_lsn=lsn,
                path=DATA_NAME,
                files=files,
                manifest_path=directory / MANIFEST_NAME,
                chunk_bytes=chunk_bytes,
                pause=describing,
            ).close()
    except BootledgerError:
        files.remove(directory)
        raise


def check_room(directory: Path, size_bytes: int) -> None:
    """Raise `OutOfSpace` if the disk that `directory` is on has less than `size_bytes` free."""
    with translated(directory):
        free_bytes = shutil.disk_usage(directory).free
    if free_bytes < size_bytes:
        raise OutOfSpace(
            f"a base backup takes {size_bytes} bytes, and {directory} has {free_bytes} left",
            hint="free some space, or release base backups that nobody needs",
        )
