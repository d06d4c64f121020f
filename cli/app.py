"""The application. A command is imported when somebody runs it or asks for its help."""

from __future__ import annotations

from importlib import import_module, metadata
from typing import Annotated

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command_from_info

from bootledger.cli.base import app

__all__ = ["MODULES", "app"]

MODULES = {
    "serve": "serve",
    "copy": "copy",
    "replicate": "replicate",
    "demo": "demo",
    "history": "history",
    "resume-point": "history",
    "schema": "schema",
    "slots": "slots",
    "explain": "verbs",
    "watch": "watch",
    "diagram": "diagram",
    "forecast": "forecast",
    "status": "status",
    "dangling": "status",
    "hold": "verbs",
    "release": "verbs",
    "adopt": "verbs",
    "abort": "verbs",
    "discard": "verbs",
    "compact": "compact",
    "export": "exchange",
    "import": "exchange",
    "drop-slot": "slots",
    "verify": "verify",
    "gc": "housekeeping",
    "simulate": "simulate",
}
"""Which module of this package has a command, in the order in which `--help` lists them."""


class Commands(TyperGroup):
    """Commands that are known by name, and imported when somebody asks for one."""

    def list_commands(self, ctx: object) -> list[str]:
        """Return the names of all."""
        return list(MODULES)

    def get_command(self, ctx: object, cmd_name: str) -> TyperCommand | None:
        """Import a command and return it, None if there is none of that name."""
        if cmd_name not in self.commands:
            # Where nobody has the name, all are there to suggest a similar one.
            wanted = [MODULES[cmd_name]] if cmd_name in MODULES else MODULES.values()
            for module in wanted:
                import_module(f"bootledger.cli.{module}")
            for info in app.registered_commands[len(self.commands) :]:
                self.add_command(
                    get_command_from_info(
                        info,
                        pretty_exceptions_short=False,
                        rich_markup_mode=self.rich_markup_mode,
                    )
                )
        found = self.commands.get(cmd_name)
        return found if isinstance(found, TyperCommand) else None


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(metadata.version("bootledger"))
        raise typer.Exit


@app.callback(cls=Commands)
def bootledger(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Say which version this is."
        ),
    ] = False,
) -> None:
    """Copy a database to a replica, and never start over."""
