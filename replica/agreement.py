"""What a database and its source must agree on before anything is applied."""

from __future__ import annotations

from bootledger.errors import DivergedHistory
from bootledger.replica.ports import Applier, OpenApplier, SourceIdentity
from bootledger.replica.target import Target


def open_copy(
    open_applier: OpenApplier, target: Target, generation: int, identity: SourceIdentity
) -> Applier:
    """Open a generation's database; the caller closes it.

    Raises `DivergedHistory` if it is not a copy of the source of that identity.
    """
    applier = open_applier(target.directory(generation))
    found = applier.identity()
    if found != identity:
        applier.close()
        raise DivergedHistory(
            f"generation {generation} is a copy of {found.database_id} on timeline "
            f"{found.timeline}, not of {identity.database_id} on timeline {identity.timeline}",
            hint="replicate into a new target",
        )
    return applier


def check_not_ahead(applied_lsn: int, source_lsn: int) -> None:
    """Raise `DivergedHistory` if a replica holds more than its source."""
    if applied_lsn > source_lsn:
        raise DivergedHistory(
            f"the replica holds LSN {applied_lsn}, its source only LSN {source_lsn}",
            hint="the source was rolled back or restored: look at both before going on",
        )
