"""`bootledger history` and `bootledger resume-point`: one intent's events, one node's next step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Column, Table

from bootledger.cli.answers import Decided, Happened, History
from bootledger.cli.base import LOOKING, Intent, Json, LedgerPath, app, open_ledger
from bootledger.cli.completions import nodes
from bootledger.cli.errors import told_to_people
from bootledger.cli.moments import At, moment, when
from bootledger.cli.nodes import check_known_node
from bootledger.cli.tables import console
from bootledger.cli.watching import write_json
from bootledger.projections.as_of import as_of
from bootledger.projections.resume import Decision, Resumable, ResumePoint, decide
from bootledger.projections.timeline import says
from bootledger.statemachine.events import kind_of
from bootledger.store.port import Recorded


@app.command(rich_help_panel=LOOKING)
def history(
    path: LedgerPath,
    intent: Intent,
    *,
    at: At = None,
    json: Json = False,
) -> None:
    """Show every event of one intent, oldest first, archived ones too."""
    with told_to_people(), open_ledger(path) as log:
        intent_id = log.find(intent)
        end = moment(log.store, at).position if at is not None else log.store.last_position()
        events = [event for event in log.store.history(intent_id) if event.position <= end][::-1]
    if json:
        write_json(History(intent_id=intent_id, events=[_happened(event) for event in events]))
    else:
        console().print(f"intent {intent_id}", _table(events))


def _happened(recorded: Recorded) -> Happened:
    return Happened(
        version=recorded.version,
        position=recorded.position,
        recorded_at_ms=recorded.event.recorded_at_ms,
        event=recorded.event,
        says=says(recorded.event),
    )


def _table(events: Sequence[Recorded]) -> Table:
    names = ("version", "position", "time", "event", "what it says")
    table = Table(*(Column(name, overflow="fold") for name in names))
    for recorded in events:
        table.add_row(
            str(recorded.version),
            str(recorded.position),
            when(recorded.event.recorded_at_ms),
            kind_of(recorded.event),
            says(recorded.event),
        )
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
        console().print(f"{heading}it resumes nothing: {decision.reason}")


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
        table.add_row(name, value)
    return table
