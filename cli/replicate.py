"""`bootledger replicate`: a directory or an address in, a replica that is kept up to date out."""

from __future__ import annotations

import re
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
from bootledger.cli.base import REPLICATING, Json, app, path_of
from bootledger.cli.errors import told_to_people
from bootledger.cli.kept import keeper_observer
from bootledger.cli.signals import StopRequest
from bootledger.cli.tables import console
from bootledger.cli.typed import address_of, size_of
from bootledger.cli.watching import telling, write_json
from bootledger.errors import InvalidValue
from bootledger.files import translated
from bootledger.replica.http.access import Access
from bootledger.replica.http.compression import Compression
from bootledger.replica.loop import Outcome
from bootledger.replica.settings import DEFAULT_LAG_CHANGES, Settings
from bootledger.replica.waiting import Patience

_SCHEMES = ("http://", "https://")
_LIKE_AN_ADDRESS = re.compile(
    r"[A-Za-z0-9.-]+:[0-9]{1,5}/?|\[[0-9A-Fa-f:.]+\]:[0-9]{1,5}/?|ht+ps?:.*"
)
_TOKEN_MAX_BYTES = 8192
_NETWORK = "For an address"
_LONGEST_S = 10 * 365 * 86_400
_POLL_ADDRESS_S, _POLL_DIRECTORY_S = 10.0, 1.0

_OfAddress = partial(typer.Option, rich_help_panel=_NETWORK)


@app.command(rich_help_panel=REPLICATING)
def replicate(  # noqa: PLR0913 - options are what a command has
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="The primary: its directory, or http(s)://HOST:PORT."
        ),
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
    max_rate: Annotated[
        int | None,
        typer.Option(
            parser=size_of,
            metavar="BYTES_PER_S",
            help="Fetch no faster: 500k, 50M, 1.5G. What has to be fetched again comes on top.",
        ),
    ] = None,
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
    token_file: Annotated[
        Path | None, _OfAddress(metavar="FILE", help="File that holds the bearer token, alone.")
    ] = None,
    ca: Annotated[
        Path | None,
        _OfAddress(metavar="FILE", help="Believe certificates of this CA (PEM) instead."),
    ] = None,
    cert: Annotated[
        Path | None, _OfAddress(metavar="FILE", help="Client certificate chain, PEM.")
    ] = None,
    key: Annotated[Path | None, _OfAddress(metavar="FILE", help="Its private key, PEM.")] = None,
    mirror: Annotated[
        list[str] | None,
        _OfAddress(
            metavar="URL", help="Fetch chunks from URL/TOKEN/data.mdb too; may be repeated."
        ),
    ] = None,
    compression: Annotated[
        Compression | None,
        _OfAddress(help="Have chunks compressed.", show_default="auto: where that is faster"),
    ] = None,
    insecure: Annotated[
        bool, _OfAddress("--insecure", help="Send the token in clear text to another machine.")
    ] = False,
    ignore_forecast: Annotated[
        bool,
        _OfAddress("--ignore-forecast", help="Go on even if it cannot end before the log is gone."),
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


def is_address(source: str) -> bool:
    """Return whether a source is an address, not a directory; raise `InvalidValue` for others."""
    if source.lower().startswith(_SCHEMES):
        return True
    if "://" in source:
        raise InvalidValue(
            f"{source!r:.80} is no address", hint="it begins with http:// or https://"
        )
    if _LIKE_AN_ADDRESS.fullmatch(source) and not Path(source).exists():
        raise InvalidValue(
            f"there is no directory {source!r:.80}", hint="an address begins with http://"
        )
    return False


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


def access_of(
    source: str,
    token_file: Path | None,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    *,
    insecure: bool,
) -> Access:
    """Return how to be let in at an address; raise `InvalidValue` for what makes no sense there."""
    tls = {"--ca": ca, "--cert": cert, "--key": key}
    given = [name for name, value in tls.items() if value is not None]
    if given and not source.lower().startswith("https://"):
        raise InvalidValue(
            f"{' and '.join(given)} make sense for https only", hint="name https://HOST:PORT"
        )
    token = None if token_file is None else _read_token(token_file)
    return Access(token=token, ca=ca, certificate=cert, key=key, insecure=insecure)


def _read_token(file: Path) -> str:
    """Return the token in a file. No error says anything of what is in it."""
    with translated(file):
        if not file.is_file():
            raise InvalidValue(f"there is no file {file} to read a token from")
        data = file.read_bytes()[: _TOKEN_MAX_BYTES + 1]
    words = data.split()
    if len(words) != 1 or len(data) > _TOKEN_MAX_BYTES or not data.isascii():
        raise InvalidValue(
            f"{file} does not hold one token", hint="the client's file is the token alone"
        )
    return words[0].decode()


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
