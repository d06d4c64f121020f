"""What lies about at a target and may be garbage, and who says what is still needed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from uuid import UUID

from bootledger.artefacts import NOT_OURS, Artefact, Finding
from bootledger.basebackup.manifest import MANIFEST_NAME
from bootledger.files import is_in_use, temporary_path, translated
from bootledger.projections.heads import decode_head
from bootledger.replica.identity import NOT_CONTENT
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.readers import (
    CURRENT_NAME,
    IDENTITY_NAME,
    READERS_LOCK_NAME,
    parse_generation,
)
from bootledger.replica.target import Target
from bootledger.statemachine.events import Abort


def needed_generations(log: IntentLog, target: Target, node_id: str) -> dict[int, str]:
    """Return the generations that must stay, and why.

    An unfinished intent of this node may go on with them, or one of any node was aborted with the
    word to keep what it had. Raises `CorruptRecord` if one does not say for whom it was made.
    """
    needed = {
        generation: f"intent {intent_id} was aborted and its artefacts kept: `discard` ends that"
        for generation in target.generations()
        if (intent_id := target.made_for(generation)) and _keeps(log, intent_id)
    }
    for intent in log.list_unfinished(node_id):
        if intent.progress.snapshot is not None:
            why = f"intent {intent.intent_id} may go on with it"
            needed[intent.progress.snapshot.generation] = why
    return needed


def _keeps(log: IntentLog, intent_id: UUID) -> bool:
    head = log.store.head(intent_id)
    end = decode_head(head).end if head else None
    return isinstance(end, Abort) and end.keep_artifacts


def why_needed(log: IntentLog, intent_id: str) -> str | None:
    """Return why base backups of `intent_id` stay at the source; None if it is finished.

    An intent that this ledger does not know may be another ledger's.
    """
    try:
        head = log.store.head(UUID(intent_id))
    except ValueError:
        head = None
    if head is None:
        return "this ledger does not know its intent"
    return "its intent is unfinished" if decode_head(head).unfinished else None


def target_artefacts(target: Target, needed: Mapping[int, str]) -> Iterator[Finding]:
    """Yield every generation, the temporary files of writes that died, and what is not ours.

    A generation stays if it is in service, if `needed` says why, or if a reader holds it.
    """
    reasons = dict(needed)
    if (current := target.current()) is not None:
        reasons[current] = "it is in service"
    for generation in target.generations():
        directory = target.directory(generation)
        reason = reasons.get(generation)
        if reason is None and is_in_use(directory / READERS_LOCK_NAME):
            reason = "a reader holds it"
        if reason is None:
            artefact = Artefact.at(directory, "generation", "no intent and no reader needs it")
            yield Finding(artefact, partial(target.remove, generation))
        else:
            yield Finding(Artefact.at(directory, "generation", reason))
            yield from _temporary_file(target, directory / MANIFEST_NAME)
    for name in (CURRENT_NAME, IDENTITY_NAME):
        yield from _temporary_file(target, target.path / name)
    yield from _others(target.path)


def _temporary_file(target: Target, path: Path) -> Iterator[Finding]:
    temporary = temporary_path(path)

    def remove() -> bool:
        target.remove_temporary(path)
        return True

    if temporary.is_file() and not temporary.is_symlink():
        yield Finding(Artefact.at(temporary, "temporary file", "the write of it died"), remove)


def _others(path: Path) -> Iterator[Finding]:
    ours = {CURRENT_NAME, IDENTITY_NAME, *NOT_CONTENT}
    with translated(path):
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    for entry in entries:
        directory = entry.is_dir(follow_symlinks=False)
        if entry.name not in ours and not (directory and parse_generation(entry.name)):
            yield Finding(Artefact.at(path / entry.name, "something else", NOT_OURS))
