"""What lies about at a target and may be garbage, and who says what is still needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from uuid import UUID

from bootledger.artefacts import NOT_OURS, Artefact, Finding
from bootledger.basebackup.manifest import MANIFEST_NAME
from bootledger.errors import CorruptRecord
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

    An unfinished intent of this node may go on with them, one of any node was aborted with the
    word to keep what it had, or it cannot be read for whom they were made.
    """
    needed = _needed_by_owner(target, partial(_kept, log))
    for intent in log.list_unfinished(node_id):
        if intent.progress.snapshot is not None:
            why = f"intent {intent.intent_id} may go on with it"
            needed[intent.progress.snapshot.generation] = why
    return needed


def claimed_generations(log: IntentLog, target: Target) -> dict[int, str]:
    """Return the generations whose intent is not known to be finished, and why they stay.

    A start of the node need not keep them: it is the owner of its target. A collector of garbage
    is not, and may have been given another ledger.
    """
    return _needed_by_owner(target, lambda intent_id: why_needed(log, str(intent_id)))


def _needed_by_owner(target: Target, why: Callable[[UUID], str | None]) -> dict[int, str]:
    needed: dict[int, str] = {}
    current = target.current()
    for generation in target.generations():
        if generation == current:
            continue  # it stays whatever it says, and damage in it is no reason not to start
        try:
            intent_id = target.made_for(generation)
        except CorruptRecord as damaged:
            needed[generation] = f"{damaged}; {damaged.hint}"
            continue
        if intent_id is not None and (reason := why(intent_id)):
            needed[generation] = reason
    return needed


def _kept(log: IntentLog, intent_id: UUID) -> str | None:
    head = log.store.head(intent_id)
    end = decode_head(head).end if head else None
    if not isinstance(end, Abort) or not end.keep_artifacts:
        return None
    return f"intent {intent_id} was aborted and its artefacts kept: `discard` ends that"


def why_going_on(log: IntentLog, target: Target, node_id: str) -> str | None:
    """Return why a copy into the target may go on, None if none is unfinished.

    One that another ledger knows is told by the generation that it has begun.
    """
    for intent in log.list_unfinished(node_id):
        return f"intent {intent.intent_id} may go on with it"
    return next(iter(claimed_generations(log, target).values()), None)


def why_needed(log: IntentLog, intent_id: str) -> str | None:
    """Return why what was made for `intent_id` stays, at any place; None if it is finished.

    An intent that this ledger does not know may be another ledger's.
    """
    try:
        head = log.store.head(UUID(intent_id))
    except ValueError:
        head = None
    if head is None:
        return "this ledger does not know its intent"
    return "its intent is unfinished" if decode_head(head).unfinished else None


def target_artefacts(
    target: Target, needed: Mapping[int, str], *, others: Collection[str] = ()
) -> Iterator[Finding]:
    """Yield every generation, the temporary files of writes that died, and what is not ours.

    A generation stays if it is in service, if `needed` says why, or if a reader holds it. What
    `others` names is somebody else's to tell of.
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
    yield from _others(target.path, others)


def _temporary_file(target: Target, path: Path) -> Iterator[Finding]:
    temporary = temporary_path(path)

    def remove() -> bool:
        target.remove_temporary(path)
        return True

    if temporary.is_file() and not temporary.is_symlink():
        yield Finding(Artefact.at(temporary, "temporary file", "the write of it died"), remove)


def _others(path: Path, others: Collection[str]) -> Iterator[Finding]:
    ours = {CURRENT_NAME, IDENTITY_NAME, *NOT_CONTENT, *others}
    with translated(path):
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    for entry in entries:
        directory = entry.is_dir(follow_symlinks=False)
        if entry.name not in ours and not (directory and parse_generation(entry.name)):
            yield Finding(Artefact.at(path / entry.name, "something else", NOT_OURS))
