"""`bootledger history` and `bootledger resume-point`: one intent's events, one node's next step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from bootledger.cli.answers import Decided, Happened, History, IntentListed
from bootledger.cli.base import LOOKING, Json, LedgerPath, app, open_ledger
from bootledger.cli.completions import intents, nodes
from bootledger.cli.errors import told_to_people
from bootledger.cli.moments import At, moment, when
from bootledger.cli.nodes import check_known_node
from bootledger.cli.tables import console
from bootledger.cli.visible import visible
from bootledger.cli.watching import write_json, write_line
from bootledger.errors import InvalidValue
from bootledger.projections.as_of import as_of
from bootledger.projections.heads import decode_head
from bootledger.projections.resume import Decision, Resumable, ResumePoint, decide
from bootledger.projections.timeline import says
from bootledger.replica.intent_log import IntentLog
from bootledger.statemachine.events import kind_of
from bootledger.statemachine.progress import known
from bootledger.store.port import Recorded

_TABLE_COLUMNS = 100
_STYLES = {"complete": "green", "abort": "red", "suspend": "yellow", "resume": "cyan"}


@app.command(rich_help_panel=LOOKING)
def history(
    path: LedgerPath,
    intent: Annotated[
        str | None,
        typer.Argument(
            metavar="[INTENT]",
            help="An id, an unambiguous beginning, or a node: its unfinished one, else last.",
            show_default="list all intents",
            autocompletion=intents,
        ),
    ] = None,
    *,
    at: At = None,
    json: Json = False,
) -> None:
    """Show every event of one intent, oldest first, archived ones too; or list all intents."""
    with told_to_people(), open_ledger(path) as log:
        if intent is None:
            if at is not None:
                raise InvalidValue("--at is for one intent", hint="bootledger status LEDGER --at")
            _list_intents(log, json=json)
            return
        intent_id = log.find(intent)
        then = moment(log.store, at) if at is not None else None
        end = log.store.last_position() if then is None else then.position
        events = [event for event in log.store.history(intent_id) if event.position <= end][::-1]
        if not events:
            raise InvalidValue(f"intent {intent_id} had not begun {then}")
    if json:
        write_json(History(intent_id=intent_id, events=[_happened(event) for event in events]))
    else:
        screen = console()
        screen.print(f"intent {intent_id}", history_of(events, width=screen.width))


def _list_intents(log: IntentLog, *, json: bool) -> None:
    """Write a line for each intent, by id, which is by time, as they are read."""
    for head in log.store.heads():
        progress = decode_head(head)
        began_at_ms = known(progress.begin, "how it began").recorded_at_ms
        if json:
            write_json(
                IntentListed(
                    intent_id=head.intent_id,
                    node_id=head.node_id,
                    began_at_ms=began_at_ms,
                    state=progress.state,
                    starts=progress.epoch,
                )
            )
        else:
            starts = "1 start" if progress.epoch == 1 else f"{progress.epoch} starts"
            write_line(
                f"{head.intent_id} {when(began_at_ms)} {visible(head.node_id)}: "
                f"{progress.state}, {starts}"
            )


def _happened(recorded: Recorded) -> Happened:
    return Happened(
        version=recorded.version,
        position=recorded.position,
        recorded_at_ms=recorded.event.recorded_at_ms,
        event=recorded.event,
        says=says(recorded.event),
    )


def history_of(events: Sequence[Recorded], *, width: int) -> Table | Group:
    """Return what happened, oldest first: a row each, or where there is no room two lines each."""
    shown = [
        (
            str(recorded.version),
            str(recorded.position),
            when(recorded.event.recorded_at_ms),
            Text(kind := kind_of(recorded.event), style=_STYLES.get(kind, "")),
            Text(visible(says(recorded.event))),
        )
        for recorded in events
    ]
    if width < _TABLE_COLUMNS:
        lines = [
            Text.assemble(f"{version} (position {position}) ", time, " ", kind, "\n  ", words)
            for version, position, time, kind, words in shown
        ]
        return Group(*lines)
    names = ("version", "position", "time", "event", "what it says")
    table = Table(*(Column(name, overflow="fold") for name in names))
    for row in shown:
        table.add_row(*row)
    return table


@app.command(rich_help_panel=LOOKING)
def resume_point(
    path: LedgerPath,
    *,
    node: Annotated[str, typer.Option(help="The replica's node id.", autocompletion=nodes)],
    at: At = None,
    json: Json = False,
) -> None:
    """Show where the next start of a node goes on, or why it does not."""
    with told_to_people(), open_ledger(path) as log:
        check_known_node(log.store, node)
        if at is not None:
            then = moment(log.store, at)
            decision = decide(node, as_of(log.store, then.position).unfinished)
            heading = f"{then}, if no owner was alive: "
        else:
            decision, heading = log.decide(node), ""
    if json:
        write_json(_decided(node, decision))
    elif isinstance(decision, Resumable):
        console().print(f"{heading}it resumes intent {decision.point.intent_id}", _where(decision))
    else:
        console().print(Text(f"{heading}it resumes nothing: {visible(decision.reason)}"))


def _decided(node: str, decision: Decision) -> Decided:
    if isinstance(decision, Resumable):
        return Decided(node_id=node, resumes=True, why=None, reason=None, point=decision.point)
    why, reason = decision.why.value, decision.reason
    return Decided(node_id=node, resumes=False, why=why, reason=reason, point=None)


def _where(decision: Resumable) -> Table:
    point: ResumePoint = decision.point
    lines = {
        "phase": point.phase,
        "LSN": "none applied" if point.last_applied_lsn is None else str(point.last_applied_lsn),
        "snapshot": point.snapshot_token or "none",
        "from byte": str(point.snapshot_offset),
        "version": str(point.version),
        "epoch": str(point.epoch),
    }
    table = Table.grid(Column(style="bold"), Column(overflow="fold"), padding=(0, 2))
    for name, value in lines.items():
        table.add_row(name, Text(visible(value)))
    return table
