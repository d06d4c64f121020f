"""The intent log: begin, find, report and take up bootstraps. The seed's facade over the ledger."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Self
from uuid import UUID

import uuid_utils.compat

from bootledger.clock import Clock, now_ms
from bootledger.errors import IntentConflict, NodeBusy
from bootledger.files import Files, LockHeld
from bootledger.operator_events import OperatorSink, log_operator_event
from bootledger.positions import FIRST_TIMELINE, check_node_id
from bootledger.projections.dangling import DanglingIntent, report
from bootledger.projections.heads import decode_head, encode_head
from bootledger.projections.resume import Decision, decide
from bootledger.projections.unfinished import UnfinishedIntent, list_unfinished
from bootledger.replica.endings import supersede
from bootledger.replica.handle import BootstrapHandle, OnExit
from bootledger.statemachine.events import Begin, Holder, Resume
from bootledger.statemachine.fold import EMPTY, advance
from bootledger.statemachine.progress import Progress
from bootledger.statemachine.ranges import Ranges
from bootledger.store.lmdb import LmdbEventStore
from bootledger.store.port import Append, EventStore, NodeExpectation

_TRIES = 10


class IntentLog:
    """All bootstraps of a ledger, of one node or many.

    `sink` hears of dangling intents, `clock` stamps events, `store` is any `EventStore`;
    `IntentLog.open` takes the durable one.
    """

    def __init__(
        self, store: EventStore, *, sink: OperatorSink = log_operator_event, clock: Clock = now_ms
    ) -> None:
        self.store = store
        self._sink = sink
        self._clock = clock

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
        store = LmdbEventStore.open(Path(path), create=create, files=files or Files())
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

    # --- Doing ------------------------------------------------------------------------------

    def begin(
        self,
        node_id: str,
        source_lsn: int,
        target_lsn_hint: int,
        *,
        source_identity: str | None = None,
        timeline: int = FIRST_TIMELINE,
        last_generation: int = 0,
        labels: dict[str, str] | None = None,
        on_exit: OnExit = "abort",
    ) -> BootstrapHandle:
        """Begin a bootstrap of `node_id` and return the handle on it. Durable when this returns.

        In the same transaction, the node's intents that stopped before any progress are superseded.
        Intents with progress stay as they are: completing this one supersedes them.

        Raises `InvalidValue` for a bad argument, `NodeBusy` if a live process bootstraps the node.
        """
        event = Begin(
            recorded_at_ms=self._clock(),
            node_id=node_id,
            source_lsn=source_lsn,
            target_lsn_hint=target_lsn_hint,
            holder=self._me(),
            source_identity=source_identity,
            timeline=timeline,
            last_generation=last_generation,
            labels=labels or {},
        )
        intent_id = uuid_utils.compat.uuid7()
        # Claimed before it can be seen, so that nobody ever takes it for dead.
        claim = self.store.claim(intent_id, str(event.holder))
        try:
            progress = self._append_begin(intent_id, event)
        except BaseException:
            claim.release()
            raise
        return BootstrapHandle(self.store, self._clock, intent_id, progress, claim, on_exit)

    def _append_begin(self, intent_id: UUID, event: Begin) -> Progress:
        progress = advance(EMPTY, event)
        for tries_left in reversed(range(_TRIES)):
            mine = self.list_unfinished(event.node_id)
            for other in mine:
                if other.running:
                    raise NodeBusy(
                        f"node {event.node_id!r} is being bootstrapped by {other.progress.holder}",
                        hint=f"intent {other.intent_id}; wait for it, or stop that process",
                    )
            batch = [
                supersede(other.intent_id, other.progress, self._clock(), by=intent_id)
                for other in mine
                if not (other.progress.has_progress or other.progress.held)
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
        dropped: Ranges = (),
        on_exit: OnExit = "abort",
    ) -> BootstrapHandle:
        """Take up an unfinished intent under the next epoch and return the handle on it.

        When this returns, every earlier owner is fenced, durably. `actor` is needed where an
        operator holds it; `dropped` are staged ranges that failed verification.

        Raises `NodeBusy` if a live process has it, `IntentConflict` if it changed since it was
        read or has ended, `GuardRefused` if it is held and no actor is named.
        """
        me = self._me()
        try:
            claim = self.store.claim(intent.intent_id, str(me))
        except LockHeld as held:
            raise NodeBusy(
                f"intent {intent.intent_id} is running ({held.holder})",
                hint="wait for it, or stop that process",
            ) from held
        try:
            progress = self._append_resume(intent, me, actor, dropped)
        except BaseException:
            claim.release()
            raise
        return BootstrapHandle(self.store, self._clock, intent.intent_id, progress, claim, on_exit)

    def _append_resume(
        self, intent: UnfinishedIntent, me: Holder, actor: str | None, dropped: Ranges
    ) -> Progress:
        head = self.store.head(intent.intent_id)
        if head is None or head.version != intent.progress.version:
            raise IntentConflict(
                f"intent {intent.intent_id} has changed since it was read",
                hint="list the unfinished intents again",
            )
        progress = decode_head(head)
        event = Resume(
            recorded_at_ms=self._clock(),
            epoch=progress.epoch + 1,
            holder=me,
            actor=actor,
            dropped=dropped,
        )
        after = advance(progress, event)
        self.store.append([Append(intent.intent_id, progress.version, event, encode_head(after))])
        return after

    def _me(self) -> Holder:
        return Holder(socket.gethostname(), os.getpid(), self._clock())

    # --- Leaving ----------------------------------------------------------------------------

    def close(self) -> None:
        """Give the ledger back. Harmless when repeated."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
