"""The crash kit with Hypothesis: what is sound passes, what is planted is found and made small."""

from __future__ import annotations

import inspect
import subprocess
import sys
import textwrap
import unittest
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.stateful import run_state_machine_as_test

from bootledger.errors import DivergedHistory, InvalidValue
from bootledger.replica.ports import Change, OpenApplier, Pause, Pin, Source, go_on
from bootledger.simulation import CrashBug, World, bootstrap, points_of, replay, samples, stateful
from bootledger.simulation.faults import Faults
from bootledger.simulation.interference import legal_verbs
from bootledger.simulation.samples import FileApplier, ListedSource, sample_source
from bootledger.simulation.stateful import BootstrapMachine, crash_schedules, machine
from bootledger.statemachine.progress import State

WRONG = (AssertionError, DivergedHistory)


def _settings(examples: int, steps: int = 50) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )


class MovingSource(ListedSource):
    """The sample's source, whose later base backups hold all of the log: they are not too old."""

    def __init__(self) -> None:
        first, last = samples.SNAPSHOT_LSN, samples.LAST_LSN
        first_bytes, last_bytes = (samples.database_at(lsn).encode() for lsn in (first, last))
        changes, size = samples.sample_changes(), samples.CHUNK_BYTES
        super().__init__(first_bytes, first, changes, chunk_bytes=size)
        self._newer = ListedSource(last_bytes, last, changes, chunk_bytes=size)

    def pin(self, intent_id: str, generation: int, pause: Pause = go_on) -> Pin:
        if generation == 1:
            return super().pin(intent_id, generation, pause)
        return self._newer.pin(intent_id, generation, pause)

    def read_manifest(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        if token.endswith("-1"):
            return super().read_manifest(token, offset_bytes, length_bytes)
        return self._newer.read_manifest(token, offset_bytes, length_bytes)

    def read_chunk(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        if token.endswith("-1"):
            return super().read_chunk(token, offset_bytes, length_bytes)
        return self._newer.read_chunk(token, offset_bytes, length_bytes)


class Sample(BootstrapMachine):
    """The parts of the small sample."""

    def build(self, world: World) -> tuple[Source, OpenApplier]:
        return samples.build(world)

    def check(self, world: World) -> None:
        samples.check(world)


class Claims(FileApplier):
    """Calls a batch applied, and makes it durable with the next one: checkpoint before apply."""

    def apply(self, changes: Sequence[Change]) -> None:
        before = self.database.encode()
        for change in changes:
            self.database.apply(change)
        last = self.database.lsn == samples.LAST_LSN
        self._files.replace(self._path, self.database.encode() if last else before, name="database")


def _build_claims(world: World) -> tuple[Source, OpenApplier]:
    return sample_source(), partial(Claims, world.files)


class ClaimsMachine(Sample):
    """The same with the applier whose checkpoint comes before its work."""

    def build(self, world: World) -> tuple[Source, OpenApplier]:
        return _build_claims(world)


def _counting(kind: type[BootstrapMachine]) -> tuple[type[BootstrapMachine], Counter[str]]:
    """Return a machine of that kind that counts the faults that were met, lives and deaths."""
    count: Counter[str] = Counter()

    class Counting(kind):
        def teardown(self) -> None:
            super().teardown()
            count.update(machine._name(fault) for fault in self.faults.happened)
            count["lives"] += len(self._run.lives)
            count["deaths"] += len(self._run.deaths)
            count["stops"] += sum(life.stopped_by is not None for life in self._run.lives)

    return Counting, count


# --- What is sound --------------------------------------------------------------------------------


def test_the_sample_survives_whatever_the_machine_does() -> None:
    """A few histories; they do come to deaths and faults."""
    kind, count = _counting(Sample)
    run_state_machine_as_test(kind, settings=_settings(20, 20))
    assert count["deaths"] > 5
    assert count["stops"] > 5


@pytest.mark.crash
@pytest.mark.parametrize(
    ("source", "examples", "least"), [(sample_source, 1000, 24), (MovingSource, 200, 1)]
)
def test_the_sample_survives_a_thousand_histories(
    source: Callable[[], Source], examples: int, least: int
) -> None:
    """A thousand of fifty steps, and more with a source that moves on; every kind of fault is met.

    Not only planted: it came to each of them, the thousand dozens of times.
    """

    class Machine(Sample):
        def build(self, world: World) -> tuple[Source, OpenApplier]:
            return source(), partial(FileApplier, world.files)

    kind, count = _counting(Machine)
    run_state_machine_as_test(kind, settings=_settings(examples))
    kinds = {"SnapshotGone", "LogPruned", "DiskFails", "ClockGoesBack", "SecondResumer"}
    kinds |= {f"BadChunk {how}" for how in ("short", "corrupt", "duplicate", "reordered")}
    kinds |= {f"OperatorActs {verb}" for verb in ("hold", "release", "adopt", "abort")}
    assert {kind: count[kind] for kind in kinds if count[kind] < least} == {}
    assert count["deaths"] > examples // 10


def test_every_rule_does_what_it_says() -> None:
    """One history of all rules, none left out: each comes to its fault, in this order."""
    steps = Sample()
    called: list[str] = []

    def call(rule: Callable[..., None], *args: object) -> None:
        called.append(rule.__name__)
        rule(*args)

    try:
        call(steps.dies, "chunk.synced#3")
        call(steps.bit_of_a_staged_chunk_flips, 7)
        call(steps.second_resumer_tries, "source.fetched#1")
        call(steps.source_sends_a_bad_chunk, "reordered", 2)
        call(steps.lives)
        call(steps.clock_goes_back, 3)
        call(steps.disk_fails, "chunk.written#1", 28)
        call(steps.lives)
        call(steps.operator_says, "hold")
        call(steps.operator_says, "release")
        call(steps.operator_interrupts, "chunk.synced#1", "adopt")
        call(steps.lives)
        call(steps.source_loses_the_snapshot, 1)
        call(steps.source_prunes_its_log, 1)
        call(steps.lives)
    finally:
        steps.teardown()
    rules = inspect.getmembers(Sample, lambda each: hasattr(each, "hypothesis_stateful_rule"))
    assert sorted(set(called)) == [name for name, _ in rules]
    assert [type(fault).__name__ for fault in steps.faults.happened] == [
        "SecondResumer",
        "BadChunk",
        "ClockGoesBack",
        "DiskFails",
        "OperatorActs",
        "SnapshotGone",
        "LogPruned",
    ]
    assert [type(life.stopped_by).__name__ for life in steps._run.lives] == [
        "NoneType",  # died
        "CorruptChunk",
        "DiskFull",
        "Fenced",
        "NoneType",  # reached its end
        "NoneType",  # the one that has to
    ]


def test_what_an_operator_may_say_is_read_from_the_table() -> None:
    """While it is copied, everything; while it is being promoted, no abort; after that, nothing."""
    steps = Sample()
    try:
        steps.dies("chunk.synced#3")
        assert steps.verbs() == ("hold", "release", "adopt", "abort")
        steps.dies("current.writing#1")
        assert steps._intents[0].phase is State.PROMOTING
        assert steps.verbs() == legal_verbs(steps._intents[0]) == ("hold", "release", "adopt")
        steps.lives()
        assert steps.verbs() == ()
    finally:
        steps.teardown()


# --- What is planted ------------------------------------------------------------------------------


def _failing_case(error: BaseException) -> list[str]:
    """Return the steps, or the arguments, of the smallest case that Hypothesis has found."""
    words = "\n".join(getattr(error, "__notes__", ()))
    return words.partition("Failing test case:")[2].splitlines()[1:]


def test_the_machine_finds_a_checkpoint_before_its_work() -> None:
    """And makes it small: one life that does not reach its end, and the next, with the story."""
    with pytest.raises(WRONG) as found:
        run_state_machine_as_test(ClaimsMachine, settings=_settings(100, 6))
    steps = [step for step in _failing_case(found.value) if step.startswith("state.")]
    assert len(steps) <= 4, steps
    assert "the database holds LSN" in str(found.value)
    assert "PLANTED" in "".join(found.value.__notes__) or "DIES at" in "".join(
        found.value.__notes__
    )


def test_a_strategy_finds_a_checkpoint_before_its_work() -> None:
    """And makes it small: one crash, whose token tells the story again."""
    scenario = bootstrap(_build_claims, samples.check)
    tried: list[str] = []

    @_settings(60)
    @given(crash_schedules(points_of(scenario)))
    def every_schedule_ends_well(token: str) -> None:
        tried.append(token)
        replay(scenario, token, may_miss=True).assert_ok()

    with pytest.raises(CrashBug, match="the database holds LSN"):
        every_schedule_ends_well()
    assert tried[-1].count("#") == 1
    with pytest.raises(CrashBug, match="the database holds LSN"):
        replay(scenario, tried[-1]).assert_ok()


def test_a_life_that_is_stopped_for_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last life of a machine met no fault: an excuse does not count for it."""
    steps = Sample()
    monkeypatch.setattr(Faults, "clear", lambda _: None)
    steps.source_sends_a_bad_chunk("short", 1)
    with pytest.raises(AssertionError, match="the last life met no fault"):
        steps.teardown()


def test_a_schedule_is_a_token_of_up_to_so_many_crashes() -> None:
    """Every count of crashes up to the most comes, and no other; nonsense is refused."""
    counts: set[int] = set()

    @_settings(100)
    @given(crash_schedules(("a#1", "b#1", "b#2"), max_crashes=2))
    def look(token: str) -> None:
        counts.add(token.count("#"))

    look()
    assert counts == {0, 1, 2}
    for points, crashes in (((), 1), (("a#1",), 0)):
        with pytest.raises(InvalidValue, match="must be at least 1"):
            crash_schedules(points, max_crashes=crashes)


# --- The room -------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [stateful, machine])
def test_the_example_of_the_docstring_works(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run as it stands there, by whatever it defines."""
    monkeypatch.chdir(tmp_path)  # where Hypothesis keeps its examples
    lines = (inspect.getdoc(module) or "").splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("    "))
    last = next(n for n, line in enumerate(lines) if n > first and line[:1] not in ("", " "))
    names: dict[str, object] = {}
    exec(textwrap.dedent("\n".join(lines[first:last])), names)
    (test,) = (value for name, value in names.items() if name.lower().startswith("test"))
    if isinstance(test, type) and issubclass(test, unittest.TestCase):
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(test).run(result)
        assert (result.testsRun, result.errors, result.failures) == (1, [], [])
    else:
        assert callable(test)
        test()


def test_without_hypothesis_the_error_names_the_extra() -> None:
    """The rest of the kit does without it."""
    probe = """
import sys
import bootledger.simulation.faulty_source
assert "hypothesis" not in sys.modules
sys.modules["hypothesis"] = None
import bootledger.simulation.stateful
"""
    done = subprocess.run(
        [sys.executable, "-c", probe], check=False, capture_output=True, text=True
    )
    assert "needs Hypothesis: pip install 'bootledger[simulation]'" in done.stderr
