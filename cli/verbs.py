"""What a person decides about an intent, and what there is to know before: one command a verb."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Annotated
from uuid import UUID

import msgspec
import typer
from rich.table import Column, Table
from rich.text import Text

from bootledger.cli.base import (
    DECIDING,
    LOOKING,
    AnyIntent,
    Intent,
    Json,
    LedgerPath,
    app,
    open_ledger,
)
from bootledger.cli.errors import told_to_people
from bootledger.cli.moments import At, Moment, moment
from bootledger.cli.tables import console, in_or_ago
from bootledger.cli.visible import visible
from bootledger.cli.watching import write_json
from bootledger.errors import InvalidValue
from bootledger.projections import explain as explaining
from bootledger.projections.as_of import as_of, progress_as_of
from bootledger.projections.resume import decide
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.operator import Operator
from bootledger.replica.readers import IDENTITY_NAME
from bootledger.replica.ruling import Ruling
from bootledger.statemachine.progress import FINAL, State, known

Actor = Annotated[str, typer.Option(help="Who decides.", show_default="USER@HOST")]
Reason = Annotated[str, typer.Option(help="Why; it is recorded.")]
MayReason = Annotated[str | None, typer.Option("--reason", help="Why; it is recorded.")]


def whoami() -> str:
    """Return the user and the machine, as an actor."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


@app.command(rich_help_panel=DECIDING)
def hold(
    path: LedgerPath, intent: Intent, *, reason: Reason, actor: Actor = "", json: Json = False
) -> None:
    """Suspend INTENT until a person ends that; nothing of its node starts meanwhile."""
    _rule(path, intent, actor, lambda by, it: by.hold(it, reason=reason), json=json)


@app.command(rich_help_panel=DECIDING)
def release(
    path: LedgerPath,
    intent: Intent,
    *,
    reason: MayReason = None,
    actor: Actor = "",
    json: Json = False,
) -> None:
    """End the hold on INTENT: the node's next start goes on where it was."""
    _rule(path, intent, actor, lambda by, it: by.release(it, reason=reason), json=json)


@app.command(rich_help_panel=DECIDING)
def adopt(
    path: LedgerPath,
    intent: Intent,
    *,
    reason: MayReason = None,
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Decide that INTENT counts: the next start goes on with it, its siblings are superseded."""
    _rule(path, intent, actor, lambda by, it: by.adopt(it, reason=reason), json=json)


@app.command(rich_help_panel=DECIDING)
def abort(
    path: LedgerPath,
    intent: Intent,
    *,
    reason: Reason,
    keep_artifacts: Annotated[
        bool, typer.Option("--keep-artifacts", help="Keep what was staged until it is discarded.")
    ] = False,
    rolled_back: Annotated[
        bool, typer.Option("--rolled-back", help="You vouch that CURRENT names no candidate of it.")
    ] = False,
    actor: Actor = "",
    json: Json = False,
) -> None:
    """End INTENT for good."""

    def verb(by: Operator, it: UUID) -> Ruling:
        return by.abort(it, reason=reason, keep_artifacts=keep_artifacts, rolled_back=rolled_back)

    _rule(path, intent, actor, verb, json=json)


@app.command(rich_help_panel=DECIDING)
def discard(
    path: LedgerPath,
    intent: Intent,
    *,
    reason: Reason,
    target: Annotated[
        Path | None, typer.Option(help="Its target, if that was moved since it began.")
    ] = None,
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Abort INTENT unless it is, then delete what was staged for it, under the target's lock."""
    # A target that was copied still names the one that it is a copy of: whoever points at a target
    # means that one.
    if target is None and (path / IDENTITY_NAME).is_file():
        target = path
    _rule(
        path, intent, actor, lambda by, it: by.discard(it, reason=reason, target=target), json=json
    )


@app.command(rich_help_panel=LOOKING)
def explain(path: LedgerPath, intent: AnyIntent, *, at: At = None, json: Json = False) -> None:
    """Say of INTENT what is true, why it did or did not resume, and what happens next."""
    then = None
    with told_to_people(), open_ledger(path) as log:
        intent_id = log.find(intent)
        if at is not None:
            then = moment(log.store, at)
            found = _explained_then(log, intent_id, then)
        else:
            progress = log.progress_of(intent_id)
            decision = log.decide(known(progress.begin, "how it began").node_id)
            owner = log.store.claimant(intent_id)
            found = explaining.explain(intent_id, progress, decision, running=owner is not None)
            if owner is not None:  # who adopted it is not who works on it
                found = msgspec.structs.replace(found, holder=owner)
    if json:
        write_json(found)
    else:
        console().print(*(() if then is None else (str(then),)), _table(found, path))


def _explained_then(log: IntentLog, intent_id: UUID, then: Moment) -> explaining.Explanation:
    """Explain what was true then; no verb changes the past."""
    progress = progress_as_of(log.store, intent_id, then.position)
    if progress is None:
        raise InvalidValue(f"intent {intent_id} had not begun {then}")
    node_id = known(progress.begin, "how it began").node_id
    past = [i for i in as_of(log.store, then.position).unfinished if i.node_id == node_id]
    found = explaining.explain(intent_id, progress, decide(node_id, past), running=None)
    return msgspec.structs.replace(found, verbs=())


def _rule(
    path: Path, intent: str, actor: str, verb: Callable[[Operator, UUID], Ruling], *, json: bool
) -> None:
    with told_to_people(), open_ledger(path) as log:
        ruling = verb(Operator(log, actor or whoami()), log.find(intent))
    if json:
        return write_json(ruling)
    console().print(Text(f"{ruling.intent_id}: {visible(ruling.words)}"), soft_wrap=True)
    for line in _remarks(ruling):
        console().print(Text(f"  {visible(line)}"), soft_wrap=True)
    return None


def _remarks(ruling: Ruling) -> list[str]:
    lines = [] if ruling.written else ["that was so already, no event was needed"]
    lines += [f"superseded: {sibling}" for sibling in ruling.superseded]
    lines += [f"deleted: generation {generation}" for generation in ruling.removed]
    lines += [f"left: generation {generation}, which is in use" for generation in ruling.left]
    if ruling.owner:
        lines.append(f"its owner ({ruling.owner}) is alive and stops within seconds")
    return lines


def _style(found: explaining.Explanation) -> str:
    if found.state in FINAL:
        return "green" if found.state is State.COMPLETED else "red"
    return "cyan" if found.running and found.state is not State.SUSPENDED else "yellow"


def _table(found: explaining.Explanation, path: Path) -> Table:
    table = Table.grid(Column(style="bold"), Column(overflow="fold"), padding=(0, 2))
    for name, words in (
        ("intent", str(found.intent_id)),
        ("node", found.node_id),
        ("target", found.target or ""),
        ("what", found.what),
        ("on disk", found.on_disk),
        ("LSN", "" if found.applied_lsn is None else str(found.applied_lsn)),
        ("holder", "" if found.state in FINAL else found.holder),
        ("why", found.why),
        ("next", found.next),
        ("try again", in_or_ago(found.retry_at_ms)),
    ):
        if words:
            table.add_row(name, Text(visible(words), style=_style(found) if name == "what" else ""))
    for verb in found.verbs:
        why = " --reason WHY" if verb in {"hold", "abort", "discard"} else ""
        command = f"bootledger {verb} {quote(str(path))} {found.intent_id}{why}"
        table.add_row("you may", Text(command))
    return table
