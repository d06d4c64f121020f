"""Time travel: the past is what was shown then, at every position, also after a compaction."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import ledgers
import msgspec
import pytest
import sample_events as sample
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from test_projections import _VERBS, act
from typer.testing import CliRunner

from bootledger.cli.app import app
from bootledger.cli.errors import ExitCode
from bootledger.cli.moments import Moment, age_ms, moment, when
from bootledger.errors import DivergedHistory, InvalidValue
from bootledger.projections.as_of import as_of, position_at, progress_as_of
from bootledger.projections.dangling import Liveness, report
from bootledger.projections.find import find_intent
from bootledger.projections.latest import Latest, LatestIntents
from bootledger.projections.resume import Resumable, decide
from bootledger.projections.runner import catch_up, rebuild
from bootledger.projections.timeline import says
from bootledger.projections.unfinished import UnfinishedIntent, list_unfinished
from bootledger.replica.intent_log import IntentLog
from bootledger.statemachine.events import EVENT_TYPES, Event
from bootledger.statemachine.fold import fold
from bootledger.store.lmdb import LmdbEventStore
from bootledger.store.memory import MemoryEventStore
from bootledger.store.port import Append, EventStore

A, B = ledgers.intent(0xA), ledgers.intent(0xB)


def shown(store: EventStore) -> tuple[Latest, list[UnfinishedIntent]]:
    """What a ledger that ends here shows, except for who is alive."""
    unfinished = [
        msgspec.structs.replace(intent, running=None) for intent in list_unfinished(store)
    ]
    return rebuild(store, LatestIntents()), unfinished


@settings(max_examples=40)
@given(_VERBS, st.data())
def test_the_past_is_what_was_shown_then(verbs: list[tuple[str, str]], data: st.DataObject) -> None:
    """At every position of any history: status, unfinished intents, reports and decisions.

    Whatever was followed, saved or archived in between.
    """
    store = MemoryEventStore()
    log = IntentLog(store, clock=lambda: 1)
    then = {0: shown(store)}
    saves = data.draw(st.sets(st.integers(0, len(verbs)), max_size=3))
    for number, (node, verb) in enumerate(verbs):
        act(log, node, verb)
        then[store.last_position()] = shown(store)
        if number in saves:
            catch_up(store, LatestIntents())
    for compacted in (False, True):
        if compacted:
            ledgers.compact_before(store, data.draw(st.integers(0, 3)))
        for position, (latest, unfinished) in then.items():
            past = as_of(store, position)
            assert (past.latest, list(past.unfinished)) == (latest, unfinished)
            assert report(past.unfinished) == report(unfinished)
            for node in ("a", "b", "c"):
                assert decide(node, past.unfinished) == decide(node, unfinished)
            for intent_id, progress in latest.by_intent().items():
                assert progress_as_of(store, intent_id, position) == progress


def test_the_last_position_is_now() -> None:
    """As of the end, all is as it is, and every intent is, also one that nobody shows."""
    store = MemoryEventStore()
    ledgers.append(store, ledgers.interleaved(20))
    last = store.last_position()
    assert (as_of(store, last).latest, list(as_of(store, last).unfinished)) == shown(store)
    for number in range(1, 21):
        history = [e.event for e in store.history(ledgers.intent(number))][::-1]
        for position in (last, *(e.position for e in store.history(ledgers.intent(number)))):
            events = [
                e.event for e in store.history(ledgers.intent(number)) if e.position <= position
            ]
            expected = fold(history[: len(events)])
            assert progress_as_of(store, ledgers.intent(number), position) == expected


def test_before_the_beginning_there_is_nothing() -> None:
    """Position 0, an intent that had not begun, and one that never did, are no errors."""
    store = MemoryEventStore()
    ledgers.append(store, [(A, sample.begin()), (B, sample.begin())])
    assert as_of(store, 0).latest == Latest()
    assert progress_as_of(store, B, 1) is None
    assert progress_as_of(store, UUID(int=77), 1) is None


@pytest.mark.parametrize("position", [-1, 3, 2**64])
def test_a_position_that_is_not_there_is_refused(position: int) -> None:
    """The future is not guessed."""
    store = MemoryEventStore()
    ledgers.append(store, [(A, sample.begin()), (B, sample.begin())])
    with pytest.raises(InvalidValue, match=f"no position {position}: it ends at 2"):
        as_of(store, position)


def test_who_was_alive_is_said_to_be_unknown() -> None:
    """A live state of the past is neither running nor dead; a suspension of the past is one."""
    store = MemoryEventStore()
    ledgers.append(store, [(A, event) for event in (*sample.HALF, sample.suspend())])
    claim = store.claim(A, "somebody, now")
    then, suspended = report(as_of(store, 3).unfinished) + report(as_of(store, 5).unfinished)
    claim.release()
    assert then.liveness is Liveness.UNKNOWN
    assert "nobody can tell" in then.describe()
    assert suspended.liveness is Liveness.STOPPED_WITH_WORD
    assert then.what_to_do.startswith("Then, if no owner was alive: Start the replica again")


def test_where_a_node_would_have_resumed_is_known() -> None:
    """The resume point of then, though the intent has ended since."""
    store = MemoryEventStore()
    ledgers.append(store, [(A, event) for event in (*sample.PROMOTING, sample.complete())])
    decision = decide("replica-a", as_of(store, 3).unfinished)
    assert isinstance(decision, Resumable)
    assert (decision.point.version, decision.point.snapshot_offset) == (3, 100)


def test_a_broken_history_has_no_past() -> None:
    """What the table refuses is named by its position, not folded anyhow."""
    store = MemoryEventStore()
    store.append([Append(A, 0, sample.begin(), b""), Append(A, 1, sample.promote(), b"")])
    for ask in (lambda: as_of(store, 2), lambda: progress_as_of(store, A, 2)):
        with pytest.raises(DivergedHistory, match="position 2 ") as broken:
            ask()
        assert broken.value.position == 2


# --- Times --------------------------------------------------------------------------------------


def timed(*times_ms: int) -> MemoryEventStore:
    """A ledger whose events were recorded at these times."""
    store = MemoryEventStore()
    for number, time_ms in enumerate(times_ms, start=1):
        event = msgspec.structs.replace(sample.begin(), recorded_at_ms=time_ms)
        store.append([Append(UUID(int=number), 0, event, b"")])
    return store


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(0, 10))
def test_a_time_is_the_newest_event_recorded_by_then(times: list[int], at_ms: int) -> None:
    """By position, whatever the clocks did; 0 if nothing was recorded by then."""
    expected = [p for p, time_ms in enumerate(times, start=1) if time_ms <= at_ms]
    assert position_at(timed(*times), at_ms) == (expected[-1] if expected else 0)


def test_a_time_far_back_is_found_beyond_the_first_batch() -> None:
    """The search goes back through the whole ledger."""
    assert position_at(timed(1, *[9] * 2500), 1) == 1


def test_positions_and_times_are_told_apart() -> None:
    """Digits are a position; a time has its zone, or the local one, to the millisecond."""
    at = datetime(2026, 11, 25, 10, 30, 0, 500_000, UTC)
    time_ms = int(at.timestamp()) * 1000 + 500
    store = timed(time_ms - 1, time_ms, time_ms + 1)
    assert moment(store, "2") == Moment(2, time_ms)
    for text in (
        at.isoformat(),
        at.astimezone(timezone(timedelta(hours=5))).isoformat(),
        at.astimezone().replace(tzinfo=None).isoformat(),
        when(time_ms),
    ):
        assert moment(store, text) == Moment(2, time_ms)
    assert moment(store, "2026-11-25T10:30:00+00:00") == Moment(0, 0)
    assert str(moment(store, "0")) == "before the first event"
    for wrong in ("4", "yesterday", "-1", "2026-13-01", "", "9999-99"):
        with pytest.raises(InvalidValue, match=r"neither|no position"):
            moment(store, wrong)


def test_a_time_that_no_calendar_has_is_shown_as_a_number() -> None:
    """A clock may be anywhere in u64."""
    assert when(2**64 - 1) == f"{2**64 - 1} ms after 1970"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("45s", 45_000), ("90min", 5_400_000), ("12h", 43_200_000), ("30d", 2_592_000_000)],
)
def test_ages_are_numbers_with_a_unit(text: str, expected: int) -> None:
    """Seconds, minutes, hours, days, weeks; nothing else, nothing negative."""
    assert age_ms(text) == expected
    assert age_ms("2w") == age_ms("14d")
    for wrong in ("", "30", "d", "-1d", "1.5h", "3m", "1d2h", "99999999999d"):
        with pytest.raises(InvalidValue, match="no age"):
            age_ms(wrong)


# --- Finding and telling ------------------------------------------------------------------------


def test_an_intent_is_found_by_the_beginning_of_its_id() -> None:
    """Any case, with or without hyphens, if only one begins so; finished or not."""
    store = MemoryEventStore()
    one, two = (UUID(f"0190abcd-{n}000-7000-8000-000000000000") for n in (1, 2))
    for intent_id in (one, two):
        ledgers.append(store, [(intent_id, sample.begin()), (intent_id, sample.abort())])
    assert find_intent(store, "0190ABCD1") == one
    assert find_intent(store, "0190abcd-2") == two
    assert find_intent(store, str(one)) == one
    for wrong, words in (
        ("0190abcd", f"several.*{one}.*{two}"),
        ("0190abcd-3", "neither"),
        ("ffff", "neither"),
        ("xyz", "neither"),
        ("", "neither"),
        (str(one) + "0", "neither"),
    ):
        with pytest.raises(InvalidValue, match=words):
            find_intent(store, wrong)


def test_every_event_says_something_in_one_line() -> None:
    """Each kind, in each situation, has words of its own."""
    told: dict[type[Event], set[str]] = {kind: set() for kind in EVENT_TYPES}
    for history in sample.SITUATIONS.values():
        for event in history:
            told[type(event)].add(says(event))
    for words in told.values():
        assert words
        assert all(line and "\n" not in line for line in words)
    assert says(sample.chunk(0, 40)) == "bytes 0 to 40 of snapshot-1, generation 1"
    assert says(sample.hold()) == "operator: why not, by ada"


# --- The commands -------------------------------------------------------------------------------


def command(*arguments: object) -> Result:
    """Run `bootledger` to its end."""
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_the_commands_answer_for_the_past(tmp_path: Path) -> None:
    """Compact, then ask for then: status, dangling, history and resume-point, for scripts."""
    path = tmp_path / "ledger"
    store = LmdbEventStore.open(path)
    ledgers.append(store, [(A, event) for event in (*sample.PROMOTING, sample.complete())])
    ledgers.append(store, [(B, event) for event in (*sample.HALF, sample.suspend())])
    store.close()

    compacted = json.loads(command("compact", path, "--older-than", "1d", "--json").stdout)
    assert (compacted["moved_events"], compacted["archived_ranges"]) == (6, [[1, 6]])
    assert compacted["saved_bytes"] == compacted["log_bytes"] - compacted["archive_bytes"]

    (then,) = json.loads(command("status", path, "--at", 3, "--json").stdout)
    assert (then["intent_id"], then["running"]) == (str(A), None)
    assert then["progress"]["state"] == "transferring"
    states = json.loads(command("status", path, "--json").stdout)
    assert [(one["progress"]["state"], one["running"]) for one in states] == [
        ("completed", False),
        ("suspended", False),
    ]

    found = command("dangling", path, "--at", 3, "--json")
    assert found.exit_code == ExitCode.FOUND
    (dangling,) = json.loads(found.stdout)
    assert (dangling["intent_id"], dangling["liveness"]) == (str(A), Liveness.UNKNOWN)
    assert command("dangling", path, "--at", 6).exit_code == 0

    told = json.loads(command("history", path, str(A)[:-1] + "a", "--at", 4, "--json").stdout)
    assert told["intent_id"] == str(A)
    assert [(e["version"], e["position"]) for e in told["events"]] == [(n, n) for n in range(1, 5)]
    assert told["events"][0]["event"]["kind"] == "begin"
    table = command("history", path, A).stdout
    assert "generation 1 goes into service" in table

    point = json.loads(
        command("resume-point", path, "--node", "replica-a", "--at", 3, "--json").stdout
    )
    assert (point["resumes"], point["point"]["snapshot_offset"]) == (True, 100)
    now = command("resume-point", path, "--node", "replica-a").stdout
    assert str(B) in now
    before = command("resume-point", path, "--node", "replica-a", "--at", 0, "--json").stdout
    nothing = json.loads(before)
    assert (nothing["resumes"], nothing["why"]) == (False, "nothing unfinished")

    explained = json.loads(command("explain", path, str(A), "--at", 3, "--json").stdout)
    assert (explained["state"], explained["running"]) == ("transferring", None)
    assert (explained["staged_bytes"], explained["verbs"]) == (100, [])
    assert "nobody can tell" in explained["what"]
    assert "the next start resumes it" in explained["why"]
    assert "as of position 3" in command("explain", path, str(A), "--at", 3).stdout
    assert json.loads(command("explain", path, str(A), "--json").stdout)["state"] == "completed"
    early = command("explain", path, str(B), "--at", 3)
    assert (early.exit_code, "had not begun" in early.stderr) == (ExitCode.REFUSED, True)

    refused = command("status", path, "--at", 99)
    assert (refused.exit_code, "it ends at" in refused.stderr) == (ExitCode.REFUSED, True)
