"""Exploring crashes: what is sound passes, what is planted is found, and a token tells it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from bootledger.files import Files
from bootledger.replica.ports import Change, OpenApplier, Source
from bootledger.simulation import (
    Broken,
    Build,
    CrashBug,
    Report,
    Scenario,
    World,
    bootstrap,
    crashing,
    explore,
    explore_scenario,
    prove_check,
    proving,
    replay,
    samples,
)
from bootledger.simulation.planted import Early, Wrong
from bootledger.simulation.samples import FileApplier, FileDatabase, sample_source


def _with(applier: Callable[[Files, Path], FileApplier]) -> Build:
    def build(world: World) -> tuple[Source, OpenApplier]:
        return sample_source(), partial(applier, world.files)

    return build


# --- A little store of two files, to explore in no time ------------------------------------------


def _write(world: World, name: str, data: bytes) -> None:
    world.point(f"{name}.writing")
    (world.path / name).write_bytes(data)
    world.point(f"{name}.written")


def _data_then_event(world: World) -> None:
    for number in range(3):
        _write(world, f"data-{number}", b"data")
        _write(world, f"event-{number}", b"staged")


def _event_then_data(world: World) -> None:
    for number in range(3):
        _write(world, f"event-{number}", b"staged")
        _write(world, f"data-{number}", b"data")


def _events_are_true(world: World) -> None:
    for event in world.path.glob("event-*"):
        if not (world.path / event.name.replace("event", "data")).exists():
            raise Broken(f"{event.name} claims what is not there")


def _little(run: Callable[[World], None]) -> Scenario:
    return Scenario(run, between=_events_are_true, check=_events_are_true)


def _same(report: Report) -> Report:
    """Return what must be the same in each repetition: all but the time."""
    report.duration_s = 0.0
    return report


# --- What is sound --------------------------------------------------------------------------------


def test_the_sample_survives_and_the_report_counts_what_was_done() -> None:
    """A part of all single crashes, and the numbers agree with each other."""
    told: list[int] = []
    report = explore(
        samples.build,
        samples.check,
        crashes=1,
        budget=40,
        told=lambda so_far: told.append(so_far.runs),
    )
    report.assert_ok(min_boundaries=15)
    assert (report.runs, report.crashes, report.lives) == (40, 39, 79)
    assert sum(report.boundaries.values()) == report.crashes
    assert told == list(range(1, report.runs + 1))
    assert report.points > 100
    assert not report.every_single
    assert report.runs_per_s > 0


def test_a_little_store_is_explored_to_the_last_pair() -> None:
    """12 points: 1 dry run, 12 singles, 12 x 12 pairs; and a third crash is left to chance."""
    report = explore_scenario(_little(_data_then_event))
    assert (report.runs, report.points) == (1 + 12 + 12 * 12, 12)
    assert report.every_single
    assert report.every_pair
    by_chance = explore_scenario(_little(_data_then_event), crashes=3, budget=300)
    assert by_chance.runs == 300
    by_chance.assert_ok(min_boundaries=12)


@pytest.mark.parametrize(("crashes", "budget"), [(1, 9), (2, 40), (2, 1), (3, 260)])
def test_a_seed_is_a_run_with_any_workers_and_engine(crashes: int, budget: int) -> None:
    """The report of one worker, twice, of two, and of killed processes: but for the time, one."""
    scenario = _little(_data_then_event)

    def explored(**how: int) -> Report:
        return _same(explore_scenario(scenario, crashes=crashes, budget=budget, seed=7, **how))

    first = explored()
    assert explored() == first
    assert explored(workers=2) == first
    if budget < 50:
        killed = explore_scenario(
            scenario, crashes=crashes, budget=budget, seed=7, engine="sigkill"
        )
        killed.engine = "inproc"
        assert _same(killed) == first


def test_a_bootstrap_says_the_same_in_each_repetition_and_engine() -> None:
    """The trace of the real loop: ids, clock and paths are the world's, or are not told."""
    reports = [
        explore(samples.build, samples.check, budget=6, seed=3, workers=1),
        explore(samples.build, samples.check, budget=6, seed=3, workers=2),
        explore(samples.build, samples.check, budget=6, seed=3, engine="sigkill"),
    ]
    assert {report.trace for report in reports} == {reports[0].trace}
    assert {report.lives for report in reports} == {11}
    assert explore(samples.build, samples.check, budget=6, seed=4).trace != reports[0].trace


# --- What is planted ------------------------------------------------------------------------------


class InPlace(FileApplier):
    """Overwrites its file instead of replacing it."""

    def apply(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self.database.apply(change)
        data = self.database.encode()
        self._path.write_bytes(data[: len(data) // 2])
        self._files.point("database.torn")
        self._path.write_bytes(data)


class Claims(FileApplier):
    """Calls a batch applied, and makes it durable with the next one."""

    def apply(self, changes: Sequence[Change]) -> None:
        kept = self.database.encode()
        for change in changes:
            self.database.apply(change)
        if self.database.lsn < samples.LAST_LSN:
            self._files.replace(self._path, kept, name="database")
        else:
            self._files.replace(self._path, self.database.encode(), name="database")


@pytest.mark.parametrize(
    ("applier", "where", "names"),
    [(InPlace, "database.torn#1", "database"), (Claims, "log.", "LSN")],
)
def test_a_planted_applier_is_found_with_one_crash(
    applier: type[FileApplier], where: str, names: str
) -> None:
    """It passes without a crash; with one it does not, and the token says which."""
    report = explore(_with(applier), samples.check, crashes=2)
    smallest = report.smallest
    assert smallest is not None
    assert smallest.token.startswith(where)
    assert smallest.token.count("#") == 1
    assert names in smallest.what
    assert report.crashes == report.runs - 1, "pairs were played, though a single one was enough"
    with pytest.raises(CrashBug, match=f"after crashes at {smallest.token}"):
        report.assert_ok()


def test_a_planted_swap_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The product's own: with `Files.replace` writing in place a crash leaves a torn file."""

    def in_place(self: Files, path: Path, data: bytes, *, name: str, **_: object) -> None:
        path.write_bytes(data[: len(data) // 2])
        self.point(f"{name}.torn")
        path.write_bytes(data)

    monkeypatch.setattr(Files, "replace", in_place)
    report = explore(samples.build, samples.check, crashes=1)
    torn = {found.token.partition(".torn")[0] for found in report.violations}
    assert "database" in torn
    assert torn & {"current", "identity", "intent"}


def test_a_token_tells_the_story_again() -> None:
    """`replay` finds just the violation that `explore` did, in both engines."""
    scenario = _little(_event_then_data)
    found = explore_scenario(scenario).smallest
    assert found is not None
    assert found.token == "event-0.written#1"
    for engine in ("inproc", "sigkill"):
        assert replay(scenario, found.token, engine=engine).violations == [found]
    assert found.story == (
        "life 1",
        "    event-0: writing",
        "    DIES at event-0.written#1",
        "WRONG: event-0 claims what is not there",
    )
    assert replay(_little(_data_then_event), found.token).violations == []


def test_a_story_says_what_was_recorded_and_fetched() -> None:
    """The story of a bootstrap has the events, the bytes and the death, in the order of events."""
    scenario = bootstrap(_with(InPlace), samples.check)
    (violation,) = replay(scenario, "database.torn#1").violations
    told = "\n".join(violation.story)
    for words in (
        "life 1\n",
        "records event 1: begin node_id=simulated",
        "fetches bytes 0 to 300",
        "DIES at database.torn#1",
        "life 2\n",
        "RAISES an error",
        "WRONG: ",
    ):
        before, found, told = told.partition(words)
        assert found, f"{words!r} is missing in {before}"


def test_what_goes_wrong_without_a_crash_needs_no_crash() -> None:
    """The dry run is the first stage: its token is empty, and nothing else is played."""

    def refuse(world: World) -> None:
        raise Broken("never content")

    report = explore(samples.build, refuse)
    assert [found.token for found in report.violations] == [""]
    assert report.runs == 1
    with pytest.raises(CrashBug, match="without any crash: Broken: never content"):
        report.assert_ok()


def _dies_three_times(world: World) -> None:
    """Counts in a file how often it was cut short; the third time is once too often."""
    for number in range(8):
        world.point(f"step-{number}")


def _count(world: World) -> None:
    deaths = world.path / "deaths"
    deaths.write_bytes(deaths.read_bytes() + b"x" if deaths.exists() else b"x")
    if deaths.stat().st_size == 3:
        raise Broken("three deaths")


def test_what_chance_finds_is_made_small() -> None:
    """Three crashes are needed: the token has three, each at the first point of its life."""
    scenario = Scenario(_dies_three_times, between=_count)
    report = explore_scenario(scenario, crashes=6, budget=2000)
    assert report.every_pair
    smallest = report.smallest
    assert smallest is not None
    assert smallest.token == "step-0#1,step-0#1,step-0#1"
    assert replay(scenario, smallest.token).violations == [smallest]


# --- A run that proves nothing --------------------------------------------------------------------


def test_a_run_that_hardly_crashes_is_no_proof() -> None:
    """Fewer distinct points than asked for is an error, by the number and the names."""
    report = explore_scenario(_little(_data_then_event), crashes=1)
    report.assert_ok(min_boundaries=12)
    with pytest.raises(CrashBug, match=r"only 12 distinct points, not 20: data-0\.writing"):
        report.assert_ok()
    nothing = explore_scenario(Scenario(lambda _: None))
    with pytest.raises(CrashBug, match="only 0 distinct"):
        nothing.assert_ok()


def _counts(world: World) -> None:
    found, expected = FileDatabase.read(world.database), samples.database_at(samples.LAST_LSN)
    if (found.lsn, len(found.records)) != (expected.lsn, len(expected.records)):
        raise Broken("a record too many, or too few")


def _looks_at_nothing(world: World) -> None: ...


def test_a_good_check_is_proven() -> None:
    """It objects to every applier that is broken on purpose, and none of that is in the numbers."""
    report = explore(samples.build, samples.check, budget=1, prove=True)
    assert report.planted == {"forgetful": True, "doubling": True, "early": True}
    assert report.runs == 1


@pytest.mark.parametrize("blind", [_looks_at_nothing, _counts])
def test_a_blind_check_is_told_what_it_cannot_see(blind: Callable[[World], None]) -> None:
    """A check that looks at nothing, or counts, accepts what it should not: named, one by one."""
    report = explore(samples.build, blind, budget=1, prove=True)
    unseen = [fault for fault, seen in report.planted.items() if not seen]
    assert unseen == ["forgetful", "doubling", "early"]
    with pytest.raises(CrashBug, match="the check cannot see forgetful, doubling, early"):
        report.assert_ok(min_boundaries=0)


def test_a_check_that_always_objects_proves_nothing() -> None:
    """It would see whatever is planted, and what is not."""

    def never(world: World) -> None:
        raise Broken("never content")

    with pytest.raises(CrashBug, match="objects to the sound applier"):
        prove_check(bootstrap(samples.build, never))


def test_nothing_to_prove_with_is_an_error() -> None:
    """A source without two changes of a key after its base backup: the proof says so."""
    source = samples.ListedSource(
        samples.database_at(40).encode(), 40, samples.sample_changes()[:41]
    )

    def build(world: World) -> tuple[Source, OpenApplier]:
        return source, partial(FileApplier, world.files)

    with pytest.raises(CrashBug, match="let the source"):
        explore(build, _looks_at_nothing, budget=1, prove=True)


def _deletes_and_writes_anew() -> list[Change]:
    """Changes of which the last but two replaces a value, and the last writes a deleted key."""
    keys = (b"kept", b"kept", b"gone", b"gone", b"kept", b"other", b"gone")
    values = (b"1", b"2", b"1", None, b"3", b"1", b"2")
    return [Change(lsn, *pair) for lsn, pair in enumerate(zip(keys, values, strict=True), start=41)]


def test_what_is_planted_leaves_the_number_of_rows_if_it_can() -> None:
    """A value in the place of another, though the last change follows a delete; else that one."""
    changes = _deletes_and_writes_anew()
    faults = proving.faults(changes)
    forgetful, doubling, early = faults["forgetful"], faults["doubling"], faults["early"]
    assert isinstance(forgetful, Wrong)
    assert isinstance(doubling, Wrong)
    assert isinstance(early, Early)
    assert forgetful.instead == Change(45, b"gone", None), "change 44 once more"
    assert early.first_lsn == 45
    assert doubling.instead == Change(47, b"gone", b"1")
    only_deletes = proving.faults([change for change in changes if change.key != b"kept"])
    assert [fault.instead for fault in only_deletes.values() if isinstance(fault, Wrong)] == [
        Change(47, b"other", b"1"),
        Change(47, b"gone", b"1"),
    ]


def test_a_check_that_counts_is_blind_though_the_last_change_follows_a_delete() -> None:
    """The forgetful and the doubling applier leave as many rows as there should be."""
    changes = samples.sample_changes()[:40] + _deletes_and_writes_anew()
    snapshot = samples.database_at(40).encode()
    source = samples.ListedSource(snapshot, 40, changes)
    expected = samples.database_at(40)
    for change in changes[40:]:
        expected.apply(change)

    def build(world: World) -> tuple[Source, OpenApplier]:
        return source, partial(FileApplier, world.files)

    def count(world: World) -> None:
        assert len(FileDatabase.read(world.database).records) == len(expected.records)

    seen = prove_check(bootstrap(build, count))
    assert not seen["forgetful"]
    assert not seen["doubling"]


def test_a_life_that_goes_round_in_circles_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many points it is called endless, in both engines."""
    monkeypatch.setattr(crashing, "MOST_POINTS", 50)

    def circles(world: World) -> None:
        while True:
            world.point("round")

    for engine in ("inproc", "sigkill"):
        report = explore_scenario(Scenario(circles), engine=engine)
        assert len(report.violations) == 1
        assert "round#51: this life does not end" in report.violations[0].what


def test_a_life_that_survives_its_death_is_found() -> None:
    """Code that swallows the crash, as a bare `except` does, is wrong in itself."""

    def swallows(world: World) -> None:
        try:
            world.point("a")
        except BaseException:  # noqa: BLE001 - the bug that is planted
            return

    report = explore_scenario(Scenario(swallows))
    assert [found.token for found in report.violations] == ["a#1"]
    assert "went on living after it died" in report.violations[0].what
