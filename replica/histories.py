"""Whether two change logs tell one history: what is compared is the last change of one of them."""

from __future__ import annotations

from collections.abc import Sequence

from bootledger.errors import DivergedHistory, LogWindowLost
from bootledger.replica.ports import Change, KeepsLog, LastChange
from bootledger.replica.records import change_digest


def last_of(changes: Sequence[Change]) -> LastChange:
    """Return what is to be compared with the source once these changes are applied."""
    return LastChange(changes[-1].lsn, change_digest(changes[-1]))


def check_history(last: LastChange, log: KeepsLog) -> None:
    """Raise `DivergedHistory` if a log has another change than the replica at its last LSN.

    Nothing is compared if that change was pruned.
    """
    try:
        found = log.changes(last.lsn - 1, 1)
    except LogWindowLost:
        return
    if found and change_digest(found[0]) != last.digest:
        raise DivergedHistory(
            f"change {last.lsn} of the replica is not the one that its source has at that LSN, "
            f"of key {found[0].key[:40]!r}",
            hint="one of both was restored, or written to by somebody else: look at both; to give "
            "the replica up, remove its target and start again",
        )
