"""Tables for people. Times are shown as ages; sizes with binary units."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from rich.filesize import decimal
from rich.table import Column, Table
from rich.text import Text

from bootledger.clock import now_ms
from bootledger.projections.dangling import DanglingIntent, Liveness
from bootledger.statemachine.progress import Progress, State

_STYLES = {
    State.COMPLETED: "green",
    State.ABORTED: "red",
    State.SUSPENDED: "yellow",
}


def status_table(latest: Mapping[UUID, Progress], running: Collection[UUID]) -> Table:
    """Return where every node stands: one row an intent that is unfinished or its node's last."""
    table = Table(
        _whole("node"), "state", "copied", "LSN", "epoch", "for", "owner", _whole("intent")
    )
    for intent_id, progress in latest.items():
        table.add_row(
            progress.begin.node_id if progress.begin else "",
            Text(_state(progress), style=_STYLES.get(progress.state, "cyan")),
            _copied(progress),
            "" if progress.applied_lsn is None else str(progress.applied_lsn),
            str(progress.epoch),
            age(progress.recorded_at_ms),
            str(progress.holder) if intent_id in running else "",
            str(intent_id),
        )
    return table


def dangling_table(reports: Sequence[DanglingIntent]) -> Table:
    """Return the dangling report: one row an unfinished intent, with what to do."""
    if not reports:
        return Table(title="nothing dangles")
    table = Table(
        _whole("node"), "what", "phase", "LSN", "since", "why", "what to do", _whole("intent")
    )
    for dangling in reports:
        style = "cyan" if dangling.liveness is Liveness.RUNNING else "yellow"
        table.add_row(
            dangling.node_id,
            Text(dangling.liveness, style=style),
            dangling.phase,
            "" if dangling.applied_lsn is None else str(dangling.applied_lsn),
            age(dangling.since_ms),
            dangling.cause or "",
            dangling.what_to_do,
            str(dangling.intent_id),
        )
    return table


def age(then_ms: int) -> str:
    """Return how long ago that was, in the largest unit that fits."""
    seconds = max(0, now_ms() - then_ms) // 1000
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _whole(name: str) -> Column:
    # Names and ids are copied into other commands: they are broken, never cut.
    return Column(name, overflow="fold", min_width=12)


def _state(progress: Progress) -> str:
    if progress.state is State.SUSPENDED:
        return f"{progress.state} in {progress.phase}"
    return progress.state


def _copied(progress: Progress) -> str:
    snapshot = progress.snapshot
    if snapshot is None:
        return ""
    if snapshot.size_bytes is None:
        return decimal(snapshot.staged_bytes)
    return f"{decimal(snapshot.staged_bytes)} of {decimal(snapshot.size_bytes)}"
