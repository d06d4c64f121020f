from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootledger.errors import BootledgerError, CorruptRecord, UnknownFormat
from bootledger.projections.dangling import Liveness, report
from bootledger.projections.heads import decode_head, encode_head
from bootledger.projections.latest import LatestIntents
from bootledger.projections.resume import NotResumable, Resumable, Why, decide
from bootledger.projections.runner import catch_up, rebuild
from bootledger.projections.unfinished import UnfinishedIntent, list_unfinished
from bootledger.replica.intent_log import IntentLog
from bootledger.statemachine.events import Begin, Checkpoint, Event, Holder, Suspend
from bootledger.statemachine.fold import fold
from bootledger.store.memory import MemoryEventStore
from bootledger.store.port import Head

_ME = Holder("host", 7, 1)
_BEGIN = Begin(recorded_at_ms=1, node_id="n", source_lsn=0, target_lsn_hint=9, holder=_ME)
_CHECKPOINT = Checkpoint(recorded_at_ms=2, applied_lsn=5, batches=1)
_HOLD = Suspend(recorded_at_ms=3, cause="maintenance", cause_class="operator", actor="ada")


def intent(number: int, *events: Event, running: bool = False) -> UnfinishedIntent:
    """Return an unfinished intent with this history."""
    progress = fold((_BEGIN, *events))
    return UnfinishedIntent(UUID(int=number), progress, progress.version, running)


def test_nothing_unfinished_resumes_nothing_and_says_so() -> None:
    """Without an unfinished intent the answer is no, with a reason."""
    decision = decide("n", [])
    assert isinstance(decision, NotResumable)
    assert decision.why is Why.NOTHING_UNFINISHED
    assert "'n'" in decision.reason


def test_a_node_resumes_only_its_own_intents() -> None:
    """Another node's intent is nobody's business."""
    decision = decide("other", [intent(1, _CHECKPOINT)])
    assert isinstance(decision, NotResumable)
    assert decision.why is Why.NOTHING_UNFINISHED


def test_the_only_intent_with_progress_is_resumed() -> None:
    """An intent that never got anywhere does not stand in the way of one that did."""
    decision = decide("n", [intent(1), intent(2, _CHECKPOINT), intent(3)])
    assert isinstance(decision, Resumable)
    assert decision.point.intent_id == UUID(int=2)
    assert decision.point.last_applied_lsn == 5
    assert decision.point.snapshot_token is None


def test_two_intents_with_progress_resume_none() -> None:
    """The single-resumer rule: if several could be resumed, a person decides."""
    decision = decide("n", [intent(1, _CHECKPOINT), intent(2, _CHECKPOINT)])
    assert isinstance(decision, NotResumable)
    assert decision.why is Why.SEVERAL_WITH_PROGRESS
    assert decision.intents == (UUID(int=1), UUID(int=2))


def test_a_running_intent_keeps_others_from_resuming() -> None:
    """While a live process works on one of the node's intents, none is resumed."""
    decision = decide("n", [intent(1, running=True), intent(2, _CHECKPOINT)])
    assert isinstance(decision, NotResumable)
    assert decision.why is Why.RUNNING
    assert decision.intents == (UUID(int=1),)
    assert "pid 7 on host" in decision.reason


def test_without_progress_there_is_nothing_to_resume() -> None:
    """An intent that never got anywhere is not resumed, and the answer says what becomes of it."""
    decision = decide("n", [intent(1)])
    assert isinstance(decision, NotResumable)
    assert decision.why is Why.NO_PROGRESS
    assert "the next replication takes it up" in decision.reason
    several = decide("n", [intent(1), intent(2)])
    assert isinstance(several, NotResumable)
    assert several.why is Why.NO_PROGRESS
    assert "the next begin supersedes them" in several.reason


def test_what_an_operator_holds_is_not_resumed() -> None:
    """A hold is named with its holder and cause."""
    decision = decide("n", [intent(1, _CHECKPOINT, _HOLD)])
    assert isinstance(decision, NotResumable)
    assert decision.why is Why.HELD
    assert "ada: maintenance" in decision.reason


def test_the_report_tells_apart_how_an_intent_dangles() -> None:
    """Running, stopped with a word and stopped without are three different reports."""
    link = Suspend(recorded_at_ms=3, cause="link down", cause_class="network", retry_at_ms=9)
    running, word, silent = report(
        [intent(1, running=True), intent(2, _CHECKPOINT, link), intent(3, _CHECKPOINT)]
    )
    assert running.liveness is Liveness.RUNNING
    assert word.liveness is Liveness.STOPPED_WITH_WORD
    assert (word.cause, word.retry_at_ms, word.since_ms) == ("link down", 9, 3)
    assert silent.liveness is Liveness.STOPPED_WITHOUT_WORD
    assert (silent.applied_lsn, silent.since_ms, silent.cause) == (5, 2, None)


@pytest.mark.parametrize(
    ("situation", "advice"),
    [
        ([intent(1)], ["takes this one up"]),
        ([intent(1), intent(2)], ["begins afresh", "begins afresh"]),
        ([intent(1, running=True)], ["Nothing to do"]),
        ([intent(1, _CHECKPOINT)], ["resumes here"]),
        ([intent(1, _CHECKPOINT, _HOLD)], ["Held by ada"]),
        ([intent(1), intent(2, _HOLD)], ["Another intent of this node is held", "Held by ada"]),
        (
            [intent(1, _CHECKPOINT), intent(2, _CHECKPOINT), intent(3)],
            ["bootledger adopt", "bootledger adopt", "supersedes this one"],
        ),
        ([intent(1, running=True), intent(2, _CHECKPOINT)], ["Nothing to do", "is running"]),
        ([intent(1, _CHECKPOINT), intent(2)], ["resumes here", "supersedes this one"]),
    ],
)
def test_every_report_says_what_to_do(situation: list[UnfinishedIntent], advice: list[str]) -> None:
    """No operator is left alone with a report, and the advice is what the policy will do."""
    reports = report(situation)
    assert len(reports) == len(advice)
    for dangling, words in zip(reports, advice, strict=True):
        assert words in dangling.what_to_do
        assert dangling.what_to_do in dangling.describe()


def test_a_hold_on_any_intent_of_a_node_is_a_no() -> None:
    """A person meant the replica: neither progress nor its absence gets past a hold."""
    for others in ([], [intent(2, _CHECKPOINT)], [intent(2, _CHECKPOINT), intent(3, _CHECKPOINT)]):
        decision = decide("n", [intent(1, _HOLD), *others])
        assert isinstance(decision, NotResumable)
        assert decision.why is Why.HELD


def test_a_head_survives_its_encoding() -> None:
    """What was folded comes back from the head."""
    progress = fold((_BEGIN, _CHECKPOINT))
    head = Head(UUID(int=1), "n", 2, 2, encode_head(progress))
    assert decode_head(head) == progress


@pytest.mark.parametrize(
    ("data", "error"),
    [(b"", UnknownFormat), (b"\x02rest", UnknownFormat), (b"\x01\xc1", CorruptRecord)],
)
def test_an_unreadable_head_is_an_error(data: bytes, error: type[BootledgerError]) -> None:
    """Unreadable is never empty."""
    with pytest.raises(error, match="head of intent"):
        decode_head(Head(UUID(int=1), "n", 1, 1, data))


def test_a_head_of_another_version_is_an_error() -> None:
    """A head that does not fit to the last event is damage, not an answer."""
    data = encode_head(fold((_BEGIN,)))
    with pytest.raises(CorruptRecord, match="of version 1, its last event of version 2"):
        decode_head(Head(UUID(int=1), "n", 2, 2, data))


_VERBS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["begin", "checkpoint", "chunk", "suspend", "complete", "abort", "leave"]),
    ),
    max_size=40,
)


@given(_VERBS, st.integers(1, 7))
def test_rebuilt_equals_incremental_and_heads_equal_a_replay(
    verbs: list[tuple[str, str]], batch: int
) -> None:
    """A projection that followed along, one rebuilt from nothing, and the heads all agree."""
    store = MemoryEventStore()
    log = IntentLog(store, clock=lambda: 1)
    for node, verb in verbs:
        act(log, node, verb)
        catch_up(store, LatestIntents(), batch=batch)
    followed = catch_up(store, LatestIntents())
    assert followed == rebuild(store, LatestIntents(), batch=batch)
    unfinished = {i.intent_id: i.progress for i in list_unfinished(store)}
    assert followed.unfinished == unfinished


def act(log: IntentLog, node: str, verb: str) -> None:
    """Do one thing to a node's newest intent, beginning one if there is none."""
    mine = log.list_unfinished(node)
    if verb == "begin" or not mine:
        log.begin(node, 0, 100).close()
        return
    handle = log.resume_unfinished(mine[-1], actor="tester")
    match verb:
        case "checkpoint":
            handle.checkpoint((handle.last_applied_lsn or 0) + 1, 1)
        case "chunk":
            offset = handle.progress.snapshot.offset_bytes if handle.progress.snapshot else 0
            handle.checkpoint_snapshot_transfer("t", offset + 10, handle.last_applied_lsn or 0, 0)
        case "suspend":
            handle.suspend("test")
        case "complete":
            handle.complete(1, 1)
        case "abort":
            handle.abort("test")
    handle.close()
