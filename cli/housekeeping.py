"""Tidying up: what nothing owns is removed, and the rest is named with the reason why it stays."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.filesize import decimal
from rich.table import Column, Table

from bootledger.artefacts import Artefact, Swept
from bootledger.cli.answers import Tidied
from bootledger.cli.base import KEEPING, Json, app, path_of
from bootledger.cli.errors import told_to_people
from bootledger.cli.tables import console
from bootledger.cli.watching import write_json
from bootledger.local import collect_garbage


@app.command(rich_help_panel=KEEPING)
def gc(
    target: Annotated[
        Path,
        typer.Argument(
            parser=path_of, metavar="TARGET", help="The target to tidy up; nothing may run on it."
        ),
    ],
    *,
    source: Annotated[
        Path | None, typer.Option(help="The primary too: base backups of finished intents.")
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option(help="The ledger.", show_default="TARGET/ledger")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing, only say.")] = False,
    json: Json = False,
) -> None:
    """Remove what nothing owns: old generations, leftovers of deaths, finished base backups."""
    with told_to_people():
        swept = collect_garbage(target, source=source, ledger=ledger, dry_run=dry_run)
    if json:
        write_json(
            Tidied(
                removed=swept.removed,
                left=swept.left,
                dry_run=swept.dry_run,
                freed_bytes=swept.freed_bytes,
            )
        )
    else:
        console().print(_shown(swept))


def _shown(swept: Swept) -> Group:
    verb = "would remove" if swept.dry_run else "removed"
    total = f"{verb} {len(swept.removed)}, {decimal(swept.freed_bytes)} in all"
    if not swept.removed:
        total = "nothing to remove"
    return Group(_table(verb, swept.removed), _table("left", swept.left), total)


def _table(what: str, artefacts: list[Artefact]) -> Table:
    columns = (Column(overflow="fold") for _ in range(4))
    table = Table.grid(Column(style="bold"), *columns, padding=(0, 2))
    for artefact in artefacts:
        size = decimal(artefact.size_bytes)
        table.add_row(what, artefact.kind, artefact.path, size, artefact.why)
    return table
