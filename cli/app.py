"""The everyday commands. Each opens what it needs, asks the library, and shows the answer."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer
from rich.console import Console

from bootledger.cli import compact, exchange, history, schema, slots, verbs, verify, watch
from bootledger.cli.answers import Ended
from bootledger.cli.base import (
    HEADINGS,
    LOOKING,
    REPLICATING,
    Json,
    LedgerPath,
    app,
    open_ledger,
    path_of,
)
from bootledger.cli.demo import run_demo
from bootledger.cli.diagram import diagram
from bootledger.cli.errors import ExitCode, told_to_people
from bootledger.cli.housekeeping import gc
from bootledger.cli.moments import At, moment
from bootledger.cli.serve import serve
from bootledger.cli.signals import StopRequest
from bootledger.cli.simulate import simulate
from bootledger.cli.standing_table import status_of
from bootledger.cli.tables import console, dangling_blocks
from bootledger.cli.watching import (
    JsonObserver,
    PlainObserver,
    TerminalObserver,
    telling,
    write_json,
)
from bootledger.local import replicate as replicate_locally
from bootledger.projections.as_of import as_of
from bootledger.projections.dangling import report
from bootledger.projections.follow import Follower, standings_as_of
from bootledger.projections.latest import LatestIntents
from bootledger.projections.runner import catch_up
from bootledger.replica.loop import Outcome
from bootledger.replica.settings import DEFAULT_LAG_CHANGES, Settings

__all__ = [
    "app",
    "compact",
    "diagram",
    "exchange",
    "gc",
    "history",
    "schema",
    "serve",
    "simulate",
    "slots",
    "verbs",
    "verify",
    "watch",
]


@app.command(rich_help_panel=REPLICATING)
def replicate(
    source: Annotated[
        Path,
        typer.Argument(parser=path_of, metavar="SOURCE", help="The primary's database directory."),
    ],
    target: Annotated[
        Path,
        typer.Argument(
            parser=path_of, metavar="TARGET", help="Where the replica lives; made if missing."
        ),
    ],
    *,
    node: Annotated[str, typer.Option(help="The replica's node id.")],
    ledger: Annotated[
        Path | None,
        typer.Option(
            parser=path_of, metavar="LEDGER", help="The ledger.", show_default="TARGET/ledger"
        ),
    ] = None,
    lag: Annotated[
        int, typer.Option(min=0, help="How many changes behind counts as caught up.")
    ] = DEFAULT_LAG_CHANGES,
    verify_staged: Annotated[
        bool,
        typer.Option(
            "--verify-staged", help="Read everything staged before again, and drop what is damaged."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Bring TARGET up to date with SOURCE, whatever state it is in.

    New, interrupted, a little behind or too far behind: the same command. After any death, run it
    again. Ctrl-C and SIGTERM suspend it; it goes on with the next start.
    """
    stop = StopRequest()
    stop.install()
    screen = console()
    observer = _observer(screen, json=json)
    with told_to_people():
        try:
            outcome = replicate_locally(
                source,
                target,
                node,
                ledger=ledger,
                settings=Settings(
                    lag_changes=lag,
                    verify_staged=verify_staged,
                    stop=stop,
                ),
                observer=observer,
                sink=telling(node),
            )
        finally:
            if isinstance(observer, TerminalObserver):
                observer.stop()
    _show(outcome, screen, json=json)


def _observer(screen: Console, *, json: bool) -> JsonObserver | TerminalObserver | PlainObserver:
    if json:
        return JsonObserver()
    return TerminalObserver(screen) if screen.is_terminal else PlainObserver()


def _show(outcome: Outcome, screen: Console, *, json: bool) -> None:
    if json:
        return write_json(Ended(**asdict(outcome)))
    how = "copied and caught up" if outcome.copied else "caught up"
    starts = "" if outcome.epochs == 1 else f" after {outcome.epochs} starts"
    screen.print(
        f"[bold green]up to date[/bold green]: {how}{starts}, LSN {outcome.applied_lsn}, "
        f"generation {outcome.generation}"
    )
    return None


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
