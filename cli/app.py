"""The everyday commands. Each opens what it needs, asks the library, and shows the answer."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from bootledger.cli import compact, exchange, history, schema, slots, verbs, verify, watch
from bootledger.cli.base import (
    HEADINGS,
    LOOKING,
    REPLICATING,
    Json,
    LedgerPath,
    app,
    open_ledger,
)
from bootledger.cli.demo import run_demo
from bootledger.cli.diagram import diagram
from bootledger.cli.errors import ExitCode, told_to_people
from bootledger.cli.forecast import forecast
from bootledger.cli.housekeeping import gc
from bootledger.cli.moments import At, moment
from bootledger.cli.replicate import replicate
from bootledger.cli.serve import serve
from bootledger.cli.simulate import simulate
from bootledger.cli.standing_table import status_of
from bootledger.cli.tables import console, dangling_blocks
from bootledger.cli.watching import (
    write_json,
)
from bootledger.projections.as_of import as_of
from bootledger.projections.dangling import report
from bootledger.projections.follow import Follower, standings_as_of
from bootledger.projections.latest import LatestIntents
from bootledger.projections.runner import catch_up

__all__ = [
    "app",
    "compact",
    "diagram",
    "exchange",
    "forecast",
    "gc",
    "history",
    "replicate",
    "schema",
    "serve",
    "simulate",
    "slots",
    "verbs",
    "verify",
    "watch",
]


@app.command(rich_help_panel=LOOKING)
def status(path: LedgerPath, *, at: At = None, json: Json = False) -> None:
    """Show where every node of a ledger stands, or stood."""
    with told_to_people(), open_ledger(path) as log:
        then = moment(log.store, at) if at is not None else None
        if then:
            found = standings_as_of(log.store, then.position)
        else:
            catch_up(log.store, LatestIntents())  # saved, so that the next look is short
            found = Follower(log.store).look()
    if json:
        return write_json(found)
    screen = console()
    if then:
        screen.print(f"{then}; who was alive is not recorded")
    at_ms = then.recorded_at_ms if then else None
    screen.print(
        status_of(found, width=screen.width, bars=screen.is_terminal, at_ms=at_ms)
        if found
        else "no intent yet"
    )
    return None


@app.command(rich_help_panel=LOOKING)
def dangling(path: LedgerPath, *, at: At = None, json: Json = False) -> None:
    """Show every unfinished intent: what, since when, and what to do. Exits with 3 if any."""
    with told_to_people(), open_ledger(path) as log:
        then = moment(log.store, at) if at is not None else None
        unfinished = as_of(log.store, then.position).unfinished if then else log.list_unfinished()
        reports = report(unfinished, quote(str(path)))
    if json:
        write_json(reports)
    else:
        if then:
            console().print(str(then))
        console().print(dangling_blocks(reports, then.recorded_at_ms if then else None))
    if reports:
        raise typer.Exit(ExitCode.FOUND)


@app.command(rich_help_panel=REPLICATING)
def demo(
    *,
    size_mb: Annotated[int, typer.Option(min=64, help="How much to copy, in MB.")] = 64,
    kills: Annotated[int, typer.Option(min=3, help="How often to kill the replica.")] = 5,
    seed: Annotated[int, typer.Option(help="Decides when it is killed.")] = 1,
    keep: Annotated[
        Path | None, typer.Option(help="Work in this directory and leave it there.")
    ] = None,
) -> None:
    """Copy real files into a replica that is killed again and again; prove it equal at the end."""
    with told_to_people():
        shown = run_demo(size_mb=size_mb, kills=kills, seed=seed, keep=keep)
    if not shown:
        raise typer.Exit(1)


# Headings stand in the order of their first commands, and modules are imported by their names.
app.registered_commands.sort(key=lambda command: HEADINGS.index(str(command.rich_help_panel)))
