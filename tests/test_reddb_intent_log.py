from __future__ import annotations

import io
import json
import re
import tracemalloc
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result
from worlds import CrashingFiles, Scenario, every_single

from bootledger.cli.app import app
from bootledger.files import Files
from bootledger.replica import reddb_import
from bootledger.replica.bootstrapper import ReplicaBootstrapper
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.quarantine import Quarantined, QuarantineFolder
from bootledger.replica.reddb_import import Imported, import_log
from bootledger.replica.reddb_intent_log import MAX_LINE_BYTES, Damage, Found, Record, read_log
from bootledger.statemachine.events import Begin, Checkpoint, Complete, Event, SnapshotChunk
from bootledger.statemachine.labels import REDACTED
from bootledger.store.codec import MAX_EVENT_BYTES
from bootledger.store.lmdb import LmdbEventStore
from bootledger.store.memory import MemoryEventStore
from bootledger.store.port import EventStore

A, B = UUID(int=0xA << 64), UUID(int=0xB << 96)
NODE = "replica-1"


def record(phase: str = "running", *, intent: object = A, **fields: object) -> dict[str, object]:
    """A record as RedDB writes it; `fields` replace or add, None takes away."""
    whole = {
        "actor": NODE,
        "args": {"replica_id": NODE, "source_lsn": 1, "target_lsn_hint": 9},
        "id": str(intent),
        "op": "replica_bootstrap",
        "phase": phase,
        "ts": 1000,
        **fields,
    }
    return {name: value for name, value in whole.items() if value is not None}


def checkpoint(lsn: object, number: int = 1, **fields: object) -> dict[str, object]:
    """A plain checkpoint of intent A."""
    told = {"batches_applied": 1, "last_applied_lsn": lsn}
    return record(f"checkpoint_{number}", progress=told, **fields)


def transfer(token: object, offset: object, lsn: object = 1) -> dict[str, object]:
    """A checkpoint of a snapshot of intent A."""
    told = {"last_applied_lsn": lsn, "snapshot_cursor": token, "snapshot_offset": offset}
    return record("checkpoint_1", progress=told)


def line(value: object) -> bytes:
    """One line of a log."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True).encode() + b"\n"


def log_of(*values: object) -> bytes:
    """A whole log."""
    return b"".join(map(line, values))


def brought(log: bytes, store: EventStore | None = None) -> tuple[Imported, list[Quarantined]]:
    """Import a log, into an empty ledger unless told otherwise."""
    kept: list[Quarantined] = []
    return import_log(store or MemoryEventStore(), io.BytesIO(log), kept.append), kept


def history(log: bytes, intent: UUID = A) -> list[Event]:
    """The events of one intent of a log, imported."""
    store = MemoryEventStore()
    brought(log, store)
    return [recorded.event for recorded in store.history(intent)][::-1]


def reason(*values: object) -> str:
    """Why intent A is quarantined; nothing of it may be in the ledger then."""
    store = MemoryEventStore()
    report, (kept,) = brought(log_of(*values), store)
    assert store.head(A) is None
    assert report.quarantined == [(kept.intent, kept.reason)]
    assert report.needs_a_look
    return kept.reason


# --- What a log says ----------------------------------------------------------------------------


def test_a_history_becomes_events() -> None:
    """Begin, the cursor as chunks, checkpoints and the end, with every number and text."""
    log = log_of(
        record(actor="ops", args={"replica_id": NODE, "source_lsn": 5, "ticket": 4711}),
        transfer("snap", 100, 5),
        transfer("snap", 250, 5),
        checkpoint(7, 3),
        record("completed", summary={"total_records": 3, "duration_ms": 4}),
    )
    begin, first, second, applied, end = history(log)
    assert isinstance(begin, Begin)
    assert (begin.node_id, begin.source_lsn, begin.target_lsn_hint) == (NODE, 5, None)
    assert begin.labels == {"actor": "ops", "args": {"ticket": 4711}}
    assert isinstance(first, SnapshotChunk)
    assert isinstance(second, SnapshotChunk)
    assert (first.staged, second.staged) == ((0, 100), (100, 250))
    assert (second.token, second.generation, second.applied_lsn) == ("snap", 1, 5)
    assert applied == Checkpoint(recorded_at_ms=1000, applied_lsn=7, batches=1)
    assert end == Complete(recorded_at_ms=1000, total_records=3, duration_ms=4)


def test_an_imported_intent_resumes_where_the_log_stood() -> None:
    """The node of an unfinished intent goes on from token, offset and LSN, in the same intent."""
    store = MemoryEventStore()
    brought(log_of(record(), transfer("snap", 100, 5)), store)
    with closing(IntentLog(store, sink=lambda _: None)) as log:
        resumed = ReplicaBootstrapper(NODE).resume(log)
        assert resumed is not None
        point, handle = resumed
        assert (point.last_applied_lsn, point.snapshot_token, point.snapshot_offset) == (
            *(5, "snap", 100),
        )
        assert handle.intent_id == A
        handle.close()


def test_secrets_in_the_arguments_are_redacted() -> None:
    """RedDB redacts at the top level only; what it left lying deeper does not get in."""
    (begin,) = history(log_of(record(args={"replica_id": NODE, "db": {"password": "hunter2"}})))
    assert isinstance(begin, Begin)
    assert begin.labels == {"args": {"db": {"password": REDACTED}}}


def test_what_was_not_told_again_stays() -> None:
    """A checkpoint without progress repeats what is known; before any, it is noted and no event."""
    log = log_of(record(), record("checkpoint_1"), checkpoint(7, 2), record("checkpoint_3"))
    assert [event.applied_lsn for event in history(log) if isinstance(event, Checkpoint)] == [7, 7]
    report, _ = brought(log)
    assert report.notes == [f"line 2, intent {A}: it tells no progress"]
    assert not report.needs_a_look


@pytest.mark.parametrize("spelled", [str(A).upper(), A.hex, f"{{{A}}}", f"urn:uuid:{A}"])
def test_a_uuid_is_the_same_however_it_is_written(spelled: str) -> None:
    """Records under another spelling belong to the same intent."""
    log = log_of(record(intent=spelled), record("completed"))
    assert len(history(log)) == 2


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ([record(), record()], "line 2: begin"),
        ([record(), record("completed"), checkpoint(5)], "line 3: checkpoint"),
        ([record(), checkpoint(5), checkpoint(4, 2)], "line 3: checkpoint refused"),
        ([record(), transfer("snap", 9), transfer("snap", 8)], "line 3: offset 8"),
        *(
            ([record(), checkpoint(lsn)], "line 2: last_applied_lsn")
            for lsn in (-1, 1.5, "5", True, 2**53, 2**64, 10**30, [5], {})
        ),
        ([record(), transfer("snap", 1.5)], "line 2: snapshot_offset"),
        ([record(), transfer(5, 1)], "line 2: snapshot_cursor"),
        ([record(), transfer("", 1)], "line 2: token"),
        ([record(), transfer("t" * 1025, 1)], "line 2: token"),
        ([record(), transfer(REDACTED, 1)], "line 2: snapshot_cursor was redacted"),
        ([record(), transfer(None, 5)], "line 2: snapshot_offset 5 belongs to no snapshot"),
        ([record(args={"replica_id": 5})], "line 1: args.replica_id"),
        ([record(args={"replica_id": ""})], "line 1: node id"),
        ([record(args={"replica_id": "n" * 256})], "line 1: node id"),
        ([record(args=[])], "line 1: args.replica_id"),
        ([record(args={"replica_id": NODE, "source_lsn": "x"})], "line 1: source_lsn"),
        ([record(args={"replica_id": NODE, "": 1})], "line 1: a name in label"),
        ([record(intent="not-a-uuid")], "its id is no UUID: 'not-a-uuid'"),
        ([record(intent="é" * 18)], "its id is no UUID"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_what_cannot_be_said_is_quarantined_whole(wrong: list[object], why: str) -> None:
    """Nothing is guessed: the intent stays out, with the line and the reason."""
    assert reason(*wrong).startswith(why)


def test_a_quarantined_history_is_kept_byte_by_byte(tmp_path: Path) -> None:
    """The file holds the reason and every record as it was, once, however often it is imported."""
    lines = [line(record()), line(record("completed")), line(checkpoint(5))]
    ledger = tmp_path / "ledger"
    with closing(LmdbEventStore.open(ledger)) as store:
        folder = QuarantineFolder(ledger, CrashingFiles())
        for _ in range(2):
            log = lines[0] + line(record(intent=B)) + lines[1] + lines[2]
            report = import_log(store, io.BytesIO(log), folder)
            assert [intent for intent, _ in report.quarantined] == [str(A)]
        assert store.last_position() == 1
    (file,) = (ledger / "quarantine").iterdir()
    header, records = file.read_bytes().split(b"\n", 1)
    assert records == b"".join(lines)
    told = json.loads(header)
    assert (told["intent"], told["lines"]) == (str(A), [1, 3, 4])
    assert told["reason"] == report.quarantined[0][1]


# --- Damage -------------------------------------------------------------------------------------


def found(log: bytes) -> list[Found]:
    """What a reader finds."""
    return list(read_log(io.BytesIO(log)))


def phases(log: bytes) -> list[str]:
    """The records that are found, by phase; all damage left out."""
    return [item.phase for item in found(log) if isinstance(item, Record)]


def test_one_bad_byte_hides_one_record() -> None:
    """Bytes that are not UTF-8 cost the record that they are in, and no other."""
    bad = line(record("checkpoint_1")).replace(b"replica-1", b"replica-\xff", 1)
    log = line(record()) + b"\xff\n" + bad + line(record("completed"))
    assert phases(log) == ["running", "completed"]
    assert [item.place.line for item in found(log) if isinstance(item, Damage)] == [2, 3]


def test_a_torn_record_swallows_nothing() -> None:
    """Wherever a write was cut, the record that was appended behind it counts."""
    whole = line(record("checkpoint_1"))
    for cut in range(1, len(whole) - 1):
        log = line(record()) + whole[:cut] + line(record("completed"))
        assert phases(log) == ["running", "completed"]
    without_line_feed = line(record()) + whole[:-1] + line(record("completed"))
    assert phases(without_line_feed) == ["running", "checkpoint_1", "completed"]


def test_damage_is_told_with_its_place() -> None:
    """Line, bytes and reason, whatever the damage is; blank lines are none."""
    good = line(record())
    pieces = {
        b"no JSON at all\n": "no JSON",
        b"\0\0\0\0\n": "no JSON",
        b"[]\n": "no object",
        b'{"op":"replica_bootstrap","phase":"running"}\n': "no id",
        b'{"id":5,"op":"replica_bootstrap","phase":"running"}\n': "its id is no text",
        line(record("checkpoint_x")): "there is no phase 'checkpoint_x'",
        line(record("checkpoint_4294967296")): "there is no phase 'checkpoint_4294967296'",
        b'{"id":NaN}\n': "no JSON",
    }
    log = good + b"\r\n \n".join(pieces)
    damages = [item for item in found(log) if isinstance(item, Damage)]
    assert [damage.reason for damage in damages] == list(pieces.values())
    for damage, piece in zip(damages, pieces, strict=True):
        place = damage.place
        assert log[place.offset_bytes :][: place.length_bytes] == piece.rstrip(b"\n")


def test_line_ends_and_texts_are_read_as_reddb_reads_them() -> None:
    """CRLF ends a line, raw control characters and other line separators do not."""
    odd = line(record(actor="a\u2028b\u0085c")).replace(b"\n", b"\r\n")
    raw = line(record("checkpoint_1", actor="x")).replace(b'"x"', b'"\x01\t"')
    assert phases(odd + raw + line(record("checkpoint_+5"))) == [
        *("running", "checkpoint_1", "checkpoint_+5")
    ]


@pytest.mark.parametrize(
    "hostile",
    [
        b"[" * 60_000,
        b'{"a":' * 12_000,
        b'{"id":' * 10_000,
        b"[" * (8 * 2**20),
        b'{"id":"' + b"x" * (8 * 2**20),
        b'{"n":' + b"9" * 60_000 + b"}",
        b'{"id":"' * 9_000,
        b"\0" * (8 * 2**20),
    ],
    ids=lambda value: f"{value[:8]!r} {len(value)}",
)
def test_hostile_lines_cost_little(hostile: bytes) -> None:
    """Deep nesting, endless lines and endless numbers are damage, in bounded memory."""
    log = line(record()) + hostile + b"\n" + line(record("completed"))
    file = io.BytesIO(log)
    tracemalloc.start()
    try:
        kinds = [type(item) for item in read_log(file)]
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert kinds[0] is kinds[-1] is Record
    assert set(kinds[1:-1]) == {Damage}
    assert peak_bytes < 64 * MAX_LINE_BYTES


# --- Laws ---------------------------------------------------------------------------------------


@st.composite
def logs(draw: st.DrawFn) -> list[tuple[UUID, bytes]]:
    """The lines of a sound log of a few intents, interleaved."""
    lines = []
    for intent in draw(st.lists(st.uuids(version=4), min_size=1, max_size=3, unique=True)):
        own = [record(intent=intent, args={"replica_id": str(intent)[:4]})]
        lsns = range(draw(st.integers(0, 3)))
        own += [checkpoint(lsn, lsn + 1, intent=intent) for lsn in lsns]
        if draw(st.booleans()):
            own.append(record(draw(st.sampled_from(["completed", "aborted"])), intent=intent))
        lines.append([(intent, line(item)) for item in own])
    order = draw(st.permutations([n for n, own in enumerate(lines) for _ in own]))
    return [lines[number].pop(0) for number in order]


@given(logs(), st.data())
@settings(max_examples=120)
def test_damage_changes_nothing_of_other_intents(
    lines: list[tuple[UUID, bytes]], data: st.DataObject
) -> None:
    """Flipped, cut, doubled, inserted: no error, and what undamaged lines say of others stays."""
    at = data.draw(st.integers(0, len(lines) - 1))
    victim, whole = lines[at]
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(damaged) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "insert"])):
            case "flip":
                damaged[where] ^= data.draw(st.integers(1, 255))
            case "cut":
                del damaged[where : where + data.draw(st.integers(1, 40))]
                damaged = damaged or bytearray(b"\n")
            case _:
                damaged[where:where] = data.draw(st.binary(min_size=1, max_size=20))
    before = b"".join(text for _, text in lines)
    after = b"".join(bytes(damaged) if n == at else text for n, (_, text) in enumerate(lines))
    others = {intent for intent, _ in lines} - {victim}
    assert {i: history(after, i) for i in others} == {i: history(before, i) for i in others}


@given(st.binary(max_size=300) | st.text(alphabet='{}[]",:\\ \n\x00aid1', max_size=300))
@settings(max_examples=100)
def test_no_bytes_are_too_strange(noise: bytes | str) -> None:
    """Any bytes at all are read to their end: every byte is a record, damage or blank."""
    log = noise if isinstance(noise, bytes) else noise.encode()
    read = 0
    for item in found(log):
        assert log[read : item.place.offset_bytes].strip(b" \t\r\n") == b""
        read = item.place.offset_bytes + item.place.length_bytes
    assert log[read:].strip(b" \t\r\n") == b""


@given(logs())
@settings(max_examples=30)
def test_an_import_again_changes_nothing_and_a_longer_log_goes_on(
    lines: list[tuple[UUID, bytes]],
) -> None:
    """Imported in two parts, whole, and again: the same events of every intent."""
    whole = b"".join(text for _, text in lines)
    part = b"".join(text for _, text in lines[: len(lines) // 2])
    store = MemoryEventStore()
    brought(part, store)
    brought(whole, store)
    for intent, _ in lines:
        events = [recorded.event for recorded in store.history(intent)][::-1]
        assert events == history(whole, intent)
    report, kept = brought(whole, store)
    assert (report.appended, kept) == (0, [])


def test_an_intent_that_went_on_elsewhere_is_quarantined() -> None:
    """Where the ledger has other events, both are kept: one there, one in quarantine."""
    store = MemoryEventStore()
    brought(log_of(record(), checkpoint(5)), store)
    with closing(IntentLog(store, sink=lambda _: None)) as log:
        (dangling,) = log.list_unfinished()
        log.resume_unfinished(dangling).suspend("enough")
        report, (kept,) = brought(log_of(record(), checkpoint(5), checkpoint(6, 2)), store)
        assert kept.reason == "the ledger has other events of this intent"
        assert (report.appended, store.last_position()) == (0, 4)
        assert brought(log_of(record(), checkpoint(5)), store)[0].present == 2


@pytest.mark.parametrize("ending", ["imported", "present", "quarantined"])
def test_memory_does_not_grow_with_the_records_of_an_intent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """Whatever becomes of it, an intent without end is never held as a whole."""
    monkeypatch.setattr(reddb_import, "BATCH_EVENTS", 100)
    count = 4_000
    log = tmp_path / "intent.log"
    lsns = range(1, count)
    with log.open("wb") as file:
        file.write(line(record()))
        file.writelines(line(checkpoint(lsn, lsn)) for lsn in lsns)
    with closing(LmdbEventStore.open(tmp_path / "ledger")) as store, log.open("rb") as file:
        quarantine = QuarantineFolder(tmp_path / "ledger", Files())
        if ending == "present":
            import_log(store, file, quarantine)
        if ending == "quarantined":
            with log.open("ab") as more:
                more.write(line(checkpoint(-1)))
        tracemalloc.start()
        try:
            told = import_log(store, file, quarantine)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    sums = {"imported": told.appended, "present": told.present, "quarantined": told.records - 1}
    assert sums[ending] == count
    assert len(told.quarantined) == (ending == "quarantined")
    assert peak_bytes < 250 * count


def test_an_event_beyond_the_record_limit_is_found_before_anything_is_appended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The intent is quarantined whole, however many batches come before the event."""
    monkeypatch.setattr(reddb_import, "BATCH_EVENTS", 1)
    store = MemoryEventStore()
    large = transfer("x" * (MAX_EVENT_BYTES + 1), 5)
    report, (kept,) = brought(log_of(record(), checkpoint(2), large), store)
    assert (report.appended, store.last_position()) == (0, 0)
    assert len(kept.lines) == 3


def test_an_import_goes_on_after_a_death_at_any_point(tmp_path: Path) -> None:
    """Killed at any durable step, the same import ends with the same ledger and quarantine."""
    log = log_of(
        record(),
        record(intent=B),
        checkpoint(5),
        record("completed", intent=B),
        checkpoint(6, intent=B),
    )

    def run(files: CrashingFiles, place: Path) -> None:
        ledger = place / "ledger"
        with closing(LmdbEventStore.open(ledger, files=files)) as store:
            import_log(store, io.BytesIO(log), QuarantineFolder(ledger, files))

    def check(place: Path) -> None:
        with closing(LmdbEventStore.open(place / "ledger")) as store:
            assert [item.intent_id for item in store.read(0, 9)] == [A, A]
        kept = [f for f in (place / "ledger" / "quarantine").iterdir() if f.suffix == ".jsonl"]
        assert len(kept) == 1

    every_single(Scenario(run, check=check), at_least=10)


# --- The command --------------------------------------------------------------------------------


def bootledger(*arguments: object) -> Result:
    """Run a command."""
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_command_line_exports_and_imports(tmp_path: Path) -> None:
    """RedDB's log in, with 65 for what needs a look; out and in again with identical bytes."""
    log = tmp_path / "intent.log"
    log.write_bytes(log_of(record(), checkpoint(5)) + b"torn\n")
    first = bootledger("import", log, "--ledger", tmp_path / "first", "--json")
    assert (first.exit_code, json.loads(first.stdout)["appended"]) == (65, 2)
    again = bootledger("import", log, "--ledger", tmp_path / "first")
    assert "0 events were added, 2 were there already" in again.stdout
    assert re.search(r"damaged: line 3, bytes \d+ to \d+: no JSON", again.stdout)

    out = tmp_path / "out.jsonl"
    assert bootledger("export", tmp_path / "first", "-o", out).exit_code == 0
    second = bootledger("import", out, "--ledger", tmp_path / "second")
    assert (second.exit_code, second.stdout.startswith("2 events")) == (0, True)
    assert bootledger("export", tmp_path / "second").stdout == out.read_text()

    out.write_bytes(out.read_bytes()[:-1])
    cut = bootledger("import", out, "--ledger", tmp_path / "third")
    assert (cut.exit_code, "the file was cut" in cut.stderr) == (65, True)
    empty = tmp_path / "empty"
    empty.touch()
    assert bootledger("import", empty, "--ledger", tmp_path / "third").exit_code == 64
