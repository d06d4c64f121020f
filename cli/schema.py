"""`bootledger schema`: the JSON Schema of what a command prints with `--json`."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from bootledger.cli.answers import ANSWERS
from bootledger.cli.base import LOOKING, app
from bootledger.cli.errors import told_to_people
from bootledger.errors import InvalidValue

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


@app.command(rich_help_panel=LOOKING)
def schema(
    command: Annotated[
        str,
        typer.Argument(
            metavar="COMMAND",
            help="Whose output is to be described.",
            autocompletion=lambda incomplete: [
                name for name in ANSWERS if name.startswith(incomplete)
            ],
        ),
    ],
) -> None:
    """Print the JSON Schema of what COMMAND prints with --json; of one line, if it prints many."""
    with told_to_people():
        typer.echo(schema_of(command), nl=False)


def _of_any_kind(kind: type) -> dict[str, object]:
    """Return the schema of a label's value, which may be whatever JSON can say."""
    if kind is not object:
        raise NotImplementedError  # so msgspec is told of a type that has no schema: it names it
    return {"description": "whatever JSON can say"}


def schema_of(command: str) -> bytes:
    """Return the JSON Schema (2020-12) of a command's answer, made from its type.

    Raises `InvalidValue` if the command has none.
    """
    if command not in ANSWERS:
        raise InvalidValue(
            f"no schema of {command!r:.80}", hint=f"there is one of {', '.join(ANSWERS)}"
        )
    made = {
        "$schema": _DIALECT,
        "title": f"bootledger {command} --json",
        **msgspec.json.schema(ANSWERS[command], schema_hook=_of_any_kind),
    }
    return msgspec.json.format(msgspec.json.encode(made)) + b"\n"
