"""The steps of a replication. Each does its work, then records the event that says so.

Data is durable before the event that claims it; the event is durable before the step that it
licenses. Every step may be done again: after a crash between work and event, it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, closing
from functools import partial
from typing import assert_never

from bootledger.basebackup.staging import Candidate
from bootledger.errors import (
    DivergedHistory,
    LogWindowLost,
    SnapshotLost,
    Stopped,
)
from bootledger.files import Files
from bootledger.replica import unchecked
from bootledger.replica.agreement import (
    agreed_lsn,
    changes_after,
    check_not_ahead,
    check_same_history,
    last_change,
    open_copy,
    open_to_follow,
    renewed,
    told_by,
)
from bootledger.replica.copying import Copying
from bootledger.replica.handle import BootstrapHandle
from bootledger.replica.histories import last_of
from bootledger.replica.inheritance import database_in_service, inherit
from bootledger.replica.manifests import open_candidate
from bootledger.replica.observer import Observer
from bootledger.replica.ports import Applier, HandsOver, OpenApplier, Source, SourceIdentity
from bootledger.replica.settings import Settings, trusted
from bootledger.replica.target import Target
from bootledger.statemachine import plan
from bootledger.statemachine.events import Checkpoint, Promote, SnapshotChunk
from bootledger.statemachine.progress import Snapshot, State, known

_MOST_READERS = 4
"""How many chunks are read again at once: enough for a disk, and few enough to hold."""


class Steps:
    """Does the steps of one run, on behalf of the handle that is passed in."""

    def __init__(
        self,
        source: Source,
        identity: SourceIdentity,
        target: Target,
        open_applier: OpenApplier,
        files: Files,
        settings: Settings,
        observer: Observer,
        *,
        kept: Callable[[], Collection[int]],
    ) -> None:
        self._kept = kept
        self._source = source
        self._target = target
        self._open_applier = open_applier
        self._files = files
        self._settings = settings
        self._observer = observer
        self._identity = identity

    def check_stop(self, handle: BootstrapHandle) -> None:
        """Suspend and raise `Stopped` if somebody asked for it; see that the intent is still ours.

        Cheap: to be asked before whatever takes long, and within it.
        """
        handle.check_owned()
        if cause := self._settings.stop():
            handle.suspend(cause, "shutdown")
            raise Stopped(cause, hint="the same command goes on from here")

    def verify_staged(self, handle: BootstrapHandle) -> None:
        """Read everything that is staged again, and drop what does not match.

        When this returns, a drop is recorded, and those bytes are missing like any others. If the
        source has lost the base backup, another is pinned.
        """
        snapshot = handle.progress.snapshot
        if handle.progress.phase is State.TRANSFERRING and snapshot is not None:
            try:
                self._verified_timeline(snapshot, handle)
            except SnapshotLost:
                self._pin(handle)

    def _verified_timeline(self, snapshot: Snapshot, handle: BootstrapHandle) -> int | None:
        """Return the timeline of what is staged, None if anything of it had to be dropped."""
        with self._candidate(snapshot, handle) as candidate:
            lost = candidate.damaged(
                snapshot.staged,
                lambda: self.check_stop(handle),
                threads=min(self._settings.max_in_flight, _MOST_READERS),
            )
            timeline = candidate.manifest.timeline
        if not lost:
            return timeline
        handle.drop(lost)
        return None

    def do(self, step: plan.Step, handle: BootstrapHandle) -> None:
        """Do one step and record it. When this returns, `handle.progress` has moved on.

        If the source has lost what the step needs, another base backup is pinned.
        """
        try:
            self._do(step, handle)
        except SnapshotLost:
            self._pin(handle)
        except LogWindowLost as lost:
            self._observer.on_log_lost(lost)
            self._pin(handle)

    def _do(self, step: plan.Step, handle: BootstrapHandle) -> None:
        match step:
            case plan.FindPosition():
                self._find_position(handle)
            case plan.Fetch():
                self._fetch(step.snapshot, handle)
            case plan.Restore():
                self._restore(step.snapshot, handle)
            case plan.CatchUp():
                self._catch_up(step, handle)
            case plan.Swap():
                self._swap(step, handle)
            case plan.BeginIntent() | plan.TakeUp() | plan.Nothing():
                raise AssertionError(f"an owned intent never asks for {step}")
            case _:
                assert_never(step)

    def _find_position(self, handle: BootstrapHandle) -> None:
        """Follow the log from where the current database stands, or pin a snapshot."""
        current = self._target.current()
        if current is None:
            return self._pin(handle)
        with closing(self._applier(current)) as applier:
            applied_lsn = applier.applied_lsn()
        check_not_ahead(applied_lsn, self._last_lsn())
        self._source.changes(applied_lsn, 1)
        return self._checkpoint(handle, applied_lsn, self._identity.timeline)

    def _pin(self, handle: BootstrapHandle) -> None:
        generation = handle.progress.generation + 1
        self._target.check_candidate(generation, handle.intent_id)
        self._observer.on_pinning(generation)
        pin = self._source.pin(str(handle.intent_id), generation, lambda: self.check_stop(handle))
        self._identity = renewed(self._identity, self._source)
        handle.record(
            SnapshotChunk(
                recorded_at_ms=self._settings.clock(),
                token=pin.token,
                generation=generation,
                offset_bytes=0,
                length_bytes=0,
                size_bytes=pin.size_bytes,
                snapshot_lsn=pin.lsn,
                manifest_digest=pin.manifest_digest,
            )
        )
        self.inherit(handle)
        # What else an earlier generation left unfinished would only take up room.
        self._target.remove_unused(keep=lambda: (generation, *self._kept()))

    def inherit(self, handle: BootstrapHandle) -> None:
        """Let the open snapshot have the file of the one that was given up for it, if there is one.

        To be repeated at a start, before anything is removed: a crash may have come between.
        """
        snapshot = handle.progress.snapshot
        if handle.progress.phase is State.TRANSFERRING and snapshot is not None:
            inherit(self._target, handle.intent_id, snapshot, self._files)

    def _candidate(
        self, snapshot: Snapshot, handle: BootstrapHandle
    ) -> AbstractContextManager[Candidate]:
        directory = self._target.create_generation(snapshot.generation, handle.intent_id)
        return open_candidate(
            self._source, snapshot, directory, self._files, lambda: self.check_stop(handle)
        )

    def _fetch(self, snapshot: Snapshot, handle: BootstrapHandle) -> None:
        """Stage every missing chunk; what is here already is not fetched."""
        with (
            self._candidate(snapshot, handle) as candidate,
            database_in_service(self._target, self._files) as in_service,
        ):
            if isinstance(self._source, HandsOver) and not candidate.path.exists():
                self._source.hand_over(snapshot.token, candidate.path)
            if self._settings.check_restored is not trusted:
                unchecked.mark(self._target.directory(snapshot.generation), self._files)
            candidate.prepare()
            Copying(
                self._source,
                snapshot,
                candidate,
                in_service=in_service,
                handle=handle,
                settings=self._settings,
                observer=self._observer,
                check_stop=lambda: self.check_stop(handle),
            ).run()

    def _restore(self, snapshot: Snapshot, handle: BootstrapHandle) -> None:
        """Check that the whole candidate is the database that was pinned; changes nothing in it.

        Every byte is read again: what is damaged, or was lost with the file, is dropped and fetched
        again before anything is opened.
        """
        timeline = self._verified_timeline(snapshot, handle)
        if timeline is None:
            return
        directory = self._target.directory(snapshot.generation)
        if self._settings.check_restored is not trusted:
            check = partial(
                self._settings.check_restored, directory, lambda: self.check_stop(handle)
            )
            unchecked.check(directory, check, self._files)
        with closing(self._applier(snapshot.generation)) as applier:
            applied_lsn = applier.applied_lsn()
        if applied_lsn != snapshot.lsn:
            raise DivergedHistory(
                f"generation {snapshot.generation} holds LSN {applied_lsn}, "
                f"it was pinned at LSN {snapshot.lsn}",
                hint="the candidate was changed by somebody else: abort the intent",
            )
        self._checkpoint(handle, applied_lsn, timeline)

    def _catch_up(self, step: plan.CatchUp, handle: BootstrapHandle) -> None:
        """Apply the log until the replica has what the source had, and lags by little."""
        if handle.progress.snapshot is not None:
            self._source.release(handle.progress.snapshot.token)
        generation = step.candidate_generation or self._target.current()
        if generation is None:
            raise DivergedHistory("CURRENT is gone: there is no database to catch up")
        if generation == step.candidate_generation:
            self._target.check_candidate(generation, handle.intent_id)
        with closing(self._applier(generation)) as applier:
            applied_lsn = self._agreed_lsn(applier, step.applied_lsn, handle)
            self._follow(applier, applied_lsn, handle)
            applied_lsn, record_count = applier.applied_lsn(), applier.record_count()
        if step.candidate_generation is None:
            return self._complete(handle, record_count)
        handle.record(
            Promote(
                recorded_at_ms=self._settings.clock(),
                generation=step.candidate_generation,
                applied_lsn=applied_lsn,
            )
        )
        return None

    def _follow(self, applier: Applier, applied_lsn: int, handle: BootstrapHandle) -> None:
        target_lsn, lag = self._last_lsn(), self._settings.lag_changes
        check_not_ahead(applied_lsn, target_lsn)
        check_same_history(applier, applied_lsn, self._source)
        last, most = last_change(applier, applied_lsn), self._settings.batch_changes
        while applied_lsn < target_lsn or self._last_lsn() - applied_lsn > lag:
            self.check_stop(handle)
            ask = partial(changes_after, applied_lsn, last, self._source, most)
            changes = told_by(self._identity, self._source, ask)
            if not changes:
                raise DivergedHistory(
                    f"the source ends at LSN {applied_lsn} and said that it stands at {target_lsn}"
                )
            handle.check_owned()
            applier.apply(changes)
            last = last_of(changes)
            applied_lsn = last.lsn
            self._checkpoint(handle, applied_lsn, handle.progress.timeline, batches=1)
            self._observer.on_applied(applied_lsn, max(applied_lsn, target_lsn))

    def _last_lsn(self) -> int:
        return told_by(self._identity, self._source, self._source.last_lsn)

    def _agreed_lsn(self, applier: Applier, recorded_lsn: int, handle: BootstrapHandle) -> int:
        """Return the applied LSN, once the log says so as well."""
        applied_lsn = agreed_lsn(applier, recorded_lsn)
        if applied_lsn > recorded_lsn:
            self._checkpoint(handle, applied_lsn, handle.progress.timeline)
        return applied_lsn

    def _swap(self, step: plan.Swap, handle: BootstrapHandle) -> None:
        candidate = open_copy(self._open_applier, self._target, step.generation, self._identity)
        with closing(candidate) as applier:
            record_count = applier.record_count()
        handle.check_owned(now=True)  # who was told that CURRENT was rolled back must not swap it
        self._target.promote(step.generation)
        self._complete(handle, record_count)

    def _complete(self, handle: BootstrapHandle, total_records: int) -> None:
        began_at_ms = known(handle.progress.begin, "how it began").recorded_at_ms
        handle.complete(total_records, max(0, self._settings.clock() - began_at_ms))

    def _checkpoint(
        self, handle: BootstrapHandle, applied_lsn: int, timeline: int, *, batches: int = 0
    ) -> None:
        handle.record(
            Checkpoint(
                recorded_at_ms=self._settings.clock(),
                applied_lsn=applied_lsn,
                batches=handle.progress.batches + batches,
                timeline=timeline,
            )
        )

    def _applier(self, generation: int) -> Applier:
        return open_to_follow(self._open_applier, self._target, generation, self._identity)
