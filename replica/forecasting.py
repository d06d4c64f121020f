"""Watches a replication, and says all along whether it can converge; ends it if it cannot."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, Self, runtime_checkable

from bootledger.errors import CannotConverge, SourceUnavailable
from bootledger.projections.convergence import Convergence, Situation
from bootledger.projections.forecast import Forecast, forecast
from bootledger.projections.rates import Meter, Pace, pace_of_node
from bootledger.replica.asides import Aside
from bootledger.replica.observer import Observer, Relay
from bootledger.replica.ports import Source
from bootledger.replica.wire import PrimaryInfo
from bootledger.statemachine import plan
from bootledger.statemachine.progress import Progress, Snapshot
from bootledger.statemachine.ranges import Range
from bootledger.store.port import EventStore

RENEW_S = 5.0
"""A forecast is renewed that often, and the source asked where it stands."""
TELL_S = 30.0
"""An observer is told a forecast that often, and whenever the verdict is another one."""
PATIENCE_S = 60.0
"""So long must a bootstrap have worked without hope to be ended."""
LOOK_S = 1.0
"""So long a copy waits for where the source stands; it goes on with what it said before."""
_AFTER_FAILURE_S = 60.0
_WARM_S = 10.0
"""A write rate that was measured for less long is worth less than what the source says."""


def situation_of(
    info: PrimaryInfo,
    pace: Pace,
    *,
    write_changes_per_s: float | None = None,
    left_bytes: int | None = None,
    check_bytes: int | None = None,
    has_lsn: int | None = None,
    outage_s: float = 0.0,
) -> Situation:
    """Return the situation of a replica that works at `pace` with a source that says `info`.

    `left_bytes` have still to be copied, and `check_bytes` to be read again: the whole database
    where None. The replica has the changes up to `has_lsn`; where None, it begins now. The source's
    own write rate counts where `write_changes_per_s` is None.
    """
    whole_bytes = info.size_bytes if check_bytes is None else check_bytes
    told_per_s = info.write_rate_per_s if write_changes_per_s is None else write_changes_per_s
    logged = info.last_lsn - info.pruned_lsn
    return Situation(
        left_bytes=info.size_bytes if left_bytes is None else left_bytes,
        copy_bytes_per_s=pace.copy_bytes_per_s,
        write_changes_per_s=None if told_per_s is None else max(0.0, told_per_s),
        apply_changes_per_s=pace.apply_changes_per_s,
        backlog_changes=0 if has_lsn is None else max(0, info.last_lsn - has_lsn),
        check_s=whole_bytes / pace.check_bytes_per_s if pace.check_bytes_per_s else 0.0,
        outage_s=outage_s,
        slot_max_changes=info.slot_max_changes,
        slot_max_bytes=info.slot_max_bytes,
        slot_idle_ms=info.slot_idle_ms,
        change_bytes=info.log_bytes / logged if logged > 0 else None,
    )


def refusal(found: Forecast) -> CannotConverge:
    """Return the error for a bootstrap that cannot converge, with what would help."""
    helps = [" or ".join(remedy.says for remedy in one.remedies) for one in found.reasons]
    return CannotConverge(
        found.describe(),
        hint="; ".join([*filter(None, helps), "or go on all the same: --ignore-forecast"]),
    )


@runtime_checkable
class Informed(Protocol):
    """A source that says where it stands, how fast it is written to and what it keeps."""

    def info(self) -> PrimaryInfo:
        """Return it, read just now. Raises `SourceUnavailable`."""


def look_at(source: Source) -> Callable[[], PrimaryInfo]:
    """Return what asks the source where it stands.

    One that has no `info` has no slots either: it keeps the log for as long as somebody wants.
    """

    def look() -> PrimaryInfo:
        database_id, timeline = source.identity()
        return PrimaryInfo(
            database_id=database_id,
            timeline=timeline,
            last_lsn=source.last_lsn(),
            pruned_lsn=0,
            size_bytes=0,
            log_bytes=0,
        )

    return source.info if isinstance(source, Informed) else look


class Forecasting(Relay):
    """Tells `observer` everything, and `on_forecast` besides.

    `look` asks the source where it stands (`look_at`), at most every `renew_s`, in a thread of its
    own; who replicates waits no longer than `LOOK_S`, except before a base backup. `past` are rates
    of an earlier bootstrap (`pace_of_node`), which count until there are measured ones. `outage_s`
    is how long the link may be down meanwhile. May watch several runs of one node, one by one.

    Raises `CannotConverge` right before a base backup is asked for, if the rates that are known
    rule it out; and while one is copied and caught up, once it has been ruled out for `patience_s`
    of work. The intent is then suspended with that as its cause: nothing is lost, and it goes on
    with the next start. With `ignore` it only tells. Who follows the log with a database that is
    in service is never stopped.
    """

    def __init__(
        self,
        observer: Observer,
        look: Callable[[], PrimaryInfo],
        *,
        past: Pace | None = None,
        ignore: bool = False,
        outage_s: float = 0.0,
        renew_s: float = RENEW_S,
        tell_s: float = TELL_S,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(observer)
        self._look = Aside(look)
        self._past = past or Pace()
        self._ignore = ignore
        self._outage_s = outage_s
        self._renew_s, self._tell_s, self._patience_s = renew_s, tell_s, patience_s
        self._clock = clock
        self._copied, self._applied, self._written = Meter(), Meter(), Meter()
        self._check_bytes_per_s: float | None = None
        self._fetched_bytes = 0
        self._copying: Snapshot | None = None
        self._has_lsn: int | None = None
        self._step: plan.Step = plan.Nothing()
        self._step_at_s = 0.0
        self._bootstraps = False
        self._info: PrimaryInfo | None = None
        self._renewed_at_s = self._told_at_s = float("-inf")
        self._told: Convergence | None = None
        self._hopeless_s = 0.0
        self._hopeless_at_s: float | None = None

    @classmethod
    def watching(
        cls,
        observer: Observer,
        source: Source,
        store: EventStore,
        node_id: str,
        *,
        ignore: bool = False,
        outage_s: float = 0.0,
    ) -> Self:
        """Return one that asks `source`, for a node whose ledger in `store` may know its pace.

        Raises `Corrupted` if the ledger cannot be read.
        """
        past = pace_of_node(store, node_id)
        return cls(observer, look_at(source), past=past, ignore=ignore, outage_s=outage_s)

    def on_step(self, step: plan.Step, progress: Progress) -> None:
        """Begin to measure what this step does."""
        super().on_step(step, progress)
        before, now_s = self._step, self._pause()
        if isinstance(before, plan.Restore) and isinstance(step, plan.CatchUp):
            self._checked(before.snapshot, now_s - self._step_at_s)
        self._step, self._step_at_s = step, now_s
        match step:
            case plan.Fetch(snapshot):
                self._bootstraps, self._copying, self._has_lsn = True, snapshot, snapshot.lsn
                self._copied.see(self._fetched_bytes, now_s)
                self._renew(now_s)
            case plan.CatchUp(applied_lsn, candidate_generation):
                self._bootstraps = candidate_generation is not None
                self._copying, self._has_lsn = None, applied_lsn
                self._applied.see(applied_lsn, now_s)
                self._renew(now_s)
            case _:
                pass

    def on_pinning(self, generation: int) -> None:
        """Refuse before anything is copied, if what is known rules it out."""
        super().on_pinning(generation)
        now_s = self._pause()
        self._step, self._copying, self._has_lsn = plan.FindPosition(), None, None
        found = self._look_ahead(now_s, wait_s=None)
        if found is not None:
            self._tell(found, now_s)
            if found.verdict is Convergence.CANNOT and not self._ignore:
                raise refusal(found)

    def on_fetched(self, fetched: Range) -> None:
        """Measure the copy."""
        super().on_fetched(fetched)
        self._fetched_bytes += fetched.end_bytes - fetched.start_bytes
        self._copied.see(self._fetched_bytes, self._clock())

    def on_staged(self, staged: Range, progress: Progress) -> None:
        """Renew the forecast if it is time."""
        super().on_staged(staged, progress)
        self._copying = progress.snapshot
        self._renew_if_due()

    def on_applied(self, applied_lsn: int, target_lsn: int) -> None:
        """Measure how fast changes are applied while there are some; renew if it is time."""
        super().on_applied(applied_lsn, target_lsn)
        self._has_lsn = applied_lsn
        self._applied.see(applied_lsn, self._clock())
        if applied_lsn >= target_lsn:
            self._applied.pause()  # from here on it may wait for the source
        self._renew_if_due()

    def _pause(self) -> float:
        """What lies between two steps is no work. Return the time."""
        self._copied.pause()
        self._applied.pause()
        self._hopeless_at_s = None
        return self._clock()

    def _checked(self, snapshot: Snapshot, elapsed_s: float) -> None:
        if snapshot.size_bytes and elapsed_s > 0:
            self._check_bytes_per_s = snapshot.size_bytes / elapsed_s

    def _renew_if_due(self) -> None:
        now_s = self._clock()
        if now_s - self._renewed_at_s >= self._renew_s:
            self._renew(now_s)

    def _renew(self, now_s: float) -> None:
        found = self._look_ahead(now_s, wait_s=LOOK_S)
        if found is None:
            return
        if found.verdict is not self._told or now_s - self._told_at_s >= self._tell_s:
            self._tell(found, now_s)
        if found.verdict is not Convergence.CANNOT:
            self._hopeless_s, self._hopeless_at_s = 0.0, None
            return
        if self._hopeless_at_s is not None:
            self._hopeless_s += now_s - self._hopeless_at_s
        self._hopeless_at_s = now_s
        if self._hopeless_s >= self._patience_s and self._bootstraps and not self._ignore:
            raise refusal(found)

    def _tell(self, found: Forecast, now_s: float) -> None:
        self._told, self._told_at_s = found.verdict, now_s
        self.on_forecast(found)

    def _look_ahead(self, now_s: float, *, wait_s: float | None) -> Forecast | None:
        """Return the forecast for now; None if the source never said where it stands."""
        self._renewed_at_s = now_s
        try:
            self._info = self._look(wait_s)
        except SourceUnavailable:
            # Chunks may come from a mirror meanwhile; if nothing comes, the copy says so itself.
            # To ask in vain takes its time, so it is not done as often.
            self._renewed_at_s = self._clock() + _AFTER_FAILURE_S
        else:
            self._written.see(self._info.last_lsn, now_s)
        return None if self._info is None else forecast(self._situation(self._info))

    def _situation(self, info: PrimaryInfo) -> Situation:
        measured = Pace(
            copy_bytes_per_s=self._copied.per_s,
            check_bytes_per_s=self._check_bytes_per_s,
            apply_changes_per_s=self._applied.per_s,
        )
        left_bytes = check_bytes = None
        if isinstance(self._step, plan.CatchUp):
            left_bytes = check_bytes = 0
        elif self._copying is not None and self._copying.size_bytes is not None:
            check_bytes = self._copying.size_bytes
            left_bytes = check_bytes - self._copying.staged_bytes
        warm = info.write_rate_per_s is None or self._written.measured_s >= _WARM_S
        return situation_of(
            info,
            measured.or_else(self._past),
            write_changes_per_s=self._written.per_s if warm else None,
            left_bytes=left_bytes,
            check_bytes=check_bytes,
            has_lsn=self._has_lsn,
            outage_s=self._outage_s,
        )
