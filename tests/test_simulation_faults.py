"""Faults besides dying: each is met, is survived or given up for as it may be, and no other way."""

from __future__ import annotations

import errno
import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import pytest

from bootledger.basebackup.manifest import Chunk
from bootledger.basebackup.staging import Candidate
from bootledger.errors import (
    ClosedByOperator,
    CorruptChunk,
    CorruptRecord,
    Fenced,
    GuardRefused,
    InvalidValue,
    OutOfSpace,
    SnapshotLost,
    Unavailable,
)
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.operator import Operator
from bootledger.replica.steps import Steps
from bootledger.simulation import Broken, World, bootstrap, points_of, samples
from bootledger.simulation import faults as module
from bootledger.simulation.faults import (
    BadChunk,
    ClockGoesBack,
    DiskFailed,
    DiskFails,
    DiskFull,
    Fault,
    Faults,
    LogPruned,
    SnapshotGone,
    Spoilt,
    unfinished,
)
from bootledger.simulation.faulty_source import faulty
from bootledger.simulation.interference import OperatorActs, SecondResumer
from bootledger.simulation.runs import Run, fresh_run
from bootledger.simulation.stories import tell
from bootledger.statemachine.progress import State


@contextmanager
def _small(faults: Faults) -> Iterator[Run]:
    scenario = bootstrap(faulty(samples.build, faults), samples.check)
    with fresh_run(scenario, faults.live, 0) as run:
        yield run


def _meet(run: Run, faults: Faults, *planted: Fault) -> BaseException | None:
    """Live with what is planted, all of which has to happen; return what stopped that life."""
    before = len(faults.happened)
    faults.plant(*planted)
    run.live(None)
    assert set(faults.happened[before:]) == set(planted)
    return run.lives[-1].stopped_by


def _story(run: Run) -> str:
    return "\n".join(tell(run.lives, ""))


# --- A source that sends rubbish ------------------------------------------------------------------


@pytest.mark.parametrize("how", get_args(Spoilt))
def test_a_bad_chunk_suspends_and_is_fetched_again(how: Spoilt) -> None:
    """The life stops with the source as the cause; of what it had, nothing is fetched again."""
    faults = Faults()
    with _small(faults) as run:
        assert isinstance(_meet(run, faults, BadChunk(how, 3)), CorruptChunk)
        (progress,) = unfinished(run.place)
        assert progress.suspension is not None
        assert progress.suspension.cause_class == "source"
        assert not run.live(None)
        assert f"PLANTED: BadChunk(how='{how}', number=3)" in _story(run)
        assert "STOPS: CorruptChunk" in _story(run)


def test_a_bad_chunk_that_is_believed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk that nobody compares with its digest: the judge finds it staged, and wrong."""
    faults = Faults()
    with _small(faults) as run:
        faults.plant(BadChunk("corrupt", 2))
        with monkeypatch.context() as broken:
            broken.setattr(Chunk, "objection", lambda *_: None)
            run_of = faults.live(run._scenario.run, run.place, 1, 0, "chunk.synced#4")
        with pytest.raises(Broken, match="staged, and it is not there"):
            run.take_in(run_of)


@pytest.mark.parametrize("number", [1, 4])
def test_a_lost_base_backup_is_followed_by_another(number: int) -> None:
    """At its manifest, and in the midst of its chunks: the same life ends with generation 2."""
    faults = Faults()
    with _small(faults) as run:
        assert _meet(run, faults, SnapshotGone(number)) is None
        assert World(run.place, life=0).database.name == "gen-0002"


def test_a_lost_base_backup_excuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that stops instead of asking for another one is a violation."""

    def give_up(*_: object) -> None:
        raise SnapshotLost("and now?")

    monkeypatch.setattr(Steps, "do", give_up)
    faults = Faults()
    faults.plant(SnapshotGone(1))
    with _small(faults) as run, pytest.raises(SnapshotLost, match="and now"):
        run.live(None)


def test_a_pruned_log_is_followed_by_another_base_backup() -> None:
    """Before anything is applied; a base backup that is older than what is applied is refused."""
    faults = Faults()
    with _small(faults) as run:
        assert _meet(run, faults, LogPruned(1)) is None
        assert World(run.place, life=0).database.name == "gen-0002"
    with _small(faults) as run:
        assert isinstance(_meet(run, faults, LogPruned(2)), GuardRefused)
        assert not run.live(None)


# --- A disk that fails ----------------------------------------------------------------------------


def _fail_at(points: Sequence[str]) -> None:
    for code in (errno.EIO, errno.ENOSPC):
        for point in points:
            faults = Faults()
            with _small(faults) as run:
                error = _meet(run, faults, DiskFails(point, code))
                assert error is None or code == errno.EIO or isinstance(error, OutOfSpace)
                while error is not None:
                    error = None if not run.live(None) else run.lives[-1].stopped_by


def test_a_disk_that_fails_is_survived() -> None:
    """By EIO and ENOSPC, at a part of all points: stopped by the proper error, or lived on."""
    _fail_at(points_of(samples.small())[3::13])


@pytest.mark.crash
def test_a_disk_that_fails_is_survived_everywhere() -> None:
    """By EIO and ENOSPC, at every point of the small bootstrap."""
    _fail_at(points_of(samples.small()))


def test_a_death_while_it_suspends_is_a_death() -> None:
    """The disk fails, and the life dies as it writes down why: nothing is raised after that."""
    faults = Faults()
    with _small(faults) as run:
        faults.plant(DiskFails("chunk.written#2"))
        assert run.live("log.writing#4")
        assert run.lives[-1].died_at == "log.writing#4"
        assert not run.live(None)


def test_an_event_of_unknown_outcome_is_in_flight_no_more() -> None:
    """A commit fails after it has landed, the life goes on, and dies with the next chunk."""
    faults = Faults()
    with _small(faults) as run:
        faults.plant(DiskFails("log.committed#4"))
        assert run.live("source.fetched#3")
        assert len(faults.happened) == 1
        assert not run.live(None)


def test_what_a_failing_disk_excuses() -> None:
    """What stems from it and says so; neither a damage that it is taken for, nor another error."""
    fault = DiskFails("chunk.synced#1")

    def raised(error: BaseException, cause: BaseException | None) -> BaseException:
        error.__cause__ = cause
        return error

    assert fault.excuses(DiskFailed("x"))
    assert fault.excuses(raised(Unavailable("x"), DiskFull("x")))
    assert fault.excuses(raised(RuntimeError("the caller's own"), DiskFailed("x")))
    assert not fault.excuses(raised(CorruptRecord("x"), DiskFailed("x")))
    assert not fault.excuses(Unavailable("x"))


# --- Bits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pick", [0, 1_000_003])
def test_a_flipped_bit_is_repaired(pick: int) -> None:
    """Dropped and fetched again before the copy is restored; then it is excused no more."""
    faults = Faults()
    with _small(faults) as run:
        assert run.live("chunk.synced#4")
        flipped = faults.flip_bit(run.place, pick)
        assert run.live("applier.opening#1")
        assert "dropped=" in _story(run)
        assert f"bit {flipped.bit} of byte {flipped.offset_bytes}" in _story(run)
        (data,) = run.place.glob("target/gen-0001/data.mdb")
        damaged = bytearray(data.read_bytes())
        damaged[flipped.offset_bytes] ^= 1
        data.write_bytes(damaged)
        with pytest.raises(Broken, match="staged, and it is not there"):
            run.live("log.committed#1")


def test_another_byte_is_not_excused() -> None:
    """The chunk beside the flipped one is damaged, too, by nobody that told."""
    faults = Faults()
    with _small(faults) as run:
        assert run.live("chunk.synced#4")
        faults.flip_bit(run.place, 0)
        (data,) = run.place.glob("target/gen-0001/data.mdb")
        damaged = bytearray(data.read_bytes())
        damaged[samples.CHUNK_BYTES] ^= 1
        data.write_bytes(damaged)
        with pytest.raises(Broken, match=r"start_bytes=300, end_bytes=600\),\) staged"):
            run.live("source.fetched#1")


def test_a_copy_that_is_not_read_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restore that trusts what is called staged opens what is no database."""
    faults = Faults()
    with _small(faults) as run:
        assert run.live("log.committed#8")
        faults.flip_bit(run.place, 0)
        monkeypatch.setattr(Candidate, "damaged", lambda *_, **__: ())
        with pytest.raises(CorruptRecord, match="is no database"):
            run.live(None)


def test_where_nothing_is_staged_no_bit_flips() -> None:
    """Neither before the first life, nor once the database was restored."""
    faults = Faults()
    with _small(faults) as run:
        with pytest.raises(InvalidValue, match="no byte is called staged"):
            faults.flip_bit(run.place)
        assert run.live("applier.applying#1")
        with pytest.raises(InvalidValue, match="no byte is called staged"):
            faults.flip_bit(run.place)


# --- Clocks ---------------------------------------------------------------------------------------


def test_a_clock_that_goes_back_changes_nothing() -> None:
    """A resume and the end of a life that believes to live before the first one."""
    faults = Faults()
    with _small(faults) as run:
        assert run.live("chunk.synced#4")
        assert _meet(run, faults, ClockGoesBack(7_200_000)) is None


def test_no_id_comes_twice_when_the_clock_goes_back() -> None:
    """Two lives that read the same times, ten thousand ids each."""
    worlds = [
        World(Path("nowhere"), life=life, clock_offset_ms=-life * 1_000_000) for life in (1, 2)
    ]
    assert worlds[0].clock() == worlds[1].clock()
    assert len({world.new_id() for world in worlds for _ in range(10_000)}) == 20_000


# --- Others ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [1, "chunk.synced#2", "log.committing#3", "current.written#2"])
def test_a_second_resumer_is_refused(where: int | str) -> None:
    """By target and ledger, at the first moment at which it could come; the life goes on."""
    faults = Faults()
    with _small(faults) as run:
        assert _meet(run, faults, SecondResumer(where)) is None


def test_a_second_resumer_that_is_let_in_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger without claims; and a target without a lock."""

    class NoClaim:
        def release(self) -> None: ...

    claim = IntentLog._claim
    claims: list[object] = []

    def once(log: IntentLog, *args: object) -> object:
        claims.append(args)
        return claim(log, *args) if len(claims) == 1 else NoClaim()

    faults = Faults()
    faults.plant(SecondResumer("chunk.synced#2"))
    monkeypatch.setattr(IntentLog, "_claim", once)
    with _small(faults) as run, pytest.raises(Broken, match="second process took up intent"):
        run.live(None)


@pytest.mark.parametrize(
    ("verb", "stops"), [("hold", ClosedByOperator), ("abort", ClosedByOperator), ("adopt", Fenced)]
)
def test_an_operator_stops_a_life(verb: str, stops: type[BaseException]) -> None:
    """In the middle of the copy. A hold stops the lives after it, until it is released."""
    faults = Faults()
    with _small(faults) as run:
        fault = OperatorActs("chunk.synced#2", verb)
        assert isinstance(_meet(run, faults, fault), stops)
        if verb == "hold":
            assert run.live(None)
            assert isinstance(run.lives[-1].stopped_by, ClosedByOperator)
            assert faults.say(run.place, "release", life=3)
        assert not run.live(None)


def test_a_life_that_does_not_heed_a_hold_is_found() -> None:
    """Held between two lives, and the second one goes on as if it were not."""
    faults = Faults()
    with _small(faults) as run:
        assert run.live("chunk.synced#2")
        assert faults.say(run.place, "hold", life=2)
        with pytest.raises(Broken, match="an operator held it, and it went on"):
            run.take_in(faults.live(lambda _: None, run.place, 2, 0, None))


def test_an_operator_is_judged_by_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is legal is done; an abort of what is being promoted is refused; both are checked."""
    faults = Faults()
    with _small(faults) as run:
        with pytest.raises(InvalidValue, match="no unfinished intent to hold"):
            faults.say(run.place, "hold", life=1)
        assert run.live("current.writing#2")
        (progress,) = unfinished(run.place)
        assert progress.phase is State.PROMOTING
        assert not faults.say(run.place, "abort", life=2)

        def refuse(*_: object, **__: object) -> None:
            raise GuardRefused("not today")

        monkeypatch.setattr(Operator, "hold", refuse)
        with pytest.raises(Broken, match="hold was refused, and the table allows it"):
            faults.say(run.place, "hold", life=2)
        monkeypatch.setattr(Operator, "abort", Operator.adopt)
        with pytest.raises(Broken, match="abort was written, and the table does not allow it"):
            faults.say(run.place, "abort", life=2)


def test_an_aborted_bootstrap_is_followed_by_another() -> None:
    """Between two lives; the next one begins anew."""
    faults = Faults()
    with _small(faults) as run:
        assert run.live("chunk.synced#2")
        assert faults.say(run.place, "abort", life=2)
        assert not run.live(None)
        ends = [e for e in _story(run).splitlines() if "begin " in e]
        assert len(ends) == 2


def test_what_is_not_planted_is_not_excused() -> None:
    """A life that raises an error of its own, whatever was planted before it."""
    faults = Faults()
    with _small(faults) as run:
        assert isinstance(_meet(run, faults, BadChunk("short")), CorruptChunk)

        def raise_it(_: World) -> None:
            raise CorruptChunk("by nobody")

        life = faults.live(raise_it, run.place, 2, 0, None)
        assert life.stopped_by is None
        with pytest.raises(CorruptChunk, match="by nobody"):
            run.take_in(life)


def test_the_examples_of_the_documents_work() -> None:
    """The one of the module, and the one of docs/crash-safety.md, with the sample's parts."""
    docs = (Path(__file__).parent.parent / "docs" / "crash-safety.md").read_text()
    section = docs.partition("## Other faults")[2].partition("\n## ")[0]
    (shown,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    lines = (inspect.getdoc(module) or "").splitlines()
    indented = textwrap.dedent("\n".join(line for line in lines if line.startswith("    ")))
    imports = "\n".join(line for line in shown.splitlines() if line.startswith("from "))
    for example in (shown, f"{imports}\n{indented}"):
        names: dict[str, object] = {"build": samples.build, "check": samples.check}
        exec(example, names)
        run = names["run"]
        assert isinstance(run, Run)
        assert run.lives[0].stopped_by is not None
        assert run.lives[-1].ended
