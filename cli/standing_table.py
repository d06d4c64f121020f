"""Where everything stands, for people: a table where there is room for one, else a block each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from bootledger.cli.tables import age
from bootledger.cli.visible import visible
from bootledger.projections.standing import Standing
from bootledger.statemachine.progress import State

_BAR_COLUMNS = 10
_SHORT_BAR_COLUMNS = 5
_SHORT_BELOW_COLUMNS = 100
_WHOLE = {"done", "intent"}
"""Never folded: half a bar is a wrong one, and half an id is none."""
_STATE_COLUMNS = max(map(len, State)) + 1
"""A fixed width: a state is not torn, and the other columns give way, not the border."""
_WHOLE_STATE_FROM_COLUMNS = 130
_STYLES = {State.COMPLETED: "green", State.ABORTED: "red", State.SUSPENDED: "yellow"}


class _Shown(NamedTuple):
    """A column: what it is called, how wide a terminal must be for a live table to have it."""

    name: str
    from_columns: int
    cell: Callable[[Standing, int | None], str | Text]


def _cells() -> tuple[_Shown, ...]:
    return (
        _Shown("node", 0, lambda one, _: Text(visible(one.node_id))),
        _Shown("state", 0, lambda one, _: state_of(one)),
        _Shown("done", 0, lambda one, _: _done(one)),
        _Shown("copied", 110, lambda one, _: _copied(one)),
        _Shown("LSN", 90, lambda one, _: "" if one.applied_lsn is None else str(one.applied_lsn)),
        _Shown("behind", 100, lambda one, _: lag(one)),
        _Shown("rate", 80, lambda one, _: rate(one)),
        _Shown("for", 70, lambda one, at_ms: age(one.recorded_at_ms, at_ms)),
        _Shown("age", 140, lambda one, at_ms: age(one.began_at_ms, at_ms)),
        _Shown("epoch", 130, lambda one, _: str(one.epoch)),
        _Shown("next", 50, lambda one, _: one.next),
    )


_TABLE_COLUMNS = 180
"""With fewer, the ids in a table of all columns would be torn."""


def status_of(
    standings: Sequence[Standing], *, width: int, bars: bool, at_ms: int | None = None
) -> Table | Group:
    """Return where every node stands: each intent that is unfinished or its node's last.

    A row each, or where `width` has no room for rows a block each: names and ids are copied into
    other commands. `bars` draws how much is done, for a terminal. `at_ms` is the time from which
    ages are counted back, now if None.
    """
    bar_columns = _BAR_COLUMNS if bars else 0
    cells = (
        *_cells(),
        _Shown("owner", 0, lambda one, _: Text(visible(one.owner or ""))),
        _Shown("intent", 0, lambda one, _: str(one.intent_id)),
    )
    if width >= _TABLE_COLUMNS:
        return _table(standings, cells, bar_columns=bar_columns, at_ms=at_ms)
    blocks: list[Table] = []
    for one in standings:
        block = Table.grid(Column(style="bold"), Column(overflow="fold"), padding=(0, 2))
        for shown in cells:
            if str(value := shown.cell(one, at_ms)):
                block.add_row(shown.name, _drawn(shown, value, one, bar_columns))
        block.add_row("", "")
        blocks.append(block)
    return Group(*blocks)


def live_table(standings: Sequence[Standing], *, width: int) -> Table:
    """Return a row for each intent with the columns that fit `width`: for a screen that is redrawn.

    What cannot be seen there, `status` shows.
    """
    cells = tuple(shown for shown in _cells() if width >= shown.from_columns)
    bar_columns = _SHORT_BAR_COLUMNS if width < _SHORT_BELOW_COLUMNS else _BAR_COLUMNS
    state_columns = _STATE_COLUMNS if width < _WHOLE_STATE_FROM_COLUMNS else None
    return _table(
        standings, cells, bar_columns=bar_columns, at_ms=None, state_columns=state_columns
    )


def _table(
    standings: Sequence[Standing],
    cells: Sequence[_Shown],
    *,
    bar_columns: int,
    at_ms: int | None,
    state_columns: int | None = None,
) -> Table:
    table = Table(
        *(
            Column(
                shown.name,
                overflow="fold",
                no_wrap=shown.name in _WHOLE,
                width=state_columns if shown.name == "state" else None,
            )
            for shown in cells
        )
    )
    for one in standings:
        table.add_row(*(_drawn(shown, shown.cell(one, at_ms), one, bar_columns) for shown in cells))
    return table


def _drawn(shown: _Shown, value: str | Text, one: Standing, bar_columns: int) -> RenderableType:
    if shown.name != "done" or not bar_columns or one.share is None:
        return value
    grid = Table.grid(Column(width=bar_columns), Column(width=len("100%")), padding=(0, 1))
    grid.add_row(ProgressBar(total=1, completed=one.share, width=bar_columns), value)
    return grid


def state_of(one: Standing) -> Text:
    """Return the state, who holds it, in which phase it is suspended, or that its owner died.

    What is bad news is also said in words: a screen may have no colours.
    """
    words, style = str(one.state), _STYLES.get(one.state, "cyan")
    if one.progress.held and one.progress.suspension is not None:
        words = f"held by {visible(str(one.progress.suspension.actor))} in {one.phase}"
    elif one.state is State.SUSPENDED:
        words = f"{one.state} in {one.phase}"
    elif one.progress.unfinished and one.running is False:
        words, style = f"{one.state}, owner died", "yellow"
    return Text(words, style=style)


def lag(one: Standing) -> str:
    """Return how many changes it lacks, as far as the log knows; nothing if it does not."""
    return "" if one.lag_changes is None else f"{one.lag_changes} or more"


def rate(one: Standing) -> str:
    """Return how fast it copies or applies; nothing if that is not known."""
    if one.bytes_per_s is not None:
        return f"{decimal(int(one.bytes_per_s))}/s"
    return "" if one.changes_per_s is None else f"{one.changes_per_s:.0f} changes/s"


def _done(one: Standing) -> str:
    return "" if one.share is None else f"{int(one.share * 100)}%"


def _copied(one: Standing) -> str:
    if one.progress.snapshot is None:
        return ""
    if one.size_bytes is None:
        return decimal(one.staged_bytes)
    return f"{decimal(one.staged_bytes)} of {decimal(one.size_bytes)}"
