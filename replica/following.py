"""Following: what the source writes is applied to the database in service, as it comes.

The database is the only memory of it. `apply` writes records, change log and applied LSN in one
transaction, so after any death the applied LSN says exactly what is there, and following goes on
after it: nothing twice, nothing left out. No event is written; the ledger knows bootstraps.

`changes(after_lsn)` tells the source that it may forget everything up to `after_lsn`. That LSN is
never taken from anywhere but `applied_lsn()` of the database as it was opened, or from a batch
whose `apply` has returned; both are durable. The next batch is asked for only after that, so no
request that is under way can acknowledge more than a loss of power leaves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import NoReturn

from bootledger.errors import InvalidValue, Stopped
from bootledger.replica.agreement import (
    changes_after,
    check_not_ahead,
    check_same_history,
    last_change,
    open_to_follow,
    told_by,
)
from bootledger.replica.histories import last_of
from bootledger.replica.observer import Observer
from bootledger.replica.ports import (
    Applier,
    Change,
    LastChange,
    LongPolling,
    OpenApplier,
    PrunesLog,
    Source,
)
from bootledger.replica.replication import ReplicaReplication
from bootledger.replica.settings import Settings
from bootledger.replica.target import Target
from bootledger.statemachine.progress import known

__all__ = ["Following", "ReplicaReplication"]

_NAP_S = 0.2
_LOOK_EVERY_S = 1.0
_PRUNE_AT_ONCE = 100_000


class Following:
    """Follows one source for as long as the connection to it holds."""

    def __init__(
        self,
        source: Source,
        target: Target,
        open_applier: OpenApplier,
        replication: ReplicaReplication,
        settings: Settings,
        observer: Observer,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source = source
        self._target = target
        self._open_applier = open_applier
        self._state = replication
        self._settings = settings
        self._observer = observer
        self._sleep = sleep
        self._look_again_s = 0.0

    def run(self) -> NoReturn:
        """Apply what comes to the database that CURRENT names, until something ends it.

        The last change of the replica is compared with the source's, before the first batch, and
        with every question for more if the source can do that (`ChecksHistory`).

        Raises `Stopped` if somebody asked for that; `LogWindowLost` if the log cannot be followed
        any further (pruned, slot invalidated, or the source went on to a newer timeline) and a
        bootstrap is needed; `OlderTimeline`, `SourceChanged` or `DivergedHistory` if this source
        must not be followed; `Unavailable` if it does not answer; `InvalidValue` if the applier has
        no log, and only some changes of it are to be kept.
        """
        try:
            identity = self._source.identity()
            generation = known(self._target.current(), "CURRENT")
            applier = open_to_follow(self._open_applier, self._target, generation, identity)
            with closing(applier):
                log = self._log_to_cut(applier)
                applied_lsn = self._state.last_applied_lsn = applier.applied_lsn()
                source_lsn = told_by(identity, self._source, self._source.last_lsn)
                check_not_ahead(applied_lsn, source_lsn)
                check_same_history(applier, applied_lsn, self._source)
                last = last_change(applier, applied_lsn)
                self._heard(source_lsn)
                while True:
                    self._check_stop()
                    ask = partial(self._news, applied_lsn, last)
                    changes = told_by(identity, self._source, ask)
                    if changes:
                        self._target.check_owned()
                        applier.apply(changes)
                        last = last_of(changes)
                        applied_lsn = self._state.last_applied_lsn = last.lsn
                    self._cut(log, applied_lsn, idle=not changes)
                    self._heard(self._source_lsn(applied_lsn, changes))
                    if not changes:
                        self._wait()
        finally:
            self._state.connected = False

    def _news(self, after_lsn: int, last: LastChange | None) -> Sequence[Change]:
        wait_s = self._state.poll_interval.total_seconds()
        return changes_after(after_lsn, last, self._source, self._settings.batch_changes, wait_s)

    def _log_to_cut(self, applier: Applier) -> PrunesLog | None:
        if self._settings.keep_changes is None:
            return None
        if not isinstance(applier, PrunesLog):
            raise InvalidValue(
                f"the newest {self._settings.keep_changes} changes are to be kept, but this "
                f"database has no log of its own",
                hint="leave keep_changes out",
            )
        return applier

    def _cut(self, log: PrunesLog | None, applied_lsn: int, *, idle: bool) -> None:
        """Forget what is applied and too old: a batch of it at least, unless nothing else is to do.

        After a death the rest of it is forgotten: what is kept is looked up each time.
        """
        if log is None or (keep := self._settings.keep_changes) is None:
            return
        pruned_lsn = log.pruned_lsn()
        count = applied_lsn - keep - pruned_lsn
        if count >= (1 if idle else self._settings.batch_changes):
            self._target.check_owned()
            log.prune(pruned_lsn + min(count, _PRUNE_AT_ONCE))

    def _wait(self) -> None:
        """Wait before asking again; who waited with the source only so that it cannot spin."""
        waited_already = isinstance(self._source, LongPolling)
        left_s = _NAP_S if waited_already else self._state.poll_interval.total_seconds()
        while left_s > 0:
            self._check_stop()
            self._sleep(min(left_s, _NAP_S))
            left_s -= _NAP_S

    def _source_lsn(self, applied_lsn: int, changes: Sequence[Change]) -> int:
        """Return where the source stands; it is asked once a second if there may be more."""
        if not changes:
            return applied_lsn
        if time.monotonic() >= self._look_again_s:
            self._look_again_s = time.monotonic() + _LOOK_EVERY_S
            return max(applied_lsn, self._source.last_lsn())
        return max(applied_lsn, self._state.source_lsn or 0)

    def _heard(self, source_lsn: int) -> None:
        self._state.source_lsn = source_lsn
        self._state.connected = True
        self._state.answers += 1
        self._observer.on_following(self._state)

    def _check_stop(self) -> None:
        if cause := self._settings.stop():
            raise Stopped(cause, hint="the same command goes on from here")
