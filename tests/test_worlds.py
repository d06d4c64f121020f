"""The crash helper itself: the dead stay dead, and what is planted is found."""

import os
from collections.abc import Callable
from pathlib import Path

import lmdb
import processes
import pytest
from worlds import CrashingFiles, Scenario, every_pair, every_single, fresh_place, play, record

from bootledger.environment import Environment, create_environment
from bootledger.errors import CorruptRecord, SimulatedCrash
from bootledger.files import Files, is_locked
from bootledger.replica.readers import read_current
from bootledger.replica.target import Target

DATA = b"the bytes of the chunk"


# --- A small store of one chunk and one event, right and wrong ------------------------------------


def _stage_chunk(files: Files, place: Path) -> None:
    with files.open(place / "chunk", size_bytes=len(DATA)) as chunk:
        files.point("chunk.writing")
        chunk.write_at(0, DATA)
        chunk.sync()
        files.point("chunk.synced")


def _record_event(files: Files, place: Path) -> None:
    create_environment(place / "log", ("log",), lambda txn, db: None, files)
    with Environment.open(place / "log", ("log",), files, name="log") as log:
        log.write(lambda txn, db: txn.put(b"1", b"staged", db=db["log"]))


def _event_is_true(place: Path) -> None:
    if (place / "log").exists():
        with Environment.open(place / "log", ("log",), Files(), name="log") as log:
            if log.read(lambda txn, db: txn.get(b"1", db=db["log"])) is not None:
                assert (place / "chunk").read_bytes() == DATA


def _everything_is_there(place: Path) -> None:
    _event_is_true(place)
    assert (place / "chunk").read_bytes() == DATA
    assert (place / "log" / "data.mdb").exists()


def _data_then_event(files: CrashingFiles, place: Path) -> None:
    _stage_chunk(files, place)
    _record_event(files, place)


def _event_then_data(files: CrashingFiles, place: Path) -> None:
    _record_event(files, place)
    _stage_chunk(files, place)


def test_data_before_its_event_passes_every_crash_and_every_pair() -> None:
    """The right order holds at every boundary, and there are as many as the dry run says."""
    scenario = Scenario(_data_then_event, after_crash=_event_is_true, check=_everything_is_there)
    points = record(scenario)
    assert every_single(scenario, at_least=10) == set(points)
    assert every_pair(scenario, at_least=10) >= set(points)


def test_an_event_before_its_data_is_caught() -> None:
    """Crashing before the chunk is written leaves an event that lies; the failure says where."""
    scenario = Scenario(_event_then_data, after_crash=_event_is_true, check=_everything_is_there)
    with pytest.raises((AssertionError, FileNotFoundError)) as caught:
        every_single(scenario, at_least=10)
    assert any("log.committed#1" in note for note in caught.value.__notes__)


# --- CURRENT, replaced and overwritten ------------------------------------------------------------


def _open(path: Path, files: Files) -> Target:
    return Target.open(path, files, source_database_id="source", node_id="node")


def _two_generations(place: Path) -> None:
    with _open(place / "target", Files()) as target:
        for generation in (1, 2):
            (target.create_generation(generation) / "data.mdb").write_bytes(b"data")
        target.promote(1)


def _current_is_one_of_two(place: Path) -> None:
    assert read_current(place / "target") in (1, 2)


def _current_is_the_second(place: Path) -> None:
    assert read_current(place / "target") == 2


def _promoted_by_rename(files: CrashingFiles, place: Path) -> None:
    with _open(place / "target", files) as target:
        target.promote(2)


def _overwritten_in_place(files: CrashingFiles, place: Path) -> None:
    fd = os.open(place / "target" / "CURRENT", os.O_WRONLY | os.O_TRUNC)
    try:
        for byte in b"gen-0002\n":
            files.point("current.overwriting")
            os.write(fd, bytes([byte]))
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("run", "sound"), [(_promoted_by_rename, True), (_overwritten_in_place, False)]
)
def test_current_overwritten_in_place_is_caught(
    run: Callable[[CrashingFiles, Path], None], sound: bool
) -> None:
    """A reader after the crash finds neither generation, unless CURRENT is replaced in one step."""
    scenario = Scenario(run, _two_generations, _current_is_one_of_two, _current_is_the_second)
    if sound:
        every_single(scenario, at_least=6)
    else:
        with pytest.raises(CorruptRecord):
            every_single(scenario, at_least=6)


# --- The dead stay dead ---------------------------------------------------------------------------


def test_the_dead_write_nothing_in_finally_and_exit() -> None:
    """A handle that records an abort on its way out cannot: every durable step passes a point."""
    attempts = []

    def run(files: CrashingFiles, place: Path) -> None:
        try:
            files.point("work.begun")
        finally:
            attempts.append("finally")
            files.replace(place / "aborted", b"", name="aborted")
            (place / "done").touch()

    def nothing_written(place: Path) -> None:
        assert list(place.iterdir()) == []

    assert play(Scenario(run, after_crash=nothing_written), ["work.begun#1"]) == ("work.begun#1",)
    assert attempts == ["finally", "finally"]


def test_the_dead_commit_nothing_and_lock_nothing() -> None:
    """After the crash neither LMDB nor a lock is to be had, and the next life has both at once."""

    def run(files: CrashingFiles, place: Path) -> None:
        create_environment(place / "log", ("log",), lambda txn, db: None, files)
        log = Environment.open(place / "log", ("log",), files, name="log", wait_s=0)
        files.lock(place / "lock").acquire()
        try:
            log.write(lambda txn, db: txn.put(b"first", b"", db=db["log"]))
        except SimulatedCrash:
            with pytest.raises(SimulatedCrash):
                log.write(lambda txn, db: txn.put(b"grave", b"", db=db["log"]))
            with pytest.raises(SimulatedCrash):
                files.lock(place / "another").acquire()
            raise

    def untouched(place: Path) -> None:
        assert not (place / "another").exists()
        assert not is_locked(place / "lock")
        # lmdb refuses to open what this process has open already.
        with lmdb.open(str(place / "log"), max_dbs=1, readonly=True) as env:
            db = env.open_db(b"log", create=False)
            with env.begin() as txn:
                assert txn.get(b"grave", db=db) is None

    play(Scenario(run, after_crash=untouched), ["log.committing#1", "log.writing#1"])


def test_locks_are_let_go_only_by_the_burial() -> None:
    """A lock that the dead never released is free once the operating system has done its part."""
    with fresh_place() as place:
        files = CrashingFiles("step.done#1")
        files.lock(place / "lock").acquire()
        with pytest.raises(SimulatedCrash):
            files.point("step.done")
        assert is_locked(place / "lock")
        files.bury()
        assert not is_locked(place / "lock")


def test_outliving_ones_own_death_is_a_failure() -> None:
    """Code that swallows the crash is caught, whatever it does afterwards."""

    def run(files: CrashingFiles, place: Path) -> None:
        try:
            files.point("work.begun")
        except BaseException:  # noqa: BLE001 - the fault that is planted
            return

    with pytest.raises(AssertionError, match=r"went on living after it died at work\.begun#1"):
        every_single(Scenario(run), at_least=1)


def test_a_simulated_death_leaves_what_a_real_one_leaves() -> None:
    """At each point of a promotion and a removal, SIGKILL and the simulation end up the same."""

    def run(files: CrashingFiles, place: Path) -> None:
        with _open(place / "target", files) as target:
            target.promote(2)
            target.remove_unused()

    points = record(Scenario(run, _two_generations))
    with fresh_place() as place:
        for number in range(1, len(points) + 1):
            (place / f"{number}").mkdir()
            _two_generations(place / f"{number}")
        killed = processes.run(KILLED_AT_EACH_POINT, place, len(points))
        assert killed == "9" * len(points)
        for number in range(1, len(points) + 1):
            real = _content(place / f"{number}")

            def alike(simulated: Path, real: dict[str, bytes | None] = real) -> None:
                assert _content(simulated) == real

            play(Scenario(run, _two_generations, alike), [number])


KILLED_AT_EACH_POINT = """
    import os, signal, sys
    from pathlib import Path
    from bootledger.files import Files
    from bootledger.replica.target import Target

    class KilledFiles(Files):
        def __init__(self, left):
            self.left = left

        def point(self, name):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    for number in range(1, int(sys.argv[2]) + 1):
        child = os.fork()
        if child == 0:
            path = Path(sys.argv[1], str(number), "target")
            files = KilledFiles(number)
            with Target.open(path, files, source_database_id="source", node_id="node") as target:
                target.promote(2)
                target.remove_unused()
            os._exit(0)
        print(-os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), end="")
"""


def _content(place: Path) -> dict[str, bytes | None]:
    """Return every name with its content, but for what differs from process to process."""
    return {
        str(item.relative_to(place)): item.read_bytes() if item.is_file() else None
        for item in place.rglob("*")
        if item.name not in ("identity", "owner.lock", "readers.lock")
    }


# --- The exploration ------------------------------------------------------------------------------


def _three_points(files: CrashingFiles, place: Path) -> None:
    for name in ("a", "b", "a"):
        files.point(name)


def test_points_are_named_by_their_occurrence() -> None:
    """A token says which of the points of a name it is, so that schedules survive changes."""
    assert record(Scenario(_three_points)) == ("a#1", "b#1", "a#2")
    assert play(Scenario(_three_points), ["a#2", 2]) == ("a#2", "b#1")
    assert play(Scenario(_three_points), ["c#1"]) == ()


@pytest.mark.parametrize("copies", [True, False])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_every_pair_is_played_and_parts_add_up_to_the_whole(parts: int, copies: bool) -> None:
    """Three points give nine pairs, in one part or in several, copied or lived again."""
    ends: list[list[str]] = []

    def run(files: CrashingFiles, place: Path) -> None:
        try:
            _three_points(files, place)
        finally:
            with (place / "lives").open("a") as lives:
                lives.write(f"{files.died_at}\n")

    def remember(place: Path) -> None:
        ends.append((place / "lives").read_text().split())

    scenario = Scenario(run, check=remember)
    for part in range(parts):
        every_pair(scenario, at_least=1 if part < 3 else 0, part=(part, parts), copies=copies)
    pairs = [lives[:2] for lives in ends if len(lives) == 3]
    assert sorted(pairs) == [[a, b] for a in ("a#1", "a#2", "b#1") for b in ("a#1", "a#2", "b#1")]


def test_a_wrong_end_after_a_crash_is_a_failure() -> None:
    """A recovery that ends, but not where it should, is caught and named by its schedule."""

    def run(files: CrashingFiles, place: Path) -> None:
        with (place / "applied").open("ab") as applied:
            applied.write(b"a change, applied twice if it is done again\n")
        files.point("change.applied")

    def applied_once(place: Path) -> None:
        assert (place / "applied").read_bytes().count(b"\n") == 1

    record(Scenario(run, check=applied_once))
    with pytest.raises(AssertionError) as caught:
        every_single(Scenario(run, check=applied_once), at_least=1)
    assert "crashes: ['change.applied#1'], of the schedule [1]" in caught.value.__notes__


def test_too_few_boundaries_are_a_failure() -> None:
    """A scenario that passes no points proves nothing, and cannot look as if it did."""
    with pytest.raises(AssertionError, match="only 3 boundaries"):
        every_single(Scenario(_three_points), at_least=4)
    with pytest.raises(AssertionError, match="only 0 boundaries"):
        every_pair(Scenario(lambda files, place: None), at_least=1)


def test_a_life_without_an_end_is_a_failure() -> None:
    """A recovery that goes round in circles is stopped."""

    def run(files: CrashingFiles, place: Path) -> None:
        while True:
            files.point("again")

    with pytest.raises(AssertionError, match="this life does not end"):
        play(Scenario(run), [])
