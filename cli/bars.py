"""A progress bar for work that says how far it has got; on a terminal, and nowhere else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bootledger.simulation.exploring import Told
from bootledger.simulation.reports import Report
from bootledger.watch import Watch, watch_nothing


@contextlib.contextmanager
def simulation_bar(description: str, total: int, *, quiet: bool = False) -> Iterator[Told]:
    """Show how far a simulation has come, on standard error, if that is a terminal."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda _: None
        return
    with Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[found]}"),
        console=console,
        transient=True,
    ) as bars:
        task = bars.add_task(description, total=total, found="")

        def told(report: Report) -> None:
            found = f"{report.runs_per_s:.0f}/s, {len(report.violations)} wrong"
            bars.update(task, completed=report.runs, found=found)

        yield told


@contextlib.contextmanager
def bar(description: str, *, quiet: bool = False) -> Iterator[Watch]:
    """Show a bar on standard error for the length of the block, if that is a terminal."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield watch_nothing
        return
    with Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bars:
        task = bars.add_task(description, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
