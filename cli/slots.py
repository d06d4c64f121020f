"""The primary's slots: for whom the change log is kept, and no longer keeping it for one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.filesize import decimal
from rich.table import Column, Table
from rich.text import Text

from bootledger.cli.base import KEEPING, LOOKING, Json, app, path_of
from bootledger.cli.errors import told_to_people
from bootledger.cli.primary_answers import SlotListed
from bootledger.cli.tables import age, console
from bootledger.cli.visible import visible
from bootledger.cli.watching import write_json
from bootledger.errors import InvalidValue
from bootledger.files import Files
from bootledger.primary.retention import holdings
from bootledger.primary.service import Primary

PrimaryPath = Annotated[
    Path,
    typer.Argument(parser=path_of, metavar="PRIMARY", help="The directory of a primary."),
]


@app.command(rich_help_panel=LOOKING)
def slots(path: PrimaryPath, *, json: Json = False) -> None:
    """List for which replicas a primary keeps its change log, from where on, or why no longer."""
    with told_to_people():
        _check_here(path)
        found = [
            SlotListed(
                held_changes=holding.changes,
                held_bytes=holding.size_bytes,
                **msgspec.structs.asdict(holding.slot),
            )
            for holding in holdings(path, Files())
        ]
    if json:
        write_json(found)
    elif found:
        console().print(_table(found))
    else:
        console().print("no slots: the log is kept for nobody")


@app.command(name="drop-slot", rich_help_panel=KEEPING)
def drop_slot(
    path: PrimaryPath,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The slot: the name of its node.")],
) -> None:
    """Remove the slot of a replica that is gone, and its base backups.

    Nothing is kept for it any more. A replica that is not gone makes its slot again.
    """
    with told_to_people():
        _check_here(path)
        with Primary.open(path, Files()) as primary:
            names = [slot.name for slot in primary.slots()]
            if name not in names:
                raise InvalidValue(
                    f"{path} has no slot {name!r}", hint=f"it has: {', '.join(names) or 'none'}"
                )
            primary.drop_slot(name)
    console().print(f"dropped slot {visible(name)}")


def _check_here(path: Path) -> None:
    """Raise `InvalidValue` for an address: slots are looked at where the primary is."""
    if str(path).lower().startswith(("http:/", "https:/")) and not path.exists():
        raise InvalidValue(
            f"{str(path)!r:.80} is an address", hint="name the primary's directory, on its machine"
        )


def _table(found: list[SlotListed]) -> Table:
    table = Table(
        "slot",
        "acknowledged",
        Column("holds", justify="right"),
        Column("about", justify="right"),
        "last there",
        Column("state", overflow="fold"),
        box=None,
        padding=(0, 2, 0, 0),
    )
    for slot in found:
        why = slot.invalid_because
        table.add_row(
            Text(visible(slot.name)),
            f"LSN {slot.acknowledged_lsn}",
            f"{slot.held_changes} changes",
            decimal(slot.held_bytes),
            f"{age(slot.active_at_ms)} ago",
            Text("valid") if why is None else Text(f"invalid: {visible(why)}", style="yellow"),
        )
    return table
