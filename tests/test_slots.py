from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import run, run_and_die, start, wait_for_line
from worlds import CrashingFiles, Scenario, every_pair, every_single, fresh_place

from bootledger.environment import Environment
from bootledger.errors import (
    CorruptRecord,
    InvalidValue,
    LogWindowLost,
    SourceUnavailable,
    StoreBusy,
    UnknownFormat,
)
from bootledger.files import Files
from bootledger.positions import U64_MAX
from bootledger.primary import slot_tables as tables
from bootledger.primary import slots as module
from bootledger.primary.slots import Slots
from bootledger.replica.wire import Slot
from bootledger.sealing import seal

IN_CHILD = """
import sys
from pathlib import Path
from bootledger.files import Files
from bootledger.primary.slots import Slots
slots = Slots.open(Path(sys.argv[1]), Files(), clock=lambda: 5)
"""
FAR = 1000


def opened(path: Path, *, at_ms: int = 1, flush_s: float = FAR) -> Slots:
    """Open slots whose clock stands still, and that write nothing before they are told to."""
    return Slots.open(path, Files(), clock=lambda: at_ms, flush_s=flush_s)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """An empty directory, in memory if the machine can."""
    with fresh_place() as place:
        yield place


@pytest.fixture
def slots(tmp_path: Path) -> Iterator[Slots]:
    """The slots of a primary, at 1 ms after 1970."""
    with opened(tmp_path) as slots:
        yield slots


def on_disk(path: Path) -> dict[str, Slot]:
    """Return what a process that starts now would find."""
    with opened(path) as slots:
        return {slot.name: slot for slot in slots.all()}


def acknowledged(path: Path) -> dict[str, int]:
    """Return what is durably acknowledged for whom."""
    return {name: slot.acknowledged_lsn for name, slot in on_disk(path).items()}


# --- holding and acknowledging ------------------------------------------------------------------


def test_a_slot_is_durable_when_it_is_held(tmp_path: Path) -> None:
    """The process dies at once afterwards; another one finds it whole."""
    run_and_die(IN_CHILD + "slots.hold('r', 7, last_lsn=9)", tmp_path)
    assert on_disk(tmp_path) == {
        "r": Slot(name="r", acknowledged_lsn=7, created_at_ms=5, active_at_ms=5)
    }


def test_an_acknowledgement_never_moves_a_slot_back(slots: Slots) -> None:
    """They may come in any order."""
    slots.hold("r", 10, last_lsn=100)
    for lsn, expected in ((30, 30), (20, 30), (0, 30), (31, 31)):
        slot = slots.acknowledge("r", lsn)
        assert slot is not None
        assert slot.acknowledged_lsn == expected
        assert slots.get("r") == slot
    slots.flush()
    slots.acknowledge("r", 5)
    slots.flush()
    assert slots.horizon() == 31


def test_many_acknowledgements_are_one_write_and_a_death_only_holds_more(tmp_path: Path) -> None:
    """Until they are written, other processes, and the next start, see the older one."""
    with opened(tmp_path) as slots:
        slots.hold("r", 10, last_lsn=100)
        for lsn in range(11, 60):
            slots.acknowledge("r", lsn)
        told = run(IN_CHILD + "print(slots.get('r').acknowledged_lsn, slots.horizon())", tmp_path)
        assert told.split() == ["10", "10"]
        slots.flush()
        told = run(IN_CHILD + "print(slots.get('r').acknowledged_lsn)", tmp_path)
        assert told.split() == ["59"]
        slots.acknowledge("r", 70)
        slots._said.clear()  # it is killed
    assert acknowledged(tmp_path) == {"r": 59}


def test_closing_writes_what_was_acknowledged(tmp_path: Path) -> None:
    """An end in order loses nothing."""
    with opened(tmp_path) as slots:
        slots.hold("r", 10, last_lsn=100)
        slots.acknowledge("r", 60)
    assert acknowledged(tmp_path) == {"r": 60}


def test_an_acknowledgement_is_written_by_itself_once_it_is_due(tmp_path: Path) -> None:
    """Nobody has to call `flush`."""
    with opened(tmp_path, flush_s=0) as slots:
        slots.hold("r", 10, last_lsn=100)
        slots.acknowledge("r", 60)
        told = run(IN_CHILD + "print(slots.get('r').acknowledged_lsn)", tmp_path)
    assert told.split() == ["60"]


def test_what_was_acknowledged_before_a_slot_was_held_again_is_void(tmp_path: Path) -> None:
    """A new bootstrap starts further back; what the last one said, in any process, counts no more.

    Else the changes that it needs would be let go as soon as the old words are written.
    """
    with opened(tmp_path) as here, opened(tmp_path) as elsewhere:
        here.hold("r", 10, last_lsn=100)
        here.acknowledge("r", 80)
        elsewhere.hold("r", 40, last_lsn=100)
        assert here.get("r") == elsewhere.get("r")
        here.flush()
        assert here.let_go(100) == 40
        here.hold("s", 50, last_lsn=100)
        here.acknowledge("s", 80)
        elsewhere.drop("s")
        elsewhere.hold("s", 45, last_lsn=100)
    assert acknowledged(tmp_path) == {"r": 40, "s": 45}


def test_acknowledgements_while_others_write_are_kept_for_later(tmp_path: Path) -> None:
    """A poll never fails because of them; whoever insists is told."""
    with Slots.open(tmp_path, Files(), wait_s=0.05, flush_s=0) as slots:
        slots.hold("r", 10, last_lsn=100)
        with Files().lock(tmp_path / "slots/write.lock").acquire():
            slot = slots.acknowledge("r", 20)
            with pytest.raises(StoreBusy):
                slots.flush()
        assert slot is not None
        assert slot.acknowledged_lsn == 20
        slots.flush()
        assert run(IN_CHILD + "print(slots.get('r').acknowledged_lsn)", tmp_path).split() == ["20"]


def test_two_processes_that_hold_and_acknowledge_at_once_lose_nothing(tmp_path: Path) -> None:
    """Every slot of both is there, each where it was acknowledged last."""
    code = IN_CHILD + (
        "print('open', flush=True)\n"
        "for n in range(25):\n"
        "    slots.hold(f'there-{n}', n, last_lsn=1000)\n"
        "    slots.acknowledge(f'there-{n}', n + 1)\n"
        "    slots.flush()\n"
    )
    child = start(code, tmp_path)
    wait_for_line(child)
    with opened(tmp_path) as slots:
        for n in range(25):
            slots.hold(f"here-{n}", n, last_lsn=1000)
            slots.acknowledge(f"here-{n}", n + 1)
            slots.flush()
    _, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert acknowledged(tmp_path) == {
        f"{where}-{n}": n + 1 for n in range(25) for where in ("here", "there")
    }


# --- letting go ---------------------------------------------------------------------------------


def test_the_horizon_is_the_lowest_of_the_valid_slots(slots: Slots) -> None:
    """An invalid one counts no more; without any, there is none."""
    assert slots.horizon() is None
    for name, lsn in (("a", 30), ("b", 10), ("c", 20)):
        slots.hold(name, lsn, last_lsn=100)
    assert slots.horizon() == slots.let_go(100) == 10
    (invalid,) = slots.invalidate(lambda slot: "bytes: too many" if slot.name == "b" else None)
    assert invalid.invalid_because == "bytes: too many"
    assert slots.get("b") == invalid
    assert slots.horizon() == slots.let_go(100) == 20
    assert slots.let_go(15) == 15


def test_what_was_let_go_cannot_be_held_any_more(slots: Slots) -> None:
    """Also not while the pruning that follows has not begun; what is above it can."""
    slots.hold("a", 50, last_lsn=100)
    assert slots.let_go(100) == 50
    with pytest.raises(LogWindowLost, match="up to 50"):
        slots.hold("b", 49, last_lsn=100)
    assert slots.get("b") is None
    slots.hold("b", 50, last_lsn=100)


def test_a_database_that_was_put_back_can_be_held_again(slots: Slots) -> None:
    """What was let go of its later state does not keep anybody out."""
    assert slots.let_go(100) == 100
    slots.hold("a", 60, last_lsn=60)
    assert slots.let_go(60) == 60


def test_an_invalid_slot_stays_so_until_it_is_held_again(slots: Slots) -> None:
    """Its replica's word does not change that; its reason goes with a new hold, its birth stays."""
    slots.hold("a", 10, last_lsn=100)
    slots.invalidate(lambda _: "idle-timeout: away")
    slot = slots.acknowledge("a", 90)
    assert slot is not None
    assert (slot.acknowledged_lsn, slot.invalid_because) == (10, "idle-timeout: away")
    slots.flush()
    assert slots.horizon() is None
    assert slots.invalidate(lambda _: "again") == []
    again = slots.hold("a", 40, last_lsn=100)
    assert (again.acknowledged_lsn, again.invalid_because, again.created_at_ms) == (40, None, 1)
    assert slots.horizon() == 40


def test_a_dropped_slot_holds_nothing(slots: Slots) -> None:
    """Dropping it again is harmless; what it says afterwards is nobody's word."""
    slots.hold("a", 10, last_lsn=100)
    assert slots.drop("a")
    assert not slots.drop("a")
    assert slots.acknowledge("a", 20) is None
    assert (slots.all(), slots.horizon()) == ([], None)


def test_there_is_a_bound_to_the_number_of_slots(
    slots: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names come from outside. Those that are there can go on."""
    monkeypatch.setattr(module, "MAX_SLOTS", 2)
    for name in ("a", "b"):
        slots.hold(name, 1, last_lsn=1)
    with pytest.raises(SourceUnavailable, match="2 slots"):
        slots.hold("c", 1, last_lsn=1)
    slots.hold("a", 1, last_lsn=1)
    slots.drop("b")
    slots.hold("c", 1, last_lsn=1)


@pytest.mark.parametrize("name", ["", "a\0b", "\udc80", "x" * 256, None, 7])
def test_what_cannot_name_a_node_cannot_name_a_slot(slots: Slots, name: str) -> None:
    """Refused, and nothing is written."""
    for use in (
        lambda: slots.hold(name, 1, last_lsn=1),
        lambda: slots.acknowledge(name, 1),
        lambda: slots.drop(name),
    ):
        with pytest.raises(InvalidValue):
            use()
    assert slots.all() == []


@pytest.mark.parametrize("lsn", [-1, 1.0, True, None, U64_MAX + 1])
def test_an_lsn_is_a_whole_number(slots: Slots, lsn: int) -> None:
    """Refused at the boundary."""
    slots.hold("a", 1, last_lsn=1)
    with pytest.raises(InvalidValue):
        slots.hold("a", lsn, last_lsn=1)
    with pytest.raises(InvalidValue):
        slots.acknowledge("a", lsn)


# --- the format ---------------------------------------------------------------------------------


def raw(path: Path) -> Environment:
    """Open the environment of the slots by itself."""
    return Environment.open(path / "slots", tables.TABLES, Files(), name="raw")


def test_the_records_are_those_of_the_format(tmp_path: Path) -> None:
    """Golden bytes: what docs/format.md says, and nothing else."""
    with opened(tmp_path) as slots:
        slots.hold("r\xe9", 258, last_lsn=1000)
        slots.invalidate(lambda _: "bytes: 5")
        slots.pins.add("intent.1.00112233445566778899aabbccddeeff", "r\xe9")
        slots.let_go(7)
    with raw(tmp_path) as environment:
        found = environment.read(
            lambda txn, db: {name: dict(txn.cursor(db[name])) for name in tables.TABLES}
        )
    key = "r\xe9".encode()
    number = "00000000000000"
    body = bytes.fromhex(f"{number}01 {number[:-2]}0102 {number}01 {number}01") + b"bytes: 5"
    token = b"intent.1.00112233445566778899aabbccddeeff"
    assert found == {
        "slots": {key: seal(key, body)},
        "pins": {token: seal(token, key)},
        "meta": {
            name: seal(name, bytes.fromhex(number) + bytes([value]))
            for name, value in ((b"format", 1), (b"holds", 1), (b"released_lsn", 7))
        },
    }


@pytest.mark.parametrize("table", ["slots", "meta", "pins"])
def test_a_damaged_record_is_an_error_and_never_a_slot_that_is_not_there(
    tmp_path: Path, table: str
) -> None:
    """Each byte of each record is flipped: whoever asks is told, and nothing is let go."""
    with opened(tmp_path) as slots:
        slots.hold("a", 10, last_lsn=100)
        slots.pins.add("intent.1", "a")
    with raw(tmp_path) as environment, opened(tmp_path) as slots:
        records = environment.read(lambda txn, db: dict(txn.cursor(db[table])))
        for key, record in records.items():
            for at in range(len(record)):
                wrong = bytearray(record)
                wrong[at] ^= 0x10
                environment.write(
                    lambda txn, db, k=key, v=bytes(wrong): txn.put(k, v, db=db[table])
                )
                with pytest.raises(CorruptRecord):
                    _use_all(slots, tmp_path)
            environment.write(lambda txn, db, k=key, v=record: txn.put(k, v, db=db[table]))
        _use_all(slots, tmp_path)


def _use_all(slots: Slots, path: Path) -> None:
    slots.all()
    slots.let_go(0)
    slots.pins.all()
    slots.hold("a", 10, last_lsn=100)
    opened(path).close()


def test_slots_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    """Nobody guesses what they mean."""
    opened(tmp_path).close()
    with raw(tmp_path) as environment:
        environment.write(lambda txn, db: tables.put_number(txn, db, b"format", 2))
    with pytest.raises(UnknownFormat, match="format 2"):
        opened(tmp_path)


# --- dying --------------------------------------------------------------------------------------


def _live(files: CrashingFiles, place: Path) -> None:
    with Slots.open(place, files, clock=lambda: 1, flush_s=FAR) as slots:
        if slots.get("b") is None:
            slots.hold("a", 10, last_lsn=100)
            slots.acknowledge("a", 20)
            slots.flush()
            slots.hold("b", 5, last_lsn=100)
        slots.acknowledge("a", 30)
        slots.invalidate(lambda slot: "idle-timeout: away" if slot.name == "b" else None)
        slots.let_go(25)
        slots.acknowledge("a", 40)


def _no_slot_is_half_or_too_far(place: Path) -> None:
    """Each is where one of its steps left it, and nothing that is held was let go."""
    with opened(place) as slots:
        for slot in slots.all():
            known = {"a": {10, 20, 30, 40}, "b": {5}}[slot.name]
            assert slot.acknowledged_lsn in known
            if slot.invalid_because is None:
                slots.hold("probe", slot.acknowledged_lsn, last_lsn=100)
                slots.drop("probe")
        if slots.get("b") is not None:
            found = slots.get("a")
            assert found is not None
            assert found.acknowledged_lsn >= 20


def _all_is_done(place: Path) -> None:
    found = on_disk(place)
    assert {name: slot.acknowledged_lsn for name, slot in found.items()} == {"a": 40, "b": 5}
    assert found["b"].invalid_because == "idle-timeout: away"


DYING = Scenario(run=_live, after_crash=_no_slot_is_half_or_too_far, check=_all_is_done)


def test_slots_survive_a_crash_at_every_point() -> None:
    """Creation, holding, acknowledging, invalidating and letting go, each cut short anywhere."""
    deaths = every_single(DYING, at_least=15)
    assert {"environment.built#1", "slots.committing#1", "slots.committed#3"} <= deaths


@pytest.mark.crash
def test_slots_survive_two_crashes() -> None:
    """And so does the next life."""
    every_pair(DYING, at_least=15)
