"""The application that every command joins, and the options that several of them share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bootledger.cli.completions import intents, nodes, unfinished_intents
from bootledger.cli.paths import ledger_path
from bootledger.errors import InvalidValue
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.readers import IDENTITY_NAME
from bootledger.replica.target import LEDGER_NAME

app = typer.Typer(
    name="bootledger",
    help="Copy a database to a replica, and never start over.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


REPLICATING, LOOKING, DECIDING, KEEPING, PROVING = HEADINGS = (
    "Replicate",
    "Look",
    "Decide",
    "Keep in order",
    "Prove",
)
"""Under which headings, and in which order, `--help` lists the commands."""


def path_of(text: str) -> Path:
    """Return what was typed as a path. An empty text is none: a variable that was not set."""
    if not text:
        raise typer.BadParameter("a path must not be empty")
    return Path(text)


def new_file(path: Path) -> Path:
    """Return where a file is to appear: only a regular one may be replaced, links are followed.

    Raises `InvalidValue` if something else is there, or no directory for it.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise InvalidValue(f"{path} is no regular file", hint="write to standard output instead")
    if not path.parent.is_dir():
        raise InvalidValue(f"there is no directory {path.parent}", hint="create it first")
    return path


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
LedgerPath = Annotated[
    Path,
    typer.Argument(parser=path_of, metavar="LEDGER", help="A ledger, or a target that holds one."),
]

NewTarget = Annotated[
    Path,
    typer.Argument(parser=path_of, metavar="TARGET", help="Where the copy lives; made if missing."),
]
LedgerOption = Annotated[
    Path | None,
    typer.Option(
        parser=path_of, metavar="LEDGER", help="The ledger.", show_default="TARGET/ledger"
    ),
]

NodeOption = Annotated[
    str | None, typer.Option("--node", help="Only this node.", autocompletion=nodes)
]
Intent = Annotated[
    str,
    typer.Argument(
        metavar="INTENT",
        help="The intent's id, an unambiguous beginning, or a node: its unfinished one, else last.",
        autocompletion=unfinished_intents,
    ),
]
AnyIntent = Annotated[
    str,
    typer.Argument(
        metavar="INTENT",
        help="The intent's id, an unambiguous beginning, or a node: its unfinished one, else last.",
        autocompletion=intents,
    ),
]


def new_ledger_path(path: Path) -> Path:
    """Return the ledger that `path` is or is to become; a target's is inside of it."""
    return path / LEDGER_NAME if (path / IDENTITY_NAME).is_file() else path


def open_ledger(path: Path) -> IntentLog:
    """Open the ledger that `path` is or holds. Close it when done."""
    return IntentLog.open(ledger_path(path), create=False)
