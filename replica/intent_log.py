"""The intent log: begin, find, report and take up bootstraps. The seed's facade over the ledger."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self
from uuid import UUID

from uuid_utils.compat import uuid7

from bootledger.clock import Clock, now_ms
from bootledger.errors import ClosedByOperator, IntentConflict, InvalidValue, NodeBusy
from bootledger.files import Files, LockHeld
from bootledger.operator_events import OperatorSink, log_operator_event
from bootledger.positions import FIRST_TIMELINE, check_node_id
from bootledger.projections.dangling import DanglingIntent, report
from bootledger.projections.find import find_intent
from bootledger.projections.heads import decode_head, encode_head
from bootledger.projections.resume import Decision, decide
from bootledger.projections.unfinished import UnfinishedIntent, list_unfinished
from bootledger.replica.endings import ending, supersede
from bootledger.replica.handle import BootstrapHandle, OnExit
from bootledger.statemachine.events import Begin, Holder, Resume
from bootledger.statemachine.fold import EMPTY, advance
from bootledger.statemachine.progress import Progress
from bootledger.statemachine.target_ref import TargetRef
from bootledger.store.lmdb import LmdbEventStore
from bootledger.store.port import Append, Claim, EventStore, NodeExpectation

_TRIES = 10
_NODE_NAMESPACE = UUID("6a54e8a4-0f3b-5d0e-9b8a-3d6f1c2b7e90")
"""Under which a node's name becomes the UUID of its claim."""


class IntentLog:
    """All bootstraps of a ledger, of one node or many.

    `sink` hears of dangling intents, `clock` stamps events, `new_id` names what begins, `store` is
    any `EventStore`; `IntentLog.open` takes the durable one. What a person may decide about an
    intent stands in `bootledger.replica.operator`.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        sink: OperatorSink = log_operator_event,
        clock: Clock = now_ms,
        new_id: Callable[[], UUID] = uuid7,
    ) -> None:
        self.store = store
        self._sink = sink
        self.clock = clock
        self._new_id = new_id

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        sink: OperatorSink = log_operator_event,
        clock: Clock = now_ms,
        files: Files | None = None,
        create: bool = True,
    ) -> Self:
        """Open the ledger directory `path`, creating it (in an existing parent) if it is missing.

        Raises `InvalidValue` if there is no parent, or something else is there, or there is nothing
        and `create` is false; `Corrupted` if what is there cannot be read.
        """
        store = LmdbEventStore.open(Path(path), create=create, files=files or Files(), clock=clock)
        return cls(store, sink=sink, clock=clock)

    # --- Looking ----------------------------------------------------------------------------

    def list_unfinished(self, node_id: str | None = None) -> list[UnfinishedIntent]:
        """Return all unfinished intents, or one node's, oldest first. Reads no history."""
        return list_unfinished(self.store, node_id)

    def scan_and_report(self) -> list[DanglingIntent]:
        """Tell the sink about every unfinished intent, whoever's it is, and return the reports."""
        reports = report(self.list_unfinished())
        for dangling in reports:
            self._sink(dangling)
        return reports

    def decide(self, node_id: str) -> Decision:
        """Return which intent `node_id` resumes and from where, or why it resumes none."""
        return decide(check_node_id(node_id), self.list_unfinished(node_id))

    def find(self, prefix: str) -> UUID:
        """Return the intent, finished or not, whose id begins with `prefix`: as `find_intent`."""
        return find_intent(self.store, prefix)

    def progress_of(self, intent_id: UUID) -> Progress:
        """Return what is true of an intent, finished or not. Reads no history.

        Raises `InvalidValue` if it was never begun.
        """
        head = self.store.head(intent_id)
        if head is None:
            raise InvalidValue(f"there is no intent {intent_id} in this ledger")
        return decode_head(head)

    # --- Doing ------------------------------------------------------------------------------

    def begin(
        self,
        node_id: str,
        source_lsn: int | None,
        target_lsn_hint: int | None,
        *,
        source_identity: str | None = None,
        timeline: int = FIRST_TIMELINE,
        last_generation: int = 0,
        target: TargetRef | None = None,
        labels: dict[str, object] | None = None,
        on_exit: OnExit = "abort",
    ) -> BootstrapHandle:
        """Begin a bootstrap of `node_id` and return the handle on it. Durable when this returns.

        `labels` are kept with it for people, without their secrets: the value of a name like
        `api_key` is redacted, at any depth (`bootledger.statemachine.labels`).

        In the same transaction, the node's intents that stopped before any progress are superseded.
        Intents with progress stay as they are: completing this one supersedes them.

        Raises `InvalidValue` for a bad argument, `NodeBusy` if a live process bootstraps the node,
        `ClosedByOperator` if an operator holds one of the node's intents.
        """
        event = Begin(
            recorded_at_ms=self.clock(),
            node_id=node_id,
            source_lsn=source_lsn,
            target_lsn_hint=target_lsn_hint,
            holder=self.me(),
            source_identity=source_identity,
            timeline=timeline,
            last_generation=last_generation,
            target=target,
            labels=labels or {},
        )
        intent_id = self._new_id()
        claim = self._claim(node_id, intent_id, event.holder)
        try:
            progress = self._append_begin(intent_id, event)
        except BaseException:  # an interrupt, too; it goes on
            claim.release()
            raise
        return BootstrapHandle(self.store, self.clock, intent_id, progress, claim, on_exit)

    def _append_begin(self, intent_id: UUID, event: Begin) -> Progress:
        progress = advance(EMPTY, event)
        for tries_left in reversed(range(_TRIES)):
            mine = self.list_unfinished(event.node_id)
            held = [ending(other.progress) for other in mine if other.progress.held]
            if held:
                raise ClosedByOperator(
                    f"a bootstrap of node {event.node_id!r} is {held[0]}",
                    hint="nothing of this node starts until a person resumes or aborts it",
                )
            batch = [
                supersede(other.intent_id, other.progress, self.clock(), by=intent_id)
                for other in mine
                if not other.progress.has_progress
            ]
            batch.append(Append(intent_id, 0, event, encode_head(progress)))
            expect = NodeExpectation(event.node_id, frozenset(other.intent_id for other in mine))
            try:
                self.store.append(batch, expect=expect)
            except IntentConflict:
                if not tries_left:
                    raise
            else:
                break
        return progress

    def resume_unfinished(
        self,
        intent: UnfinishedIntent,
        *,
        actor: str | None = None,
        on_exit: OnExit = "abort",
    ) -> BootstrapHandle:
        """Take up an unfinished intent under the next epoch and return the handle on it.

        When this returns, every earlier owner is fenced, durably. `actor` is needed where an
        operator holds it.

        Raises `NodeBusy` if a live process bootstraps the node, `IntentConflict` if the intent
        changed since it was read or has ended, `GuardRefused` if it is held and no actor is named.
        """
        me = self.me()
        claim = self._claim(intent.node_id, intent.intent_id, me)
        try:
            progress = self._append_resume(intent, me, actor)
        except BaseException:  # an interrupt, too; it goes on
            claim.release()
            raise
        return BootstrapHandle(self.store, self.clock, intent.intent_id, progress, claim, on_exit)

    def _append_resume(self, intent: UnfinishedIntent, me: Holder, actor: str | None) -> Progress:
        progress = self._unchanged(intent)
        event = Resume(
            recorded_at_ms=self.clock(), epoch=progress.epoch + 1, holder=me, actor=actor
        )
        after = advance(progress, event)
        self.store.append([Append(intent.intent_id, progress.version, event, encode_head(after))])
        return after

    def _unchanged(self, intent: UnfinishedIntent) -> Progress:
        head = self.store.head(intent.intent_id)
        if head is None or head.version != intent.progress.version:
            raise IntentConflict(
                f"intent {intent.intent_id} has changed since it was read",
                hint="list the unfinished intents again",
            )
        return decode_head(head)

    def _claim(self, node_id: str, intent_id: UUID, me: Holder) -> Claim:
        """Claim the node, so that it has one live owner, then the intent, so that it is seen.

        Both before anything is appended, so that nobody ever takes a live intent for dead.
        """
        node = self._claim_one(uuid.uuid5(_NODE_NAMESPACE, node_id), f"node {node_id!r}", me)
        try:
            intent = self._claim_one(intent_id, f"intent {intent_id}", me)
        except BaseException:  # an interrupt, too; it goes on
            node.release()
            raise
        return _Both(node, intent)

    def _claim_one(self, claimed: UUID, what: str, me: Holder) -> Claim:
        try:
            return self.store.claim(claimed, str(me))
        except LockHeld as held:
            raise NodeBusy(
                f"{what} is being bootstrapped by {held.holder}",
                hint="wait for it, or stop that process",
            ) from held

    def me(self) -> Holder:
        """Return this process as a holder, as of now."""
        return Holder(socket.gethostname(), os.getpid(), self.clock())

    # --- Leaving ----------------------------------------------------------------------------

    def close(self) -> None:
        """Give the ledger back. Harmless when repeated."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Both(NamedTuple):
    """The claims of a node and of the intent that bootstraps it."""

    node: Claim
    intent: Claim

    def release(self) -> None:
        self.intent.release()
        self.node.release()
