"""The judge of a bootstrap: each promise broken by hand, alone, and refused in words."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import ledgers
import pytest
import sample_events as sample

from bootledger.errors import Refused
from bootledger.files import Files
from bootledger.projections.heads import encode_head
from bootledger.simulation import Broken, World, samples
from bootledger.simulation.engines import live_in_process
from bootledger.simulation.facts import Appended, Appending, Began, Fact, Fetched, Said
from bootledger.simulation.histories import Histories, _Intent
from bootledger.simulation.promises import Promises
from bootledger.simulation.runs import fresh_run
from bootledger.statemachine.events import Event
from bootledger.statemachine.fold import EMPTY, advance, fold
from bootledger.statemachine.ranges import Range
from bootledger.store.lmdb import LmdbEventStore
from bootledger.store.port import Append, Recorded

ONE, TWO = ledgers.intent(1), ledgers.intent(2)


def _said(*events: Event, first: int = 1) -> tuple[Said, ...]:
    return tuple(Said(ONE, version, event) for version, event in enumerate(events, start=first))


def _asked(*events: Event, first: int = 1, certain: bool = True) -> list[Fact]:
    """The facts of events that were asked for one by one."""
    facts: list[Fact] = []
    for said in _said(*events, first=first):
        facts += [Appending((said,)), *([Appended()] if certain else [])]
    return facts


def _open(place: Path) -> LmdbEventStore:
    ledger = World(place).ledger
    ledger.parent.mkdir(parents=True, exist_ok=True)
    return LmdbEventStore.open(ledger, files=Files())


def _store(place: Path, *events: Event) -> None:
    with closing(_open(place)) as store:
        ledgers.append(store, [(ONE, event) for event in events])


def _judge(place: Path, facts: Sequence[Fact]) -> Promises:
    """Judge what lies at the place as the first life of a run that began with nothing."""
    judge = Promises(World(place / "nothing", life=0))
    judge.judge(place, facts)
    return judge


def test_a_true_ledger_is_accepted(tmp_path: Path) -> None:
    """What was asked for is there; the batch in flight may be there, or not."""
    _store(tmp_path, *sample.PINNED)
    _judge(tmp_path, _asked(*sample.PINNED))
    _judge(tmp_path, [*_asked(*sample.BEGUN), *_asked(sample.pin(), first=2, certain=False)])
    _judge(
        tmp_path, [*_asked(*sample.PINNED), *_asked(sample.chunk(0, 40), first=3, certain=False)]
    )


def test_an_acknowledged_event_that_is_lost_is_refused(tmp_path: Path) -> None:
    """By its version and kind."""
    _store(tmp_path, *sample.BEGUN)
    with pytest.raises(Broken, match=r"event 2 \(SnapshotChunk\) was acknowledged and is not"):
        _judge(tmp_path, _asked(*sample.PINNED))


def test_an_event_that_nobody_asked_for_is_refused(tmp_path: Path) -> None:
    """One more than the facts tell of."""
    _store(tmp_path, *sample.PINNED)
    with pytest.raises(Broken, match=r"event 2 \(SnapshotChunk\) was never asked for"):
        _judge(tmp_path, _asked(*sample.BEGUN))


def test_a_batch_in_part_is_refused(tmp_path: Path) -> None:
    """Two events in one batch, in flight: both or none."""
    _store(tmp_path, *sample.BEGUN)
    with pytest.raises(Broken, match="is there in part"):
        _judge(tmp_path, [Appending(_said(*sample.PINNED))])


def test_what_earlier_lives_left_may_not_change(tmp_path: Path) -> None:
    """A judge that has seen two events finds one."""
    before, after = tmp_path / "before", tmp_path / "after"
    _store(before, *sample.PINNED)
    _store(after, *sample.BEGUN)
    judge = _judge(before, _asked(*sample.PINNED))
    with pytest.raises(Broken, match="events of earlier lives are gone"):
        judge.copy().judge(after, [])
    judge.judge(before, [])


def test_positions_are_dense() -> None:
    """A position left out is named, and where it should be."""
    judge = Promises(World(Path("/nowhere"), life=0))
    with pytest.raises(Broken, match="position 2 stands where 1 should"):
        judge._check_acknowledged([Recorded(2, ONE, 1, sample.begin())], [])


def test_a_head_is_the_fold(tmp_path: Path) -> None:
    """A head that is of the right version and says something else."""
    begun = sample.begin()
    other = advance(EMPTY, sample.begin(last_generation=7))
    with closing(_open(tmp_path)) as store:
        store.append([Append(ONE, 0, begun, encode_head(other))])
    with pytest.raises(Broken, match="the heads say"):
        _judge(tmp_path, _asked(begun))


def test_the_index_has_who_is_unfinished(tmp_path: Path) -> None:
    """An intent that the index has lost."""
    _store(tmp_path, *sample.BEGUN)
    with closing(_open(tmp_path)) as store:
        ledgers.edit(store, lambda txn, db: txn.drop(db["unfinished"], delete=False))
    with pytest.raises(Broken, match=r"unfinished are .*, the index says frozenset\(\)"):
        _judge(tmp_path, _asked(*sample.BEGUN))


def test_the_last_life_leaves_nothing_unfinished(tmp_path: Path) -> None:
    """A run that ended, and an intent that did not."""
    _store(tmp_path, *sample.BEGUN)
    with pytest.raises(Broken, match="the last life ended, and intent"):
        _judge(tmp_path, _asked(*sample.BEGUN)).ended(tmp_path)


# --- Histories ------------------------------------------------------------------------------------


def _next(event: Event, version: int, **intent: object) -> None:
    before = _Intent(**intent)
    Histories({ONE: before}).take_in([Recorded(9, ONE, version, event)])


def test_versions_are_dense() -> None:
    """The third event does not follow the first."""
    with pytest.raises(Broken, match=r"event 3 .* follows event 1"):
        _next(sample.checkpoint(), 3, progress=fold(sample.BEGUN))


def test_the_applied_lsn_never_goes_back() -> None:
    """By hand, so that a machine which allowed it would not be believed."""
    with pytest.raises(Broken, match="goes back from LSN 150 to 100"):
        _next(
            sample.checkpoint(100),
            len(sample.FOLLOWING) + 1,
            progress=fold(sample.FOLLOWING),
            applied_lsn=150,
        )
    with pytest.raises(Refused):
        _next(sample.checkpoint(99), 3, progress=fold(sample.FOLLOWING), applied_lsn=100)


def test_after_the_last_event_comes_none() -> None:
    """Whatever the machine would say to it."""
    with pytest.raises(Broken, match="comes after the intent's last event"):
        _next(sample.checkpoint(), 2, progress=fold(sample.BEGUN), ended=True)


def test_none_begins_beside_an_intent_with_progress() -> None:
    """The same node twice; another node, or one without progress, does not matter."""
    half = _Intent(fold(sample.HALF), staged=((0, 40), (60, 80)), generation=1)
    begin = Recorded(9, TWO, 1, sample.begin())
    with pytest.raises(Broken, match=f"begins beside intent {ONE} with progress"):
        Histories({ONE: half}).take_in([begin])
    Histories({ONE: _Intent(fold(sample.BEGUN))}).take_in([begin])
    Histories({ONE: half}).take_in([begin._replace(event=sample.begin(node_id="another"))])


def test_staged_ranges_shrink_only_by_what_is_recorded() -> None:
    """Less is staged by the machine than by hand: one of them forgot."""
    forgot = {"staged": (Range(0, 40), Range(60, 90)), "generation": 1}
    with pytest.raises(Broken, match="staged, and the progress says"):
        _next(sample.chunk(40, 10), 5, progress=fold(sample.HALF), **forgot)


# --- What is fetched ------------------------------------------------------------------------------


def _fetched(start: int, end: int) -> Fetched:
    return Fetched("snapshot-1", start, end)


def test_what_is_staged_is_not_fetched_again(tmp_path: Path) -> None:
    """In the same life, after its event."""
    _store(tmp_path, *sample.PINNED, sample.chunk(0, 40))
    facts = [*_asked(*sample.PINNED), _fetched(0, 40), *_asked(sample.chunk(0, 40), first=3)]
    with pytest.raises(Broken, match="was fetched, and is staged already"):
        _judge(tmp_path, [*facts, _fetched(0, 40)])


def test_one_range_is_in_flight(tmp_path: Path) -> None:
    """Two were fetched and claimed by no event when the life ended; one died with a life before."""
    _store(tmp_path, *sample.PINNED)
    facts = _asked(*sample.PINNED)
    _judge(tmp_path, [*facts, _fetched(0, 40), Began(2), _fetched(0, 40)])
    with pytest.raises(Broken, match="more than one range was in flight"):
        _judge(tmp_path, [*facts, _fetched(0, 40), _fetched(40, 80)])


# --- What lies at the target ----------------------------------------------------------------------


def test_bytes_that_are_called_staged_are_there() -> None:
    """A life that died with chunks staged; then one byte of them is changed."""
    with fresh_run(samples.small(), live_in_process, 0) as run:
        assert run.live("chunk.synced#4")
        (data,) = run.place.glob("target/gen-0001/data.mdb")
        Promises(World(run.place, life=0)).judge(run.place, [])
        damaged = bytearray(data.read_bytes())
        damaged[10] ^= 1
        data.write_bytes(damaged)
        with pytest.raises(Broken, match="staged, and it is not there"):
            Promises(World(run.place, life=0)).judge(run.place, [])


def test_current_names_what_was_promoted() -> None:
    """A finished run, and CURRENT put back, or on to a generation that nobody promoted."""
    with fresh_run(samples.small(), live_in_process, 0) as run:
        assert not run.live(None)
        current = run.place / "target" / "CURRENT"
        good = current.read_bytes()
        judge = Promises(World(run.place, life=0))
        judge.judge(run.place, [])
        current.write_bytes(good.replace(b"1", b"2"))
        with pytest.raises(Broken, match="CURRENT names generation 2, which nobody promoted"):
            judge.copy().judge(run.place, [])
        current.write_bytes(b"none\n")
        with pytest.raises(Broken, match="completed, CURRENT names None"):
            judge.copy().judge(run.place, [])
