"""`bootledger status` and `dangling`: where every node stands, and what is unfinished."""

from __future__ import annotations

from shlex import quote

import typer

from bootledger.cli.base import LOOKING, Json, LedgerPath, app, open_ledger
from bootledger.cli.errors import ExitCode, told_to_people
from bootledger.cli.moments import At, moment
from bootledger.cli.standing_table import status_of
from bootledger.cli.tables import console, dangling_blocks
from bootledger.cli.watching import write_json
from bootledger.projections.as_of import as_of
from bootledger.projections.dangling import report
from bootledger.projections.follow import Follower, standings_as_of
from bootledger.projections.latest import LatestIntents
from bootledger.projections.runner import catch_up


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
