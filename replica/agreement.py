"""What a database and its source must agree on before anything is applied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from bootledger.errors import DivergedHistory, LogWindowLost, OlderTimeline, SourceChanged
from bootledger.replica.histories import check_history, last_of
from bootledger.replica.ports import (
    Applier,
    Change,
    ChecksHistory,
    KeepsLog,
    LastChange,
    LongPolling,
    OpenApplier,
    Source,
    SourceIdentity,
)
from bootledger.replica.target import Target

T = TypeVar("T")


def open_copy(
    open_applier: OpenApplier, target: Target, generation: int, identity: SourceIdentity
) -> Applier:
    """Open a generation's database, on whatever timeline it is; the caller closes it.

    Raises `DivergedHistory` if it is not a copy of the source's database.
    """
    applier = open_applier(target.directory(generation))
    found = applier.identity().database_id
    if found != identity.database_id:
        applier.close()
        raise DivergedHistory(
            f"generation {generation} is a copy of {found}, not of {identity.database_id}",
            hint="replicate into a new target",
        )
    return applier


def open_to_follow(
    open_applier: OpenApplier, target: Target, generation: int, identity: SourceIdentity
) -> Applier:
    """Open a generation's database, which the source's log continues; the caller closes it.

    Raises as `open_copy` and `check_timeline`.
    """
    applier = open_copy(open_applier, target, generation, identity)
    try:
        check_timeline(f"generation {generation}", applier.identity().timeline, identity.timeline)
    except BaseException:  # an interrupt, too; it goes on
        applier.close()
        raise
    return applier


def check_timeline(what: str, timeline: int, source_timeline: int) -> None:
    """Check that the log of a source continues `what`, which is on `timeline`.

    An LSN means something on one timeline only. Raises `LogWindowLost` if the source is on a newer
    one: where the two part nobody knows, so it takes a new base backup. Raises `OlderTimeline` if
    the source is on an older one.
    """
    if timeline < source_timeline:
        raise LogWindowLost(
            f"{what} is on timeline {timeline}, the source on {source_timeline}",
            hint="a new base backup takes it there",
        )
    if timeline > source_timeline:
        raise OlderTimeline(
            f"{what} is on timeline {timeline}, the source still on {source_timeline}",
            hint="another primary has taken the place of this one: name that",
        )


def renewed(identity: SourceIdentity, source: Source) -> SourceIdentity:
    """Return who the source is by now: it may have gone on to a newer timeline.

    Raises `SourceChanged` if it is another database.
    """
    now = source.identity()
    if now.database_id != identity.database_id:
        raise SourceChanged(
            f"the source was {identity.database_id}, now it is {now.database_id}",
            hint="somebody else answers under its address",
        )
    return now


def check_still(identity: SourceIdentity, source: Source) -> None:
    """Check that a source is who it was: others may answer under its address by now.

    Raises as `renewed` and `check_timeline`.
    """
    check_timeline("what was begun", identity.timeline, renewed(identity, source).timeline)


def told_by(identity: SourceIdentity, source: Source, ask: Callable[[], T]) -> T:
    """Return what `ask` hears from the source, once it is sure who answered.

    Whoever sent it was no newer than who is asked after that. Raises as `check_still`.
    """
    try:
        told = ask()
    except DivergedHistory:
        check_still(identity, source)  # on a newer timeline its log may be shorter
        raise
    check_still(identity, source)
    return told


def check_same_history(applier: Applier, applied_lsn: int, source: Source) -> None:
    """Raise `DivergedHistory` if the source has another change than the replica at its last LSN.

    Two databases that parted have equal LSNs and different changes. Nothing is compared if either
    no longer has that change, or if the applier keeps no log.
    """
    if (last := last_change(applier, applied_lsn)) is not None:
        check_history(last, source)


def last_change(applier: Applier, applied_lsn: int) -> LastChange | None:
    """Return the last change that was applied; None if the applier cannot show it, or at LSN 0."""
    if applied_lsn == 0 or not isinstance(applier, KeepsLog):
        return None
    try:
        found = applier.changes(applied_lsn - 1, 1)
    except LogWindowLost:
        return None
    return last_of(found) if found else None


def changes_after(
    applied_lsn: int, last: LastChange | None, source: Source, limit: int, wait_s: float = 0.0
) -> Sequence[Change]:
    """Return what follows `applied_lsn`, whose change is `last` if that is known.

    Raises as `Source.changes`, and `DivergedHistory` if the source can tell that it has another.
    """
    if last is not None and isinstance(source, ChecksHistory):
        return source.changes_following(last, limit, wait_s)
    if wait_s and isinstance(source, LongPolling):
        return source.changes_within(applied_lsn, limit, wait_s)
    return source.changes(applied_lsn, limit)


def agreed_lsn(applier: Applier, recorded_lsn: int) -> int:
    """Return the LSN up to which a database holds everything; the log recorded `recorded_lsn`.

    A crash between applying and recording leaves the database ahead: its LSN counts. It can never
    be behind, because data is durable before the event that claims it: that is `DivergedHistory`.
    """
    applied_lsn = applier.applied_lsn()
    if applied_lsn < recorded_lsn:
        raise DivergedHistory(
            f"the database holds LSN {applied_lsn}, the log recorded {recorded_lsn}",
            hint="the database was replaced or rolled back: abort the intent and begin again",
        )
    return applied_lsn


def check_not_ahead(applied_lsn: int, source_lsn: int) -> None:
    """Raise `DivergedHistory` if a replica holds more than its source."""
    if applied_lsn > source_lsn:
        raise DivergedHistory(
            f"the replica holds LSN {applied_lsn}, its source only LSN {source_lsn}",
            hint="the source was rolled back or restored: look at both before going on",
        )
