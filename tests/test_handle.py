from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from processes import kill, start, wait_for_line

from bootledger.errors import (
    CannotConverge,
    ClosedByOperator,
    CorruptChunk,
    Fenced,
    GuardRefused,
    IntentConflict,
    InvalidValue,
    NodeBusy,
    OutcomeUnknown,
    OutOfSpace,
    Refused,
    SimulatedCrash,
    SourceUnavailable,
)
from bootledger.projections.heads import encode_head
from bootledger.projections.resume import NotResumable, Why
from bootledger.replica.handle import BootstrapHandle
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.operator import Operator
from bootledger.statemachine.events import Abort, CauseClass, Event, Suspend
from bootledger.statemachine.fold import advance
from bootledger.statemachine.progress import State
from bootledger.statemachine.ranges import Range
from bootledger.store.memory import MemoryEventStore
from bootledger.store.port import Append, NodeExpectation


def new_log(store: MemoryEventStore | None = None) -> IntentLog:
    """Return an intent log that stamps every event with the time 1."""
    return IntentLog(store or MemoryEventStore(), clock=lambda: 1)


def events_of(log: IntentLog, handle: BootstrapHandle) -> list[Event]:
    """Return the durable events of the handle's intent, oldest first."""
    return [recorded.event for recorded in log.store.history(handle.intent_id)][::-1]


def by_operator(log: IntentLog, handle: BootstrapHandle, event: Event) -> None:
    """Append an event to the handle's intent behind its back, as an operator's command does."""
    after = advance(handle.progress, event)
    log.store.append([Append(handle.intent_id, handle.progress.version, event, encode_head(after))])


# --- Leaving -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "cause_class"),
    [
        (SourceUnavailable("link down"), "network"),
        (OutOfSpace("disk full"), "capacity"),
        (CannotConverge("too slow for this log"), "capacity"),
        (CorruptChunk("chunk 3"), "source"),
        (KeyboardInterrupt(), "shutdown"),
        (ZeroDivisionError("bug"), "error"),
    ],
)
def test_leaving_by_an_exception_suspends_with_its_cause(
    error: BaseException, cause_class: CauseClass
) -> None:
    """A broken link is a suspension, never an abort, and the exception goes on its way."""
    log = new_log()
    with pytest.raises(type(error)), log.begin("n", 0, 9) as handle:
        raise error
    assert handle.progress.state is State.SUSPENDED
    assert handle.progress.suspension is not None
    assert handle.progress.suspension.cause_class == cause_class
    assert type(error).__name__ in handle.progress.suspension.cause
    assert isinstance(events_of(log, handle)[-1], Suspend)


def test_leaving_normally_without_completing_aborts() -> None:
    """The seed's drop: who leaves without a word has given up, and the log says so."""
    log = new_log()
    with log.begin("n", 0, 9) as handle:
        pass
    assert handle.progress.state is State.ABORTED
    assert isinstance(handle.progress.end, Abort)
    assert (handle.progress.end.abort_kind, handle.progress.end.actor) == ("left", "n")


def test_leaving_normally_suspends_where_that_was_asked_for() -> None:
    """With `on_exit="suspend"` leaving is a pause."""
    log = new_log()
    with log.begin("n", 0, 9, on_exit="suspend") as handle:
        pass
    assert handle.progress.state is State.SUSPENDED


def test_a_crash_writes_nothing_on_its_way_out() -> None:
    """A simulated crash runs `__exit__`, and still nothing is written: the dead do not write."""
    log = new_log()
    with pytest.raises(SimulatedCrash), log.begin("n", 0, 9) as handle:
        raise SimulatedCrash
    assert len(events_of(log, handle)) == 1


def test_a_collected_handle_warns_and_writes_nothing() -> None:
    """A destructor is no place for a transition: it warns, and the intent stays as it was."""
    log = new_log()
    with pytest.warns(ResourceWarning, match="left without a word"):
        log.begin("n", 0, 9).checkpoint(5, 1)
        gc.collect()
    (intent,) = log.list_unfinished("n")
    assert intent.progress.state is State.CATCHING_UP
    assert not intent.running


def test_a_closed_handle_refuses_every_event() -> None:
    """After the last word there is no other."""
    log = new_log()
    handle = log.begin("n", 0, 9)
    handle.complete(1, 1)
    with pytest.raises(Refused, match="has let go"):
        handle.checkpoint(5, 1)


def test_a_suspension_that_cannot_be_recorded_is_a_note_on_the_error() -> None:
    """What went wrong first is what is raised; that it could not be recorded is added to it."""
    store = LosesAppends()
    log = new_log(store)
    with pytest.raises(ZeroDivisionError) as raised, log.begin("n", 0, 9):
        store.lose = True
        raise ZeroDivisionError
    assert any("could not be recorded" in note for note in raised.value.__notes__)


# --- The cursor ----------------------------------------------------------------------------------


def test_an_equal_offset_is_no_new_bytes_and_legal() -> None:
    """Saying the same cursor again is a checkpoint like any other."""
    handle = new_log().begin("n", 0, 9)
    handle.checkpoint_snapshot_transfer("t", 100, 0, 0)
    handle.checkpoint_snapshot_transfer("t", 100, 0, 0)
    assert handle.progress.snapshot is not None
    assert handle.progress.snapshot.offset_bytes == 100
    assert handle.progress.checkpoint_number == 2
    handle.close()


def test_a_lower_offset_is_refused() -> None:
    """The cursor does not go back: that would claim bytes twice."""
    log = new_log()
    handle = log.begin("n", 0, 9)
    handle.checkpoint_snapshot_transfer("t", 100, 0, 0)
    with pytest.raises(Refused, match="offset 99 is below 100"):
        handle.checkpoint_snapshot_transfer("t", 99, 0, 0)
    assert len(events_of(log, handle)) == 2
    handle.close()


def test_another_token_opens_the_next_generation() -> None:
    """Bytes of two snapshots never mix."""
    handle = new_log().begin("n", 0, 9)
    handle.checkpoint_snapshot_transfer("old", 100, 0, 0)
    handle.checkpoint_snapshot_transfer("new", 30, 0, 0)
    snapshot = handle.progress.snapshot
    assert snapshot is not None
    assert (snapshot.token, snapshot.generation, snapshot.offset_bytes) == ("new", 2, 30)
    handle.close()


def test_a_checkpoint_does_not_forget_the_snapshot() -> None:
    """Merge, do not replace: the snapshot's position survives a plain checkpoint."""
    handle = new_log().begin("n", 0, 9)
    handle.checkpoint_snapshot_transfer("t", 100, 0, 0)
    handle.checkpoint(5, 1)
    assert handle.progress.snapshot is not None
    assert handle.progress.snapshot.offset_bytes == 100
    handle.close()


@pytest.mark.parametrize("lsn", [-1, 1.0, 2**64, True, "5", None])
def test_a_bad_lsn_is_refused_and_nothing_is_written(lsn: object) -> None:
    """Only integers within u64 are LSNs."""
    log = new_log()
    handle = log.begin("n", 0, 9)
    with pytest.raises(InvalidValue, match="applied_lsn"):
        handle.checkpoint(lsn, 1)  # that is the point
    assert len(events_of(log, handle)) == 1
    handle.close()


@pytest.mark.parametrize("node_id", ["", "x" * 10_000, "a\0b", "\ud800", 7])
def test_a_bad_node_id_is_refused_and_nothing_is_written(node_id: object) -> None:
    """A node id is short, printable somewhere, and not empty."""
    log = new_log()
    with pytest.raises(InvalidValue, match="node id"):
        log.begin(node_id, 0, 9)  # that is the point
    assert log.store.last_position() == 0


# --- Somebody else -------------------------------------------------------------------------------


def test_an_owner_that_lost_its_intent_is_fenced() -> None:
    """Once another holder has resumed, the first one cannot write a single event any more."""
    log = new_log()
    zombie = log.begin("n", 0, 9)
    zombie.checkpoint(5, 1)
    assert zombie._claim is not None
    zombie._claim.release()  # its lock is lost, and it does not know
    (intent,) = log.list_unfinished("n")
    owner = log.resume_unfinished(intent)
    before = log.store.last_position()

    with pytest.raises(Fenced, match="epoch 2; this is epoch 1"):
        zombie.checkpoint(6, 2)

    assert log.store.last_position() == before
    assert zombie.closed
    owner.checkpoint(7, 2)
    owner.close()


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            Abort(recorded_at_ms=2, actor="ada", reason="wrong disk", abort_kind="operator"),
            "aborted by ada: wrong disk",
        ),
        (
            Suspend(recorded_at_ms=2, cause="upgrade", cause_class="operator", actor="ada"),
            "held by ada: upgrade",
        ),
    ],
)
def test_an_owner_notices_what_an_operator_decided(event: Event, words: str) -> None:
    """An operator's abort or hold stops the owner at its next event, with the operator's words."""
    log = new_log()
    handle = log.begin("n", 0, 9)
    by_operator(log, handle, event)
    with pytest.raises(ClosedByOperator, match=words):
        handle.checkpoint(5, 1)
    assert events_of(log, handle)[-1] == event
    assert handle.closed


def test_leaving_after_an_operators_abort_changes_nothing() -> None:
    """The suspension on the way out is refused, and the operator's word stands."""
    log = new_log()
    abort = Abort(recorded_at_ms=2, actor="ada", reason="no", abort_kind="operator")
    with pytest.raises(ClosedByOperator), log.begin("n", 0, 9) as handle:
        by_operator(log, handle, abort)
        handle.checkpoint(5, 1)
    assert events_of(log, handle)[-1] == abort


def test_a_live_owner_keeps_others_from_beginning_and_resuming() -> None:
    """One node, one live owner."""
    log = new_log()
    handle = log.begin("n", 0, 9)
    with pytest.raises(NodeBusy, match=f"pid {os.getpid()}"):
        log.begin("n", 0, 9)
    (intent,) = log.list_unfinished("n")
    with pytest.raises(NodeBusy, match=f"pid {os.getpid()}"):
        log.resume_unfinished(intent)
    handle.close()


def test_resuming_what_has_changed_since_is_a_conflict() -> None:
    """A resume is based on what was read; if that has moved, it is read again first."""
    log = new_log()
    handle = log.begin("n", 0, 9)
    (stale,) = log.list_unfinished("n")
    handle.checkpoint(5, 1)
    handle.close()
    with pytest.raises(IntentConflict, match="has changed"):
        log.resume_unfinished(stale)
    assert not log.list_unfinished("n")[0].running


def test_only_a_named_person_resumes_what_is_held() -> None:
    """A hold ends with an actor, and not by itself."""
    log = new_log()
    handle = log.begin("n", 0, 9)
    handle.close()
    Operator(log, "ada").hold(handle.intent_id, reason="upgrade")
    (intent,) = log.list_unfinished("n")
    with pytest.raises(GuardRefused, match="held by ada"):
        log.resume_unfinished(intent)
    log.resume_unfinished(intent, actor="ada").close()


def test_two_handles_on_one_node_are_never_alive_at_once() -> None:
    """Neither beginning nor resuming another intent gets past the node's live owner."""
    log = new_log()
    old = log.begin("n", 0, 9)
    old.checkpoint(5, 1)
    old.close()
    (stale,) = log.list_unfinished("n")
    owner = log.begin("n", 0, 9)
    with pytest.raises(NodeBusy, match="node 'n'"):
        log.resume_unfinished(stale)
    owner.complete(1, 1)


def test_a_hold_keeps_the_whole_node_from_starting() -> None:
    """While an operator holds one intent of a node, nothing begins and nothing supersedes it."""
    log = new_log()
    log.begin("n", 0, 9).close()
    (intent,) = log.list_unfinished("n")
    Operator(log, "ada").hold(intent.intent_id, reason="disk swap")
    decision = log.decide("n")
    assert isinstance(decision, NotResumable)
    assert decision.why is Why.HELD
    with pytest.raises(ClosedByOperator, match="held by ada: disk swap"):
        log.begin("n", 0, 9)
    assert log.list_unfinished("n")[0].progress.held


def test_completing_spares_what_was_held_meanwhile() -> None:
    """A hold is a person's word; a completion of another intent does not end it."""
    log = new_log()
    old = log.begin("n", 0, 9)
    old.checkpoint(5, 1)
    old.close()
    (older,) = log.list_unfinished("n")
    handle = log.begin("n", 0, 9)
    Operator(log, "ada").hold(older.intent_id, reason="evidence")
    handle.complete(1, 1)
    (left,) = log.list_unfinished("n")
    assert left.intent_id == older.intent_id


def test_dropping_damage_goes_on_under_the_next_epoch() -> None:
    """A drop is a resume by the same owner: recorded, and the owner stays the owner."""
    handle = new_log().begin("n", 0, 9)
    handle.checkpoint_snapshot_transfer("t", 100, 0, 0)
    handle.drop((Range(40, 60),))
    snapshot = handle.progress.snapshot
    assert snapshot is not None
    assert snapshot.staged == (Range(0, 40), Range(60, 100))
    assert handle.progress.epoch == 2
    handle.checkpoint(5, 1)
    handle.close()


def test_completing_supersedes_the_nodes_other_intents_and_no_other_nodes() -> None:
    """A stale LSN never returns, whatever the clock said when it began."""
    log = new_log()
    for node in ("n", "other"):
        old = log.begin(node, 0, 9)
        old.checkpoint(5, 1)
        old.close()
    handle = log.begin("n", 0, 9)
    assert len(log.list_unfinished()) == 3
    handle.complete(1, 1)
    (left,) = log.list_unfinished()
    assert left.node_id == "other"


def test_beginning_supersedes_what_never_got_anywhere() -> None:
    """An intent without progress is ended by the next begin, one with progress is not."""
    log = new_log()
    first = log.begin("n", 0, 9)
    first.close()
    second = log.begin("n", 0, 9)
    second.checkpoint(5, 1)
    second.close()
    third = log.begin("n", 0, 9)
    assert {i.intent_id for i in log.list_unfinished("n")} == {second.intent_id, third.intent_id}
    third.close()


# --- Unknown outcomes ----------------------------------------------------------------------------


class LosesAnswers(MemoryEventStore):
    """A store whose appends happen, but whose answers get lost when told so."""

    lose = False

    def append(
        self, batch: Sequence[Append], *, expect: NodeExpectation | None = None
    ) -> Sequence[int]:
        positions = super().append(batch, expect=expect)
        if self.lose:
            raise OutcomeUnknown("the answer was lost")
        return positions


class LosesAppends(MemoryEventStore):
    """A store whose appends do not happen when told so."""

    lose = False

    def append(
        self, batch: Sequence[Append], *, expect: NodeExpectation | None = None
    ) -> Sequence[int]:
        if self.lose:
            raise OutcomeUnknown("the request was lost")
        return super().append(batch, expect=expect)


def test_an_event_whose_answer_was_lost_is_not_written_twice() -> None:
    """After an unknown outcome the owner reads again, and finds its own event."""
    store = LosesAnswers()
    log = new_log(store)
    handle = log.begin("n", 0, 9)
    store.lose = True
    handle.checkpoint(5, 1)
    store.lose = False
    handle.checkpoint(6, 2)
    assert handle.progress.applied_lsn == 6
    assert len(events_of(log, handle)) == 3
    handle.close()


def test_an_event_that_did_not_happen_leaves_the_machine_where_it_was() -> None:
    """Check, append, move: without the append there is no move, and the handle stays usable."""
    store = LosesAppends()
    log = new_log(store)
    handle = log.begin("n", 0, 9)
    store.lose = True
    with pytest.raises(OutcomeUnknown):
        handle.checkpoint(5, 1)
    assert handle.progress.state is State.BEGUN
    store.lose = False
    handle.checkpoint(5, 1)
    assert len(events_of(log, handle)) == 2
    handle.close()


# --- Real processes ------------------------------------------------------------------------------

_OWNER = """
import sys, time
from bootledger.replica.intent_log import IntentLog
log = IntentLog.open(sys.argv[1])
handle = log.begin("n", 0, 9)
handle.checkpoint(5, 1)
print("owned", flush=True)
sys.stdin.read()
"""


def test_a_live_process_is_reported_as_running_and_a_killed_one_is_not(tmp_path: Path) -> None:
    """Whether an owner lives is known from its lock, which no death can leave behind."""
    owner = start(_OWNER, tmp_path / "ledger")
    assert wait_for_line(owner) == "owned"
    with IntentLog.open(tmp_path / "ledger") as log:
        assert [intent.running for intent in log.list_unfinished()] == [True]
        with pytest.raises(NodeBusy, match=f"pid {owner.pid}"):
            log.begin("n", 0, 9)
        kill(owner)
        assert [intent.running for intent in log.list_unfinished()] == [False]
        (intent,) = log.list_unfinished()
        with log.resume_unfinished(intent) as handle:
            assert handle.progress.epoch == 2
            handle.complete(1, 1)


def test_of_two_racing_processes_one_begins_and_the_other_is_told(tmp_path: Path) -> None:
    """Two begins of one node at once: never two owners."""
    IntentLog.open(tmp_path / "ledger").close()
    racers = [
        start(
            """
            import sys
            from bootledger.errors import NodeBusy
            from bootledger.replica.intent_log import IntentLog
            log = IntentLog.open(sys.argv[1])
            print("ready", flush=True)
            sys.stdin.readline()
            try:
                handle = log.begin("n", 0, 9)
                print("begun", flush=True)
            except NodeBusy:
                print("busy", flush=True)
            sys.stdin.read()
            """,
            tmp_path / "ledger",
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert wait_for_line(racer) == "ready"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    answers = sorted(wait_for_line(racer) for racer in racers)
    for racer in racers:
        kill(racer)
    assert answers == ["begun", "busy", "busy", "busy"]
