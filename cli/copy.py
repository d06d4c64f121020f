"""`bootledger copy`: a file, a file of a web server or a SQLite database in, its copy out."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bootledger.cli.answers import Copied
from bootledger.cli.bars import bar
from bootledger.cli.base import REPLICATING, Json, LedgerOption, NewTarget, app, path_of
from bootledger.cli.errors import told_to_people
from bootledger.cli.kept import keeper_observer
from bootledger.cli.network import SCHEMES, Ca, Cert, Key, MaxRate, TokenFile, of_address
from bootledger.cli.signals import StopRequest
from bootledger.cli.tables import console
from bootledger.cli.visible import visible
from bootledger.cli.watching import telling, write_json
from bootledger.errors import InvalidValue
from bootledger.files import Files
from bootledger.replica.http.access import Access, read_token
from bootledger.replica.loop import Outcome
from bootledger.replica.readers import current_directory, data_file
from bootledger.replica.settings import Settings
from bootledger.replica.sources.appliers import OpenSqliteCopy, open_file_copy
from bootledger.replica.sources.copying import copy as bring_up_to_date
from bootledger.replica.sources.file import FileSource
from bootledger.replica.sources.http_access import read_headers
from bootledger.replica.sources.http_file import HttpFileSource
from bootledger.replica.sources.http_range import RangeReader
from bootledger.replica.sources.spool import SPOOL_NAME
from bootledger.replica.sources.sqlite import SqliteSource
from bootledger.watch import Watch

_SQLITE = b"SQLite format 3\0"


@app.command(rich_help_panel=REPLICATING)
def copy(  # noqa: PLR0913 - options are what a command has
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A file, or the http(s) address of one.")
    ],
    target: NewTarget,
    *,
    node: Annotated[str, typer.Option(help="The node id of the copy.")],
    sqlite: Annotated[
        bool, typer.Option("--sqlite", help="SOURCE is a SQLite database, and may be written to.")
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="What to call the copy.", show_default="as SOURCE")
    ] = None,
    spool: Annotated[
        Path | None,
        typer.Option(
            parser=path_of, metavar="DIR", help="Where to work.", show_default="TARGET/spool"
        ),
    ] = None,
    ledger: LedgerOption = None,
    in_flight: Annotated[
        int, typer.Option(min=1, max=64, help="Fetch so many chunks at once.")
    ] = 4,
    max_rate: MaxRate = None,
    sha256: Annotated[
        str | None, of_address(metavar="HEX", help="What the whole must sum up to.")
    ] = None,
    token_file: TokenFile = None,
    headers_file: Annotated[
        Path | None, of_address(metavar="FILE", help="Send these, one `Name: value` a line.")
    ] = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    trust_last_modified: Annotated[
        bool,
        of_address(
            "--trust-last-modified",
            help="Where there is no strong ETag: risks to mix two versions of one second.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Copy one file into TARGET so that no death costs more than a chunk, or bring it up to date.

    New, interrupted or behind: the same command. The copy is TARGET/gen-NNNN/NAME, and
    TARGET/CURRENT names the generation. Ctrl-C and SIGTERM suspend it.
    """
    stop = StopRequest()
    stop.install()
    screen = console()
    with told_to_people(), ExitStack() as stack:
        observer = stack.enter_context(keeper_observer(screen, json=json))
        place = spool or target / SPOOL_NAME
        made: FileSource | HttpFileSource | SqliteSource
        if source.lower().startswith(SCHEMES):
            if sqlite:
                raise InvalidValue("--sqlite makes sense for a file on this machine only")
            access = Access(
                token=None if token_file is None else read_token(token_file),
                headers={} if headers_file is None else read_headers(headers_file),
                ca=ca,
                certificate=cert,
                key=key,
            )
            reader = RangeReader(
                source, access, trust_last_modified=trust_last_modified, connections=in_flight
            )
            made = HttpFileSource(
                reader,
                place,
                Files(),
                name=name,
                in_flight=in_flight,
                max_bytes_per_s=max_rate,
                sha256_hex=sha256,
                watch=_downloading(stack, quiet=json),
            )
        else:
            _refuse_for_files(
                {
                    "--sha256": sha256,
                    "--token-file": token_file,
                    "--headers-file": headers_file,
                    "--ca": ca,
                    "--cert": cert,
                    "--key": key,
                    "--trust-last-modified": trust_last_modified,
                }
            )
            _check_kind(path_of(source), sqlite=sqlite)
            kind = SqliteSource if sqlite else FileSource
            made = kind(path_of(source), place, Files(), name=name)
        stack.enter_context(closing(made))
        outcome = bring_up_to_date(
            made,
            target,
            node,
            open_applier=OpenSqliteCopy() if sqlite else open_file_copy,
            ledger=ledger,
            settings=Settings(max_in_flight=in_flight, max_bytes_per_s=max_rate, stop=stop),
            observer=observer,
            sink=telling(node),
        )
        path = data_file(current_directory(target))
    _show(outcome, path, screen, json=json)


def _downloading(stack: ExitStack, *, quiet: bool) -> Watch:
    """Return what shows a bar for as long as something is downloaded."""
    bars: list[tuple[ExitStack, Watch]] = []

    def watch(done: int, total: int) -> None:
        if not bars and done < total:
            own = stack.enter_context(ExitStack())
            bars.append((own, own.enter_context(bar("downloading", quiet=quiet))))
        for own, show in bars:
            show(done, total)
            if done == total:
                own.close()

    return watch


def _check_kind(path: Path, *, sqlite: bool) -> None:
    """Refuse a SQLite database that would be copied without what its log holds, and the reverse."""
    try:
        with path.open("rb") as file:
            is_sqlite = file.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return  # the source says better what is wrong with it
    if sqlite and not is_sqlite and path.stat().st_size:
        raise InvalidValue(f"{path} is no SQLite database", hint="leave --sqlite out")
    logs = [Path(f"{path}{end}") for end in ("-wal", "-journal")]
    if not sqlite and is_sqlite and (found := [log.name for log in logs if log.exists()]):
        raise InvalidValue(
            f"{path} is a SQLite database, and {found[0]} beside it belongs to it",
            hint="add --sqlite: a copy of the file alone may be no version of it",
        )


def _refuse_for_files(options: dict[str, object]) -> None:
    given = [name for name, value in options.items() if value]
    if given:
        raise InvalidValue(
            f"{' and '.join(given)} make sense for an address only, and SOURCE is a file"
        )


def _show(outcome: Outcome, path: Path, screen: Console, *, json: bool) -> None:
    if json:
        return write_json(
            Copied(
                intent_id=outcome.intent_id,
                copied=outcome.copied,
                generation=outcome.generation,
                lsn=outcome.applied_lsn,
                epochs=outcome.epochs,
                path=str(path),
            )
        )
    how = "copied" if outcome.copied else "nothing to copy"
    starts = "" if outcome.epochs == 1 else f" after {outcome.epochs} starts"
    screen.print(f"[bold green]up to date[/bold green]: {how}{starts}, ", end="")
    screen.print(visible(str(path)), markup=False, highlight=False, soft_wrap=True)
    return None
