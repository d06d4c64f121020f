"""All events of a ledger as lines of JSON, and back: for copies, for moving house, for other tools.

The format is written down in docs/format.md ("Exported events"). What was exported and imported
into an empty ledger is the same ledger: the same positions, frames, heads and index, and exported
again the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO
from uuid import UUID

import msgspec
from blake3 import blake3
from crc32c import crc32c

from bootledger.errors import CorruptRecord, DivergedHistory, IntentConflict, Refused, UnknownFormat
from bootledger.positions import U64
from bootledger.projections.heads import decode_head, encode_head
from bootledger.statemachine.events import Event
from bootledger.statemachine.fold import EMPTY, advance
from bootledger.statemachine.progress import Progress
from bootledger.store.port import Append, EventStore

FORMAT_NAME = "bootledger-events"
FORMAT = 1
MAX_LINE_BYTES = 64 * 1024
"""Longer than any line that is ever exported: whatever is longer is no export."""
BATCH_EVENTS = 1000
"""How many events one transaction reads or appends."""

_HINT = "export it again, from a ledger that `bootledger verify` finds sound"
_SEAL_BYTES = len(b',"crc32c":"00000000"}')
_SEAL = re.compile(rb',"crc32c":"[0-9a-f]{8}"\}\n')


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    version: U64


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    position: U64
    intent_id: UUID
    version: U64
    event: Event


class _Trailer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    events: U64
    all_crc32c: str


_encode = msgspec.json.Encoder().encode
_decode_line = msgspec.json.Decoder(_Line).decode
_encode_event = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True)
class Imported:
    """What an import found: events that it appended, and events that were there already."""

    appended: int
    present: int


# --- Export -------------------------------------------------------------------------------------


def exported_lines(store: EventStore) -> Iterator[bytes]:
    """Yield every line of an export of `store`, in bounded memory.

    Exports what is there at the first line, whatever is appended meanwhile. Raises `Corrupted` at
    an event that cannot be read: then the last line, and with it a whole export, is missing.
    """
    end = store.last_position()
    header = _seal(_encode(_Header(FORMAT_NAME, FORMAT)))
    all_crc = crc32c(header)
    yield header
    position = 0
    while position < end:
        for recorded in store.read(position, min(BATCH_EVENTS, end - position)):
            line = _seal(_encode(_Line(*recorded)))
            all_crc = crc32c(line, all_crc)
            yield line
            position = recorded.position
    yield _seal(_encode(_Trailer(end, f"{all_crc:08x}")))


def _seal(body: bytes) -> bytes:
    """Return a JSON object as a line, with the CRC32C of the bytes before it as its last field."""
    open_body = body[:-1]
    return b'%b,"crc32c":"%08x"}\n' % (open_body, crc32c(open_body))


# --- Reading an export --------------------------------------------------------------------------


def is_export(beginning: bytes) -> bool:
    """Return whether a file that begins like this was meant to be an export, damaged or not."""
    return beginning.startswith(b'{"format":') or _SEAL.search(beginning) is not None


def read_export(file: BinaryIO) -> Iterator[_Line]:
    """Yield the events of an export from its first byte on, each one checked, in bounded memory.

    Raises `UnknownFormat` for another format, `CorruptRecord` naming the line for any byte that is
    not as it was written, for lines that are missing, and for a file that was cut.
    """
    file.seek(0)
    number, all_crc = 1, 0
    line = file.readline(MAX_LINE_BYTES)
    _check_header(line)
    while True:
        all_crc = crc32c(line, all_crc)
        number += 1
        line = file.readline(MAX_LINE_BYTES)
        body = _unseal(line, number)
        if body.startswith(b'{"events":'):
            break
        try:
            read = _decode_line(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise _damaged(number, f"no event: {error}") from error
        if read.position != number - 1:
            raise _damaged(number, f"position {read.position} cannot follow {number - 2}")
        yield read
    if body != _encode(_Trailer(number - 2, f"{all_crc:08x}")):
        raise _damaged(number, f"the last line does not fit the {number - 2} events before it")
    if file.read(1):
        raise _damaged(number + 1, "nothing may follow the last line")


def _check_header(line: bytes) -> None:
    if line == _seal(_encode(_Header(FORMAT_NAME, FORMAT))):
        return
    body = _unseal(line, 1)
    try:
        header = msgspec.json.decode(body, type=_Header)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _damaged(1, f"no header of exported events: {error}") from error
    raise UnknownFormat(
        f"line 1: format {header.format!r}, version {header.version}; "
        f"this version knows {FORMAT_NAME!r}, version {FORMAT}",
        hint="import it with the version of bootledger that wrote it, or a newer one",
    )


def _unseal(line: bytes, number: int) -> bytes:
    if not line.endswith(b"\n"):
        raise _damaged(number, "the file was cut" if len(line) < MAX_LINE_BYTES else "too long")
    body = line[: -_SEAL_BYTES - 1] + b"}"
    if len(line) <= _SEAL_BYTES or line != _seal(body):
        raise _damaged(number, "the checksum does not match")
    return body


def _damaged(number: int, reason: str) -> CorruptRecord:
    return CorruptRecord(f"line {number} of the exported events: {reason}", hint=_HINT)


# --- Import -------------------------------------------------------------------------------------


def import_events(store: EventStore, file: BinaryIO) -> Imported:
    """Append every event of an export that `store` does not have.

    Memory does not grow with events, nor with intents that are new: of each intent of the file that
    is in the ledger already, two numbers are kept, some 500 bytes.

    The whole file is read and compared before anything is written. An intent that is there already
    must have the same events as far as both know it; then only what is missing is appended. Events
    are appended in the order of the file, in transactions of `BATCH_EVENTS`; after a death in the
    middle the same import goes on and ends the same.

    Raises `Corrupted` if the file is damaged or was cut, `IntentConflict` naming an intent that
    has other events here (nothing was written then), and `DivergedHistory` at an event that the
    table refuses (what comes before it in the file is there then).
    """
    present = _compare(store, file)
    writer = _Writer(store)
    skipped = 0
    for line in read_export(file):
        if line.version <= present.get(line.intent_id, 0):
            skipped += 1
        else:
            writer.add(line)
    writer.flush()
    return Imported(writer.appended, skipped)


def _compare(store: EventStore, file: BinaryIO) -> dict[UUID, int]:
    """Return how many events of each intent of `file` are in `store` already, the same ones.

    Both sides of an intent are summed up, so that neither has to fit into memory; the sums do.
    """
    present: dict[UUID, int] = {}
    sums: dict[UUID, tuple[int, int]] = {}  # the last version that both have, the sum up to it
    for line in read_export(file):
        if line.version == 1 and (head := store.head(line.intent_id)) is not None:
            present[line.intent_id] = head.version
        if line.version <= present.get(line.intent_id, 0):
            _, total = sums.get(line.intent_id, (0, 0))
            sums[line.intent_id] = line.version, total + digest_of(line.version, line.event)
    for intent_id, (last, total) in sums.items():
        ours = sum(
            digest_of(recorded.version, recorded.event)
            for recorded in store.history(intent_id)
            if recorded.version <= last
        )
        if ours != total:
            raise IntentConflict(
                f"intent {intent_id} is in the ledger with other events than in the file",
                hint="import it into another ledger, and look at both",
            )
    return present


def digest_of(version: int, event: Event) -> int:
    """Return a number for an event at its place: the sum over a history stands for the history."""
    return int.from_bytes(blake3(b"%d " % version + _encode_event(event)).digest())


class _Writer:
    """Collects events into bounded transactions, each event checked by the table."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._batch: list[Append] = []
        self._folded: dict[UUID, Progress] = {}
        self.appended = 0

    def add(self, line: _Line) -> None:
        """Check one event and append it with the next flush."""
        before = self._progress(line.intent_id)
        if line.version <= before.version:
            raise IntentConflict(
                f"intent {line.intent_id} went on in the ledger while it was imported",
                hint="import it again: what is there already is skipped",
            )
        if line.version != before.version + 1:
            raise DivergedHistory(
                f"event {line.version} of intent {line.intent_id} cannot follow event "
                f"{before.version}"
            )
        try:
            after = advance(before, line.event)
        except Refused as refusal:
            raise DivergedHistory(
                f"event {line.version} of intent {line.intent_id} breaks the rules: {refusal}",
                hint="this export was not written from a ledger: do not trust it",
            ) from refusal
        self._folded[line.intent_id] = after
        self._batch.append(Append(line.intent_id, before.version, line.event, encode_head(after)))
        if len(self._batch) == BATCH_EVENTS:
            self.flush()

    def flush(self) -> None:
        """Append what was collected, durably."""
        self._store.append(self._batch)
        self.appended += len(self._batch)
        self._batch.clear()
        if len(self._folded) > BATCH_EVENTS:
            self._folded.clear()  # what is needed again is read again

    def _progress(self, intent_id: UUID) -> Progress:
        known = self._folded.get(intent_id)
        if known is None:
            head = self._store.head(intent_id)
            known = EMPTY if head is None else decode_head(head)
        return known
