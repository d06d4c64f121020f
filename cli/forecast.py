"""`bootledger forecast`: would a bootstrap of this source converge, and when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import typer
from rich.table import Column, Table
from rich.text import Text

from bootledger.basebackup.manifest import DATA_NAME
from bootledger.cli.base import LOOKING, Json, app, open_ledger, path_of
from bootledger.cli.errors import ExitCode, told_to_people
from bootledger.cli.moments import age_ms
from bootledger.cli.network import Ca, Cert, Insecure, Key, TokenFile, access_of, is_address
from bootledger.cli.tables import console
from bootledger.cli.typed import size_of
from bootledger.cli.visible import visible
from bootledger.cli.watching import FORECAST_STYLES, write_json
from bootledger.errors import SourceUnavailable
from bootledger.files import Files
from bootledger.projections.amounts import count, duration, size
from bootledger.projections.convergence import Convergence, Situation
from bootledger.projections.forecast import Forecast
from bootledger.projections.forecast import forecast as forecast_of
from bootledger.projections.rates import Pace, pace_of_node
from bootledger.replica.database import Database
from bootledger.replica.forecasting import situation_of
from bootledger.replica.http.access import Access
from bootledger.replica.http.source import HttpSource
from bootledger.replica.identity import read_identity
from bootledger.replica.wire import PrimaryInfo
from bootledger.statemachine.fold import EMPTY
from bootledger.statemachine.progress import State

_EXIT_CODES = {Convergence.DOUBTFUL: ExitCode.FOUND, Convergence.CANNOT: ExitCode.REFUSED}
_ANY_SLOT = "forecast"
"""Whoever only asks how a source stands holds no slot; a client must have a name for one."""


@app.command(rich_help_panel=LOOKING)
def forecast(  # noqa: PLR0913 - options are what a command has
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="The primary: a directory, or http(s)://…")
    ],
    target: Annotated[
        Path | None,
        typer.Argument(
            parser=path_of, metavar="[TARGET]", help="The replica, whose ledger knows its pace."
        ),
    ] = None,
    *,
    node: Annotated[str | None, typer.Option(help="The node id, if not TARGET's own.")] = None,
    copy_rate: Annotated[
        int | None,
        typer.Option(parser=size_of, metavar="BYTES_PER_S", help="How fast it copies: 50M, 1.5G."),
    ] = None,
    apply_rate: Annotated[
        float | None, typer.Option(min=0, help="How many changes a second it applies.")
    ] = None,
    write_rate: Annotated[
        float | None, typer.Option(min=0, help="How many changes a second are written.")
    ] = None,
    outage: Annotated[
        str, typer.Option(metavar="TIME", help="How long the link may be down: 30min, 2h.")
    ] = "0s",
    window: Annotated[
        int | None,
        typer.Option(min=0, help="As if the source kept so many changes for a replica."),
    ] = None,
    sample: Annotated[
        float,
        typer.Option(min=0, max=3600, help="Measure the write rate for so many seconds."),
    ] = 2.0,
    token_file: TokenFile = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    insecure: Insecure = False,
    json: Json = False,
) -> None:
    """Say whether a bootstrap of SOURCE converges, when, and what would help. Changes nothing.

    Of one that is unfinished in TARGET's ledger, how it goes on; otherwise of one that begins now.
    Rates that are not given are those of the node's last bootstrap, and what SOURCE says. Exits
    with 0 if it converges, 3 if that is doubtful, 64 if it cannot.
    """
    with told_to_people():
        known = _known(target, node)
        outage_s = age_ms(outage) / 1000
        access = access_of(source, token_file, ca, cert, key, insecure=insecure)
        with _looking(source, access) as look:
            info = look()
            if write_rate is None:
                info, write_rate = _sampled(info, look, sample)
        given = Pace(
            copy_bytes_per_s=None if copy_rate is None else float(copy_rate),
            apply_changes_per_s=apply_rate,
        )
        now = situation_of(
            info,
            given.or_else(known.pace),
            write_changes_per_s=write_rate,
            left_bytes=known.left_bytes,
            check_bytes=known.check_bytes,
            has_lsn=known.has_lsn,
            outage_s=outage_s,
        )
        if window is not None:
            now = msgspec.structs.replace(now, slot_max_changes=window)
        found = forecast_of(now)
    if json:
        write_json(found)
    else:
        console().print(table_of(found))
    if found.verdict in _EXIT_CODES:
        raise typer.Exit(_EXIT_CODES[found.verdict])


class _Known(NamedTuple):
    """What a ledger knows of a node: its pace, and how far its bootstrap is if one goes on."""

    pace: Pace = Pace()
    left_bytes: int | None = None
    check_bytes: int | None = None
    has_lsn: int | None = None


def _known(target: Path | None, node: str | None) -> _Known:
    """Return what the target's ledger knows; one that is not there yet knows nothing."""
    if target is None or not target.exists():
        return _Known()
    node_id = node or read_identity(target).node_id
    with open_ledger(target) as log:
        pace = pace_of_node(log.store, node_id)
        unfinished = [one.progress for one in log.list_unfinished(node_id)]
    progress = unfinished[0] if len(unfinished) == 1 else EMPTY
    snapshot = progress.snapshot
    if snapshot is None or snapshot.size_bytes is None:
        return _Known(pace)
    if progress.phase is not State.TRANSFERRING:
        return _Known(pace, 0, 0, progress.applied_lsn)
    left_bytes = snapshot.size_bytes - snapshot.staged_bytes
    return _Known(pace, left_bytes, snapshot.size_bytes, snapshot.lsn)


@contextmanager
def _looking(source: str, access: Access) -> Iterator[Callable[[], PrimaryInfo]]:
    """Open the source, and yield what asks it where it stands."""
    if is_address(source):
        with closing(HttpSource.open(source, slot=_ANY_SLOT, access=access)) as remote:
            yield remote.info
        return
    path = path_of(source)
    if not path.exists():
        raise SourceUnavailable(f"there is no primary at {path}", hint="is it mounted?")
    with Database.open(path, Files(), name="primary") as database:
        yield lambda: _info(database)


def _info(database: Database) -> PrimaryInfo:
    identity = database.identity()
    return PrimaryInfo(
        database_id=identity.database_id,
        timeline=identity.timeline,
        last_lsn=database.last_lsn(),
        pruned_lsn=database.pruned_lsn(),
        size_bytes=(database.path / DATA_NAME).stat().st_size,
        log_bytes=database.log_bytes(),
    )


def _sampled(
    info: PrimaryInfo, look: Callable[[], PrimaryInfo], sample_s: float
) -> tuple[PrimaryInfo, float | None]:
    """Return where the source stands after a while, and how fast it was written to meanwhile.

    What the source measured itself counts more: it looks for longer.
    """
    if info.write_rate_per_s is not None or not sample_s:
        return info, info.write_rate_per_s
    began_s = time.monotonic()
    time.sleep(sample_s)
    later = look()
    elapsed_s = time.monotonic() - began_s
    return later, max(0, later.last_lsn - info.last_lsn) / elapsed_s


def table_of(found: Forecast) -> Table:
    """Return the forecast as a small table: the verdict, the numbers, and what would help."""
    table = Table.grid(Column(style="bold"), Column(overflow="fold"), padding=(0, 2))
    table.add_row("verdict", Text(found.verdict, style=FORECAST_STYLES[found.verdict]))
    now = found.situation
    rows = [("copy", _copy(found, now)), ("log", _log(found, now)), ("window", _window(found))]
    for reason in found.reasons:
        rows.append(("because", reason.says))
        rows += [("would help", remedy.says) for remedy in reason.remedies]
    rows += [("not known", what) for what in found.unknown]
    last = ""
    for name, says in rows:
        if says:
            table.add_row("" if name == last else name, Text(visible(says)))
            last = name
    return table


def _copy(found: Forecast, now: Situation) -> str:
    if not now.left_bytes:
        return "nothing is left to copy"
    parts = [size(now.left_bytes)]
    if now.copy_bytes_per_s is not None:
        parts.append(f"at {size(now.copy_bytes_per_s)}/s")
    if found.copy_ends_in_s is not None:
        parts.append(f"ends in {duration(found.copy_ends_in_s)}")
    if now.outage_s:
        parts.append(f"with {duration(now.outage_s)} without a link")
    return ", ".join(parts)


def _log(found: Forecast, now: Situation) -> str:
    parts = []
    if now.write_changes_per_s is not None:
        parts.append(f"grows by {count(now.write_changes_per_s)} changes/s")
    if now.apply_changes_per_s is not None:
        parts.append(f"is applied at {count(now.apply_changes_per_s)}/s")
    if found.caught_up_in_s is not None and found.verdict is not Convergence.CANNOT:
        parts.append(f"caught up in {duration(found.caught_up_in_s)}")
    return ", ".join(parts)


def _window(found: Forecast) -> str:
    needed = "" if found.needed_changes is None else f"{count(found.needed_changes)} changes needed"
    now = found.situation
    if found.window_changes is None:
        unlimited = now.slot_max_changes is None and now.slot_max_bytes is None
        return ", ".join(filter(None, (needed, "no limit" if unlimited else "")))
    kept = f"{count(found.window_changes)} are kept"
    used = found.window_ratio
    share = "" if used is None else f"uses {used * 100:,.0f} %"
    return ", ".join(filter(None, (needed, kept, share)))
