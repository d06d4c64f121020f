"""`bootledger replicate`: a directory or an address in, a replica that is kept up to date out."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bootledger import local
from bootledger.cli.answers import Ended
from bootledger.cli.base import REPLICATING, Json, LedgerOption, NewTarget, app, path_of
from bootledger.cli.errors import told_to_people
from bootledger.cli.kept import keeper_observer
from bootledger.cli.network import (
    Ca,
    Cert,
    Insecure,
    Key,
    MaxRate,
    TokenFile,
    access_of,
    is_address,
    of_address,
)
from bootledger.cli.signals import StopRequest
from bootledger.cli.tables import console
from bootledger.cli.typed import address_of
from bootledger.cli.watching import telling, write_json
from bootledger.errors import InvalidValue
from bootledger.replica.http.compression import Compression
from bootledger.replica.loop import Outcome
from bootledger.replica.settings import DEFAULT_LAG_CHANGES, Settings
from bootledger.replica.waiting import Patience

_LONGEST_S = 10 * 365 * 86_400
_POLL_ADDRESS_S, _POLL_DIRECTORY_S = 10.0, 1.0


@app.command(rich_help_panel=REPLICATING)
def replicate(  # noqa: PLR0913 - options are what a command has
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="The primary: its directory, or http(s)://HOST:PORT."
        ),
    ],
    target: NewTarget,
    *,
    node: Annotated[str, typer.Option(help="The replica's node id.")],
    ledger: LedgerOption = None,
    lag: Annotated[
        int, typer.Option(min=0, help="How many changes behind counts as caught up.")
    ] = DEFAULT_LAG_CHANGES,
    verify_staged: Annotated[
        bool,
        typer.Option(
            "--verify-staged", help="Read everything staged before again, and drop what is damaged."
        ),
    ] = False,
    follow: Annotated[
        bool | None,
        typer.Option(
            "--follow/--once",
            help="Keep applying changes, or end when up to date.",
            show_default="follow an address, once for a directory",
        ),
    ] = None,
    poll_interval: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=60,
            metavar="SECONDS",
            help="While following, ask for changes at least that often.",
            show_default="10 of an address, 1 of a directory",
        ),
    ] = None,
    give_up_after: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=_LONGEST_S,
            metavar="SECONDS",
            help="End when nothing got on for so long.",
            show_default="never for an address, at once for a directory",
        ),
    ] = None,
    max_rate: MaxRate = None,
    in_flight: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=256,
            help="Fetch so many chunks at once at most.",
            show_default="16 of an address, 4 of a directory",
        ),
    ] = None,
    keep_changes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="While following, forget applied changes but so many in the replica's own log.",
            show_default="keep all",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Serve metrics for Prometheus there."),
    ] = None,
    token_file: TokenFile = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    mirror: Annotated[
        list[str] | None,
        of_address(
            metavar="URL", help="Fetch chunks from URL/TOKEN/data.mdb too; may be repeated."
        ),
    ] = None,
    compression: Annotated[
        Compression | None,
        of_address(help="Have chunks compressed.", show_default="auto: where that is faster"),
    ] = None,
    insecure: Insecure = False,
    ignore_forecast: Annotated[
        bool,
        of_address("--ignore-forecast", help="Go on even if it cannot end before the log is gone."),
    ] = False,
    json: Json = False,
) -> None:
    """Bring TARGET up to date with SOURCE, whatever state it is in, and keep it so.

    New, interrupted, a little behind or too far behind: the same command. After any death, run it
    again. Ctrl-C and SIGTERM suspend it; it goes on with the next start. An address is tried again
    for as long as it takes, and followed until Ctrl-C.
    """
    stop = StopRequest()
    stop.install()
    screen = console()
    with told_to_people(), ExitStack() as stack:
        observer = stack.enter_context(keeper_observer(screen, json=json))
        remotely = is_address(source)
        if keep_changes is not None and not (remotely if follow is None else follow):
            raise InvalidValue(
                "--keep-changes makes sense while following only", hint="add --follow"
            )
        if poll_interval is None:
            poll_interval = _POLL_ADDRESS_S if remotely else _POLL_DIRECTORY_S
        patience = Patience(give_up_after, timedelta(seconds=poll_interval))
        if remotely:
            # The libraries of the network take a while to import: a directory does not wait.
            from bootledger import remote  # noqa: PLC0415 - as said

            default_in_flight = remote.DEFAULT_IN_FLIGHT
            link = remote.Link(
                access=access_of(source, token_file, ca, cert, key, insecure=insecure),
                mirrors=tuple(mirror or ()),
                compression=compression or "auto",
                ignore_forecast=ignore_forecast,
            )
            work = remote.replicate_from if follow is False else remote.keep_replicating
            run = partial(work, source, link=link, patience=patience)
        else:
            default_in_flight = local.DEFAULT_IN_FLIGHT
            _refuse_for_directories(
                {
                    "--token-file": token_file,
                    "--ca": ca,
                    "--cert": cert,
                    "--key": key,
                    "--mirror": mirror,
                    "--compression": compression,
                    "--insecure": insecure,
                    "--ignore-forecast": ignore_forecast,
                }
            )
            run = _local_run(path_of(source), patience, follow=bool(follow))
        settings = Settings(
            lag_changes=lag,
            verify_staged=verify_staged,
            keep_changes=keep_changes,
            max_bytes_per_s=max_rate,
            max_in_flight=in_flight or default_in_flight,
            stop=stop,
        )
        if metrics is not None:
            from bootledger.cli.replica_metrics import metered  # noqa: PLC0415 - it too

            observer = stack.enter_context(metered(observer, node, *address_of(metrics)))
        outcome = run(
            target=target,
            node_id=node,
            ledger=ledger,
            settings=settings,
            observer=observer,
            sink=telling(node),
        )
    _show(outcome, screen, json=json)


def _refuse_for_directories(options: dict[str, object]) -> None:
    given = [name for name, value in options.items() if value]
    if given:
        raise InvalidValue(
            f"{' and '.join(given)} make sense for an address only, and SOURCE is a directory",
            hint="leave them out, or name the primary by http(s)://HOST:PORT",
        )


def _local_run(source: Path, patience: Patience, *, follow: bool) -> partial[Outcome]:
    if patience.give_up_after_s is None and not follow:
        return partial(local.replicate, source)
    return partial(local.keep_replicating, source, patience=patience, follow=follow)


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
