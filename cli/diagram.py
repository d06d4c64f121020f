"""`bootledger diagram`: the state machine as a picture, drawn from its table."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, assert_never

import typer

from bootledger.cli.base import LOOKING, app, new_file, path_of
from bootledger.cli.errors import told_to_people
from bootledger.diagrams.chart import chart_of_table
from bootledger.diagrams.dot import dot
from bootledger.diagrams.markdown import markdown
from bootledger.diagrams.mermaid import mermaid
from bootledger.diagrams.plantuml import plantuml
from bootledger.diagrams.scxml import scxml
from bootledger.files import Files


class Format(enum.StrEnum):
    """What a picture is written as."""

    MERMAID = "mermaid"
    DOT = "dot"
    PLANTUML = "plantuml"
    SCXML = "scxml"
    MARKDOWN = "markdown"


@app.command(rich_help_panel=LOOKING)
def diagram(
    *,
    format_: Annotated[Format, typer.Option("--format", help="What it is written as.")] = (
        Format.MERMAID
    ),
    guards: Annotated[bool, typer.Option("--guards", help="Name the guards too.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            parser=path_of,
            metavar="FILE",
            help="Write it there, whole or not at all.",
            show_default="standard output",
        ),
    ] = None,
) -> None:
    """Draw the state machine from its table, the same at each call."""
    with told_to_people():
        _write(_table(format_, guards=guards), output)


def _table(format_: Format, *, guards: bool) -> str:
    chart = chart_of_table()
    match format_:
        case Format.MERMAID:
            return mermaid(chart, guards=guards)
        case Format.DOT:
            return dot(chart, guards=guards)
        case Format.PLANTUML:
            return plantuml(chart, guards=guards)
        case Format.SCXML:
            return scxml(chart, guards=guards)
        case Format.MARKDOWN:
            return markdown(chart, guards=guards)
        case _:
            assert_never(format_)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text, nl=False)
    else:
        Files().replace(new_file(output), text.encode(), name="diagram")
