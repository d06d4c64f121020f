"""`bootledger diagram`: the state machine as a picture, and what a ledger says painted on it."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, assert_never

import typer

from bootledger.cli.base import LOOKING, app, new_file, open_ledger, path_of
from bootledger.cli.completions import intents
from bootledger.cli.errors import told_to_people
from bootledger.cli.moments import At, Moment, moment
from bootledger.cli.painting import painted_fleet, painted_history, painted_timeline
from bootledger.diagrams.chart import chart_of_table
from bootledger.diagrams.dot import dot
from bootledger.diagrams.markdown import markdown
from bootledger.diagrams.mermaid import mermaid
from bootledger.diagrams.plantuml import plantuml
from bootledger.diagrams.scxml import scxml
from bootledger.diagrams.svg import svg
from bootledger.errors import InvalidValue
from bootledger.files import Files
from bootledger.projections.as_of import as_of
from bootledger.projections.course import Course
from bootledger.projections.latest import Latest, LatestIntents
from bootledger.projections.runner import catch_up
from bootledger.replica.intent_log import IntentLog


class Format(enum.StrEnum):
    """What a picture is written as."""

    MERMAID = "mermaid"
    DOT = "dot"
    PLANTUML = "plantuml"
    SCXML = "scxml"
    MARKDOWN = "markdown"
    SVG = "svg"


@app.command(rich_help_panel=LOOKING)
def diagram(
    ledger: Annotated[
        Path | None,
        typer.Argument(
            parser=path_of, metavar="[LEDGER]", help="A ledger, or a target that holds one."
        ),
    ] = None,
    *,
    intent: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Paint the way of this intent of LEDGER.", autocompletion=intents
        ),
    ] = None,
    fleet: Annotated[
        bool, typer.Option("--fleet", help="Paint how many intents of LEDGER are in each state.")
    ] = False,
    timeline: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Draw this intent of LEDGER over time.", autocompletion=intents
        ),
    ] = None,
    at: At = None,
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="What it is written as; what is painted is SVG.",
            show_default="mermaid, or svg for LEDGER",
        ),
    ] = None,
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
    """Draw the state machine from its table, or what LEDGER says of it; the same at each call.

    An intent's way: how often and how long it was where, where its owners died, where it is.
    """
    with told_to_people():
        if ledger is None:
            if intent is not None or fleet or timeline is not None or at is not None:
                raise InvalidValue("no LEDGER is named", hint="bootledger diagram LEDGER --fleet")
            _write(_table(format_ or Format.MERMAID, guards=guards), output)
            return
        if format_ not in {None, Format.SVG}:
            raise InvalidValue(f"what is painted is SVG, not {format_}", hint="--format svg")
        if sum((intent is not None, fleet, timeline is not None)) != 1:
            raise InvalidValue(
                "one picture is drawn of a ledger", hint="--intent ID, --fleet or --timeline ID"
            )
        with open_ledger(ledger) as log:
            _write(_painted(log, intent, timeline, at, guards=guards), output)


def _painted(
    log: IntentLog, intent: str | None, timeline: str | None, at: str | None, *, guards: bool
) -> str:
    store = log.store
    then = moment(store, str(store.last_position()) if at is None else at)
    if (name := intent or timeline) is not None:
        intent_id = log.find(name)
        course = Course(store, intent_id, then.position)
        if timeline is None:
            return painted_history(intent_id, course, guards=guards)
        return painted_timeline(intent_id, course)
    return painted_fleet(_latest(log, then, at), then, guards=guards)


def _latest(log: IntentLog, then: Moment, at: str | None) -> Latest:
    if at is None:
        return catch_up(log.store, LatestIntents())
    return as_of(log.store, then.position).latest


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
        case Format.SVG:
            return svg(chart, guards=guards)
        case _:
            assert_never(format_)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text, nl=False)
    else:
        Files().replace(new_file(output), text.encode(), name="diagram")
