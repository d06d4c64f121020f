from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

import ledgers
import msgspec
import pytest
import sample_events as sample

from bootledger.cli.picture import picture, way_forward
from bootledger.diagrams.chart import Chart, Edge, chart_of_table
from bootledger.projections.follow import Follower, standings_as_of
from bootledger.projections.latest import LatestIntents
from bootledger.projections.runner import catch_up
from bootledger.projections.standing import (
    Rates,
    Source,
    Standing,
    lag_of,
    rates_of,
    share_of,
    standings,
)
from bootledger.replica.intent_log import IntentLog
from bootledger.statemachine.events import Checkpoint, Event
from bootledger.statemachine.fold import fold
from bootledger.store.memory import MemoryEventStore
from bootledger.store.port import Recorded

A, B = UUID(int=1), UUID(int=2)


def at(event: Event, time_ms: int) -> Event:
    """Return the event as recorded at another time."""
    return msgspec.structs.replace(event, recorded_at_ms=time_ms)


def applied(lsn: int, time_ms: int, *, timeline: int = 1) -> Checkpoint:
    """Return a checkpoint."""
    return Checkpoint(recorded_at_ms=time_ms, applied_lsn=lsn, batches=1, timeline=timeline)


@pytest.mark.parametrize(
    ("oldest_first", "rates"),
    [
        ([], Rates()),
        ([at(sample.chunk(0, 100), 1000)], Rates()),
        ([at(sample.chunk(0, 0), 1000), at(sample.chunk(0, 100), 1500)], Rates(bytes_per_s=200)),
        # Nobody knows how long the first chunk of the run took: only the later ones count.
        ([at(sample.chunk(0, 900), 1000), at(sample.chunk(900, 50), 2000)], Rates(bytes_per_s=50)),
        ([at(sample.chunk(0, 0), 1000), at(sample.chunk(0, 100), 1000)], Rates()),
        ([at(sample.chunk(0, 0), 2000), at(sample.chunk(0, 100), 1000)], Rates()),
        (
            [
                at(sample.chunk(0, 0, generation=1), 0),
                at(sample.chunk(0, 0, generation=2), 1000),
                at(sample.chunk(0, 10, generation=2), 2000),
            ],
            Rates(bytes_per_s=10),
        ),
        ([applied(10, 0), applied(20, 500), applied(40, 2000)], Rates(changes_per_s=15)),
        ([applied(10, 0), at(sample.resume(), 10), applied(20, 1000)], Rates()),
        ([applied(10, 0), applied(20, 1000, timeline=2)], Rates()),
        ([at(sample.chunk(0, 100), 0), applied(20, 1000)], Rates()),
        ([applied(10, 0), applied(20, 1000), at(sample.suspend(), 2000)], Rates()),
    ],
)
def test_a_rate_is_what_the_newest_events_and_their_times_say_or_nothing(
    oldest_first: Sequence[Event], rates: Rates
) -> None:
    """Over one run of one kind of work, with time in it; never across a stop, never backwards."""
    assert rates_of(reversed(oldest_first)) == rates


def test_lag_is_what_the_log_knows_the_source_to_have_and_otherwise_nothing() -> None:
    """The sample begins when its source stands at LSN 100; what came after that is not recorded."""
    begun = sample.begin()
    assert lag_of(fold((begun,))) is None
    assert lag_of(fold((begun, applied(40, 2)))) == 60
    assert lag_of(fold((begun, applied(100, 2)))) is None
    assert lag_of(fold((begun, applied(40, 2), sample.abort()))) is None
    unknown = msgspec.structs.replace(begun, source_lsn=None)
    assert lag_of(fold((unknown, applied(40, 2)))) is None


def test_a_share_is_of_the_phase_and_only_where_its_end_is_known() -> None:
    """Bytes of a size, LSNs of a hint, all of it at the end."""
    begun = sample.begin()  # expected to end at LSN 200
    copied = (sample.pin(), sample.chunk(0, 100))  # 100 bytes, at LSN 100
    assert share_of(fold((begun,))) is None
    assert share_of(fold((begun, sample.pin()))) == 0
    assert share_of(fold((begun, sample.pin(), sample.chunk(0, 25)))) == 0.25
    assert share_of(fold((begun, sample.pin(), sample.chunk(0, 25), sample.suspend()))) == 0.25
    assert share_of(fold((begun, sample.chunk(0, 25)))) is None
    assert share_of(fold((begun, *copied, applied(150, 3)))) == 0.5
    assert share_of(fold((begun, *copied, applied(300, 3)))) == 1
    assert share_of(fold((begun, applied(150, 3)))) is None
    assert share_of(fold((*sample.PROMOTING, sample.complete()))) == 1


def said(*histories: Sequence[Event], owned: Sequence[int] = (), then: bool = False) -> list[str]:
    """Return what is next of intents with these histories, those `owned` being alive."""
    sources = {
        UUID(int=number): Source(fold(history), "pid 1" if number in owned else None, ())
        for number, history in enumerate(histories, start=1)
    }
    return [one.next for one in standings(sources, then=then)]


def test_what_is_next_is_a_short_phrase_for_each_situation() -> None:
    """It follows the same policy as `explain` and `dangling`."""
    begun, half = (sample.begin(),), sample.HALF
    suspended = (*half, sample.suspend())
    held = (*half, sample.hold())
    assert said(begun, owned=[1]) == ["finds where to start"]
    assert said(half, owned=[1]) == ["copies"]
    assert said(suspended, owned=[1]) == ["its owner stops"]
    assert said(suspended) == ["start it again: copies"]
    assert said(suspended, then=True) == ["if no owner was alive: start it again: copies"]
    assert said(half, then=True) == ["if no owner was alive: start it again: copies"]
    assert said(held, then=True) == ["release, adopt or abort it"]
    assert said(sample.PROMOTING) == ["start it again: promotes"]
    assert said(held) == ["release, adopt or abort it"]
    assert said(half, half) == ["adopt the one that counts"] * 2
    assert said(half, begun) == ["start it again: copies", "start the other: supersedes it"]
    assert said(held, half) == ["release, adopt or abort it", "waits: another is held"]
    assert said(half, half, owned=[1]) == ["copies", "waits: another is running"]
    assert said(begun) == ["start it again: taken up"]
    assert said(begun, begun) == ["start it again: afresh"] * 2
    assert said((*sample.PROMOTING, sample.complete())) == [""]


def test_only_work_that_goes_on_has_a_rate_and_nobody_was_alive_for_sure_in_the_past() -> None:
    """A dead owner copies nothing, however fast it was; of the past, nobody knows."""
    recent = [at(sample.chunk(0, 100), 1000), at(sample.pin(), 0)]
    progress = fold((sample.begin(), sample.pin(), sample.chunk(0, 50)))

    def one(owner: str | None, *, then: bool = False) -> Standing:
        return standings({A: Source(progress, owner, recent)}, then=then)[0]

    assert (one("pid 1").bytes_per_s, one("pid 1").running) == (100, True)
    assert (one(None).bytes_per_s, one(None).running) == (None, False)
    assert (one(None, then=True).bytes_per_s, one(None, then=True).running) == (None, None)


class Counting(MemoryEventStore):
    """Counts what is read, and refuses to be written to by those who only look."""

    def __init__(self) -> None:
        super().__init__()
        self.events_read = 0
        self.saved = 0

    def read(self, after_position: int, limit: int) -> Sequence[Recorded]:
        events = super().read(after_position, limit)
        self.events_read += len(events)
        return events

    def history(self, intent_id: UUID) -> Iterator[Recorded]:
        for recorded in super().history(intent_id):
            self.events_read += 1
            yield recorded

    def save_projection(self, *arguments: object, **more: object) -> None:
        self.saved += 1


def test_a_follower_reads_only_what_is_new_saves_nothing_and_says_what_a_new_one_would() -> None:
    """A look costs the events since the last one, whatever the length of the ledger."""
    store = Counting()
    clock = iter(range(0, 10**9, 100))
    log = IntentLog(store, clock=lambda: next(clock))
    handle = log.begin("n", 1000, 1000)
    for lsn in range(1, 200):
        handle.checkpoint(lsn, lsn)
    follower = Follower(store)
    (first,) = follower.look()
    assert (first.running, first.changes_per_s, first.lag_changes) == (True, 10, 801)

    for lsn in range(200, 220):
        store.events_read = 0
        handle.checkpoint(lsn, lsn)
        assert follower.look() == Follower(store).look()
        store.events_read = 0
        handle.checkpoint(lsn, lsn)
        follower.look()
        assert store.events_read == 1
    handle.complete(1, 1)
    (last,) = follower.look()
    assert (last.state, last.running, last.bytes_per_s, last.next) == ("completed", False, None, "")
    assert follower._recent == {}
    assert store.saved == 0


def test_a_follower_goes_on_from_what_is_saved() -> None:
    """A long history that `status` has folded is not folded again."""
    store = MemoryEventStore()
    ledgers.append(store, [(A, event) for event in (*sample.PROMOTING, sample.complete())])
    catch_up(store, LatestIntents())
    assert Follower(store).position == store.last_position()


def test_the_past_is_told_from_the_events_up_to_then() -> None:
    """Later events change nothing of an earlier position."""
    store = MemoryEventStore()
    begun, pinned = at(sample.begin(), 0), at(sample.pin(), 0)
    told = [begun, pinned, at(sample.chunk(0, 50), 1000), at(sample.chunk(50, 50), 9000)]
    ledgers.append(store, [(A, event) for event in told])
    (then,) = standings_as_of(store, 3)
    assert (then.bytes_per_s, then.staged_bytes, then.running) == (None, 50, None)
    assert standings_as_of(store, 0) == []


def test_the_happy_path_is_the_longest_way_forward_to_the_first_final_state() -> None:
    """Of the bootstrap, and of anybody's machine; without an end there is only the beginning."""
    path = ["absent", "begun", "transferring", "catching_up", "promoting", "completed"]
    assert list(way_forward(chart_of_table())) == path
    loop = Chart(("a", "b"), "a", frozenset(), (Edge("a", "b", "go"), Edge("b", "a", "back")))
    assert way_forward(loop) == ("a",)


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_the_picture_fits_its_width_and_names_every_state_and_how_many_are_there(
    width: int, *, ascii_only: bool
) -> None:
    """A row where there is room, a list where there is not; plain ASCII where nothing else goes."""
    chart = chart_of_table()
    present = {"transferring": ["a", "b"], "suspended": [f"node-{n}" for n in range(40)]}
    text = picture(chart, present, width=width, ascii_only=ascii_only)
    assert max(line.cell_len for line in text.split("\n")) <= width
    assert all(state in text.plain for state in chart.states if state != chart.initial)
    assert text.plain.isascii() is ascii_only
    row = width >= 80
    assert ("[transferring 2]" if row else "transferring  2: a, b") in text.plain
    assert ("[suspended 40]" if row else "suspended  40: node-0") in text.plain
