"""Moving events: a ledger as lines of JSON and back, and RedDB's intent log into a ledger."""

from __future__ import annotations

import contextlib
import enum
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from bootledger.cli.answers import Exported, Merged
from bootledger.cli.base import (
    KEEPING,
    Json,
    LedgerPath,
    app,
    new_file,
    new_ledger_path,
    open_ledger,
)
from bootledger.cli.errors import ExitCode, told_to_people
from bootledger.cli.tables import console
from bootledger.cli.watching import write_json
from bootledger.errors import InvalidValue
from bootledger.files import Files, translated
from bootledger.replica import exchange, reddb_import
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.quarantine import QuarantineFolder

_LOOK_BYTES = 64 * 1024
_REDDB_FIELDS = (b'"phase"', b'"op"')
"""What every record of RedDB's has: a file with neither, as far as one looks, is something else."""


class Origin(enum.StrEnum):
    """Who wrote a file."""

    BOOTLEDGER = "bootledger"
    REDDB = "reddb"


class Counted:
    """The same lines, once, and how many of them were taken."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self.count = 0
        self._lines = lines

    def __iter__(self) -> Iterator[bytes]:
        for line in self._lines:
            self.count += 1
            yield line


@app.command("export", rich_help_panel=KEEPING)
def export_events(
    path: LedgerPath,
    *,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write here, in one step.")
    ] = None,
    json: Json = False,
) -> None:
    """Print every event of a ledger, one JSON object a line.

    With -o, the file appears whole and durable or not at all, and replaces what was there.
    """
    with told_to_people(), open_ledger(path) as log:
        if output is not None:
            output = new_file(output)
        lines = exchange.exported_lines(log.store)
        if output is None:
            for line in lines:
                sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            return
        written = Counted(lines)
        Files().replace_from(output, written, name="export")
    events = written.count - 2  # without header and trailer
    if json:
        write_json(Exported(events=events, output=str(output)))
    else:
        console().print(f"{events} events are in {output}")


@app.command("import", rich_help_panel=KEEPING)
def import_file(
    file: Annotated[Path, typer.Argument(help="An export, or RedDB's intent log.")],
    *,
    ledger: Annotated[Path, typer.Option(help="The ledger; made if it is missing.")],
    origin: Annotated[
        Origin | None,
        typer.Option("--from", help="Who wrote FILE.", show_default="its content tells"),
    ] = None,
    json: Json = False,
) -> None:
    """Add the events of FILE to a ledger; what is there already is skipped.

    Exits with 65 if something of RedDB's log was damaged or had to be put into quarantine: the rest
    is imported then, and LEDGER/quarantine/ holds what was not.
    """
    with told_to_people(), _opened(file) as opened:
        found = origin or _origin_of(file, opened)
        ledger = new_ledger_path(ledger)
        with IntentLog.open(ledger) as log:
            if found is Origin.BOOTLEDGER:
                told = exchange.import_events(log.store, opened)
                _show(told.appended, told.present, json=json)
                return
            quarantine = QuarantineFolder(ledger, Files())
            report = reddb_import.import_log(log.store, opened, quarantine)
    if json:
        write_json(report)
    else:
        _show_report(report, quarantine.path)
    if report.needs_a_look:
        raise typer.Exit(ExitCode.CORRUPTED)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    if not file.exists():
        raise InvalidValue(f"there is no file {file}")
    if not file.is_file():
        raise InvalidValue(
            f"{file} is no regular file", hint="it is read twice: put it into a file first"
        )
    with translated(file), file.open("rb") as opened:
        yield opened


def _origin_of(file: Path, opened: BinaryIO) -> Origin:
    beginning = opened.read(_LOOK_BYTES)
    if not beginning:
        raise InvalidValue(f"{file} is empty: nobody can tell what it was", hint="say --from")
    if exchange.is_export(beginning):
        return Origin.BOOTLEDGER
    if not any(field in beginning for field in _REDDB_FIELDS):
        raise InvalidValue(
            f"{file} looks neither like an export nor like RedDB's intent log",
            hint="if it is one of them and damaged, say --from",
        )
    return Origin.REDDB


def _show(appended: int, present: int, *, json: bool) -> None:
    if json:
        write_json(Merged(appended=appended, present=present))
    else:
        console().print(f"{appended} events were added, {present} were there already")


def _show_report(report: reddb_import.Imported, quarantine: Path) -> None:
    screen = console()
    screen.print(
        f"{report.records} records of {report.intents} intents: {report.appended} events were "
        f"added, {report.present} were there already"
    )
    for op, count in report.foreign.items():
        screen.print(f"{count} records of operation {op!r} are no bootstrap", markup=False)
    for title, count, details in (
        ("noted", report.noted, report.notes),
        ("damaged", report.damaged, report.damage),
    ):
        for detail in details:
            screen.print(f"{title}: {detail}", markup=False)
        if count > len(details):
            screen.print(f"{title}: {count - len(details)} more")
    for intent, reason in report.quarantined:
        screen.print(f"in quarantine: intent {intent}: {reason}", markup=False, style="yellow")
    if report.quarantined:
        screen.print(f"{quarantine} holds them, whole", markup=False)
