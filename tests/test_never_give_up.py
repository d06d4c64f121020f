from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keepers import Weather, World, last_lsn, link_down
from replicas import NODE, assert_equal, make_primary, write_more

from bootledger.errors import (
    ClosedByOperator,
    CorruptChunk,
    NodeBusy,
    OutOfSpace,
    Refused,
    SourceUnavailable,
    Stopped,
    TargetBusy,
    Unavailable,
)
from bootledger.projections.dangling import report
from bootledger.replica.backoff import (
    CORRUPT_TRIES,
    FIRST_MS,
    FULL_DISK_MS,
    LEAST_MS,
    LONGEST_MS,
    backoff_ms,
)
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.keeping import Keeper
from bootledger.replica.observer import Observer
from bootledger.replica.operator import Operator
from bootledger.replica.target import LEDGER_NAME
from bootledger.replica.wire import Problem, decode_message, error_of
from bootledger.statemachine.events import Begin, Event, Resume, Suspend

EVERY_WAY: list[Exception] = [
    SourceUnavailable("no route to host"),
    ConnectionResetError("reset by peer"),
    TimeoutError("timed out"),
    OutOfSpace("the source's disk is full"),
    CorruptChunk("chunk 3 has the wrong digest"),
    Unavailable("whatever it is"),
]


def open_log(world: World) -> IntentLog:
    """Open the ledger inside of the world's target."""
    return IntentLog.open(world.target / LEDGER_NAME)


def history(world: World) -> list[Event]:
    """Return all events of the ledger, oldest first."""
    with open_log(world) as log:
        return [recorded.event for recorded in log.store.read(0, 10_000)]


def test_one_intent_survives_a_source_that_fails_in_every_way(tmp_path: Path) -> None:
    """Each failure is an epoch of the one intent, with its cause, and when it is tried again.

    The recorded time is the time at which the next attempt was made.
    """
    make_primary(tmp_path / "primary")
    world = World(tmp_path)
    # One question in four comes to nothing: in every phase, and before any intent was taken up.
    for error in EVERY_WAY * 2:
        world.weather.failures += [None, None, None, error]
    outcome = world.run(Keeper.bring_up_to_date)
    assert world.weather.failures == []
    events = history(world)
    assert [type(event) for event in events].count(Begin) == 1
    suspensions = [event for event in events if isinstance(event, Suspend)]
    assert len(suspensions) >= len(EVERY_WAY)
    assert {event.cause for event in suspensions} == {
        f"{type(error).__name__}: {error}" for error in EVERY_WAY
    }
    for before, after in pairwise(events):
        if isinstance(before, Suspend):
            assert isinstance(after, Resume)
            assert after.recorded_at_ms == before.retry_at_ms
    assert outcome.epochs == 1 + sum(isinstance(event, Resume) for event in events)
    assert_equal(world.primary, world.target)


def test_what_failed_before_the_intent_was_taken_up_is_recorded_too(tmp_path: Path) -> None:
    """A source that cannot even be opened: `status` shows why nothing goes on, and until when."""
    make_primary(tmp_path / "primary")
    stopped = World(tmp_path, stop=iter([None, None, "SIGTERM"]).__next__)
    with pytest.raises(Stopped):
        stopped.run(Keeper.bring_up_to_date)
    seen: list[tuple[str | None, int | None]] = []
    world = World(tmp_path, weather=stopped.weather)

    def look() -> None:
        with open_log(world) as log:
            (one,) = report(log.list_unfinished())
        seen.append((one.cause, one.retry_at_ms))
        assert world.time.now_ms <= (one.retry_at_ms or 0)

    world.time.act = look
    world.weather.failures += link_down(4)
    world.run(Keeper.bring_up_to_date)
    assert {cause for cause, _ in seen} == {"Unavailable: the link is down"}
    assert len({retry_at_ms for _, retry_at_ms in seen}) == 4


def test_an_outage_while_following_leaves_no_word_in_the_ledger(tmp_path: Path) -> None:
    """Nothing is left to bootstrap: no intent stands still, however long the link is down."""
    make_primary(tmp_path / "primary", records=40)
    world = World(tmp_path)
    before: list[int] = []

    def act() -> None:
        if not before:
            before.append(len(history(world)))
            write_more(world.primary)
            world.weather.failures += link_down(30)

    world.time.act = act
    world.stop = lambda: "enough" if before and world.caught_up else None
    outcome = world.run(Keeper.follow)
    assert outcome.applied_lsn == last_lsn(world.primary)
    assert len(history(world)) == before[0]
    assert world.weather.failures == []


@pytest.mark.parametrize(
    "error",
    [
        NodeBusy("somebody else"),
        TargetBusy("somebody else"),
        Refused("no"),
        ZeroDivisionError("bug"),
    ],
)
def test_what_time_does_not_mend_ends_it_at_once(tmp_path: Path, error: Exception) -> None:
    """Another owner, a refusal, a bug: raised as they are, and nobody waits."""
    make_primary(tmp_path / "primary")
    world = World(tmp_path)
    world.weather.failures += [None, None, None, None, error]
    with pytest.raises(type(error)):
        world.run(Keeper.bring_up_to_date)
    assert world.time.naps == 0


def test_a_source_that_sends_rubbish_for_ever_is_given_up(tmp_path: Path) -> None:
    """Wrong bytes are borne a few times in a row; then a person has to look."""
    make_primary(tmp_path / "primary")
    world = World(tmp_path)
    # Of each attempt two questions are answered, identity and release or manifest; no chunk is.
    world.open_source()
    wrong = [CorruptChunk("wrong digest") for _ in range(100)]
    world.weather.failures += [None] * 5 + wrong
    with pytest.raises(CorruptChunk):
        world.run(Keeper.bring_up_to_date)
    assert len(world.weather.failures) == 100 - CORRUPT_TRIES
    suspensions = [event for event in history(world) if isinstance(event, Suspend)]
    assert suspensions[-1].retry_at_ms is None


def test_patience_that_ends_ends_with_the_last_failure(tmp_path: Path) -> None:
    """Nothing helped for so long: the error, and a time that makes sense to whoever starts it."""
    make_primary(tmp_path / "primary")
    world = World(tmp_path, give_up_after_s=100)
    began_ms = world.time.now_ms
    world.weather.failures += [None] * 5 + link_down(1000)
    with pytest.raises(Unavailable, match="link is down"):
        world.run(Keeper.bring_up_to_date)
    assert 50_000 < world.time.now_ms - began_ms <= 100_000
    with open_log(world) as log:
        (one,) = report(log.list_unfinished())
    assert one.retry_at_ms == world.time.now_ms + LONGEST_MS


def test_no_patience_means_the_first_failure(tmp_path: Path) -> None:
    """As a single `replicate` has it."""
    make_primary(tmp_path / "primary")
    world = World(tmp_path, give_up_after_s=0)
    world.weather.failures += [None] * 5 + link_down(1)
    with pytest.raises(Unavailable):
        world.run(Keeper.bring_up_to_date)
    assert world.time.naps == 0


def test_progress_begins_the_row_of_failures_anew(tmp_path: Path) -> None:
    """A link that breaks after every few chunks is tried again as soon as at first."""
    make_primary(tmp_path / "primary", records=600)
    world = World(tmp_path, chance=1.0)
    for _ in range(12):
        world.weather.failures += [None] * 4 + link_down(1)
    world.run(Keeper.bring_up_to_date)
    waits = [
        event.retry_at_ms - event.recorded_at_ms
        for event in history(world)
        if isinstance(event, Suspend) and event.retry_at_ms is not None
    ]
    assert len(waits) >= 8
    assert max(waits) <= 4 * FIRST_MS
    assert waits[-1] == FIRST_MS


def test_a_stop_ends_a_wait_at_once_and_the_next_start_goes_on(tmp_path: Path) -> None:
    """SIGTERM while the link is down: no more than one nap is slept."""
    make_primary(tmp_path / "primary")
    world = World(tmp_path)
    world.stop = lambda: "SIGTERM" if world.time.naps >= 2 else None
    world.weather.failures += [None] * 5 + link_down(1000)
    with pytest.raises(Stopped, match="SIGTERM"):
        world.run(Keeper.bring_up_to_date)
    assert world.time.naps == 2
    again = World(tmp_path)
    outcome = again.run(Keeper.bring_up_to_date)
    assert (outcome.copied, outcome.epochs) == (True, 2)


@pytest.mark.parametrize("verb", ["hold", "abort"])
def test_an_operator_is_obeyed_during_a_wait(tmp_path: Path, verb: str) -> None:
    """Who held or ended it while nothing went on is found out within a second."""
    make_primary(tmp_path / "primary")
    world = World(tmp_path)

    def rule() -> None:
        if world.time.naps == 2:
            with open_log(world) as log:
                operator = Operator(log, "ada")
                (intent,) = log.list_unfinished(NODE)
                getattr(operator, verb)(intent.intent_id, reason="maintenance")

    world.time.act = rule
    world.weather.failures += [None] * 5 + link_down(1000)
    with pytest.raises(ClosedByOperator, match="by ada: maintenance"):
        world.run(Keeper.bring_up_to_date)
    assert world.time.naps <= 2 + 5


@pytest.mark.parametrize("verb", ["hold", "abort"])
@pytest.mark.parametrize("question", range(9))
def test_an_operator_is_obeyed_during_an_attempt(tmp_path: Path, verb: str, question: int) -> None:
    """Held or aborted just before any question to a link that fails: nothing begins after that."""
    make_primary(tmp_path / "primary")
    world = World(tmp_path, by_name=True)

    class Ruled(Weather):
        asked = 0

        def meet(self) -> None:
            if self.failures:
                return super().meet()
            if self.asked == question:
                with open_log(world) as log:
                    (intent,) = log.list_unfinished(NODE)
                    getattr(Operator(log, "ada"), verb)(intent.intent_id, reason="maintenance")
            self.asked += 1
            if self.asked > question and question % 3:
                raise Unavailable("the link is down")
            return None

    # The first attempt begins an intent; the next ones find one, which is ended under their hands.
    world.weather = Ruled([*[None] * 5, *link_down(2)])
    with pytest.raises(ClosedByOperator, match="by ada: maintenance"):
        world.run(Keeper.bring_up_to_date)
    assert [type(event) for event in history(world)].count(Begin) == 1


def test_an_operator_who_releases_is_not_kept_waiting(tmp_path: Path) -> None:
    """Held and released between two looks: the next attempt is made now."""
    make_primary(tmp_path / "primary")
    world = World(tmp_path, chance=1.0)
    world.weather.failures += [None] * 5 + [OutOfSpace("full")]

    def hold_and_release() -> None:
        if world.time.naps == 2:
            with open_log(world) as log:
                (intent,) = log.list_unfinished(NODE)
                Operator(log, "ada").hold(intent.intent_id, reason="a look")
                Operator(log, "ada").release(intent.intent_id)

    world.time.act = hold_and_release
    began_ms = world.time.now_ms
    world.run(Keeper.bring_up_to_date)
    assert world.time.now_ms - began_ms <= 2_000 < FULL_DISK_MS


def test_who_watches_is_told_why_and_for_how_long(tmp_path: Path) -> None:
    """The observer hears of a wait every second, with what is left of it."""
    make_primary(tmp_path / "primary")
    told: list[float] = []

    class Told(Observer):
        def on_waiting(self, cause: BaseException, left_s: float) -> None:
            assert str(cause) == "full"
            told.append(left_s)

    world = World(tmp_path, observer=Told())
    world.weather.failures += [None] * 5 + [OutOfSpace("full")]
    world.run(Keeper.bring_up_to_date)
    assert told == pytest.approx(list(range(600, 0, -1)))


@given(st.integers(0, 100), st.floats(0, 1), st.none() | st.integers(0, 2**64))
def test_a_wait_is_within_its_bounds_and_never_shorter_than_the_source_asked(
    failures: int, chance: float, told_ms: int | None
) -> None:
    """Full jitter over a span that doubles; a hint is honoured up to ten minutes."""
    error = SourceUnavailable("busy")
    error.retry_after_ms = told_ms
    found = backoff_ms(error, failures, chance)
    assert found is not None
    hint_ms = min(told_ms or 0, FULL_DISK_MS)
    assert max(LEAST_MS, hint_ms) <= found <= max(hint_ms, LONGEST_MS)
    if not hint_ms:
        assert found <= max(LEAST_MS, FIRST_MS * 2**failures)
        assert (found >= LONGEST_MS) == (
            chance * min(LONGEST_MS, FIRST_MS * 2**failures) >= LONGEST_MS - 0.5
        )


def test_when_a_primary_wants_to_be_asked_again_comes_over_the_wire() -> None:
    """What its problem says is what the wait is made of."""
    told = Problem(error="SourceUnavailable", detail="busy", retry_after_ms=90_000)
    error = error_of(decode_message(msgspec.json.encode(told), Problem))
    assert backoff_ms(error, 0, 0.5) == 90_000
