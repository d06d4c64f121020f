"""`bootledger verify`: the file, the records, the history; the first damage, and what it means."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import typer
from rich.text import Text

from bootledger.cli.answers import Damage, LayerVerdict, Verdict
from bootledger.cli.bars import bar
from bootledger.cli.base import KEEPING, Json, LedgerPath, app
from bootledger.cli.errors import ExitCode, told_to_people
from bootledger.cli.paths import ledger_path
from bootledger.cli.tables import console
from bootledger.cli.watching import write_json
from bootledger.errors import Corrupted, CorruptRecord, DivergedHistory, UnknownFormat
from bootledger.projections.verification import check_history
from bootledger.store.lmdb import LmdbEventStore
from bootledger.watch import Watch

_RESTORE = (
    "Start nothing from it. Restore it from a copy, or move it away and start again: a database in "
    "service is followed as before, an unfinished copy begins anew."
)


class Layer(NamedTuple):
    """One of the three layers: its number, and what it is about."""

    number: int
    name: str

    @property
    def exit_code(self) -> ExitCode:
        """What the command exits with if this layer is damaged."""
        return (ExitCode.DAMAGED_FILE, ExitCode.DAMAGED_RECORDS, ExitCode.DAMAGED_HISTORY)[
            self.number - 1
        ]


FILE, RECORDS, HISTORY = Layer(1, "file"), Layer(2, "records"), Layer(3, "history")


class Finding(NamedTuple):
    """What a layer turned out to be: sound, with what was counted, or damaged."""

    layer: Layer
    counts: dict[str, int]
    damage: Corrupted | None = None


@app.command(rich_help_panel=KEEPING)
def verify(path: LedgerPath, *, json: Json = False) -> None:
    """Check a ledger in three layers: the file, every record, and the history by replay.

    Stops at the first damage, says where it is and what it means. Replicas may go on meanwhile.
    Exits with 11, 12 or 13 if the file, a record or the history is damaged.
    """
    findings: list[Finding] = []
    with told_to_people():
        for finding in check_ledger(ledger_path(path), quiet=json):
            findings.append(finding)
            if not json:
                _show(finding)
    if json:
        layers = [_verdict(finding) for finding in findings]
        write_json(Verdict(sound=findings[-1].damage is None, layers=layers))
    if findings[-1].damage:
        raise typer.Exit(findings[-1].layer.exit_code)


def check_ledger(path: Path, *, quiet: bool) -> Iterator[Finding]:
    """Yield what each layer of the ledger at `path` turned out to be; the first damaged is last."""
    yield (first := _look(FILE, lambda: _file(path)))
    if first.damage:
        return
    try:
        store = LmdbEventStore.open(path, create=False)
    except CorruptRecord as damage:
        yield Finding(RECORDS, {}, damage)
        return
    try:
        for layer, check in (
            (RECORDS, lambda watch: store.check_records(watch)._asdict()),
            (HISTORY, lambda watch: check_history(store, watch)._asdict()),
        ):
            finding = _watched(layer, check, quiet=quiet)
            yield finding
            if finding.damage:
                return
    finally:
        store.close()


def _file(path: Path) -> dict[str, int]:
    LmdbEventStore.check_file(path)
    return {"bytes": (path / "data.mdb").stat().st_size}


def _watched(layer: Layer, check: Callable[[Watch], dict[str, int]], *, quiet: bool) -> Finding:
    with bar(f"layer {layer.number}: {layer.name}", quiet=quiet) as watch:
        return _look(layer, lambda: check(watch))


def _look(layer: Layer, check: Callable[[], dict[str, int]]) -> Finding:
    try:
        return Finding(layer, check())
    except UnknownFormat:
        raise  # not damaged: this version is too old to judge
    except Corrupted as damage:
        if layer is HISTORY and not isinstance(damage, DivergedHistory):
            layer = RECORDS  # a sound frame around something that is no event
        return Finding(layer, {}, damage)


def meaning(finding: Finding) -> str:
    """Return what a damage means: what can still be trusted, and what cannot."""
    position = finding.damage.position if finding.damage else None
    if finding.layer is FILE:
        return (
            "Nothing in the file can be trusted, and opening it could end the process: "
            "LMDB believes what its pages say."
        )
    if finding.layer is RECORDS:
        if position is None:
            return "Every event is as it was written; what was written beside them is not."
        before = f"The events before position {position}" if position > 1 else "No event"
        return (
            f"{before} can be trusted as they were written. Of the later ones, and of heads and "
            "index, from which a start decides, nothing is proved."
        )
    where = "" if position is None else f" up to position {position}"
    return (
        "Every record is as it was written, but they contradict each other. What is replayed"
        f"{where} can be trusted; what was derived from it and stored can not. No crash does that: "
        "the ledger was edited, or written by a machine with other rules."
    )


def _show(finding: Finding) -> None:
    layer, screen = finding.layer, console()
    name = f"layer {layer.number}, {layer.name}: "
    if finding.damage is None:
        counts = ", ".join(f"{count} {what}" for what, count in finding.counts.items())
        screen.print(Text.assemble(name, ("sound", "bold green"), f" ({counts})"))
        return
    screen.print(Text.assemble(name, ("DAMAGED", "bold red")))
    for title, text in (
        ("what", str(finding.damage)),
        ("means", meaning(finding)),
        ("to do", _RESTORE),
    ):
        screen.print(Text.assemble((f"  {title:6}", "bold"), text))


def _verdict(finding: Finding) -> LayerVerdict:
    damage = finding.damage
    return LayerVerdict(
        layer=finding.layer.number,
        name=finding.layer.name,
        sound=damage is None,
        counts=finding.counts,
        damage=None
        if damage is None
        else Damage(
            kind=type(damage).__name__,
            position=damage.position,
            what=str(damage),
            means=meaning(finding),
            to_do=_RESTORE,
        ),
    )
