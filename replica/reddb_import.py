"""RedDB's intent log into a ledger: each intent whole, or not at all and kept for a person.

What the log says is read by `reddb_intent_log`, what it means in our events by `reddb_history`.
This module decides what becomes of each intent, and tells everything that did not become an event.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO
from uuid import UUID

import msgspec

from bootledger.errors import IntentConflict, InvalidValue, Refused
from bootledger.projections.heads import encode_head
from bootledger.replica.exchange import digest_of
from bootledger.replica.quarantine import Quarantine, Quarantined
from bootledger.replica.reddb_history import steps_of
from bootledger.replica.reddb_intent_log import (
    Damage,
    Foreign,
    Place,
    Record,
    read_line,
    read_log,
)
from bootledger.store.codec import encode_event
from bootledger.store.port import Append, EventStore

BATCH_EVENTS = 1000
"""How many events of one intent are appended in one transaction."""
MOST_DETAILS = 100
"""How many damages, and how many notes, are told in detail; all of them are counted."""


class Imported(msgspec.Struct):
    """What became of a log.

    `damaged` counts the places that no record could be read from, `noted` the records that hold
    more than an event can say; `damage` and `notes` describe the first `MOST_DETAILS` of each.
    `foreign` counts the records of other operations. `needs_a_look` is for exit codes.
    """

    records: int = 0
    intents: int = 0
    appended: int = 0
    present: int = 0
    quarantined: list[tuple[str, str]] = []
    damaged: int = 0
    damage: list[str] = []
    noted: int = 0
    notes: list[str] = []
    foreign: dict[str, int] = {}

    @property
    def needs_a_look(self) -> bool:
        """Whether something was damaged or quarantined."""
        return bool(self.damaged or self.quarantined)


def import_log(store: EventStore, file: BinaryIO, quarantine: Quarantine) -> Imported:
    """Append every intent of RedDB's log that is not in `store`; return all that there is to tell.

    Intents are appended in the order in which they began, each one whole: nobody resumes from half
    of one, unless this process dies within an intent of more than `BATCH_EVENTS` events. One that
    is there already is skipped, or goes on where it ends; all its events here must be the same. An
    intent that no events can say, that the table refuses or that has other events here is given to
    `quarantine` with the reason. The same import again changes nothing.

    Each intent is judged as a whole first, then read again to be appended: no more than
    `BATCH_EVENTS` of its records are held at once. What grows with the log is where its records
    lie, 24 bytes for each, and what is told of each intent. `file` must not change meanwhile.

    Raises what the store raises; then the same import goes on from there.
    """
    told = Imported()
    for intent, places in _intents(file, told).items():
        told.intents += 1
        try:
            judged = _judge(store, intent, file, places)
        except Refused as refusal:
            reason = str(refusal)
            quarantine(_whole(file, intent, places, reason))
            told.quarantined.append((str(intent), reason))
        else:
            _take_notes(told, judged)
            told.present += judged.present
            told.appended += _append(store, judged, file, places)
    return told


def _intents(file: BinaryIO, told: Imported) -> dict[UUID | str, array[int]]:
    """Return where the records of each intent lie, three numbers a record."""
    intents: dict[UUID | str, array[int]] = {}
    for found in read_log(file):
        match found:
            case Record():
                told.records += 1
                intents.setdefault(found.intent, array("Q")).extend(found.place)
            case Foreign():
                known = found.op in told.foreign or len(told.foreign) < MOST_DETAILS
                op = found.op if known else "others"
                told.foreign[op] = told.foreign.get(op, 0) + 1
            case Damage():
                told.damaged += 1
                if told.damaged <= MOST_DETAILS:
                    told.damage.append(_described(found))
    return intents


def _described(damage: Damage) -> str:
    line, offset, length = damage.place
    return f"line {line}, bytes {offset} to {offset + length}: {damage.reason}"


def _records(file: BinaryIO, places: array[int]) -> Iterator[Record]:
    for place, raw in _raw(file, places):
        (found,) = read_line(raw, place.line, place.offset_bytes)
        if not isinstance(found, Record):
            raise InvalidValue(f"line {place.line} changed while the log was imported")
        yield found


def _raw(file: BinaryIO, places: array[int]) -> Iterator[tuple[Place, bytes]]:
    for at in range(0, len(places), 3):
        place = Place(*places[at : at + 3])
        file.seek(place.offset_bytes)
        yield place, file.read(place.length_bytes)


def _whole(file: BinaryIO, intent: UUID | str, places: array[int], reason: str) -> Quarantined:
    return Quarantined(str(intent), reason, places[::3], lambda: (r for _, r in _raw(file, places)))


@dataclass
class _Judged:
    """An intent that can be imported: how many of its events the ledger has, and what to tell."""

    intent: UUID
    present: int = 0
    noted: int = 0
    notes: list[str] = field(default_factory=list)


def _judge(store: EventStore, intent: UUID | str, file: BinaryIO, places: array[int]) -> _Judged:
    """Read an intent to its end, and keep nothing of it but what is to be told.

    Raises `Refused` if it has no UUID, if events cannot say it, or if it has other ones in the
    ledger. Both sides are compared by the sum of their digests, as `exchange` does.
    """
    if not isinstance(intent, UUID):
        raise InvalidValue(f"its id is no UUID: {intent!r:.80}")
    head = store.head(intent)
    here = 0 if head is None else head.version
    judged, total = _Judged(intent), 0
    for step in steps_of(_records(file, places)):
        if step.event is not None:
            encode_event(step.event)  # one that is too large is refused now, and not half way
            if judged.present < here:
                judged.present += 1
                total += digest_of(judged.present, step.event)
        if step.note:
            judged.noted += 1
            if judged.noted <= MOST_DETAILS:
                judged.notes.append(f"line {step.line}, intent {intent}: {step.note}")
    if judged.present:
        ours = sum(
            digest_of(recorded.version, recorded.event)
            for recorded in store.history(intent)
            if recorded.version <= judged.present
        )
        if ours != total:
            raise IntentConflict("the ledger has other events of this intent")
    return judged


def _take_notes(told: Imported, judged: _Judged) -> None:
    told.noted += judged.noted
    told.notes += judged.notes[: MOST_DETAILS - len(told.notes)]


def _append(store: EventStore, judged: _Judged, file: BinaryIO, places: array[int]) -> int:
    """Append what the ledger does not have of an intent, batch by batch; return how much it is."""
    said = (step for step in steps_of(_records(file, places)) if step.event is not None)
    appends = (
        Append(judged.intent, number, step.event, encode_head(step.progress))
        for number, step in enumerate(said)
        if step.event is not None and number >= judged.present
    )
    appended = 0
    while batch := list(islice(appends, BATCH_EVENTS)):
        store.append(batch)
        appended += len(batch)
    return appended
