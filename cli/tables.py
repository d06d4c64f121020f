"""Tables for people. Times are shown as ages; sizes with binary units."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group
from rich.table import Column, Table
from rich.text import Text

from bootledger.cli.visible import visible
from bootledger.clock import now_ms
from bootledger.projections.dangling import DanglingIntent, Liveness

_PIPE_COLUMNS = 200


def console() -> Console:
    """Return the console for answers: as wide as the terminal, or as needed in a pipe."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=_PIPE_COLUMNS)


def dangling_blocks(reports: Sequence[DanglingIntent], at_ms: int | None = None) -> Group | str:
    """Return the dangling report: a block an unfinished intent, with what to do.

    `at_ms` is the time from which ages are counted back, now if None.
    """
    if not reports:
        return "nothing dangles"
    return Group(*(_block(dangling, at_ms) for dangling in reports))


def _block(dangling: DanglingIntent, at_ms: int | None) -> Table:
    style = "cyan" if dangling.liveness is Liveness.RUNNING else "yellow"
    block = Table.grid(Column(style="bold"), Column(overflow="fold"), padding=(0, 2))
    block.add_row("node", Text(visible(dangling.node_id)))
    how = dangling.liveness if dangling.held_by is None else f"held by {visible(dangling.held_by)}"
    block.add_row("what", Text(f"{how}, for {age(dangling.since_ms, at_ms)}", style=style))
    if dangling.cause:
        block.add_row("why", Text(visible(dangling.cause)))
    block.add_row("where", f"{dangling.phase}, LSN {_lsn(dangling.applied_lsn) or 'not yet'}")
    if dangling.retry_at_ms is not None:
        block.add_row("try again", in_or_ago(dangling.retry_at_ms))
    block.add_row("intent", str(dangling.intent_id))
    block.add_row("to do", Text(visible(dangling.what_to_do)))
    block.add_row("", "")
    return block


def age(then_ms: int, at_ms: int | None = None) -> str:
    """Return how long ago that was, now or at another time, in the largest unit that fits."""
    seconds = max(0, (now_ms() if at_ms is None else at_ms) - then_ms) // 1000
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def in_or_ago(then_ms: int | None) -> str:
    """Return when that is, from now; nothing if nobody said."""
    if then_ms is None:
        return ""
    seconds = (then_ms - now_ms()) // 1000
    return f"in {seconds} s" if seconds > 0 else "now"


def _lsn(lsn: int | None) -> str:
    return "" if lsn is None else str(lsn)
