from __future__ import annotations

import gc
import itertools
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from database_model import IN_CHILD, create, fill, operations, stream
from processes import run
from test_primary import check_backup, published
from worlds import CrashingFiles, Scenario, every_pair, every_single, fresh_place

from bootledger.environment import MIB
from bootledger.errors import (
    DivergedHistory,
    InvalidValue,
    LogWindowLost,
    OutOfSpace,
    SlotInvalid,
    SnapshotLost,
    SourceUnavailable,
    Stopped,
)
from bootledger.files import Files
from bootledger.primary import backups
from bootledger.primary.backups import BaseBackups
from bootledger.primary.service import Primary, Retention
from bootledger.primary.slots import Slots
from bootledger.primary.source import LocalSource
from bootledger.primary.write_rate import WriteRate
from bootledger.replica.database import Database
from bootledger.replica.wire import Pinned, PinRequest, Slot

LAST = 300
MINUTE_MS = 60_000


class Points(Files):
    """Real files that count their points; at one of them, something else happens."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.at = ""
        self.do: Callable[[], object] = lambda: None

    def point(self, name: str) -> None:
        """Run the errand at its point, once."""
        self.passed.append(name)
        if name == self.at:
            self.at = ""
            self.do()

    @property
    def publications(self) -> int:
        """How often the database was copied."""
        return self.passed.count("basebackup.copying")


class Place:
    """A primary in a directory of its own, its application, and the time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = Points()
        self.late_ms = 0
        self.database = create(path, last=LAST)
        self._opened: list[Primary] = []

    def open(
        self,
        retention: Retention | None = None,
        *,
        reuse_s: float = 3600,
        max_backups: int | None = None,
    ) -> Primary:
        """Open the primary as a process that serves it does."""
        primary = Primary.open(
            self.path,
            self.files,
            retention=retention,
            reuse_backups_s=reuse_s,
            max_backups=max_backups,
            chunk_bytes=16 * 1024,
            clock=lambda: last_modified_ms(self.path) + self.late_ms,
        )
        self._opened.append(primary)
        return primary

    def write(self, up_to: int) -> None:
        """Let the application write on."""
        self.database.write(operations(self.database.last_lsn() + 1, up_to))

    def file(self, pinned: Pinned, name: str = "data.mdb") -> os.stat_result:
        """Return what the system says about a file of a base backup."""
        return (self.path / "basebackups" / pinned.token / name).stat()

    def close(self) -> None:
        """Close everything."""
        for primary in self._opened:
            primary.close()
        self.database.close()


def last_modified_ms(path: Path) -> int:
    """Return a time just after the newest base backup: a clock that stands still otherwise."""
    times = [manifest.stat().st_mtime_ns for manifest in path.glob("basebackups/*/manifest")]
    return max(times, default=1_000_000) // 1_000_000


@pytest.fixture
def place() -> Iterator[Place]:
    """A primary that holds the stream up to LSN 300."""
    with fresh_place() as path:
        place = Place(path / "primary")
        yield place
        place.close()


def request(slot: str, generation: int = 1) -> PinRequest:
    """Return what the replica of that name asks for."""
    return PinRequest(intent_id=f"intent-of-{slot}", generation=generation, slot=slot)


def slot_of(primary: Primary, name: str) -> Slot:
    """Return the slot of that name."""
    return next(slot for slot in primary.slots() if slot.name == name)


# --- pinning ------------------------------------------------------------------------------------


def test_the_slot_is_durable_before_the_database_is_read(place: Place) -> None:
    """Another process would find it at the LSN then, when nothing of the copy is there yet."""
    primary = place.open()
    seen: list[Slot] = []

    def look() -> None:
        assert not list(place.path.glob("basebackups/*/data.mdb"))
        with Slots.open(place.path, Files()) as slots:
            seen.extend(slots.all())
        place.write(LAST + 20)

    place.files.do, place.files.at = look, "basebackup.copying"
    pinned = primary.pin(request("r"))
    assert [(slot.name, slot.acknowledged_lsn) for slot in seen] == [("r", LAST)]
    assert pinned.lsn == LAST + 20
    assert slot_of(primary, "r").acknowledged_lsn <= pinned.lsn
    assert check_backup(place.path / "basebackups" / pinned.token) == pinned.lsn


def test_a_pin_that_is_repeated_is_the_same_base_backup(place: Place) -> None:
    """Also after a restart; the slot holds what comes after it, whatever was said meanwhile."""
    first = place.open().pin(request("r"))
    place.write(LAST + 50)
    primary = place.open()
    primary.changes(LAST + 30, 1, "r")
    assert primary.pin(request("r")) == first
    assert place.files.publications == 1
    assert slot_of(primary, "r").acknowledged_lsn == first.lsn
    primary.enforce()
    assert primary.changes(first.lsn, 100, "r") == stream(first.lsn + 1, LAST + 50)


def test_a_base_backup_that_cannot_be_followed_is_replaced(place: Place) -> None:
    """The same intent and generation gets another token; who reads the old one is told."""
    primary = place.open()
    first = primary.pin(request("r"))
    place.write(LAST + 50)
    place.database.prune(LAST + 40)
    second = primary.pin(request("r"))
    assert second.token != first.token
    assert second.lsn == LAST + 50
    with pytest.raises(SnapshotLost):
        primary.backup_file(first.token, "data.mdb")
    assert primary.changes(second.lsn, 1, "r") == []


def test_a_new_generation_replaces_the_base_backup_of_the_last_one(place: Place) -> None:
    """One replica holds one base backup; another intent of the same slot keeps its own."""
    primary = place.open(reuse_s=0)
    other = primary.pin(PinRequest(intent_id="another", generation=1, slot="r"))
    primary.pin(request("r", 1))
    place.write(LAST + 5)
    second = primary.pin(request("r", 2))
    assert published(place.path) == sorted([other.token, second.token])
    assert slot_of(primary, "r").acknowledged_lsn == LAST + 5


def test_tokens_cannot_be_guessed_from_an_intent(place: Place) -> None:
    """Those of a network have 128 random bits; on one machine they are as they were."""
    primary = place.open(reuse_s=0)
    tokens = {primary.pin(request(name, n)).token for name in "ab" for n in range(3)}
    assert len({token.rpartition(".")[2] for token in tokens}) == len(tokens) == 6
    for token in tokens:
        assert re.fullmatch(r"intent-of-[ab]\.[0-2]\.[0-9a-f]{32}", token)
    with LocalSource.open(place.path, Files()) as source:
        assert source.pin("intent-of-a", 0).token == "intent-of-a.0"
    for guess in ("intent-of-a.1", "intent-of-a.1.", f"intent-of-a.1.{'0' * 32}"):
        with pytest.raises(SnapshotLost):
            primary.backup_file(guess, "manifest")
        primary.release(guess)
    assert len(primary.backups()) == 3


def test_the_progress_of_a_publication_only_grows(place: Place) -> None:
    """It is told while the copy is written and while it is described; pauses may end it."""
    fill(place.database, 8)
    primary = place.open(reuse_s=0)
    told: list[tuple[int, int]] = []
    primary.pin(request("r"), progress=lambda *numbers: told.append(numbers))
    sizes = {size for _, size in told}
    assert sizes == {(place.path / "data.mdb").stat().st_size}
    assert told == sorted(told)
    (size,) = sizes
    assert told[0][0] < size // 10
    assert any(size // 4 < done < size // 2 for done, _ in told)
    assert 3 * size // 4 < told[-1][0] <= size

    def stop() -> None:
        raise Stopped("enough")

    with pytest.raises(Stopped):
        primary.pin(request("r", 2), stop)
    assert [backup.token.split(".")[1] for backup in primary.backups()] == ["1"]


# --- sharing ------------------------------------------------------------------------------------


def test_a_young_base_backup_is_shared_and_its_room_goes_with_the_last_token(place: Place) -> None:
    """Its bytes are there once; releasing one token takes nothing from another one."""
    primary = place.open()
    pins = [primary.pin(request(name)) for name in "abc"]
    assert place.files.publications == 1
    assert len({pin.token for pin in pins}) == 3
    assert len({pin.manifest_digest for pin in pins}) == 1
    assert len({place.file(pin).st_ino for pin in pins}) == 1
    assert [backup.token for backup in primary.backups()] == sorted(pin.token for pin in pins)
    assert len({backup.published_at_ms for backup in primary.backups()}) == 1
    for left, pin in ((2, pins[0]), (1, pins[2])):
        primary.release(pin.token)
        primary.release(pin.token)
        with pytest.raises(SnapshotLost):
            primary.backup_file(pin.token, "data.mdb")
        assert place.file(pins[1]).st_nlink == left
        assert check_backup(place.path / "basebackups" / pins[1].token) == LAST
    primary.release(pins[1].token)
    assert published(place.path) == []


def test_the_slot_of_a_shared_base_backup_holds_what_comes_after_it(place: Place) -> None:
    """That is more than what comes after the request."""
    primary = place.open(Retention(keep_changes=0))
    first = primary.pin(request("a"))
    place.write(LAST + 50)
    second = primary.pin(request("b"))
    assert second.lsn == first.lsn == LAST
    assert slot_of(primary, "b").acknowledged_lsn == LAST
    primary.changes(LAST + 50, 1, "a")
    primary.enforce()
    assert primary.changes(second.lsn, 100, "b") == stream(LAST + 1, LAST + 50)


def _too_old(place: Place, _: Primary) -> None:
    place.late_ms = 3601 * 1000


def _from_the_future(place: Place, _: Primary) -> None:
    place.late_ms = -1000


def _not_followed_any_more(place: Place, _: Primary) -> None:
    place.write(LAST + 9)
    place.database.prune(LAST + 5)


def _let_go(place: Place, primary: Primary) -> None:
    place.write(LAST + 9)
    for name in "ab":
        primary._slots.drop(name)
    primary._slots.let_go(LAST + 5)


def _nearly_too_far_behind(place: Place, _: Primary) -> None:
    place.write(LAST + 60)


def _released(_: Place, primary: Primary) -> None:
    primary.release(primary.backups()[0].token)


@pytest.mark.parametrize(
    "why",
    [
        _too_old,
        _from_the_future,
        _not_followed_any_more,
        _let_go,
        _nearly_too_far_behind,
        _released,
    ],
)
def test_what_a_replica_could_not_use_is_not_shared(
    place: Place, why: Callable[[Place, Primary], None]
) -> None:
    """Another one is published; without a reason, it would be shared."""
    primary = place.open(Retention(slot_max_changes=100))
    primary.pin(request("a"))
    primary.pin(request("b"))
    assert place.files.publications == 1
    primary.release(next(b.token for b in primary.backups() if b.token.startswith("intent-of-b")))
    why(place, primary)
    pinned = primary.pin(request("c"))
    assert place.files.publications == 2
    assert pinned.lsn == place.database.last_lsn()


def test_what_is_shared_counts_once_among_what_takes_up_room(place: Place) -> None:
    """All tokens together take up what one of them would."""
    primary = place.open()
    pinned, _ = (primary.pin(request(name)) for name in "ab")
    backups = BaseBackups(place.database, Files())
    sizes = [found.artefact.size_bytes for found in backups.artefacts(lambda _: "needed")]
    whole = place.file(pinned).st_blocks * 512
    assert len(sizes) == 2
    assert whole <= sum(sizes) < 1.5 * whole


def test_a_library_shares_nothing_unless_told(place: Place) -> None:
    """`LocalSource` publishes for each intent, as it always did."""
    with LocalSource.open(place.path, place.files) as source:
        for intent in "ab":
            source.pin(intent, 1)
    assert place.files.publications == 2


def test_a_base_backup_that_is_released_while_it_is_shared_is_published_anew(place: Place) -> None:
    """Between its two files, or before: what is shared is whole, or another one is made."""
    for number, point in enumerate(("basebackup.data.mdb.linking", "basebackup.manifest.linking")):
        primary = place.open()
        before = place.files.publications
        first = primary.pin(request("a", number))
        place.files.do = lambda token=first.token, p=primary: p.release(token)
        place.files.at = point
        second = primary.pin(request("b", number))
        assert place.files.publications == before + 2
        assert published(place.path) == [second.token]
        assert check_backup(place.path / "basebackups" / second.token) == LAST
        primary.release(second.token)


def test_fifty_pins_at_once_publish_once(place: Place) -> None:
    """All others wait, asking on and on whether to go on, and share it; all are held."""
    fill(place.database, 8)
    place.database.prune(place.database.last_lsn() - 10)
    primary = place.open(Retention(keep_changes=0))
    lsn = place.database.last_lsn()
    ready = threading.Barrier(50)

    def pin(number: int) -> Pinned:
        ready.wait()
        return primary.pin(request(f"r-{number}"))

    with ThreadPoolExecutor(50) as pool:
        pins = list(pool.map(pin, range(50)))
    assert place.files.publications == 1
    assert {pinned.lsn for pinned in pins} == {lsn}
    assert len({pinned.token for pinned in pins}) == 50
    assert {place.file(pinned).st_ino for pinned in pins} == {place.file(pins[0]).st_ino}
    assert place.file(pins[0]).st_nlink == 50
    assert {slot.acknowledged_lsn for slot in primary.slots()} == {lsn}


def test_base_backups_are_limited_and_shared_ones_count_once(place: Place) -> None:
    """The third is refused without a copy, a share and a new generation are not; room helps."""
    primary = place.open(reuse_s=60, max_backups=2)
    first = primary.pin(request("a"))
    place.late_ms = 61_000
    primary.pin(request("b"))
    place.late_ms = 0
    primary.pin(request("c"))  # shares the second
    place.late_ms = 61_000
    with pytest.raises(SourceUnavailable, match="has 2 base backups already, 2 are allowed"):
        primary.pin(request("d"))
    assert place.files.publications == 2
    primary.pin(request("a", generation=2))  # its first one goes for it
    with pytest.raises(SnapshotLost):
        primary.backup_file(first.token, "data.mdb")
    for backup in primary.backups():
        primary.release(backup.token)
    primary.pin(request("d"))


def test_tokens_are_limited_too(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared base backups cost names on the disk: there is an end to those as well."""
    monkeypatch.setattr(backups, "MAX_TOKENS", 2)
    primary = place.open(max_backups=64)
    primary.pin(request("a"))
    primary.pin(request("b"))
    with pytest.raises(SourceUnavailable, match="already, 2 are allowed"):
        primary.pin(request("c"))


def test_nothing_is_copied_to_a_disk_without_room(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publication takes as much as the database: with less free, none begins."""
    size_bytes = (place.path / "data.mdb").stat().st_size
    primary = place.open()
    usage = shutil.disk_usage(place.path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=size_bytes - 1))
    with pytest.raises(OutOfSpace, match=f"takes {size_bytes} bytes"):
        primary.pin(request("a"))
    assert place.files.publications == 0
    assert primary.backups() == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=size_bytes))
    primary.pin(request("a"))


def test_a_publication_that_moves_on_is_waited_for(place: Place) -> None:
    """However long it takes: who waits is not sent away, is told how far it is, and is held."""
    primary = Primary.open(place.path, place.files, wait_s=1.0)
    told: list[tuple[int, int]] = []

    def other() -> Pinned:
        return primary.pin(request("b"), progress=lambda *numbers: told.append(numbers))

    def slowly() -> None:
        waited.wait(0.05)
        held.update(slot.name for slot in primary.slots())

    held: set[str] = set()
    waited = threading.Event()
    fill(place.database, 16)
    with ThreadPoolExecutor(1) as pool, primary:
        futures = []
        place.files.do = lambda: futures.append(pool.submit(other))
        place.files.at = "basebackup.copying"
        first = primary.pin(request("a"), slowly)
        second = futures[0].result()
        assert place.file(first).st_ino == place.file(second).st_ino
    assert told == sorted(told)
    assert told
    assert held == {"a", "b"}


def test_two_processes_share_one_base_backup(place: Place) -> None:
    """What one published, the other one finds."""
    pinned = place.open().pin(request("a"))
    told = run(
        IN_CHILD + "from bootledger.primary.service import Primary\n"
        "from bootledger.replica.wire import PinRequest\n"
        "with Primary.open(Path(sys.argv[1]), Files()) as primary:\n"
        "    print(primary.pin(PinRequest(intent_id='b', generation=1, slot='b')).token)\n",
        place.path,
    )
    other = place.path / "basebackups" / told.strip()
    assert (other / "data.mdb").stat().st_ino == place.file(pinned).st_ino


# --- reading base backups -----------------------------------------------------------------------


def test_a_chunk_is_found_if_it_is_exactly_one(place: Place) -> None:
    """Each of the manifest's; nothing that is shorter, longer, moved, empty or beyond the end."""
    primary = place.open()
    pinned = primary.pin(request("r"))
    data = primary.backup_file(pinned.token, "data.mdb").read_bytes()
    found = 0
    for offset in range(0, pinned.size_bytes, 16 * 1024):
        length = min(16 * 1024, pinned.size_bytes - offset)
        chunk = primary.chunk_at(pinned.token, offset, length)
        assert chunk is not None
        assert chunk.objection(data[offset : offset + length]) is None
        for wrong in (
            (offset, length - 1),
            (offset, length + 1),
            (offset + 1, length),
            (offset, 0),
        ):
            assert primary.chunk_at(pinned.token, *wrong) is None
        found += 1
    assert found > 3
    assert primary.chunk_at(pinned.token, 2**64 - 1, 1) is None
    with pytest.raises(InvalidValue):
        primary.chunk_at(pinned.token, -1, 1)
    with pytest.raises(SnapshotLost):
        primary.chunk_at("intent-of-r.1", 0, 1)


@pytest.mark.parametrize(
    "name", ["lock.mdb", "", "..", "../../data.mdb", "manifest/", "data.mdb\0"]
)
def test_a_base_backup_has_two_files_and_no_other(place: Place, name: str) -> None:
    """Nothing else of the directory is served, although it may lie there."""
    primary = place.open()
    pinned = primary.pin(request("r"))
    assert primary.backup_file(pinned.token, "manifest").stat().st_size
    with pytest.raises(SnapshotLost):
        primary.backup_file(pinned.token, name)


# --- the log ------------------------------------------------------------------------------------


def test_asking_for_changes_acknowledges_those_before(place: Place) -> None:
    """For the slot that is named, and never of what the database does not have."""
    primary = place.open()
    primary.hold_slot("r", 10)
    assert primary.changes(50, 5, "r") == stream(51, 55)
    assert primary.changes(40, 5, None) == stream(41, 45)
    assert slot_of(primary, "r").acknowledged_lsn == 50
    with pytest.raises(DivergedHistory):
        primary.changes(LAST + 1, 5, "r")
    with pytest.raises(DivergedHistory):
        primary.hold_slot("r", LAST + 1)
    assert slot_of(primary, "r").acknowledged_lsn == 50


def test_changes_that_are_there_are_given_and_held_again(place: Place) -> None:
    """A slot that was dropped, or invalid for having been away, is no reason to copy everything."""
    primary = place.open(Retention(slot_idle_ms=MINUTE_MS, slot_max_changes=200))
    primary.hold_slot("r", 200)
    place.late_ms = 2 * MINUTE_MS
    assert [slot.name for slot in primary.enforce()] == ["r"]
    assert primary.changes(210, 1, "r") == stream(211, 211)
    assert slot_of(primary, "r").invalid_because is None
    primary.drop_slot("r")
    assert primary.changes(220, 1, "r") == stream(221, 221)
    assert slot_of(primary, "r").acknowledged_lsn == 220


def test_a_slot_beyond_its_limit_gets_changes_and_holds_nothing(place: Place) -> None:
    """It stays invalid until its replica has come near enough."""
    primary = place.open(Retention(slot_max_changes=100))
    primary.hold_slot("r", 10)
    primary.enforce()
    assert primary.changes(20, 1, "r") == stream(21, 21)
    assert str(slot_of(primary, "r").invalid_because).startswith("horizon: ")
    assert primary.enforce() == []
    primary.changes(LAST - 100, 1, "r")
    assert slot_of(primary, "r").invalid_because is None


def test_a_replica_whose_slot_was_invalidated_is_told_why(place: Place) -> None:
    """When the log is gone: by the next request for changes, and by one for the slot."""
    primary = place.open(Retention(keep_changes=10, slot_max_changes=100))
    primary.hold_slot("r", 10)
    primary.hold_slot("s", 250)
    (invalid,) = primary.enforce()
    assert invalid.invalid_because == (
        "horizon: LSN 10 is acknowledged, the newest is 300: 290 changes were held, 100 are allowed"
    )
    assert primary.info().pruned_lsn == 249
    for use in (lambda: primary.changes(10, 5, "r"), lambda: primary.hold_slot("r", 10)):
        with pytest.raises(SlotInvalid, match="290 changes were held"):
            use()
    with pytest.raises(LogWindowLost) as lost:
        primary.changes(10, 5, "unknown")
    assert not isinstance(lost.value, SlotInvalid)
    assert primary.pin(request("r")).lsn == LAST
    assert slot_of(primary, "r").invalid_because is None


def test_what_an_application_prunes_invalidates_the_slots_that_needed_it(place: Place) -> None:
    """It asks nobody; the reason says what happened, and a hold is refused at once."""
    primary = place.open()
    primary.hold_slot("r", 10)
    primary.hold_slot("s", 60)
    place.database.prune(50)
    with pytest.raises(LogWindowLost):
        primary.hold_slot("t", 49)
    assert [(slot.name, slot.invalid_because) for slot in primary.enforce()] == [
        ("r", "log-removed: LSN 10 is acknowledged, but changes up to 50 were pruned")
    ]


def test_an_application_that_prunes_while_a_slot_is_made_is_noticed(place: Place) -> None:
    """After the slot is durable, it is looked again whether the log is still there."""
    primary = place.open()
    place.files.do, place.files.at = lambda: place.database.prune(50), "slots.committed"
    with pytest.raises(SlotInvalid, match="log-removed"):
        primary.hold_slot("r", 40)
    assert primary.slots()[0].invalid_because is not None


def test_a_pin_while_an_application_prunes_to_the_end_is_held_at_last(place: Place) -> None:
    """The slot is made again at the LSN after that."""

    def prune_all() -> None:
        place.write(LAST + 9)
        place.database.prune(LAST + 9)

    primary = place.open()
    place.files.do, place.files.at = prune_all, "slots.writing"
    assert primary.pin(request("r")).lsn == LAST + 9
    assert slot_of(primary, "r").acknowledged_lsn == LAST + 9


# --- retention ----------------------------------------------------------------------------------


def test_the_log_is_pruned_up_to_what_slots_and_the_newest_changes_leave(place: Place) -> None:
    """Whatever is less, and the change before; without `keep_changes`, never."""
    place.open().enforce()
    assert place.database.pruned_lsn() == 0
    primary = place.open(Retention(keep_changes=100))
    primary.hold_slot("r", 150)
    primary.enforce()
    assert place.database.pruned_lsn() == 149
    primary.changes(LAST, 1, "r")
    primary.enforce()
    assert place.database.pruned_lsn() == 199
    primary.enforce()
    assert place.database.pruned_lsn() == 199
    assert place.database.changes(199, 1000) == stream(200, LAST)


def test_a_replica_that_copies_is_not_idle(place: Place) -> None:
    """Reading its base backup counts, as does waiting for one; a shared one counts for its own."""
    primary = place.open(Retention(slot_idle_ms=MINUTE_MS))
    pins = {name: primary.pin(request(name)) for name in "ab"}
    for _ in range(4):
        place.late_ms += MINUTE_MS // 2
        primary.backup_file(pins["a"].token, "data.mdb")
        invalid = primary.enforce()
    assert slot_of(primary, "a").invalid_because is None
    assert [slot.name for slot in (*invalid, slot_of(primary, "b"))][-1] == "b"
    assert slot_of(primary, "b").invalid_because == (
        "idle-timeout: the replica was not heard of for 90000 ms, 60000 are allowed; "
        "LSN 300 is acknowledged"
    )


def test_time_in_which_nobody_could_be_heard_of_is_not_idle(place: Place) -> None:
    """A primary that was down for long does not lose its replicas at once."""
    place.open().hold_slot("r", 10)
    place.late_ms = 60 * MINUTE_MS
    primary = place.open(Retention(slot_idle_ms=MINUTE_MS))
    assert primary.enforce() == []
    place.late_ms += MINUTE_MS + 1
    assert [slot.name for slot in primary.enforce()] == ["r"]


def test_base_backups_of_replicas_that_are_gone_are_deleted(place: Place) -> None:
    """Dropping a slot deletes its own; an invalid slot's go once nobody could follow them."""
    primary = place.open(Retention(keep_changes=0, slot_max_changes=40))
    pins = {name: primary.pin(request(name)) for name in "abc"}
    primary.drop_slot("a")
    assert len(primary.backups()) == 2
    place.write(LAST + 50)
    primary.changes(LAST + 50, 1, "c")
    pins["c"] = primary.pin(request("c", 2))
    assert [slot.name for slot in primary.enforce()] == ["b"]
    assert [backup.token for backup in primary.backups()] == [pins["c"].token]
    with pytest.raises(SnapshotLost):
        primary.backup_file(pins["b"].token, "data.mdb")
    assert list(primary._slots.pins.all()) == [pins["c"].token]


def test_base_backups_that_nobody_can_follow_are_deleted(place: Place) -> None:
    """Also those of a valid slot, whose replica has gone on; one that is followed from stays."""
    primary = place.open(Retention(keep_changes=10), reuse_s=0)
    pins = [primary.pin(PinRequest(intent_id=f"i-{n}", generation=1, slot="r")) for n in range(5)]
    assert published(place.path) == sorted(pin.token for pin in pins[-2:])
    other = primary.pin(request("copying"))
    with LocalSource.open(place.path, place.files) as source:
        local = source.pin("local", 1).token
    place.write(LAST + 100)
    primary.enforce()
    primary.changes(LAST + 100, 1, "r")
    primary.enforce()
    assert primary.info().pruned_lsn == LAST - 1  # what the slot's history is compared with stays
    assert other.token in published(place.path)
    assert primary.changes(other.lsn, 100, "copying") == stream(LAST + 1, LAST + 100)
    primary.changes(LAST + 100, 1, "copying")
    primary.enforce()
    assert primary.info().pruned_lsn == LAST + 89
    assert published(place.path) == [local]
    assert primary._slots.pins.all() == {}


def test_a_slot_pins_two_base_backups_at_most(place: Place) -> None:
    """Whatever intents and generations are asked for, in whatever order; those of others stay."""
    primary = place.open(reuse_s=0)
    other = primary.pin(request("other"))
    for generation in (3, 2, 1):
        for intent in ("i", "j"):
            asked = PinRequest(intent_id=intent, generation=generation, slot="r")
            pinned = primary.pin(asked)
            assert primary.pin(asked) == pinned
            assert len(primary.backups()) <= 3
            assert {other.token, pinned.token} <= set(published(place.path))


def test_one_intent_under_many_slots_is_limited_too(place: Place) -> None:
    """What another slot pinned counts, although its intent is called the same."""
    primary = place.open(reuse_s=0, max_backups=2)
    for n in (1, 2):
        primary.pin(PinRequest(intent_id="i", generation=n, slot=f"r-{n}"))
    with pytest.raises(SourceUnavailable, match="has 2 base backups already, 2 are allowed"):
        primary.pin(PinRequest(intent_id="i", generation=3, slot="r-3"))


def test_a_publication_under_way_keeps_its_pin_and_a_failed_one_does_not(place: Place) -> None:
    """Whoever enforces meanwhile takes nothing away that a death would then leave for ever."""
    primary = place.open(reuse_s=0)
    seen: list[str] = []

    def enforce() -> None:
        primary.enforce()
        seen.extend(primary._slots.pins.all())
        raise Stopped("enough")

    place.files.do, place.files.at = enforce, "basebackup.copied"
    with pytest.raises(Stopped):
        primary.pin(request("r"))
    assert [token.rpartition(".")[0] for token in seen] == ["intent-of-r.1"]
    primary.enforce()
    assert primary._slots.pins.all() == {}
    assert published(place.path) == []


# --- looking ------------------------------------------------------------------------------------


def test_what_a_primary_says_of_itself(place: Place) -> None:
    """Numbers of the database, and the limits that it was opened with."""
    primary = place.open(Retention(slot_max_changes=7, slot_max_bytes=8, slot_idle_ms=9))
    place.database.prune(100)
    info = primary.info()
    assert info.identity == place.database.identity()
    assert (info.last_lsn, info.pruned_lsn) == (LAST, 100)
    assert info.size_bytes == (place.path / "data.mdb").stat().st_size
    assert 0 < info.log_bytes < info.size_bytes
    assert (info.slot_max_changes, info.slot_max_bytes, info.slot_idle_ms) == (7, 8, 9)
    assert info.write_rate_per_s is None


def test_the_write_rate_is_that_of_the_last_minute_or_so() -> None:
    """None before two samples; over a minute once there is one; over longer if nobody looked."""
    rate = WriteRate()
    assert rate.per_s() is None
    rate.saw(100, 10.0)
    rate.saw(150, 10.5)
    assert rate.per_s() is None
    for second in range(1, 201):
        rate.saw(100 + 10 * second, 10.0 + second)
    assert rate.per_s() == 10
    assert len(rate._samples) < 100
    for second in range(201, 261):
        rate.saw(2100, 10.0 + second)
    assert rate.per_s() == 0
    rate.saw(3100, 1270.0)
    assert rate.per_s() == 1
    rate.saw(0, 1300.0)  # put back to an older state
    assert rate.per_s() == 0


class Slow(float):
    """A time during whose subtraction other threads get their turn."""

    def __sub__(self, other: float) -> float:
        """Return the difference, later."""
        time.sleep(self % 3 * 1e-3)  # the older one may well be late
        return float(self) - float(other)


def test_the_write_rate_is_shared_by_threads() -> None:
    """They look at any time, in any order: nothing is taken away twice, nothing runs backwards."""
    rate = WriteRate()
    clock = itertools.count()

    def look(_: int) -> None:
        for _ in range(20):
            now = next(clock)
            rate.saw(now, Slow(now * 70))
            times = [now_s for now_s, _ in list(rate._samples)]
            assert times == sorted(set(times))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(look, range(8)))


def _mapped_manifests(place: Place) -> list[str]:
    maps = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in maps if str(place.path) in line and "/manifest" in line]


def test_a_released_base_backup_leaves_nothing_open(place: Place) -> None:
    """The room on the disk is free, also if another process released it; shared ones go on."""
    primary, another = place.open(), place.open()
    first, second = primary.pin(request("a")), primary.pin(request("b"))
    assert primary.chunk_at(first.token, 0, 16 * 1024)
    primary.release(first.token)
    assert primary.chunk_at(second.token, 0, 16 * 1024)
    assert _mapped_manifests(place)
    another.release(second.token)
    primary.enforce()
    gc.collect()
    assert _mapped_manifests(place) == []


def test_a_primary_that_leaves_its_place_is_unavailable(place: Place) -> None:
    """Every method says so, and nothing is read of what took its place."""
    primary = place.open()
    pinned = primary.pin(request("r"))
    primary.enforce()
    place.path.rename(place.path.with_name("moved"))
    with suppress(FileNotFoundError):
        Database.create(place.path, Files())
    for use in (
        primary.info,
        primary.last_lsn,
        primary.slots,
        primary.backups,
        primary.enforce,
        lambda: primary.pin(request("s")),
        lambda: primary.backup_file(pinned.token, "manifest"),
        lambda: primary.chunk_at(pinned.token, 0, 1),
        lambda: primary.release(pinned.token),
        lambda: primary.changes(0, 1, None),
        lambda: primary.hold_slot("r", 0),
        lambda: primary.drop_slot("r"),
    ):
        with pytest.raises(SourceUnavailable):
            use()


# --- dying --------------------------------------------------------------------------------------


def _serve(files: CrashingFiles, place: Path) -> None:
    with (
        Primary.open(place / "primary", files) as primary,
        Database.open(place / "primary", files, name="application") as database,
    ):
        if database.last_lsn() == 50:
            primary.pin(request("a"))
            database.write(operations(51, 60))
        pinned = primary.pin(request("b"))
        for backup in primary.backups():
            if backup.token != pinned.token:
                primary.release(backup.token)
        primary.enforce()


def _every_backup_is_whole_and_held(place: Path) -> None:
    """Nothing of the database lies anywhere that no slot would let a replica follow."""
    with Slots.open(place / "primary", Files()) as slots:
        held = {slot.name: slot.acknowledged_lsn for slot in slots.all()}
        pinned = slots.pins.all()
    for token in published(place / "primary"):
        directory = place / "primary/basebackups" / token
        if (directory / "data.mdb").exists():
            name = token.partition(".")[0].removeprefix("intent-of-")
            assert held[name] <= 60
            if (directory / "manifest").exists():
                assert pinned[token] == name
                assert held[name] <= check_backup(directory)


def _one_is_left(place: Path) -> None:
    (token,) = published(place / "primary")
    assert token.startswith("intent-of-b.1.")
    directory = place / "primary/basebackups" / token
    assert check_backup(directory) in (50, 60)
    assert (directory / "data.mdb").stat().st_nlink == 1
    with Slots.open(place / "primary", Files()) as slots:
        assert slots.pins.all() == {token: "b"}


SHARING = Scenario(
    run=_serve,
    prepare=lambda place: create(place / "primary", last=50).close(),
    after_crash=_every_backup_is_whole_and_held,
    check=_one_is_left,
)


def test_pinning_sharing_and_releasing_survive_a_crash_at_every_point() -> None:
    """What exists is whole and held at any moment, and nothing is left over in the end."""
    deaths = every_single(SHARING, at_least=30)
    assert {"basebackup.data.mdb.linked#1", "basebackup.manifest.renamed#1"} <= deaths


@pytest.mark.crash
def test_pinning_sharing_and_releasing_survive_two_crashes() -> None:
    """And so does the next life."""
    every_pair(SHARING, at_least=30)


KEPT = Retention(keep_changes=10, slot_max_changes=1500)


def _retain(files: CrashingFiles, place: Path) -> None:
    with Primary.open(place / "primary", files, retention=KEPT) as primary:
        primary.enforce()
        primary.changes(1800, 1, "near")
        primary.enforce()


def _prepare_retention(place: Path) -> None:
    create(place / "primary", last=2000).close()
    with Primary.open(place / "primary", Files()) as primary:
        primary.hold_slot("near", 1400)
        primary.hold_slot("far", 100)


def _what_is_held_is_there(place: Path) -> None:
    with Primary.open(place / "primary", Files()) as primary:
        pruned_lsn = primary.info().pruned_lsn
        for slot in primary.slots():
            if slot.invalid_because is None:
                assert pruned_lsn <= slot.acknowledged_lsn
                assert primary.changes(slot.acknowledged_lsn, 1, None) != []
        assert primary.changes(pruned_lsn, 5, None) == stream(pruned_lsn + 1, pruned_lsn + 5)


def _retention_is_done(place: Path) -> None:
    with Primary.open(place / "primary", Files()) as primary:
        assert primary.info().pruned_lsn == 1799
        assert slot_of(primary, "near").acknowledged_lsn == 1800
        assert str(slot_of(primary, "far").invalid_because).startswith("horizon: LSN 100 ")


RETAINING = Scenario(
    run=_retain,
    prepare=_prepare_retention,
    after_crash=_what_is_held_is_there,
    check=_retention_is_done,
)


def test_retention_survives_a_crash_at_every_point() -> None:
    """Half a pruning takes nothing that is held, and the next one goes on."""
    deaths = every_single(RETAINING, at_least=15)
    assert {"primary.committed#1", "primary.committed#3", "slots.committed#2"} <= deaths


@pytest.mark.crash
def test_retention_survives_two_crashes() -> None:
    """And so does the next life."""
    every_pair(RETAINING, at_least=15)


# --- memory -------------------------------------------------------------------------------------


@pytest.mark.crash
def test_serving_keeps_memory_flat(place: Place) -> None:
    """A long log is pruned, and many chunks are looked up, in far less than the database's size."""
    fill(place.database, 64)
    peak_bytes = run(
        IN_CHILD + "from processes import peak_resident_bytes\n"
        "import os\n"
        "from bootledger.primary.service import *\n"
        "from bootledger.replica.wire import PinRequest\n"
        "with Primary.open(Path(sys.argv[1]), Files(), retention=Retention(keep_changes=0),"
        " chunk_bytes=4096) as primary:\n"
        "    pin = primary.pin(PinRequest(intent_id='i', generation=1, slot='s'))\n"
        "    for offset in range(0, pin.size_bytes // 4096 * 4096, 4096):\n"
        "        assert primary.chunk_at(pin.token, offset, 4096)\n"
        "    primary.enforce()\n"
        "    print(peak_resident_bytes(os.getpid()))\n",
        place.path,
    )
    assert place.database.path.joinpath("data.mdb").stat().st_size > 120 * MIB
    assert int(peak_bytes) < 90 * MIB
