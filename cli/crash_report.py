"""What simulations came to: a verdict on each, blocks for people, one document for machines.

The document's schema is in docs/crash-safety.md.
"""

from __future__ import annotations

import enum
import platform
import re
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import assert_never

import msgspec
from rich.table import Column, Table
from rich.text import Text

from bootledger.cli.errors import ExitCode
from bootledger.simulation import Report, Violation

FORMAT = 1
MOST_SHOWN = 5
"""So many kinds of violations are shown to people; more are counted. The document has all."""
_SCRATCH = re.compile(rf"(?:/dev/shm|{re.escape(tempfile.gettempdir())})/[^/\s'\"]+")
"""A temporary directory, which has another name in each run."""


class Verdict(enum.StrEnum):
    """What a simulation came to; the worst first."""

    VIOLATED = "violated"
    BLIND = "blind"
    FEW_BOUNDARIES = "too few boundaries"
    STOPPED = "stopped"
    CLEAN = "clean"

    @property
    def exit_code(self) -> int:
        """What the command exits with if this is the worst verdict."""
        return _EXIT_CODES[self]


_EXIT_CODES: dict[Verdict, int] = {
    Verdict.VIOLATED: ExitCode.VIOLATED,
    Verdict.BLIND: ExitCode.BLIND,
    Verdict.FEW_BOUNDARIES: ExitCode.FEW_BOUNDARIES,
    Verdict.STOPPED: ExitCode.TRY_AGAIN,
    Verdict.CLEAN: 0,
}


@dataclass(frozen=True)
class Simulated:
    """One scenario under one engine: what came of it, and whether it was cut short."""

    scenario: str
    report: Report
    stopped: bool = False

    def verdict(self, min_boundaries: int) -> Verdict:
        """Return what to think of it. A loss of power needs no named boundary to happen at.

        Without any crash nothing was shown, however few boundaries are asked for.
        """
        report = self.report
        if report.violations:
            return Verdict.VIOLATED
        if not all(report.planted.values()):
            return Verdict.BLIND
        if self.stopped:
            return Verdict.STOPPED
        if not report.crashes and not report.story:  # a replay may be of a run without a crash
            return Verdict.FEW_BOUNDARIES
        if report.engine != "powerloss" and len(report.boundaries) < min_boundaries:
            return Verdict.FEW_BOUNDARIES
        return Verdict.CLEAN

    def replay_command(self, violation: Violation) -> str:
        """Return the command that plays a violation again, and tells its story."""
        words = ["bootledger", "simulate", self.scenario]
        words += ["--engine", self.report.engine, "--seed", str(self.report.seed)]
        return shlex.join([*words, "--replay", violation.token])


@dataclass
class Simulations:
    """Everything that one command simulated, and what it was asked for."""

    seed: int
    crashes: int
    min_boundaries: int
    all: list[Simulated] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        """The worst of all verdicts."""
        verdicts = {simulated.verdict(self.min_boundaries) for simulated in self.all}
        return next(verdict for verdict in Verdict if verdict in verdicts)

    def document(self) -> dict[str, object]:
        """Return all of it as a document for machines."""
        return {
            "format": FORMAT,
            "bootledger": metadata.version("bootledger"),
            "python": platform.python_version(),
            "system": platform.platform(),
            "seed": self.seed,
            "crashes": self.crashes,
            "min_boundaries": self.min_boundaries,
            "verdict": self.verdict,
            "duration_s": sum(simulated.report.duration_s for simulated in self.all),
            "simulations": [
                {
                    "scenario": simulated.scenario,
                    "verdict": simulated.verdict(self.min_boundaries),
                    **msgspec.to_builtins(simulated.report),
                }
                for simulated in self.all
            ],
        }


def rows(simulated: Simulated, asked: Simulations) -> Table:
    """Return what a person wants to know of one simulation, of those that were asked for."""
    table = Table.grid(Column(style="bold"), Column(overflow="fold"), padding=(0, 2))
    verdict = simulated.verdict(asked.min_boundaries)
    table.add_row("scenario", f"{simulated.scenario}, engine {simulated.report.engine}")
    table.add_row("verdict", _verdict_words(simulated, verdict, asked.min_boundaries))
    for name, words in _rows(simulated.report, asked.crashes):
        table.add_row(name, words)
    return table


def _verdict_words(simulated: Simulated, verdict: Verdict, min_boundaries: int) -> Text:
    report = simulated.report
    match verdict:
        case Verdict.VIOLATED if any(not found.token for found in report.violations):
            words = "VIOLATED: goes wrong without any crash"
        case Verdict.VIOLATED:
            words = f"VIOLATED: {_count(len(report.violations), 'run')} ended wrong"
        case Verdict.BLIND:
            blind = (fault for fault, seen in report.planted.items() if not seen)
            words = f"BLIND: what was planted was accepted: {', '.join(blind)}"
        case Verdict.FEW_BOUNDARIES if not report.crashes:
            words = "NOTHING WAS CRASHED"
        case Verdict.FEW_BOUNDARIES:
            words = f"TOO FEW BOUNDARIES: {len(report.boundaries)}, {min_boundaries} are asked for"
        case Verdict.STOPPED:
            words = "stopped; nothing was found so far"
        case Verdict.CLEAN:
            words = "clean"
        case _:
            assert_never(verdict)
    return Text(words, style=_STYLES[verdict])


_STYLES = {
    Verdict.VIOLATED: "bold red",
    Verdict.BLIND: "bold red",
    Verdict.FEW_BOUNDARIES: "bold red",
    Verdict.STOPPED: "yellow",
    Verdict.CLEAN: "bold green",
}


def _rows(report: Report, crashes: int) -> Iterator[tuple[str, str]]:
    yield "seed", str(report.seed)
    if report.story:  # a replay: that is what there is to say
        return
    yield "runs", f"{report.runs} in {report.duration_s:.1f} s ({report.runs_per_s:.0f}/s)"
    yield "lives", f"{report.lives}, {report.crashes} of them ended by a crash"
    if report.points:
        yield "points", f"{report.points} in a life without a crash"
    if report.states or report.engine == "powerloss":
        extent = "all there are" if report.exhaustive else "a sample"
        yield "states", f"{report.distinct_states} of {report.states} that may be left: {extent}"
    else:
        yield (
            "singles",
            _extent(report, "every single crash", 1, crashes, whole=report.every_single),
        )
        yield "pairs", _extent(report, "every pair of crashes", 2, crashes, whole=report.every_pair)
    if not report.planted:
        yield "planted", "not tried (--prove)"
    else:
        seen = sum(report.planted.values())
        names = ", ".join(report.planted)
        yield "planted", f"{seen} of {len(report.planted)} were seen: {names}"
    if report.boundaries:
        counted = ", ".join(f"{name} {count}" for name, count in report.boundaries.items())
        yield "crashes at", f"{len(report.boundaries)} boundaries: {counted}"


def _extent(report: Report, every: str, needed: int, crashes: int, *, whole: bool) -> str:
    if crashes < needed:
        return f"not played (--crashes {needed})"
    if whole:
        return every
    before = 1 + (needed - 1) * report.points  # the run without a crash, and each single
    return "a part" if report.runs > before else "none"


def violations(simulated: Simulated) -> Iterator[Text]:
    """Return what went wrong, with the command that repeats it: of each kind the smallest."""
    kinds: dict[str, list[Violation]] = {}
    for found in sorted(simulated.report.violations, key=lambda found: found.token.count("#")):
        kinds.setdefault(_SCRATCH.sub("...", found.what), []).append(found)
    for what, alike in list(kinds.items())[:MOST_SHOWN]:
        smallest = alike[0]
        where = f"crashes at {smallest.token}" if smallest.token else "goes wrong without any crash"
        many = f"{len(alike)} runs, the smallest " if len(alike) > 1 else ""
        yield Text(f"  {many}{where}", style="bold red")
        yield Text(f"    {what}")
        yield Text(f"    {simulated.replay_command(smallest)}", style="cyan")
    if more := sum(map(len, list(kinds.values())[MOST_SHOWN:])):
        yield Text(f"  and {more} more; --report and --json have them")


def story(simulated: Simulated) -> Sequence[Text]:
    """Return the story of a replay, a line a step: deaths stand out."""
    return [Text(line, style=_style_of(line)) for line in simulated.report.story]


def _style_of(line: str) -> str:
    if line.startswith("WRONG"):
        return "bold red"
    if line.strip().startswith("DIES"):
        return "red"
    return "" if line.startswith("  ") else "bold"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
