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
        bool,
        typer.Option(
            "--fleet", help="Paint how many intents of LEDGER are in each state: the default."
        ),
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
            show_default="by FILE's ending, else mermaid, or svg for LEDGER",
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
        asked = {"--intent": intent, "--timeline": timeline, "--at": at}
        wished = [f"{name} {value}" for name, value in asked.items() if value is not None]
        wished += ["--fleet"] if fleet else []
        if ledger is None:
            if wished:
                raise InvalidValue(
                    "no LEDGER is named", hint=f"bootledger diagram LEDGER {' '.join(wished)}"
                )
            format_ = _format(format_, output) or Format.MERMAID
            _write(_table(format_, guards=guards), output)
            return
        ending = "" if output is None else output.suffix.lower()
        if _format(format_, output) not in {None, Format.SVG} or ending not in {"", ".svg"}:
            raise InvalidValue(
                "what is painted is SVG", hint="--format svg, and a file that ends in .svg"
            )
        if sum((intent is not None, fleet, timeline is not None)) > 1:
            raise InvalidValue(
                "one picture is drawn of a ledger", hint="--intent ID, --fleet or --timeline ID"
            )
        with open_ledger(ledger) as log:
            _write(_painted(log, intent, timeline, at, guards=guards), output)


_ENDINGS = {
    ".mmd": Format.MERMAID,
    ".dot": Format.DOT,
    ".puml": Format.PLANTUML,
    ".scxml": Format.SCXML,
    ".md": Format.MARKDOWN,
    ".svg": Format.SVG,
}


def _format(format_: Format | None, output: Path | None) -> Format | None:
    """Return what was asked for, or what the file's ending says; None if neither says anything.

    Raises `InvalidValue` if they differ, or if only an ending is there and it says nothing.
    """
    ending = "" if output is None else output.suffix.lower()
    named = _ENDINGS.get(ending)
    if ending and (named or format_) != (format_ or named or ""):
        means = "of no format" if named is None else f"of {named}, not {format_}"
        raise InvalidValue(
            f"{output}: {ending!r} is the ending {means}",
            hint=", ".join(f"{known} for {of}" for known, of in _ENDINGS.items()),
        )
    return named or format_


def _painted(
    log: IntentLog, intent: str | None, timeline: str | None, at: str | None, *, guards: bool
) -> str:
    store = log.store
    name = timeline if intent is None else intent
    if name is None:
        latest, now = _latest(log, at)
        alive = [one for one in latest.unfinished if store.claimed(one)] if at is None else None
        return painted_fleet(latest, now, guards=guards, running=alive)
    intent_id = log.find(name)
    running = store.claimed(intent_id)
    now = moment(store, str(store.last_position()) if at is None else at)
    # Asked before and after: an owner that comes or goes in between is not taken for dead.
    running = running or store.claimed(intent_id)
    course = Course(store, intent_id, now.position)
    alive_now, then = (running, None) if at is None else (None, now)
    if timeline is None:
        return painted_history(intent_id, course, guards=guards, running=alive_now, then=then)
    return painted_timeline(intent_id, course, running=alive_now, then=then)


def _latest(log: IntentLog, at: str | None) -> tuple[Latest, Moment]:
    now = moment(log.store, str(log.store.last_position()) if at is None else at)
    if at is None:
        return catch_up(log.store, LatestIntents()), now
    return as_of(log.store, now.position).latest, now


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
