"""`bootledger simulate`: every crash on purpose, on bootledger's own loop or on anybody's code."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, cast, get_args

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from bootledger.cli.base import PROVING, Json, app, new_file, path_of
from bootledger.cli.crash_report import Simulated, Simulations, rows, story, violations
from bootledger.cli.errors import told_to_people
from bootledger.cli.prints import prints_on_standard_error
from bootledger.cli.scenarios import SAMPLES, scenario_of
from bootledger.cli.signals import terminated_like_interrupted
from bootledger.cli.simulation_bar import simulation_bar
from bootledger.cli.tables import console
from bootledger.cli.watching import write_json
from bootledger.diagrams.sequence import mermaid_sequence, svg_sequence
from bootledger.errors import InvalidValue
from bootledger.files import Files
from bootledger.simulation import CrashBug, Report, Scenario, explore_scenario, prove_check, replay
from bootledger.simulation.kit import DEFAULT_BUDGET, EngineName
from bootledger.simulation.powerloss.proving import prove_engine
from bootledger.simulation.reports import DEFAULT_MIN_BOUNDARIES
from bootledger.simulation.scenes import LANES, scenes

_KILLING_BUDGET = 2_000
"""A process a life takes its time."""
_BUDGETS = {"sigkill": _KILLING_BUDGET}
_SEED_BITS = 32


@app.command(rich_help_panel=PROVING)
def simulate(  # noqa: PLR0913 - each is an option
    scenario: Annotated[
        str | None,
        typer.Argument(
            metavar="SCENARIO",
            help=f"A sample ({', '.join(SAMPLES)}) or MODULE:NAME of your own.",
            show_default="all samples",
        ),
    ] = None,
    *,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ENGINE",
            help="inproc, sigkill or powerloss; may be repeated.",
            show_default="inproc",
        ),
    ] = None,
    crashes: Annotated[int, typer.Option(min=0, help="Most crashes in one run.")] = 2,
    budget: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most runs (powerloss: states) of one scenario.",
            show_default=f"{DEFAULT_BUDGET}; sigkill {_KILLING_BUDGET}",
        ),
    ] = None,
    seed: Annotated[
        str, typer.Option(metavar="SEED", help="A number, or 'random' for a new one.")
    ] = "0",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes at work.", show_default="one a core")
    ] = None,
    prove: Annotated[
        bool, typer.Option("--prove", help="Plant bugs, to see that they are seen.")
    ] = False,
    token: Annotated[
        str | None,
        typer.Option("--replay", metavar="TOKEN", help="Play this one only, and tell its story."),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            parser=path_of,
            metavar="FILE",
            help="Draw what --replay played: an .svg is SVG, anything else a Mermaid sequence.",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all results here, as JSON.")
    ] = None,
    min_boundaries: Annotated[
        int, typer.Option(min=0, help="Fewer distinct places to crash at prove nothing.")
    ] = DEFAULT_MIN_BOUNDARIES,
    json: Json = False,
) -> None:
    """Crash a bootstrap at every point, and at every pair of points, and judge what is left.

    Without SCENARIO: bootledger's own loop. Exits with 21 if a run ended wrong, 22 if a planted
    fault was accepted, 23 if there were too few boundaries. Ctrl-C ends it with what is known.
    """
    with told_to_people(), terminated_like_interrupted():
        asked = _Asked(
            _chosen(scenario, token),
            [_engine(name) for name in engine or ["inproc"]],
            crashes=crashes,
            budget=budget,
            seed=_seed(seed),
            workers=workers or len(os.sched_getaffinity(0)),
            prove=prove,
        )
        if picture is not None:
            picture = _picture_file(picture, token)
        if report is not None:
            report = _report_file(report)
        done = Simulations(asked.seed, crashes, min_boundaries if token is None else 0)
        for simulated in asked.explored(quiet=json) if token is None else asked.replayed(token):
            done.all.append(simulated)
            if picture is not None:
                Files().replace(picture, _drawn(simulated, picture).encode(), name="picture")
            if not json:
                _show(simulated, done)
        unwritten = 0 if report is None else _write_report(report, done)
    if json:
        write_json(done.document())
    raise typer.Exit(done.verdict.exit_code or unwritten)


@dataclass(frozen=True)
class _Asked:
    """What is to be simulated: each scenario under each engine."""

    scenarios: dict[str, Scenario]
    engines: list[EngineName]
    crashes: int
    budget: int | None
    seed: int
    workers: int
    prove: bool

    def explored(self, *, quiet: bool) -> Iterator[Simulated]:
        """Yield what each came to; the last may have been cut short by Ctrl-C."""
        for name, engine in product(self.scenarios, self.engines):
            simulated = self._explored(name, engine, quiet=quiet)
            yield simulated
            if simulated.stopped:
                return

    def _explored(self, name: str, engine: EngineName, *, quiet: bool) -> Simulated:
        budget = self.budget or _BUDGETS.get(engine, DEFAULT_BUDGET)
        known = Report(engine=engine, seed=self.seed)

        def keep(report: Report) -> None:
            nonlocal known
            known = report
            show(report)

        title = f"{name}, {engine}"
        try:
            with (
                prints_on_standard_error(),
                simulation_bar(
                    title,
                    crashes=self.crashes,
                    budget=budget,
                    at_first="recording, then judging disks" if engine == "powerloss" else "",
                    quiet=quiet,
                ) as show,
            ):
                report = explore_scenario(
                    self.scenarios[name],
                    crashes=self.crashes,
                    engine=engine,
                    budget=budget,
                    seed=self.seed,
                    workers=self.workers,
                    told=keep,
                )
                if self.prove and not report.violations:
                    report.planted = _proved(name, self.scenarios[name], self.seed)
                    if engine == "powerloss":
                        report.planted |= prove_engine()
        except KeyboardInterrupt:
            return Simulated(name, known, stopped=True)
        return Simulated(name, report)

    def replayed(self, token: str) -> Iterator[Simulated]:
        """Yield what came of the one run that `token` names. Raises `InvalidValue` if none does."""
        ((name, scenario),) = self.scenarios.items()
        with prints_on_standard_error():
            report = replay(scenario, token, engine=self.engines[0], seed=self.seed)
        yield Simulated(name, report)


def _chosen(name: str | None, token: str | None) -> dict[str, Scenario]:
    """Return the scenarios that are asked for, by name. A token is of one scenario."""
    if name is not None:
        with prints_on_standard_error():
            return {name: scenario_of(name)}
    if token is not None:
        raise InvalidValue(
            "--replay plays one scenario", hint="name the SCENARIO that the token was found with"
        )
    return {sample: scenario_of(sample) for sample in SAMPLES}


def _proved(name: str, scenario: Scenario, seed: int) -> dict[str, bool]:
    try:
        return prove_check(scenario, seed=seed)
    except CrashBug as error:
        raise InvalidValue(f"{name} cannot be proved: {error}") from error


def _picture_file(picture: Path, token: str | None) -> Path:
    if token is None:
        raise InvalidValue("--picture draws one run", hint="name it with --replay TOKEN")
    return new_file(picture)


def _report_file(report: Path) -> Path:
    """Return where the report is to appear; that it can is tried before anything takes its time."""
    report = new_file(report)
    try:
        with tempfile.TemporaryFile(dir=report.parent):
            return report
    except OSError as error:
        raise InvalidValue(
            f"{report} cannot be written: {error.strerror}", hint="name a file somewhere else"
        ) from error


def _write_report(report: Path, done: Simulations) -> int:
    """Write it, or tell why not: the verdict is not lost with it. Return what to exit with."""
    document = msgspec.json.format(msgspec.json.encode(done.document()))
    try:
        with told_to_people():
            Files().replace(report, document + b"\n", name="report")
    except typer.Exit as unwritten:
        return unwritten.exit_code
    return 0


def _drawn(simulated: Simulated, picture: Path) -> str:
    steps = scenes(simulated.report.story)
    if picture.suffix == ".svg":
        return svg_sequence(simulated.scenario, LANES, steps)
    return mermaid_sequence(LANES, steps)


def _engine(name: str) -> EngineName:
    for known in get_args(EngineName):
        if name == known:
            return cast(EngineName, known)
    raise InvalidValue(
        f"there is no engine {name!r}", hint=f"there are {', '.join(get_args(EngineName))}"
    )


def _seed(words: str) -> int:
    """Return the seed that was asked for, or a new one, which is told before anything can die."""
    if words == "random":
        seed = secrets.randbits(_SEED_BITS)
        Console(stderr=True, highlight=False).print(f"seed {seed}")
        return seed
    if not (words.isascii() and words.isdigit()):
        raise InvalidValue(f"{words!r} is no seed", hint="a number, or 'random'")
    return int(words)


def _show(simulated: Simulated, asked: Simulations) -> None:
    screen = console()
    for line in story(simulated):
        screen.print(line, soft_wrap=True)
    if screen.is_terminal:
        screen.print(rows(simulated, asked))
    else:
        with screen.capture() as table:
            screen.print(rows(simulated, asked))
        for words in table.get().splitlines():  # a table fills its lines with blanks
            screen.print(Text(words.rstrip()), soft_wrap=True)
    for line in violations(simulated):
        screen.print(line, soft_wrap=True)
    screen.print()
