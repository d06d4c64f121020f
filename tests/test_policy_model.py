"""The policy against its model: any history of many nodes, every answer after every step."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import policy_model
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from policy_model import Ends, Intent, Policy
from replicas import quiet

from bootledger.errors import BootledgerError
from bootledger.projections.heads import decode_head
from bootledger.projections.resume import Resumable, Why
from bootledger.projections.unfinished import UnfinishedIntent
from bootledger.replica.bootstrapper import ReplicaBootstrapper
from bootledger.replica.handle import BootstrapHandle
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.operator import Operator
from bootledger.replica.owner import IntentOwner
from bootledger.statemachine.events import Promote
from bootledger.statemachine.live import LiveIntent
from bootledger.statemachine.progress import Progress
from bootledger.store.lmdb import LmdbEventStore
from bootledger.store.memory import MemoryEventStore
from bootledger.store.port import EventStore

T = TypeVar("T")
NODES = ("a", "b", "c")
TOKEN = "snapshot"

nodes = st.sampled_from(NODES)
picks = st.integers(0, 7)
"""Picks one of what there is, the newest first."""


@dataclass(eq=False)
class Life:
    """An owner of the model and the handle that stands for it."""

    owner: policy_model.Owner
    handle: BootstrapHandle


class PolicyMachine(RuleBasedStateMachine):
    """One ledger, many nodes and owners; each step is done for real and in the model."""

    def __init__(self) -> None:
        super().__init__()
        ticks = itertools.count(1)
        self.model = Policy()
        self.log = IntentLog(self.make_store(), sink=quiet, clock=lambda: next(ticks))
        self.operator = Operator(self.log, "ada")
        self.ids: dict[Intent, UUID] = {}
        self.lives: list[Life] = []
        self.seen: list[tuple[Intent, UnfinishedIntent]] = []
        self.lsn = itertools.count(1)

    def make_store(self) -> EventStore:
        """Return an empty store."""
        return MemoryEventStore()

    def teardown(self) -> None:
        """Let go of everything."""
        for life in self.lives:
            life.handle.close()
        self.log.close()

    # --- How ------------------------------------------------------------------------------------

    def agree(self, ends: Ends, do: Callable[[], T]) -> T | None:
        """Do it, and check that it ends as the model says."""
        result, error = None, None
        try:
            result = do()
        except BootledgerError as raised:
            error = raised
        assert ends is (error and type(error)), f"the model says {ends}, and not {error!r}"
        return result

    def life(self, pick: int) -> Life:
        """Return one of the lives that have not crashed."""
        return self.lives[-1 - pick % len(self.lives)]

    def intent(self, pick: int) -> Intent:
        """Return one of all intents, finished ones too."""
        return self.model.intents[-1 - pick % len(self.model.intents)]

    def taken(self, ends: Ends, handle: BootstrapHandle | None) -> None:
        """Remember the owner that the model has just made."""
        if handle is not None and ends is None:
            owner = self.model.owners[-1]
            self.ids.setdefault(owner.intent, handle.intent_id)
            self.lives.append(Life(owner, handle))

    # --- Owners ---------------------------------------------------------------------------------

    @rule(node=nodes)
    def begin(self, node: str) -> None:
        """A process begins afresh, whatever there is."""
        ends = self.model.begin(node)
        self.taken(ends, self.agree(ends, lambda: self.log.begin(node, 0, 9)))

    @rule(node=nodes)
    def start(self, node: str) -> None:
        """A process resumes by the policy, as the seed's loop does, or learns that it may not."""
        decision = self.model.decision(node)
        resumed = ReplicaBootstrapper(node).resume(self.log)
        assert (resumed is None) == isinstance(decision, Why)
        if resumed is not None and isinstance(decision, Intent):
            self.taken(self.model.resume(decision, decision.version, actor=False), resumed[1])
            point, handle = resumed
            assert point.intent_id == self.ids[decision] == handle.intent_id

    @precondition(lambda self: self.lives)
    @rule(pick=picks, copies=st.booleans())
    def work(self, pick: int, copies: bool) -> None:
        """An owner, perhaps a zombie, records that it got on."""
        self.write(self.life(pick), copies=copies)

    @precondition(lambda self: self.lives)
    @rule()
    def everybody_writes(self) -> None:
        """Every owner that thinks it owns something writes: who may, may, and nobody else."""
        for life in reversed(self.lives):
            self.write(life, copies=False)

    def write(self, life: Life, *, copies: bool) -> None:
        """Record a chunk or a checkpoint."""
        lsn = next(self.lsn)
        known = life.handle.progress
        if copies and known.phase != "promoting":
            offset = known.snapshot.offset_bytes + 1 if known.snapshot else 0
            ends = self.model.write(life.owner, "transferring")
            token = TOKEN if known.snapshot is None else known.snapshot.token
            self.agree(
                ends, lambda: life.handle.checkpoint_snapshot_transfer(token, offset, lsn, 0)
            )
        elif known.phase != "promoting":
            ends = self.model.write(life.owner, "catching_up")
            self.agree(ends, lambda: life.handle.checkpoint(lsn, 0))

    @precondition(lambda self: self.lives)
    @rule(pick=picks)
    def promote(self, pick: int) -> None:
        """An owner that has restored a snapshot decides to put it into service."""
        life = self.life(pick)
        known = life.handle.progress
        if known.phase == "catching_up" and known.snapshot and known.applied_lsn is not None:
            event = Promote(
                recorded_at_ms=1,
                generation=known.snapshot.generation,
                applied_lsn=known.applied_lsn,
            )
            self.agree(self.model.write(life.owner, "promoting"), lambda: life.handle.record(event))

    @precondition(lambda self: self.lives)
    @rule(pick=picks)
    def suspend(self, pick: int) -> None:
        """An owner stops with a word."""
        life = self.life(pick)
        self.agree(self.model.suspend(life.owner), lambda: life.handle.suspend("tired"))

    @precondition(lambda self: self.lives)
    @rule(pick=picks)
    def complete(self, pick: int) -> None:
        """An owner says that the replica is up to date."""
        life = self.life(pick)
        self.agree(self.model.complete(life.owner), lambda: life.handle.complete(1, 1))

    @precondition(lambda self: self.lives)
    @rule(pick=picks)
    def abort(self, pick: int) -> None:
        """An owner ends its own intent."""
        life = self.life(pick)
        self.agree(self.model.abort(life.owner), lambda: life.handle.abort("enough"))

    @precondition(lambda self: self.lives)
    @rule(pick=picks)
    def crash(self, pick: int) -> None:
        """A process dies: its claims are free, and it never writes again."""
        life = self.life(pick)
        self.model.crash(life.owner)
        life.handle.close()
        self.lives.remove(life)

    @precondition(lambda self: self.lives)
    @rule(pick=picks)
    def become_a_zombie(self, pick: int) -> None:
        """A process loses its claims and goes on."""
        life = self.life(pick)
        self.model.lose_claims(life.owner)
        if life.handle._claim is not None:
            life.handle._claim.release()

    # --- People ---------------------------------------------------------------------------------

    @rule(node=nodes)
    def look(self, node: str) -> None:
        """Somebody lists the unfinished intents, and will act on what was seen later."""
        by_id = {self.ids[intent]: intent for intent in self.model.unfinished(node)}
        self.seen += [(by_id[it.intent_id], it) for it in self.log.list_unfinished(node)]

    @precondition(lambda self: self.seen)
    @rule(pick=picks, actor=st.booleans())
    def take_up(self, pick: int, actor: bool) -> None:
        """Somebody takes up what was seen, against the policy perhaps, or long after."""
        intent, seen = self.seen[-1 - pick % len(self.seen)]
        ends = self.model.resume(intent, seen.progress.version, actor=actor)
        name = "ada" if actor else None
        self.taken(ends, self.agree(ends, lambda: self.log.resume_unfinished(seen, actor=name)))

    @precondition(lambda self: self.model.intents)
    @rule(pick=picks)
    def hold(self, pick: int) -> None:
        """An operator holds an intent."""
        intent = self.intent(pick)
        ends = self.model.hold(intent)
        self.agree(ends, lambda: self.operator.hold(self.ids[intent], reason="wait"))

    @precondition(lambda self: self.model.intents)
    @rule(pick=picks)
    def release(self, pick: int) -> None:
        """An operator ends a hold."""
        intent = self.intent(pick)
        self.agree(self.model.release(intent), lambda: self.operator.release(self.ids[intent]))

    @precondition(lambda self: self.model.intents)
    @rule(pick=picks)
    def adopt(self, pick: int) -> None:
        """An operator decides which intent of a node counts."""
        intent = self.intent(pick)
        self.agree(self.model.adopt(intent), lambda: self.operator.adopt(self.ids[intent]))

    @precondition(lambda self: self.model.intents)
    @rule(pick=picks, rolled_back=st.booleans())
    def end(self, pick: int, rolled_back: bool) -> None:
        """An operator aborts an intent."""
        intent = self.intent(pick)
        self.agree(
            self.model.end(intent, rolled_back=rolled_back),
            lambda: self.operator.abort(
                self.ids[intent], reason="wrong disk", rolled_back=rolled_back
            ),
        )

    # --- What is true after every step ----------------------------------------------------------

    @invariant()
    def every_node_decides_alike(self) -> None:
        """Which intent is resumed, or why none is."""
        for node in NODES:
            expected, decision = self.model.decision(node), self.log.decide(node)
            if isinstance(decision, Resumable):
                assert isinstance(expected, Intent)
                assert decision.intent.intent_id == self.ids[expected]
                assert decision.point.epoch == expected.epoch
            else:
                assert decision.why is expected

    @invariant()
    def the_reports_are_alike(self) -> None:
        """What dangles, and whether it runs, stopped with a word or without one."""
        reported = {
            dangling.intent_id: (dangling.node_id, dangling.liveness, str(dangling.phase))
            for dangling in self.log.scan_and_report()
        }
        assert reported == {
            self.ids[intent]: (node, self.model.liveness(intent), intent.phase)
            for node in NODES
            for intent in self.model.unfinished(node)
        }

    @invariant()
    def the_same_may_write(self) -> None:
        """Of all owners, crashed ones aside, those whose epoch and holder the ledger names."""
        for life in self.lives:
            now = self.progress(life.owner.intent)
            mine = (now.epoch, now.holder) == (life.handle._epoch, life.handle._holder)
            may = not life.handle.closed and mine and now.unfinished and not now.held
            assert may == self.model.may_write(life.owner)

    @invariant()
    def the_histories_are_as_long(self) -> None:
        """Nothing was written that the model does not know of: what is refused writes nothing."""
        for intent in self.model.intents:
            assert self.progress(intent).version == intent.version

    def progress(self, intent: Intent) -> Progress:
        """Return what is true of an intent."""
        head = self.log.store.head(self.ids[intent])
        assert head is not None
        return decode_head(head)


class DurablePolicyMachine(PolicyMachine):
    """The same on LMDB, with claims that are locks."""

    def make_store(self) -> EventStore:
        """Return an empty ledger in a directory of its own."""
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.place = tempfile.mkdtemp(prefix="bootledger-policy-", dir=memory)
        return LmdbEventStore.open(Path(self.place) / "ledger")

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.place)


def examples(count: int, steps: int) -> settings:
    """Return so many histories of so many steps."""
    return settings(
        max_examples=count,
        stateful_step_count=steps,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )


def test_the_policy_is_its_model(pytestconfig: pytest.Config) -> None:
    """Random histories of three nodes: every answer, refusal and report is the model's."""
    count = pytestconfig.getoption("policy_examples")
    run_state_machine_as_test(PolicyMachine, settings=examples(count, 30))


def test_the_policy_on_disk_is_its_model() -> None:
    """The same histories with the durable store, whose claims are locks of this machine."""
    run_state_machine_as_test(DurablePolicyMachine, settings=examples(5, 20))


# --- It can fail --------------------------------------------------------------------------------


def one_history(machine: PolicyMachine) -> None:
    """Live one history in which every rule of the policy matters, and look after every step."""
    newest = older = 0

    def step(done: None) -> None:
        machine.every_node_decides_alike()
        machine.the_reports_are_alike()
        machine.the_same_may_write()
        machine.the_histories_are_as_long()

    step(machine.begin("a"))
    step(machine.crash(newest))
    step(machine.begin("a"))  # supersedes the one without progress
    step(machine.work(newest, copies=True))
    step(machine.become_a_zombie(newest))
    step(machine.start("a"))
    older = 1
    step(machine.work(older, copies=False))  # the zombie is fenced
    step(machine.hold(newest))
    step(machine.work(newest, copies=False))  # the owner is told
    step(machine.begin("a"))
    step(machine.start("a"))
    step(machine.release(newest))
    step(machine.begin("a"))
    step(machine.work(newest, copies=False))
    step(machine.complete(newest))  # the first one with progress is over with it
    step(machine.start("a"))


def test_one_history_is_as_the_model_says() -> None:
    """The history by which the faults below are found is sound without them."""
    machine = PolicyMachine()
    one_history(machine)
    machine.teardown()


def refolded_without_a_look(owner: IntentOwner) -> None:
    """Take what is durable as true, whoever wrote it."""
    head = owner._store.head(owner.intent_id)
    assert head is not None
    owner._live = LiveIntent(decode_head(head))


@pytest.mark.parametrize(
    ("where", "fault"),
    [
        (f"{IntentOwner.__module__}.IntentOwner._superseded", lambda owner: []),
        (f"{IntentOwner.__module__}.IntentOwner._refold", refolded_without_a_look),
        (f"{Progress.__module__}.Progress.held", property(lambda progress: False)),
        (f"{Progress.__module__}.Progress.has_progress", property(lambda progress: False)),
    ],
    ids=["nothing superseded", "no fence", "no hold", "no progress"],
)
def test_a_fault_in_the_policy_is_found(
    where: str, fault: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is no copy of the code: each rule that is broken on purpose is noticed."""
    monkeypatch.setattr(where, fault)
    machine = PolicyMachine()
    try:
        with pytest.raises((AssertionError, BootledgerError)):
            one_history(machine)
    finally:
        machine.teardown()
