"""The operator in charge: what a person may decide about an intent, whoever works on it.

Each verb is one or several events of the table, with the person's name. When it returns, they are
durable. Each may be said twice: if what it asks for is true already, nothing is written and the
`Ruling` says so. What the table refuses is refused, with nothing written. If owners or other
operators write at the same time, the verb reads again and is judged anew, a bounded number of
times (then `IntentConflict`).

A live owner is not asked. It finds the event within seconds, also while it copies or waits, stops
with `ClosedByOperator` or `Fenced`, and leaves the target's files as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from bootledger.errors import (
    ClosedByOperator,
    GuardRefused,
    IntentConflict,
    NodeBusy,
    TargetBusy,
    Unavailable,
)
from bootledger.files import Files
from bootledger.positions import check_text
from bootledger.projections.heads import encode_head
from bootledger.projections.unfinished import UnfinishedIntent
from bootledger.replica.endings import aborted_already, ending, shortened
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.ruling import Ruling
from bootledger.replica.target import Target
from bootledger.replica.whereabouts import find_target
from bootledger.statemachine.events import Abort, Event, Resume, Suspend
from bootledger.statemachine.fold import advance
from bootledger.statemachine.progress import Progress, State, known
from bootledger.store.port import Append, NodeExpectation

DEFAULT_WAIT_S = 15.0
"""How long `discard` waits for a live owner to find out and let go of the target."""
_TRIES = 10


@dataclass(frozen=True)
class _Wish:
    """What a verb wants of an intent as it stands: no events if it is so already."""

    words: str
    events: tuple[Event, ...] = ()
    siblings: tuple[Append, ...] = ()
    expect: NodeExpectation | None = None


_Verb = Callable[[Progress], _Wish]


class Operator:
    """The verbs of `actor` over the intents of `log`. Holds nothing; claims nothing.

    Every verb raises `InvalidValue` for an intent that never began and for a bad text,
    `IllegalEvent` or `GuardRefused` if the table refuses, `IntentConflict` if others kept writing,
    and `Unavailable` if the ledger could not be written.
    """

    def __init__(self, log: IntentLog, actor: str) -> None:
        self._log = log
        self._actor = check_text(actor, "actor")

    def hold(self, intent_id: UUID, *, reason: str) -> Ruling:
        """Suspend an intent until a person releases, adopts or aborts it.

        Until then nothing of its node starts. A live owner stops.
        """
        check_text(reason, "reason")

        def wish(progress: Progress) -> _Wish:
            if progress.held:
                return _Wish(ending(progress))
            event = Suspend(
                recorded_at_ms=self._log.clock(),
                cause=reason,
                cause_class="operator",
                actor=self._actor,
            )
            return _Wish(f"held by {self._actor}: {reason}", (event,))

        return self._rule(intent_id, wish)

    def release(self, intent_id: UUID, *, reason: str | None = None) -> Ruling:
        """End a hold: the node's next start goes on where it was.

        It stays suspended until then, with the release as its cause: nobody works on it yet.
        """

        def wish(progress: Progress) -> _Wish:
            if progress.unfinished and not progress.held:
                return _Wish("not held")
            return _Wish(*self._handed_on(progress, "released", reason))

        return self._rule(intent_id, wish)

    def adopt(self, intent_id: UUID, *, reason: str | None = None) -> Ruling:
        """Decide that of all intents of its node this one counts: the next start goes on with it.

        One transaction: every earlier owner of it is fenced, a hold on it ends, and its siblings
        (the node's other unfinished intents, running or not) are superseded. It stays suspended
        until that start, with the adoption as its cause.

        Raises `ClosedByOperator` if somebody holds a sibling, `GuardRefused` if one is being
        promoted; nothing was written then.
        """

        def wish(progress: Progress) -> _Wish:
            words, events = self._handed_on(progress, "adopted", reason)
            node_id = known(progress.begin, "how it began").node_id
            mine = self._log.list_unfinished(node_id)
            siblings = [other for other in mine if other.intent_id != intent_id]
            waits = progress.state is State.SUSPENDED and not progress.held
            if waits and not siblings:
                return _Wish("the one that the next start of its node goes on with")
            advance(progress, events[0])  # what is over is refused before its siblings are
            return _Wish(
                words,
                events,
                tuple(self._superseded(other, intent_id, reason) for other in siblings),
                NodeExpectation(node_id, frozenset(other.intent_id for other in mine)),
            )

        return self._rule(intent_id, wish)

    def abort(
        self,
        intent_id: UUID,
        *,
        reason: str,
        keep_artifacts: bool = False,
        rolled_back: bool = False,
    ) -> Ruling:
        """End an intent for good.

        What was staged for it is removed by the node's next start, or with `keep_artifacts` kept
        until `discard`. `rolled_back` is the actor's word that CURRENT does not name its candidate:
        needed where it was being promoted.

        Raises `NodeBusy` if a live process may be about to promote what was "rolled back",
        `IllegalEvent` for `keep_artifacts` after an abort that did not keep them.
        """
        check_text(reason, "reason")

        def wish(progress: Progress) -> _Wish:
            if isinstance(progress.end, Abort):
                return _Wish(aborted_already(progress, progress.end, keep=keep_artifacts))
            self._check_nobody_promotes(intent_id, progress, rolled_back=rolled_back)
            event = Abort(
                recorded_at_ms=self._log.clock(),
                actor=self._actor,
                reason=reason,
                abort_kind="operator",
                keep_artifacts=keep_artifacts,
                rolled_back=rolled_back,
            )
            return _Wish(f"aborted by {self._actor}: {reason}", (event,))

        return self._rule(intent_id, wish)

    def discard(
        self,
        intent_id: UUID,
        *,
        reason: str,
        target: Path | None = None,
        files: Files | None = None,
        wait_s: float = DEFAULT_WAIT_S,
    ) -> Ruling:
        """Abort an intent unless it is aborted, then delete what was staged for it, durably.

        It is deleted under the target's lock, for which a live owner is waited up to `wait_s`
        seconds. Never deleted are the generation in service, one that a reader holds, and those of
        other intents. `target` says where it lies, if it was moved since the begin or the begin
        does not say.

        Raises `InvalidValue` if there is no target, `ForeignTarget` if it is another one (nothing
        was written then); `TargetBusy` if its owner does not let go (it is aborted, and nothing was
        deleted: say it again).
        """
        begin = known(self._log.progress_of(intent_id).begin, "how it began")
        path, identity = find_target(intent_id, begin, target)
        aborted = self.abort(intent_id, reason=reason)
        try:
            opened = Target.open(
                path,
                files or Files(),
                source_database_id=identity.source_database_id,
                node_id=identity.node_id,
                wait_s=wait_s,
            )
        except TargetBusy as busy:
            raise TargetBusy(
                f"intent {intent_id} is {aborted.words}; what was staged for it is still there: "
                f"{busy}",
                hint="it stays aborted: say discard again once that process has stopped",
            ) from busy
        with opened:
            removed, left = opened.remove_made_for(intent_id)
        return Ruling(
            intent_id,
            aborted.words,
            aborted.written,
            removed=tuple(removed),
            left=tuple(left),
            owner=aborted.owner,
        )

    # --- How ---------------------------------------------------------------------------------

    def _rule(self, intent_id: UUID, verb: _Verb) -> Ruling:
        """Make what the verb wants durable, however often others write in between."""
        tries = 0
        while True:
            progress = self._log.progress_of(intent_id)
            wish = verb(progress)
            try:
                self._append(intent_id, progress, wish)
            except IntentConflict:
                tries += 1
                if tries == _TRIES:
                    raise
                continue
            return Ruling(
                intent_id,
                wish.words,
                written=wish.events != (),
                superseded=tuple(sibling.intent_id for sibling in wish.siblings),
                owner=self._log.store.claimant(intent_id),
            )

    def _append(self, intent_id: UUID, progress: Progress, wish: _Wish) -> None:
        batch: list[Append] = []
        for event in wish.events:
            after = advance(progress, event)
            batch.append(Append(intent_id, progress.version, event, encode_head(after)))
            progress = after
        if not batch:
            return
        try:
            self._log.store.append([*batch, *wish.siblings], expect=wish.expect)
        except Unavailable:
            # The outcome may be unknown: it is there, whole, or it is not.
            if self._log.progress_of(intent_id) != progress:
                raise

    def _handed_on(
        self, progress: Progress, verb: str, reason: str | None
    ) -> tuple[str, tuple[Event, Event]]:
        """Return the words and events that fence every owner and leave the intent to the next.

        The operator's own process takes it up and puts it down in one transaction, so that nobody
        is ever taken for a dead owner.
        """
        words = f"{verb} by {self._actor}"
        if reason is not None:
            words = shortened(f"{words}: {check_text(reason, 'reason')}")
        at_ms = self._log.clock()
        return words, (
            Resume(
                recorded_at_ms=at_ms,
                epoch=progress.epoch + 1,
                holder=self._log.me(),
                actor=self._actor,
            ),
            Suspend(recorded_at_ms=at_ms, cause=words, cause_class="shutdown", actor=self._actor),
        )

    def _superseded(self, sibling: UnfinishedIntent, by: UUID, reason: str | None) -> Append:
        progress = sibling.progress
        if progress.held:
            raise ClosedByOperator(
                f"its sibling {sibling.intent_id} is {ending(progress)}",
                hint="release or abort that one first",
            )
        event = Abort(
            recorded_at_ms=self._log.clock(),
            actor=self._actor,
            reason=shortened(f"superseded by {by}" + (f": {reason}" if reason else "")),
            abort_kind="superseded",
        )
        try:
            after = advance(progress, event)
        except GuardRefused as refused:
            raise GuardRefused(
                f"its sibling {sibling.intent_id} cannot be superseded: {refused}",
                hint="adopt that one, or abort it once it was rolled back",
            ) from refused
        return Append(sibling.intent_id, progress.version, event, encode_head(after))

    def _check_nobody_promotes(
        self, intent_id: UUID, progress: Progress, *, rolled_back: bool
    ) -> None:
        promoting = progress.unfinished and progress.phase is State.PROMOTING
        if promoting and rolled_back and self._log.store.claimed(intent_id):
            raise NodeBusy(
                f"intent {intent_id} is being promoted by {progress.holder}, which is alive",
                hint="stop that process before CURRENT is rolled back",
            )
