"""What is here before a copy begins: the file of one that was given up, and what is in service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from bootledger.basebackup.manifest import DATA_NAME
from bootledger.errors import CorruptRecord
from bootledger.files import Files, OpenFile
from bootledger.replica.readers import READERS_LOCK_NAME, has_database
from bootledger.replica.target import Target
from bootledger.statemachine.progress import Snapshot


def inherit(target: Target, intent_id: UUID, snapshot: Snapshot, files: Files) -> None:
    """Make the data file of the generation that `intent_id` gave up that of `snapshot`.

    The pin of `snapshot` is recorded: nothing claims a byte of the old file any more. What of it is
    in the new base backup, at the same place, need not be fetched, and there is never room taken
    for both. The file is cut to the size of the snapshot before it moves; what it holds means
    nothing until it was compared.

    Harmless when repeated, and where there is nothing to inherit: no candidate of this very intent,
    or the new one has a file. What is in service, was promoted once or belongs to another intent is
    not touched. Durable when this returns. Passes `candidate.renaming`, `candidate.renamed` and
    `candidate.synced`. Raises as `Target.create_generation`.
    """
    heir = target.directory(snapshot.generation) / DATA_NAME
    left = _left_by(intent_id, target, before=snapshot.generation)
    if left is None or snapshot.size_bytes is None or heir.exists():
        return
    target.create_generation(snapshot.generation, intent_id)
    data = target.directory(left) / DATA_NAME
    with files.open(data) as file:
        too_long = file.size_bytes() > snapshot.size_bytes
    if too_long:
        files.open(data, size_bytes=snapshot.size_bytes).close()
    files.rename(data, heir, name="candidate")


@contextmanager
def database_in_service(target: Target, files: Files) -> Iterator[OpenFile | None]:
    """Open the database that CURRENT names as a file of bytes, to be read; None if it names none.

    Only the owner of the target writes to it, and not while it copies another.
    """
    current = target.current()
    if current is None:
        yield None
        return
    with files.open_to_read(target.directory(current) / DATA_NAME) as file:
        yield file


def _left_by(intent_id: UUID, target: Target, *, before: int) -> int | None:
    """Return the newest generation that the intent gave up and that has a file."""
    current = target.current()
    for generation in reversed(target.generations()):
        directory = target.directory(generation)
        if generation >= before or generation == current:
            continue
        if (directory / READERS_LOCK_NAME).exists() or (directory / DATA_NAME).is_symlink():
            continue
        try:
            mine = target.made_for(generation) == intent_id
        except CorruptRecord:
            continue  # it does not say that it is this intent's
        if mine and has_database(directory):
            return generation
    return None
