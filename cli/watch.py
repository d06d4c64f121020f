"""`bootledger watch`: a ledger live, as a picture and a table, or as one line for each change."""

from __future__ import annotations

import enum
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from bootledger.cli.base import LOOKING, Json, LedgerPath, NodeOption, app, open_ledger
from bootledger.cli.errors import told_to_people
from bootledger.cli.moments import when
from bootledger.cli.nodes import check_known_node
from bootledger.cli.picture import picture
from bootledger.cli.signals import terminated_like_interrupted
from bootledger.cli.standing_table import lag, live_table, rate, state_of
from bootledger.cli.tables import console
from bootledger.cli.visible import visible
from bootledger.cli.watching import write_json, write_line
from bootledger.diagrams.chart import chart_of_table
from bootledger.projections.follow import Follower
from bootledger.projections.standing import Standing

_SHORTEST_S = 0.1
_LONGEST_S = 3600
_LAST_LINE = ""
"""Where a terminal echoes Ctrl-C: behind a full line that would take another one."""


class Until(enum.StrEnum):
    """When watching ends by itself."""

    DONE = "done"


@app.command(rich_help_panel=LOOKING)
def watch(
    path: LedgerPath,
    *,
    node: NodeOption = None,
    interval: Annotated[
        float,
        typer.Option(min=_SHORTEST_S, max=_LONGEST_S, help="Look again after so many seconds."),
    ] = 1.0,
    until: Annotated[
        Until | None, typer.Option(help="End with exit code 0 when nothing is unfinished.")
    ] = None,
    json: Json = False,
) -> None:
    """Show where every node of a ledger stands, as it moves, until Ctrl-C.

    On a terminal, the machine with who stands where, and a table. In a pipe or on a terminal
    that cannot be redrawn, a line for each change that a look finds. Only reads: nobody waits
    for it.
    """
    screen = console()
    with told_to_people(), open_ledger(path) as log, terminated_like_interrupted():
        if node is not None:
            check_known_node(log.store, node)
        looks = _looks(Follower(log.store), node, interval)
        with suppress(KeyboardInterrupt):  # the ordinary end
            if screen.is_terminal and not screen.is_dumb_terminal and not json:
                _live(looks, screen, until)
            else:
                _lines(looks, until, json=json)


def _looks(follower: Follower, node: str | None, interval_s: float) -> Iterator[list[Standing]]:
    """Yield where everything stands, now and after each interval."""
    while True:
        yield [one for one in follower.look() if node in {None, one.node_id}]
        time.sleep(interval_s)


def _is_over(standings: list[Standing], until: Until | None) -> bool:
    return until is Until.DONE and not any(one.progress.unfinished for one in standings)


def _live(looks: Iterator[list[Standing]], screen: Console, until: Until | None) -> None:
    with Live(console=screen, auto_refresh=False, vertical_overflow="ellipsis") as live:
        for standings in looks:
            live.update(view(standings, screen), refresh=True)
            if _is_over(standings, until):
                return


def _lines(looks: Iterator[list[Standing]], until: Until | None, *, json: bool) -> None:
    seen: dict[UUID, tuple[int, bool | None]] = {}
    for standings in looks:
        now = {one.intent_id: (one.progress.version, one.running) for one in standings}
        for one in standings:
            if seen.get(one.intent_id) != now[one.intent_id]:
                if json:
                    write_json(one)
                else:
                    write_line(line_of(one))
        seen = now
        if _is_over(standings, until):
            return


def view(standings: list[Standing], screen: Console) -> RenderableType:
    """Return the picture and the table below it, as wide as `screen`; unfinished ones first."""
    present: defaultdict[str, list[str]] = defaultdict(list)
    for one in standings:
        present[one.state].append(visible(one.node_id))
    options = screen.options
    drawn = picture(chart_of_table(), present, width=screen.width, ascii_only=options.ascii_only)
    if not standings:
        return Group(drawn, Text("no intent yet"), _LAST_LINE)
    first = sorted(standings, key=lambda one: not one.progress.unfinished)
    return Group(drawn, live_table(first, width=screen.width), _LAST_LINE)


def line_of(one: Standing) -> str:
    """Return one line for a pipe: when, which node, where it stands, what is next."""
    applied = "" if one.applied_lsn is None else f"LSN {one.applied_lsn}"
    copied = "" if one.share is None else f"{int(one.share * 100)}%"
    behind = lag(one) and f"{lag(one)} behind"
    words = (
        state_of(one).plain,
        copied,
        applied,
        behind,
        rate(one),
        f"epoch {one.epoch}",
        one.next,
    )
    said = ", ".join(word for word in words if word)
    return f"{when(one.recorded_at_ms)} {visible(one.node_id)}: {said}"
