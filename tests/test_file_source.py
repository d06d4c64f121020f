from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import processes
import pytest
from copies import (
    CHUNK_BYTES,
    COPY_IN_A_CHILD,
    Changes,
    copied,
    copy_of,
    end,
    some_bytes,
    source_of,
)
from replicas import Counts

from bootledger.errors import (
    CorruptRecord,
    ForeignTarget,
    InvalidValue,
    SnapshotLost,
    SourceUnavailable,
    TargetBusy,
)
from bootledger.files import Files
from bootledger.replica.ports import OpenApplier, Source
from bootledger.replica.readers import check_data_name, data_file, open_current
from bootledger.replica.settings import Settings
from bootledger.replica.sources.appliers import open_file_copy
from bootledger.replica.sources.file import FileSource
from bootledger.replica.sources.looks import look
from bootledger.replica.sources.spool import Spool
from bootledger.simulation import World, explore

CHUNKS = 12
DATA = some_bytes(CHUNKS * CHUNK_BYTES - 17)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Make the file that is copied."""
    path = tmp_path / "big.bin"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Say where the copy goes."""
    return tmp_path / "target"


def test_a_copy_has_the_files_bytes_and_its_name(file: Path, target: Path) -> None:
    """It lies in the generation under the name of the file; the spool holds nothing any more."""
    outcome = copied(source_of("file", str(file), target), target)
    assert (outcome.generation, outcome.copied) == (1, True)
    with open_current(target) as directory:
        assert data_file(directory) == directory / "big.bin"
    assert copy_of(target) == DATA
    assert sorted(path.name for path in (target / "spool").iterdir()) == ["lock", "version"]


def test_what_did_not_change_is_not_copied_again(file: Path, target: Path) -> None:
    """A second run finds the copy up to date, at the same LSN."""
    first = copied(source_of("file", str(file), target), target)
    seen = Counts()
    second = copied(source_of("file", str(file), target), target, observer=seen)
    assert not second.copied
    assert (second.generation, second.applied_lsn) == (first.generation, first.applied_lsn)
    assert not seen.fetched


def test_of_a_newer_version_only_what_changed_is_fetched(file: Path, target: Path) -> None:
    """One byte in the middle costs one chunk; the copy is a new generation with a higher LSN."""
    first = copied(source_of("file", str(file), target), target)
    changed = DATA[:50_000] + b"!" + DATA[50_001:]
    file.write_bytes(changed)
    seen = Counts()
    second = copied(source_of("file", str(file), target), target, observer=seen)
    assert copy_of(target) == changed
    assert second.generation == 2
    assert second.applied_lsn > first.applied_lsn
    assert [part.start_bytes for part in seen.fetched] == [50_000]


@pytest.mark.parametrize("in_flight", [1, 4])
def test_a_change_in_the_middle_of_the_copy_leads_to_a_new_generation(
    file: Path, target: Path, in_flight: int
) -> None:
    """The pin is lost; what the new version shares with what was staged is not fetched again."""
    changed = DATA[:-1] + b"!"
    seen = Changes(3, lambda: file.write_bytes(changed))
    # Threads that are not held up have read everything before it changes.
    slow = None if in_flight == 1 else 8.0 * CHUNK_BYTES
    settings = Settings(max_in_flight=in_flight, max_bytes_per_s=slow)
    outcome = copied(source_of("file", str(file), target), target, observer=seen, settings=settings)
    assert outcome.generation == 2
    assert copy_of(target) == changed
    assert len(seen.fetched) <= CHUNKS + in_flight


def test_other_bytes_under_the_same_looks_are_noticed(file: Path, target: Path) -> None:
    """A write whose time of writing does not show is found by the chunk's digest: pin lost."""
    with source_of("file", str(file), target) as source:
        target.mkdir()
        pin = source.pin("intent", 1)
        manifest = source._manifest()
        assert manifest is not None
        version = source._spool.version()
        changed = b"!" + DATA[1:]
        file.write_bytes(changed)
        looks, _ = look(file)
        assert version is not None
        source._spool._remember(type(version)(looks, version.lsn))  # as if nothing could be seen
        with pytest.raises(SnapshotLost, match="changed at byte 0: CRC32C"):
            source.fetch_chunk(pin.token, manifest.chunk(0))
        again = source.pin("intent", 2)
        assert again.lsn > pin.lsn
        assert source.read_chunk(again.token, 0, 5) == changed[:5]


def test_a_file_that_never_rests_ends_the_pin_in_words(
    file: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three times it is looked at anew, then the run is suspended: it never goes on for ever."""
    source = source_of("file", str(file), target)
    count = iter(range(100))

    def write() -> None:
        file.write_bytes(DATA + b"%d" % next(count))

    target.mkdir()
    with source, pytest.raises(SourceUnavailable, match="changed 3 times"):
        source.pin("intent", 1, pause=write)


def test_what_was_written_in_this_very_tick_counts_as_new_later(tmp_path: Path) -> None:
    """A version that may have changed unseen is trusted by its own process only."""
    with_spool = tmp_path / "spool"
    first = Spool(with_spool, Files())
    lsn = first.observe("looks", settled=False)
    assert first.observe("looks", settled=False) == lsn
    first.close()
    second = Spool(with_spool, Files())
    later = second.observe("looks", settled=True)
    assert later > lsn
    second.close()
    third = Spool(with_spool, Files())
    assert third.observe("looks") == later
    third.close()


def test_lsns_do_not_go_back_with_the_clock_or_a_lost_spool(tmp_path: Path) -> None:
    """A new version is always more than the last; after a loss, it is the time."""
    spool = Spool(tmp_path / "spool", Files(), clock=lambda: 5000)
    assert [spool.observe(looks) for looks in ("a", "b", "a", "a")] == [5000, 5001, 5002, 5002]
    spool.close()
    behind = Spool(tmp_path / "spool", Files(), clock=lambda: 100)
    assert behind.observe("c") == 5003
    behind.close()
    lost = Spool(tmp_path / "other", Files(), clock=lambda: 9000)
    assert lost.observe("a") == 9000
    lost.close()


def test_a_damaged_record_of_the_version_is_refused(tmp_path: Path) -> None:
    """It is neither guessed nor taken for none; the words say what to do."""
    spool = Spool(tmp_path / "spool", Files())
    spool.observe("looks")
    spool.close()
    record = tmp_path / "spool" / "version"
    record.write_bytes(record.read_bytes()[:-1] + b"?")
    with pytest.raises(CorruptRecord, match="version") as caught:
        Spool(tmp_path / "spool", Files()).version()
    assert "remove it" in caught.value.hint


def test_one_spool_has_one_owner(tmp_path: Path) -> None:
    """A second process is refused."""
    first, second = Spool(tmp_path / "spool", Files()), Spool(tmp_path / "spool", Files())
    first.version()
    with pytest.raises(TargetBusy):
        second.version()
    first.close()
    assert second.version() is None
    second.close()


def test_what_was_summed_up_before_a_death_is_not_read_again(file: Path, target: Path) -> None:
    """A pin that ended early goes on where it was."""
    target.mkdir()
    paused = iter(range(5))

    def stop() -> None:
        if next(paused, None) is None:
            raise KeyboardInterrupt

    with source_of("file", str(file), target) as source, pytest.raises(KeyboardInterrupt):
        source.pin("intent", 1, pause=stop)
    again: list[int] = []
    with source_of("file", str(file), target) as source:
        source.pin("intent", 1, pause=lambda: again.append(1))
    assert len(again) == CHUNKS - 5


def test_an_interrupted_copy_goes_on_with_its_pin(file: Path, target: Path) -> None:
    """After a stop in the middle, the next run fetches only what was missing, in one generation."""
    seen = Changes(4, lambda: None)
    stop = iter([None] * 6)
    settings = Settings(stop=lambda: next(stop, "enough"))
    with pytest.raises(Exception, match="enough"):
        copied(source_of("file", str(file), target), target, observer=seen, settings=settings)
    fetched = len(seen.fetched)
    rest = Counts()
    outcome = copied(source_of("file", str(file), target), target, observer=rest)
    assert (outcome.generation, outcome.epochs) == (1, 2)
    assert fetched + len(rest.fetched) == CHUNKS
    assert copy_of(target) == DATA


def test_a_file_that_is_gone_suspends(file: Path, target: Path) -> None:
    """It may only be unmounted: the same run goes on when it is back."""
    away = file.with_name("away")

    def go_away() -> None:
        file.rename(away)

    with pytest.raises(SourceUnavailable, match="cannot be seen"):
        copied(source_of("file", str(file), target), target, observer=Changes(2, go_away))
    away.rename(file)
    outcome = copied(source_of("file", str(file), target), target)
    assert copy_of(target) == DATA
    assert outcome.generation <= 2  # the rename back changed its ctime: it looks new


def test_what_is_no_file_or_empty_is_refused(tmp_path: Path, target: Path) -> None:
    """A directory, a pipe that would block for ever, nothing: and no target is made."""
    (tmp_path / "empty").touch()
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("directory", "regular"), ("pipe", "regular")):
        with pytest.raises(InvalidValue, match=words):
            copied(source_of("file", str(tmp_path / name), target), target)
    for name, words in (("empty", "is empty"), ("missing", "cannot be seen")):
        with pytest.raises(SourceUnavailable, match=words):
            copied(source_of("file", str(tmp_path / name), target), target)
    assert not target.exists()


def test_names_that_others_need_are_refused(file: Path, target: Path) -> None:
    """A copy lies beside its manifest and its intent: it cannot be called like them."""
    for name in ("manifest", "intent", "readers.lock", "lock.mdb", ".hidden", "a/b", "..", "a\\b"):
        with pytest.raises(InvalidValue):
            check_data_name(name)
    with pytest.raises(InvalidValue, match="manifest"):
        FileSource(file, target, Files(), name="manifest")


def test_a_link_is_followed_at_each_look(file: Path, target: Path) -> None:
    """A link that leads to a newer file is the same source with a newer version."""
    link = file.with_name("latest")
    link.symlink_to(file)
    copied(source_of("file", str(link), target), target)
    newer = file.with_name("newer")
    newer.write_bytes(DATA[::-1])
    link.unlink()
    link.symlink_to(newer)
    assert copied(source_of("file", str(link), target), target).generation == 2
    assert copy_of(target) == DATA[::-1]


def test_a_target_belongs_to_one_file(file: Path, target: Path) -> None:
    """Another file is refused, whatever it is called."""
    copied(source_of("file", str(file), target), target)
    other = file.with_name("other.bin")
    other.write_bytes(DATA)
    with pytest.raises(ForeignTarget):
        copied(source_of("file", str(other), target), target)


def test_a_copy_that_was_cut_short_is_not_taken_for_one(file: Path, target: Path) -> None:
    """The applier compares its length with the manifest beside it."""
    copied(source_of("file", str(file), target), target)
    with open_current(target) as directory:
        data_file(directory).write_bytes(b"short")
        with pytest.raises(CorruptRecord, match="has 5 bytes"):
            open_file_copy(directory)


def prepare(world: World) -> None:
    """Make the file that is copied."""
    (world.path / "big.bin").write_bytes(DATA[:250])


def change(world: World) -> None:
    """Write to the file: another length, and another first byte."""
    path = world.path / "big.bin"
    path.write_bytes(b"%d" % (path.stat().st_size % 7) + path.read_bytes()[1:] + b"more")


def check(world: World) -> None:
    """Compare the copy in service with the file."""
    found = data_file(world.database).read_bytes()
    assert found == (world.path / "big.bin").read_bytes()


def build(world: World) -> tuple[Source, OpenApplier]:
    """Make the parts of one life."""
    source = FileSource(
        world.path / "big.bin",
        world.path / "spool",
        world.files,
        identity="file",  # a world may lie anywhere
        chunk_bytes=100,
        settle_s=0,
    )
    return source, open_file_copy


@pytest.mark.crash
def test_every_single_crash_leads_to_the_files_bytes() -> None:
    """Wherever it dies once, the next start ends with a copy that is equal."""
    report = explore(build, check, prepare=prepare, crashes=1)
    report.assert_ok()
    assert report.every_single
    assert report.points > 50
    assert {"version.renamed", "manifest.renamed", "chunk.synced"} <= set(report.boundaries)


@pytest.mark.parametrize(
    "budget", [25, pytest.param(25_000, marks=pytest.mark.crash)], ids=["sample", "all"]
)
def test_a_crash_with_a_change_after_it_leads_to_the_newer_file(budget: int) -> None:
    """Another file after a death: the newer one is promoted. A sample, all of them by `crash`."""
    report = explore(build, check, prepare=prepare, between=change, crashes=1, budget=budget)
    report.assert_ok()
    assert report.every_single or budget == 25


@pytest.mark.crash
def test_pairs_of_crashes_lead_to_the_newer_file() -> None:
    """Two deaths, and a change after each."""
    report = explore(build, check, prepare=prepare, between=change, crashes=2, budget=800)
    report.assert_ok()
    assert report.every_single


@pytest.mark.parametrize(
    "waits_s",
    [
        (0.02, 0.1),
        pytest.param([n / 250 for n in range(30)], marks=pytest.mark.crash),
    ],
    ids=["short", "long"],
)
def test_killed_for_real_again_and_again_it_ends_equal(
    tmp_path: Path, target: Path, waits_s: Sequence[float]
) -> None:
    """SIGKILL at many moments, and changes of the file on the way: the copy is the file."""
    file = tmp_path / "large.bin"
    data = some_bytes(8 * 2**20)
    file.write_bytes(data)
    tests = Path(__file__).parent
    for number, wait_s in enumerate(waits_s):
        child = processes.start(COPY_IN_A_CHILD, tests, "file", file, target, 2**17)
        assert processes.wait_for_line(child) == "up"
        time.sleep(wait_s)
        end(child)
        if number % 4 == 1:
            at = number * 2**14
            data = data[:at] + b"changed" + data[at:]
            file.write_bytes(data)
    copied(source_of("file", str(file), target), target)
    assert copy_of(target) == data
