"""The operator's verbs: in every state, twice, through every crash, and against live owners."""

from __future__ import annotations

import getpass
import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID

import processes
import pytest
import sample_events as sample
from hypothesis import given
from nursery import run as command
from replicas import (
    NODE,
    assert_equal,
    make_primary,
    quiet,
    replicate,
    stop_in_the_copy,
    write_more,
)
from sample_events import SITUATIONS
from strategies import histories
from worlds import CrashingFiles, Scenario, every_pair, every_single

import bootledger
from bootledger.cli.errors import ExitCode
from bootledger.errors import (
    ClosedByOperator,
    Fenced,
    ForeignTarget,
    GuardRefused,
    IllegalEvent,
    IntentConflict,
    InvalidValue,
    NodeBusy,
    OutcomeUnknown,
    OutOfSpace,
    Refused,
    SourceUnavailable,
    Stopped,
    TargetBusy,
    TargetChanged,
)
from bootledger.files import Files
from bootledger.projections.explain import explain
from bootledger.projections.heads import decode_head, encode_head
from bootledger.projections.resume import Resumable
from bootledger.replica.database import Database
from bootledger.replica.identity import read_identity
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.observer import Observer
from bootledger.replica.operator import Operator
from bootledger.replica.ruling import Ruling
from bootledger.replica.target import LEDGER_NAME, Target
from bootledger.statemachine.events import Abort, Event, Resume, Suspend
from bootledger.statemachine.fold import EMPTY, advance
from bootledger.statemachine.progress import Progress, State
from bootledger.statemachine.ranges import Range
from bootledger.store.memory import MemoryEventStore
from bootledger.store.port import Append, NodeExpectation

INTENT, SIBLING, HELD_SIBLING = (UUID(int=number) for number in (7, 8, 9))

VERBS: dict[str, Callable[[Operator, UUID], Ruling]] = {
    "hold": lambda by, it: by.hold(it, reason="disk swap"),
    "release": lambda by, it: by.release(it, reason="done"),
    "adopt": lambda by, it: by.adopt(it, reason="this one counts"),
    "abort": lambda by, it: by.abort(it, reason="enough"),
    "abort, rolled back": lambda by, it: by.abort(it, reason="enough", rolled_back=True),
}


def tell(store: MemoryEventStore, intent_id: UUID, history: Sequence[Event]) -> None:
    """Append a whole history to a store."""
    progress = EMPTY
    for event in history:
        after = advance(progress, event)
        store.append([Append(intent_id, progress.version, event, encode_head(after))])
        progress = after


def log_of(**histories: Sequence[Event]) -> IntentLog:
    """Return a log that holds the named intents with these histories."""
    store = MemoryEventStore()
    for name, history in histories.items():
        tell(store, {"it": INTENT, "sibling": SIBLING, "held": HELD_SIBLING}[name], history)
    return IntentLog(store, clock=lambda: 9)


# --- Every verb in every state --------------------------------------------------------------------


def expected(verb: str, progress: Progress) -> str:
    """What the design says of a verb in a state: written, nothing, or refused."""
    if progress.state is State.COMPLETED:
        return "refused"
    if progress.state is State.ABORTED:
        return "nothing" if verb.startswith("abort") else "refused"
    match verb:
        case "hold":
            return "nothing" if progress.held else "written"
        case "release":
            return "written" if progress.held else "nothing"
        case "adopt":
            waits = progress.state is State.SUSPENDED and not progress.held
            return "nothing" if waits else "written"
        case "abort":
            return "refused" if progress.phase is State.PROMOTING else "written"
        case _:
            return "written"


def check_verb(verb: str, history: Sequence[Event]) -> None:
    """Say the verb, and say it again, and compare with what the design says."""
    log = log_of(it=history)
    before, length = log.progress_of(INTENT), log.store.last_position()
    try:
        first = VERBS[verb](Operator(log, "ann"), INTENT)
    except (IllegalEvent, GuardRefused):
        assert expected(verb, before) == "refused"
        assert log.store.last_position() == length
        return
    assert expected(verb, before) == ("written" if first.written else "nothing")
    after, length_after = log.progress_of(INTENT), log.store.last_position()
    assert (length_after > length) == first.written
    new = [found.event for found in log.store.read(length, 10)]
    assert all(isinstance(e, Suspend | Resume | Abort) and e.actor == "ann" for e in new)
    if verb != "release" or first.written:
        assert after.state in {State.SUSPENDED, State.ABORTED}
    assert after.phase is before.phase
    assert after.snapshot == before.snapshot

    again = VERBS[verb](Operator(log, "bob"), INTENT)
    assert not again.written
    assert log.store.last_position() == length_after
    assert log.progress_of(INTENT) == after


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("situation", [name for name in SITUATIONS if name != "absent"])
def test_each_verb_in_each_situation_does_what_the_table_allows_once(
    verb: str, situation: str
) -> None:
    """Written, true already, or refused with nothing written; and the second time nothing."""
    check_verb(verb, SITUATIONS[situation])


@given(histories(min_size=1))
def test_each_verb_is_idempotent_after_any_history(history: Sequence[Event]) -> None:
    """A law over every reachable state: verb; verb is verb."""
    for verb in VERBS:
        if history:
            check_verb(verb, history)


@pytest.mark.parametrize("verb", VERBS)
def test_an_intent_that_never_began_is_refused(verb: str) -> None:
    """There is nothing to decide about."""
    with pytest.raises(InvalidValue, match=str(SIBLING)):
        VERBS[verb](Operator(log_of(it=sample.HALF), "ann"), SIBLING)


@pytest.mark.parametrize("bad", ["", "a\0b", "x" * 2000])
def test_a_bad_reason_or_actor_is_refused_and_nothing_is_written(bad: str) -> None:
    """Names and reasons are texts that an event can hold."""
    log = log_of(it=(*sample.HALF, sample.hold()))
    with pytest.raises(InvalidValue):
        Operator(log, bad)
    for verb in (
        lambda by: by.hold(INTENT, reason=bad),
        lambda by: by.abort(INTENT, reason=bad),
        lambda by: by.release(INTENT, reason=bad),
        lambda by: by.adopt(INTENT, reason=bad),
    ):
        with pytest.raises(InvalidValue):
            verb(Operator(log, "ann"))
    assert log.store.last_position() == len(sample.HALF) + 1


# --- Adopting -------------------------------------------------------------------------------------


def test_adopting_ends_the_siblings_in_one_batch_and_the_next_start_resumes_it() -> None:
    """Several with progress resume none; after an adoption there is one, and it waits."""
    log = log_of(it=sample.HALF, sibling=sample.FOLLOWING)
    assert not isinstance(log.decide("replica-a"), Resumable)
    length = log.store.last_position()
    ruling = Operator(log, "ann").adopt(INTENT, reason="newer disk")
    assert ruling.superseded == (SIBLING,)
    kinds = [type(found.event) for found in log.store.read(length, 10)]
    assert kinds == [Resume, Suspend, Abort]
    decision = log.decide("replica-a")
    assert isinstance(decision, Resumable)
    assert decision.intent.intent_id == INTENT
    (report,) = log.scan_and_report()
    assert report.cause == "adopted by ann: newer disk"
    assert report.liveness == "stopped, with a word"
    end = log.progress_of(SIBLING).end
    assert isinstance(end, Abort)
    assert (end.actor, end.abort_kind) == ("ann", "superseded")


def test_adopting_does_not_override_another_persons_hold() -> None:
    """A held sibling is somebody's word: it is ended by name, or not at all."""
    log = log_of(it=sample.HALF, held=(*sample.FOLLOWING, sample.hold()))
    with pytest.raises(ClosedByOperator, match=f"{HELD_SIBLING} is held by ada"):
        Operator(log, "ann").adopt(INTENT)
    assert log.progress_of(INTENT).state is State.TRANSFERRING


def test_adopting_does_not_end_a_sibling_that_may_be_in_service() -> None:
    """What is being promoted may be what CURRENT names."""
    log = log_of(it=sample.HALF, sibling=sample.PROMOTING)
    with pytest.raises(GuardRefused, match=f"{SIBLING} cannot be superseded"):
        Operator(log, "ann").adopt(INTENT)
    assert log.progress_of(INTENT).state is State.TRANSFERRING


def test_a_promotion_of_a_live_owner_cannot_be_declared_rolled_back() -> None:
    """Who is alive may swap CURRENT in the next moment."""
    log = log_of(it=sample.PROMOTING)
    claim = log.store.claim(INTENT, "pid 1")
    with pytest.raises(NodeBusy, match="alive"):
        Operator(log, "ann").abort(INTENT, reason="no", rolled_back=True)
    claim.release()
    assert Operator(log, "ann").abort(INTENT, reason="no", rolled_back=True).written


# --- Others write too -----------------------------------------------------------------------------


class Contested(MemoryEventStore):
    """Before each of the next appends, the owner gets one of its own in."""

    contests = 0
    lose_answer = False

    def append(
        self, batch: Sequence[Append], *, expect: NodeExpectation | None = None
    ) -> Sequence[int]:
        if self.contests:
            self.contests -= 1
            progress = IntentLog(self).progress_of(INTENT)
            event = sample.checkpoint(200 + progress.version)
            after = encode_head(advance(progress, event))
            super().append([Append(INTENT, progress.version, event, after)])
        positions = super().append(batch, expect=expect)
        if self.lose_answer:
            raise OutcomeUnknown("the answer was lost")
        return positions


@pytest.mark.parametrize("verb", ["hold", "adopt", "abort"])
def test_an_owner_that_keeps_writing_does_not_keep_a_person_from_deciding(verb: str) -> None:
    """A conflict is read again; ten in a row are an error, and nothing was written."""
    store = Contested()
    tell(store, INTENT, sample.FOLLOWING)
    log = IntentLog(store, clock=lambda: 9)
    store.contests = 9
    assert VERBS[verb](Operator(log, "ann"), INTENT).written

    store = Contested()
    tell(store, INTENT, sample.FOLLOWING)
    store.contests = 10
    with pytest.raises(IntentConflict):
        VERBS[verb](Operator(IntentLog(store), "ann"), INTENT)
    assert IntentLog(store).progress_of(INTENT).state is State.CATCHING_UP


def test_a_verb_whose_answer_was_lost_is_found_to_be_there() -> None:
    """After an unknown outcome the ledger is read, and the event is not written twice."""
    store = Contested()
    tell(store, INTENT, sample.HALF)
    store.lose_answer = True
    assert Operator(IntentLog(store), "ann").hold(INTENT, reason="disk swap").written
    assert store.last_position() == len(sample.HALF) + 1


# --- An owner that is fenced ----------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_an_owner_finds_out_by_asking_and_writes_nothing(verb: str) -> None:
    """Every verb that wrote stops the owner, with the right name."""
    log = IntentLog(MemoryEventStore(), clock=lambda: 9)
    handle = log.begin("n", 0, 9)
    handle.checkpoint(5, 1)
    ruling = VERBS[verb](Operator(log, "ann"), handle.intent_id)
    if not ruling.written:
        handle.check_owned(now=True)
        handle.close()
        return
    assert ruling.owner is not None
    length = log.store.last_position()
    with pytest.raises(Fenced if verb == "adopt" else ClosedByOperator, match=r"ann|epoch"):
        handle.check_owned(now=True)
    with pytest.raises(Refused, match="let go"):
        handle.checkpoint(6, 2)
    assert log.store.last_position() == length


def test_an_owner_that_looks_often_reads_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks asking costs nothing, so that it may be asked everywhere."""
    log = IntentLog(MemoryEventStore())
    handle = log.begin("n", 0, 9)
    reads = []
    head = log.store.head
    monkeypatch.setattr(log.store, "head", lambda it: (reads.append(it), head(it))[1])
    for _ in range(1000):
        handle.check_owned()
    assert len(reads) == 1
    handle.close()


# --- Live owners, as real processes ---------------------------------------------------------------

SOON_S = 30.0
"""Within seconds, on a machine that has other things to do."""

OWNER = """
import sys, time
from pathlib import Path
from bootledger import replicate
from bootledger.errors import BootledgerError
from bootledger.files import Files
from bootledger.replica.observer import Observer
from bootledger.replica.settings import Settings
from bootledger.statemachine import plan

primary, target, where = sys.argv[1:]

def tell(word):
    print(word, flush=True)

class Slow(Observer):
    def on_step(self, step, progress):
        if where == "promotion" and isinstance(step, plan.Swap):
            tell("there")
            time.sleep(float(sys.stdin.readline()))
        self.verifying = isinstance(step, plan.Restore)
    def on_pinning(self, generation):
        if where == "pin":
            tell("there")
    def on_fetched(self, fetched):
        if where == "copy":
            tell("there")
            time.sleep(0.2)
        if where == "between fetching and staging":
            tell("there")
            sys.stdin.readline()
    def on_applied(self, applied_lsn, target_lsn):
        if where == "catch-up":
            tell("there")
            time.sleep(0.2)

slow = Slow()

def stop():
    if where == "verification" and getattr(slow, "verifying", False):
        tell("there")
        time.sleep(0.2)

settings = Settings(batch_changes=10, lag_changes=0, stop=stop)
try:
    replicate(Path(primary), Path(target), "replica-1", settings=settings, observer=slow,
              chunk_bytes=16 * 1024)
    tell("done")
except BootledgerError as error:
    tell(f"{type(error).__name__}: {error}")
"""


def files_of(target: Path) -> dict[str, bytes]:
    """Return everything below a target but for LMDB's and our locks, and the ledger's reserve."""
    return {
        str(path.relative_to(target)): path.read_bytes()
        for path in sorted(target.rglob("*"))
        if path.is_file() and path.suffix != ".lock" and path.name not in {"lock.mdb", "reserve"}
    }


def last_word(child: subprocess.Popen[str]) -> str:
    """Return the last line of an owner that ends by itself, soon."""
    out, err = child.communicate(timeout=SOON_S)
    assert child.returncode == 0, err
    return out.splitlines()[-1]


def only(target: Path) -> UUID:
    """Return the node's only unfinished intent."""
    with IntentLog.open(target / LEDGER_NAME, create=False) as log:
        (intent,) = log.list_unfinished(NODE)
        return intent.intent_id


@pytest.mark.parametrize("where", ["pin", "copy", "verification", "catch-up", "promotion"])
def test_a_running_owner_stops_within_seconds_wherever_it_is(tmp_path: Path, where: str) -> None:
    """Held while it works: it ends with the operator's word, and CURRENT is what it was."""
    primary, target = tmp_path / "primary", tmp_path / "replica"
    make_primary(primary, records=400)
    if where == "catch-up":
        replicate(primary, target)
        write_more(primary, records=800, seed=1)
    (primary / "basebackups").mkdir(exist_ok=True)
    lock = Files().lock(primary / "basebackups" / "publishing.lock")
    if where == "pin":
        lock.acquire(words="a slow publication")
    current = (target / "CURRENT").read_bytes() if target.exists() else b"none\n"
    child = processes.start(OWNER, primary, target, where)
    try:
        assert processes.wait_for_line(child) == "there"
        with IntentLog.open(target / LEDGER_NAME, create=False) as log:
            ruling = Operator(log, "ann").hold(only(target), reason="disk swap")
            length = log.store.last_position()
            # On a busy machine it may have noticed before it could be named.
            assert ruling.owner in {None, f"pid {child.pid} on {socket.gethostname()}"}
            began_s = time.monotonic()
            word = last_word_of_waiting(child) if where == "promotion" else last_word(child)
            assert time.monotonic() - began_s < SOON_S
            assert word.startswith("ClosedByOperator")
            assert "held by ann: disk swap" in word
            assert log.store.last_position() == length
            assert log.progress_of(ruling.intent_id).held
    finally:
        lock.release()
        child.kill()
        child.communicate()
    assert (target / "CURRENT").read_bytes() == current

    with IntentLog.open(target / LEDGER_NAME, create=False) as log:
        Operator(log, "ann").release(ruling.intent_id)
    assert replicate(primary, target).intent_id
    assert_equal(primary, target)


def last_word_of_waiting(child: subprocess.Popen[str]) -> str:
    """Let an owner that waits before its promotion go on, and return its last line."""
    assert child.stdin is not None
    child.stdin.write("0\n")
    child.stdin.flush()
    return last_word(child)


def test_an_owner_that_slept_while_it_was_adopted_changes_no_byte(tmp_path: Path) -> None:
    """SIGSTOP, an adoption, SIGCONT: it is fenced; ledger and target are what they were."""
    primary, target = tmp_path / "primary", tmp_path / "replica"
    make_primary(primary, records=400)
    child = processes.start(OWNER, primary, target, "between fetching and staging")
    assert child.stdin is not None
    try:
        for line in ("\n", "\n", ""):
            assert processes.wait_for_line(child) == "there"
            child.stdin.write(line)
            child.stdin.flush()
        child.send_signal(signal.SIGSTOP)
        with IntentLog.open(target / LEDGER_NAME, create=False) as log:
            ruling = Operator(log, "ann").adopt(only(target), reason="it hangs")
        before = files_of(target)
        time.sleep(0.6)  # longer than it may not look
        child.send_signal(signal.SIGCONT)
        child.stdin.write("\n")
        child.stdin.flush()
        assert last_word(child).startswith(f"Fenced: intent {ruling.intent_id} was taken over")
    finally:
        child.kill()
    assert files_of(target) == before
    assert replicate(primary, target).intent_id == str(ruling.intent_id)
    assert_equal(primary, target)


# --- Discarding, keeping, and whose target it is --------------------------------------------------


def copies(target: Path) -> list[str]:
    """Return the generations that have a directory."""
    return sorted(path.name for path in target.glob("gen-*"))


def test_discarding_deletes_what_was_staged_for_it_and_nothing_else(tmp_path: Path) -> None:
    """The generation in service and another intent's stay; the second time there is nothing."""
    primary, target = tmp_path / "primary", tmp_path / "replica"
    make_primary(primary)
    replicate(primary, target)
    lose_the_log(primary)
    stop_in_the_copy(primary, target)
    with open_target(target) as opened:
        opened.create_generation(7, SIBLING)
    with IntentLog.open(target / LEDGER_NAME, create=False) as log:
        by, intent_id = Operator(log, "ann"), only(target)
        ruling = by.discard(intent_id, reason="wrong disk")
        assert (ruling.written, ruling.removed, ruling.left) == (True, (2,), ())
        assert copies(target) == ["gen-0001", "gen-0007"]
        again = by.discard(intent_id, reason="wrong disk")
        assert (again.written, again.removed) == (False, ())
        assert log.progress_of(intent_id).state is State.ABORTED


def test_a_discard_that_an_owner_holds_up_says_what_is_done_and_what_is_not(tmp_path: Path) -> None:
    """The abort counts, nothing is deleted, and the same verb later deletes it."""
    primary, target = tmp_path / "primary", tmp_path / "replica"
    make_primary(primary)
    stop_in_the_copy(primary, target)
    with IntentLog.open(target / LEDGER_NAME, create=False) as log:
        by, intent_id = Operator(log, "ann"), only(target)
        with open_target(target), pytest.raises(TargetBusy, match="aborted by ann: no") as busy:
            by.discard(intent_id, reason="no", wait_s=0)
        assert "say discard again" in busy.value.hint
        assert log.progress_of(intent_id).state is State.ABORTED
        assert copies(target) == ["gen-0001"]
        assert by.discard(intent_id, reason="no").removed == (1,)


def test_after_an_adoption_the_owner_is_still_the_live_process() -> None:
    """Who adopted is on record; who is to stop is whoever holds the claim."""
    log = log_of(it=sample.HALF)
    log.store.claim(INTENT, "pid 7 on ada")
    by = Operator(log, "ann")
    assert [by.adopt(INTENT).owner, by.hold(INTENT, reason="no").owner] == ["pid 7 on ada"] * 2


def test_kept_artifacts_survive_the_next_start_until_they_are_discarded(tmp_path: Path) -> None:
    """`keep_artifacts` is a promise to the person who wants to look."""
    primary, target = tmp_path / "primary", tmp_path / "replica"
    make_primary(primary)
    stop_in_the_copy(primary, target)
    with IntentLog.open(target / LEDGER_NAME, create=False) as log:
        kept = only(target)
        Operator(log, "ann").abort(kept, reason="look at it", keep_artifacts=True)
    assert replicate(primary, target).generation == 2
    assert copies(target) == ["gen-0001", "gen-0002"]
    assert_equal(primary, target)
    with IntentLog.open(target / LEDGER_NAME, create=False) as log:
        assert Operator(log, "ann").discard(kept, reason="seen").removed == (1,)
    assert copies(target) == ["gen-0002"]


def test_what_an_abort_did_not_keep_is_not_kept_by_another() -> None:
    """The second abort refuses what the first one made impossible, and writes nothing."""
    log = log_of(it=sample.HALF)
    by = Operator(log, "ann")
    by.abort(INTENT, reason="no")
    length = log.store.last_position()
    with pytest.raises(IllegalEvent, match="aborted by ann: no, without keeping") as refused:
        by.abort(INTENT, reason="wait", keep_artifacts=True)
    assert "copy it away" in refused.value.hint
    assert log.store.last_position() == length
    assert not by.abort(INTENT, reason="no").written


def test_what_an_abort_kept_stays_kept_and_the_next_abort_says_so() -> None:
    """Only a discard ends that."""
    log = log_of(it=sample.HALF)
    by = Operator(log, "ann")
    by.abort(INTENT, reason="look", keep_artifacts=True)
    for keep in (True, False):
        again = by.abort(INTENT, reason="no", keep_artifacts=keep)
        assert not again.written
        assert "kept until it is discarded" in again.words


def test_what_is_aborted_and_not_kept_goes_with_the_next_start(tmp_path: Path) -> None:
    """Without the word nobody owns it."""
    primary, target = tmp_path / "primary", tmp_path / "replica"
    make_primary(primary)
    stop_in_the_copy(primary, target)
    with IntentLog.open(target / LEDGER_NAME, create=False) as log:
        Operator(log, "ann").abort(only(target), reason="no")
    replicate(primary, target)
    assert copies(target) == ["gen-0002"]


def test_one_node_of_one_ledger_has_one_target_at_a_time(tmp_path: Path) -> None:
    """The second target is refused by the name of the first; moved, it is the same one."""
    primary, ledger = tmp_path / "primary", tmp_path / "ledger"
    make_primary(primary)
    with pytest.raises(ZeroDivisionError):
        bootledger.replicate(primary, tmp_path / "one", NODE, ledger=ledger, observer=Breaks())
    with pytest.raises(TargetChanged, match=str(tmp_path / "one")):
        bootledger.replicate(primary, tmp_path / "two", NODE, ledger=ledger)
    assert not copies(tmp_path / "two")
    with IntentLog.open(ledger) as log:
        (intent,) = log.list_unfinished()
        with pytest.raises(ForeignTarget, match="not the target of intent"):
            Operator(log, "ann").discard(intent.intent_id, reason="no", target=tmp_path / "two")
        (tmp_path / "one").rename(tmp_path / "moved")
        with pytest.raises(InvalidValue, match="there is no target"):
            Operator(log, "ann").discard(intent.intent_id, reason="no")
        assert log.progress_of(intent.intent_id).unfinished
    bootledger.replicate(primary, tmp_path / "moved", NODE, ledger=ledger)
    assert_equal(primary, tmp_path / "moved")


class Breaks(Observer):
    """Breaks once something is staged."""

    def on_staged(self, staged: Range, progress: Progress) -> None:
        raise ZeroDivisionError


def lose_the_log(primary: Path) -> None:
    """Let the primary forget the changes that a replica would need."""
    last_lsn = write_more(primary, seed=1)
    with Database.open(primary, Files(), name="primary") as database:
        database.prune(last_lsn)


def open_target(target: Path) -> Target:
    """Take the target into possession."""
    identity = read_identity(target)
    return Target.open(
        target,
        Files(),
        source_database_id=identity.source_database_id,
        node_id=identity.node_id,
    )


# --- Every crash ----------------------------------------------------------------------------------


def prepare(place: Path) -> None:
    """Leave two unfinished intents with progress, one of them with a candidate."""
    make_primary(place / "primary", records=20, value_bytes=30)
    stop_in_the_copy(place / "primary", place / "replica", chunks=1)
    with IntentLog.open(place / "replica" / LEDGER_NAME) as log:
        other = log.begin(NODE, 0, 9)
        other.checkpoint(5, 1)
        other.close()


def say_each(files: CrashingFiles, place: Path) -> None:
    """One life of an operator: adopt, hold, release, and discard what was adopted."""
    with IntentLog.open(place / "replica" / LEDGER_NAME, files=files, sink=quiet) as log:
        first = next(log.store.heads()).intent_id
        by = Operator(log, "ann")
        if log.progress_of(first).unfinished:
            by.adopt(first)
            by.hold(first, reason="disk swap")
            by.release(first)
        by.discard(first, reason="enough", target=place / "replica", files=files)


def nothing_is_half_done(place: Path) -> None:
    """Whatever was said is there whole: nobody is taken for a dead owner."""
    with IntentLog.open(place / "replica" / LEDGER_NAME) as log:
        for intent in log.list_unfinished():
            alone = len(log.list_unfinished()) == 1
            assert intent.progress.state is State.SUSPENDED or not alone


def all_is_said(place: Path) -> None:
    """The sibling is superseded, the other aborted, its candidate gone, and a start goes on."""
    with IntentLog.open(place / "replica" / LEDGER_NAME) as log:
        ends = [decode_head(head).end for head in log.store.heads()]
    assert [type(end) for end in ends] == [Abort, Abort]
    assert [end.abort_kind for end in ends if isinstance(end, Abort)] == ["operator", "superseded"]
    assert copies(place / "replica") == []


VERBS_SAID = Scenario(say_each, prepare, nothing_is_half_done, all_is_said)


def test_a_crash_at_any_point_of_the_verbs_is_survived() -> None:
    """Each verb is there whole or not at all, and saying it again ends where it should."""
    every_single(VERBS_SAID, at_least=12)


def test_a_crash_at_any_two_points_of_the_verbs_is_survived() -> None:
    """Every pair."""
    every_pair(VERBS_SAID, at_least=12)


# --- The command line -----------------------------------------------------------------------------


def test_the_commands_that_the_operations_page_shows_do_what_it_says(tmp_path: Path) -> None:
    """A hold, an explanation, a release, an abort and a discard, by a prefix of the id."""
    primary, target = tmp_path / "primary", tmp_path / "replica"
    make_primary(primary)
    stop_in_the_copy(primary, target)
    intent_id = only(target)
    prefix = str(intent_id)[:20]
    page = (Path(__file__).parent.parent / "docs" / "operations.md").read_text()
    for line in (
        "bootledger hold LEDGER INTENT --reason WHY",
        "bootledger explain LEDGER INTENT",
        "bootledger release LEDGER INTENT",
        "bootledger adopt LEDGER INTENT",
        "bootledger abort LEDGER INTENT --reason WHY",
        "bootledger discard LEDGER INTENT --reason WHY",
    ):
        assert line in page
        words = line.split()[1:]
        told = {"LEDGER": target, "INTENT": prefix, "WHY": "disk swap"}
        done = command(*(told.get(word, word) for word in words))
        assert done.returncode == 0, done.stderr
        assert str(intent_id) in done.stdout
    explained = json.loads(command("explain", target, prefix, "--json").stdout)
    assert explained["state"] == "aborted"
    assert f"{getpass.getuser()}@{socket.gethostname()}: disk swap" in explained["what"]
    assert copies(target) == []
    refused = command("hold", target, prefix, "--reason", "late")
    assert refused.returncode == ExitCode.REFUSED
    assert "cannot happen in state aborted" in refused.stderr
    assert command("hold", target, prefix).returncode == 2


def test_an_id_that_could_be_several_is_refused_with_both() -> None:
    """A prefix is accepted while it is unambiguous, in any case, with hyphens or without."""
    log = log_of(it=sample.HALF, sibling=sample.FOLLOWING)
    assert log.find(str(INTENT)) == log.find(INTENT.hex.upper()) == INTENT
    with pytest.raises(InvalidValue, match=f"{INTENT} .*{SIBLING} "):
        log.find("0000")
    for prefix in ("", "1", "xyz", "0" * 33):
        with pytest.raises(InvalidValue):
            log.find(prefix)


# --- Explaining -----------------------------------------------------------------------------------


@pytest.mark.parametrize("situation", [name for name in SITUATIONS if name != "absent"])
@pytest.mark.parametrize("running", [True, False])
def test_every_situation_is_explained_by_what_is_true_in_it(situation: str, running: bool) -> None:
    """State, staged bytes, holder, the policy's answer and the next step, in words."""
    log = log_of(it=SITUATIONS[situation])
    progress = log.progress_of(INTENT)
    found = explain(INTENT, progress, log.decide("replica-a"), running=running)
    assert found.state is progress.state
    assert found.staged_bytes == (progress.snapshot.staged_bytes if progress.snapshot else 0)
    assert all((found.what, found.on_disk, found.why, found.next))
    if not progress.unfinished:
        assert found.next == "Nothing."
        assert found.why == "It is over: nothing resumes it."
    if progress.held:
        assert "held by ada: why not" in found.what
        assert "release" in found.verbs
    if progress.state is State.TRANSFERRING and not running:
        assert "died without a word" in found.what
    for verb in {"hold", "release", "adopt", "abort"} & set(found.verbs):
        if not (verb == "abort" and progress.phase is State.PROMOTING):
            assert expected(verb, progress) != "refused"


def test_a_lone_intent_without_progress_is_told_from_several() -> None:
    """Why and next say the same, and what the loop does: a lone one is taken up."""
    log = log_of(it=(*sample.BEGUN, sample.suspend()))
    lone = explain(INTENT, log.progress_of(INTENT), log.decide("replica-a"), running=False)
    assert "the next start takes it up" in lone.why
    assert lone.next.startswith("The next start takes it up: it finds out")
    log = log_of(it=(*sample.BEGUN, sample.suspend()), sibling=(*sample.BEGUN, sample.suspend()))
    one = explain(INTENT, log.progress_of(INTENT), log.decide("replica-a"), running=False)
    assert "the next begin supersedes them" in one.why
    assert one.next == "The next start begins afresh and supersedes it."


@given(histories(min_size=1))
def test_every_history_is_explained(history: Sequence[Event]) -> None:
    """There is no reachable state without words."""
    if history:
        log = log_of(it=history)
        progress = log.progress_of(INTENT)
        found = explain(INTENT, progress, log.decide("replica-a"), running=None)
        assert all((found.what, found.on_disk, found.why, found.next))


def test_a_source_that_does_not_answer_is_worth_a_try_in_a_minute() -> None:
    """The loop's suspension says when; a person's stop and a damage do not."""
    log = IntentLog(MemoryEventStore(), sink=quiet, clock=lambda: 1000)
    for error, retry_at_ms in (
        (SourceUnavailable("link down"), 61_000),
        (OutOfSpace("full"), 601_000),
        (Stopped("SIGTERM"), None),
        (ZeroDivisionError(), None),
    ):
        with pytest.raises(type(error)), log.begin("n", 0, 9):
            raise error
        (report,) = log.scan_and_report()
        assert report.retry_at_ms == retry_at_ms
