"""`bootledger serve`: a primary over HTTP, for as many replicas as come."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from bootledger.basebackup.manifest import MAX_CHUNK_BYTES
from bootledger.basebackup.publishing import DEFAULT_CHUNK_BYTES
from bootledger.cli.base import REPLICATING, Json, app, path_of
from bootledger.cli.errors import told_to_people
from bootledger.cli.primary_answers import Listening
from bootledger.cli.typed import address_of, size_of
from bootledger.cli.visible import visible
from bootledger.cli.watching import write_json, write_line
from bootledger.errors import InvalidValue
from bootledger.files import Files
from bootledger.primary.http.limits import Limits
from bootledger.primary.service import DEFAULT_MAX_BACKUPS, Primary, Retention


@app.command(rich_help_panel=REPLICATING)
def serve(  # noqa: PLR0913 - options are what a command has
    primary: Annotated[
        Path,
        typer.Argument(parser=path_of, metavar="PRIMARY", help="The primary's database directory."),
    ],
    *,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where; port 0 takes any that is free.")
    ] = "127.0.0.1:7433",
    tokens: Annotated[
        Path | None,
        typer.Option(help="File of bearer tokens: `read TOKEN` or `operate TOKEN` a line."),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
    client_ca: Annotated[
        Path | None, typer.Option(help="Let in only clients with a certificate of this CA.")
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Listen without tokens or TLS where others can connect."),
    ] = False,
    max_rate: Annotated[
        int | None,
        typer.Option(
            parser=size_of, metavar="BYTES_PER_S", help="To all replicas together: 50M, 1.5G."
        ),
    ] = None,
    keep_changes: Annotated[
        int | None,
        typer.Option(min=0, help="Forget changes that no slot needs, but keep so many."),
    ] = None,
    slot_max_changes: Annotated[
        int | None, typer.Option(min=1, help="Invalidate a slot that is further behind.")
    ] = None,
    slot_max_bytes: Annotated[
        int | None,
        typer.Option(
            parser=size_of,
            metavar="SIZE",
            help="Invalidate a slot that holds about more than that of the log.",
        ),
    ] = None,
    slot_idle: Annotated[
        float | None,
        typer.Option(min=1, metavar="SECONDS", help="Invalidate a slot unused for so long."),
    ] = None,
    reuse_backups_for: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Share a base backup that is not older."),
    ] = 3600.0,
    chunk_bytes: Annotated[
        int | None,
        typer.Option(
            parser=size_of,
            metavar="SIZE",
            help="Cut base backups into chunks so long, up to 67M.",
            show_default="4 MiB",
        ),
    ] = None,
    enforce_every: Annotated[
        float,
        typer.Option(min=0.1, metavar="SECONDS", help="How often retention is carried out."),
    ] = 5.0,
    max_backups: Annotated[
        int,
        typer.Option(min=1, help="How many base backups exist at once; shared ones count once."),
    ] = DEFAULT_MAX_BACKUPS,
    max_connections: Annotated[
        int, typer.Option(min=1, max=100_000, help="How many connections are answered at once.")
    ] = Limits.connections,
    json: Json = False,
) -> None:
    """Serve PRIMARY to replicas over HTTP, until Ctrl-C or SIGTERM.

    SIGHUP reads tokens and certificates again. The log goes to standard error: a line for each
    request, no secret in any.
    """
    # aiohttp takes a while to import: the other commands do not wait for it.
    from bootledger.primary.http import server  # noqa: PLC0415 - as said

    log_to_stderr(json=json)

    def listening(url: str) -> None:
        if json:
            write_json(Listening(listening=url))
        else:
            write_line(f"listening on {url}")

    with told_to_people():
        host, port = address_of(listen)
        options = server.Options(
            host=host,
            port=port,
            tokens=tokens,
            certificate=tls_cert,
            key=tls_key,
            client_ca=client_ca,
            insecure=insecure,
            max_bytes_per_s=max_rate,
            limits=Limits(connections=max_connections, enforce_every_s=enforce_every),
        )
        if chunk_bytes is not None and chunk_bytes > MAX_CHUNK_BYTES:
            raise InvalidValue(f"--chunk-bytes is at most {MAX_CHUNK_BYTES}, not {chunk_bytes}")
        retention = Retention(
            keep_changes=keep_changes,
            slot_max_changes=slot_max_changes,
            slot_max_bytes=slot_max_bytes,
            slot_idle_ms=None if slot_idle is None else int(slot_idle * 1000),
        )
        if not primary.is_dir():
            raise InvalidValue(f"there is no primary at {primary}", hint="is it mounted?")
        with Primary.open(
            primary,
            Files(),
            retention=retention,
            reuse_backups_s=reuse_backups_for,
            max_backups=max_backups,
            chunk_bytes=chunk_bytes or DEFAULT_CHUNK_BYTES,
        ) as served:
            server.serve(served, options, listening)


class _Line(logging.Formatter):
    """One line a record, whatever stands in it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record with everything escaped that is not to be printed."""
        return visible(super().format(record))


class _JsonLine(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        said = {
            "at_ms": int(record.created * 1000),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(said).decode()


def log_to_stderr(*, json: bool) -> None:
    """Have everything that bootledger logs from `info` up written on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLine() if json else _Line("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("bootledger")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
