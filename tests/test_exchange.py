from __future__ import annotations

import io
import random
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from unittest.mock import patch
from uuid import UUID

import msgspec
import pytest
import sample_events as sample
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import histories
from worlds import CrashingFiles, Scenario, every_single

from bootledger.errors import (
    Corrupted,
    CorruptRecord,
    DivergedHistory,
    IntentConflict,
    UnknownFormat,
)
from bootledger.projections.heads import encode_head
from bootledger.replica import exchange
from bootledger.replica.exchange import (
    MAX_LINE_BYTES,
    Imported,
    exported_lines,
    import_events,
    is_export,
)
from bootledger.statemachine.events import Event
from bootledger.statemachine.fold import EMPTY, advance
from bootledger.store.lmdb import LmdbEventStore
from bootledger.store.memory import MemoryEventStore
from bootledger.store.port import Append, EventStore

Ledger = list[tuple[UUID, Event]]
A, B = UUID(int=0xA), UUID(int=0xB)


@st.composite
def ledgers(draw: st.DrawFn, *, max_intents: int = 3) -> Ledger:
    """Legal histories of a few intents, interleaved as they come."""
    left = {
        UUID(int=number): list(history)
        for number, history in enumerate(draw(st.lists(histories(), max_size=max_intents)), 1)
        if history
    }
    order = random.Random(draw(st.integers(0, 2**16)))
    ledger: Ledger = []
    while left:
        intent_id = order.choice(sorted(left))
        ledger.append((intent_id, left[intent_id].pop(0)))
        if not left[intent_id]:
            del left[intent_id]
    return ledger


def fill(store: EventStore, ledger: Ledger) -> None:
    """Append a ledger, event by event, with the heads that belong to it."""
    progress = {}
    for intent_id, event in ledger:
        before = progress.get(intent_id, EMPTY)
        after = progress[intent_id] = advance(before, event)
        store.append([Append(intent_id, before.version, event, encode_head(after))])


def stored(*histories_of: tuple[UUID, Sequence[Event]]) -> MemoryEventStore:
    """A ledger with these histories, one after the other."""
    store = MemoryEventStore()
    fill(store, [(intent_id, event) for intent_id, events in histories_of for event in events])
    return store


def export(store: EventStore) -> bytes:
    """The whole export."""
    return b"".join(exported_lines(store))


def everything(store: EventStore) -> tuple[object, ...]:
    """All that a store keeps of its events, as its port shows it."""
    events = store.read(0, 10_000)
    return events, [store.head(item.intent_id) for item in events], store.unfinished()


RICH = stored(
    (A, (*sample.HALF, sample.suspend(), sample.resume(), sample.abort())),
    (B, (*sample.PROMOTING, sample.complete())),
)


@given(ledgers())
@settings(max_examples=40)
def test_import_of_an_export_is_the_same_ledger(ledger: Ledger) -> None:
    """Events, heads and index are equal, and exported again the bytes are identical."""
    first, second = MemoryEventStore(), MemoryEventStore()
    fill(first, ledger)
    exported = export(first)
    assert import_events(second, io.BytesIO(exported)) == Imported(len(ledger), 0)
    assert everything(second) == everything(first)
    assert export(second) == exported
    assert import_events(second, io.BytesIO(exported)) == Imported(0, len(ledger))
    assert everything(second) == everything(first)


def databases(store: LmdbEventStore) -> dict[str, list[tuple[bytes, bytes]]]:
    """Every record of the ledger, byte by byte."""
    names = ("log", "heads", "unfinished")
    return store._env.read(lambda txn, db: {n: list(txn.cursor(db[n])) for n in names})


@given(ledger=ledgers())
@settings(max_examples=4)
def test_on_disk_the_imported_ledger_has_the_same_bytes(
    ledger: Ledger, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Frames, heads and index of the durable adapter are equal, record by record."""
    place = tmp_path_factory.mktemp("ledgers")
    with (
        closing(LmdbEventStore.open(place / "first")) as first,
        closing(LmdbEventStore.open(place / "second")) as second,
    ):
        fill(first, ledger)
        import_events(second, io.BytesIO(export(first)))
        assert databases(second) == databases(first)


def test_every_flipped_bit_of_an_export_is_reported() -> None:
    """Any bit of any byte: the import names the damage, and writes nothing."""
    exported = export(stored((A, (*sample.HALF, sample.abort()))))
    for at in range(len(exported)):
        for bit in range(8):
            damaged = bytearray(exported)
            damaged[at] ^= 1 << bit
            with pytest.raises(Corrupted):
                list(exchange.read_export(io.BytesIO(damaged)))
    store = MemoryEventStore()
    damaged = bytearray(exported)
    damaged[-40] ^= 1
    with pytest.raises(Corrupted):
        import_events(store, io.BytesIO(damaged))
    assert store.last_position() == 0


@given(ledgers(), st.data())
@settings(max_examples=40)
def test_a_flipped_byte_of_any_export_is_reported(ledger: Ledger, data: st.DataObject) -> None:
    """Random ledgers, random places, random values: never imported, never another error."""
    store = MemoryEventStore()
    fill(store, ledger)
    damaged = bytearray(export(store))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Corrupted):
        import_events(MemoryEventStore(), io.BytesIO(damaged))


def test_a_cut_or_patched_file_is_reported() -> None:
    """A file cut at any byte, with lines gone, doubled, swapped, added or of another export."""
    exported = export(RICH)
    lines = exported.splitlines(keepends=True)
    other = export(stored((B, sample.PROMOTING))).splitlines(keepends=True)
    wrong = [exported[:end] for end in range(len(exported))]
    wrong += [b"".join(lines[:n] + lines[n + 1 :]) for n in range(len(lines))]
    wrong += [b"".join(lines[:n] + lines[n:][:1] + lines[n:]) for n in range(len(lines))]
    wrong += [
        b"".join([lines[0], lines[2], lines[1], *lines[3:]]),
        exported + lines[-1],
        exported + b"\n",
        b"".join([*lines[:2], other[2], *lines[3:]]),
        b"x" * (2 * MAX_LINE_BYTES),
        lines[0] + b"[" * (2 * MAX_LINE_BYTES),
    ]
    for damaged in wrong:
        with pytest.raises(Corrupted):
            import_events(MemoryEventStore(), io.BytesIO(damaged))


def test_deep_nesting_with_a_right_checksum_is_an_error() -> None:
    """Bytes that were forged are refused in bounded time, not by a dead process."""
    header = next(exported_lines(MemoryEventStore()))
    for body in (b'{"position":%b}' % (b"[" * 60_000), b'{"position":1}', b"[]", b"{}"):
        forged = header + exchange._seal(body)
        with pytest.raises(CorruptRecord, match="line 2"):
            import_events(MemoryEventStore(), io.BytesIO(forged))


def test_another_format_is_refused_by_name() -> None:
    """A newer version is unknown, not damaged: its name and number are told."""
    newer = exchange._seal(b'{"format":"bootledger-events","version":2}')
    with pytest.raises(UnknownFormat, match="version 2"):
        import_events(MemoryEventStore(), io.BytesIO(newer))
    assert is_export(newer)


def test_each_event_must_be_legal() -> None:
    """An export that no ledger wrote is refused by the table, by intent and version."""
    forged = MemoryEventStore()
    forged.append([Append(A, 0, sample.begin(), b""), Append(A, 1, sample.promote(), b"")])
    store = MemoryEventStore()
    with pytest.raises(DivergedHistory, match=rf"event 2 of intent {A}"):
        import_events(store, io.BytesIO(export(forged)))


def test_other_events_of_the_same_intent_are_refused_by_name() -> None:
    """What both know must be equal; nothing is written where it is not."""
    exported = export(stored((A, sample.HALF), (B, sample.FOLLOWING)))
    store = stored((B, (*sample.BEGUN, sample.checkpoint(101))))
    before = everything(store)
    with pytest.raises(IntentConflict, match=str(B)):
        import_events(store, io.BytesIO(exported))
    assert everything(store) == before


@pytest.mark.parametrize("known", range(len(sample.HALF) + 1))
def test_what_is_there_already_is_skipped(known: int) -> None:
    """A ledger that has a part of an intent gets the rest; one that has more keeps it."""
    store = stored((B, sample.FOLLOWING), (A, sample.HALF[:known]))
    whole = export(stored((A, sample.HALF)))
    assert import_events(store, io.BytesIO(whole)) == Imported(len(sample.HALF) - known, known)
    assert [item.event for item in store.history(A)] == list(reversed(sample.HALF))
    part = export(stored((A, sample.HALF[: max(known, 1)])))
    assert import_events(store, io.BytesIO(part)).appended == 0


def test_an_import_goes_on_after_a_death_at_any_point(tmp_path: Path) -> None:
    """Killed at any durable step, the same import ends with the same ledger, byte by byte."""
    exported = export(RICH)

    def run(files: CrashingFiles, place: Path) -> None:
        with (
            patch.object(exchange, "BATCH_EVENTS", 3),
            closing(LmdbEventStore.open(place / "ledger", files=files)) as store,
        ):
            import_events(store, io.BytesIO(exported))

    def check(place: Path) -> None:
        with closing(LmdbEventStore.open(place / "ledger")) as store:
            assert export(store) == exported

    every_single(Scenario(run, check=check), at_least=10)


def test_an_export_holds_what_was_there_when_it_began() -> None:
    """Events that are appended meanwhile are left for the next one, and it ends whole."""
    store = stored((A, sample.BEGUN))
    lines = exported_lines(store)
    got = [next(lines)]
    fill(store, [(B, sample.begin())])
    got += list(lines)
    assert len(got) == 3
    assert import_events(MemoryEventStore(), io.BytesIO(b"".join(got))) == Imported(1, 0)


GOLDEN = (
    '{"format":"bootledger-events","version":1,"crc32c":"3d789b98"}\n'
    '{"position":1,"intent_id":"00000000-0000-0000-0000-00000000000a","version":1,"event":{"k'
    'ind":"begin","recorded_at_ms":1,"node_id":"replica-a","source_lsn":18446744073709551615,'
    '"target_lsn_hint":200,"holder":{"host":"replica-1","pid":4242,"started_at_ms":1700000000'
    '000},"source_identity":"db-1","labels":{"ticket":"4711"}},"crc32c":"7f82e89f"}\n'
    '{"events":1,"all_crc32c":"18ea3e4c","crc32c":"6222156e"}\n'
)


def test_the_golden_bytes_of_an_export() -> None:
    """The format is pinned: a change of these bytes is a new version."""
    event = msgspec.structs.replace(sample.begin(), source_lsn=2**64 - 1)
    assert export(stored((A, [event]))).decode() == GOLDEN
