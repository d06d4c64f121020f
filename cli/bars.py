"""A progress bar for work that says how far it has got; on a terminal, and nowhere else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bootledger.simulation.exploring import Told
from bootledger.simulation.reports import Report
from bootledger.watch import Watch, watch_nothing

_PAIRS = 2
"""With more crashes in a run, schedules are drawn until the budget is spent."""


@contextlib.contextmanager
def simulation_bar(
    description: str, *, crashes: int, budget: int, quiet: bool = False
) -> Iterator[Told]:
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
        task = bars.add_task(description, total=None, found="")

        def told(report: Report) -> None:
            found = f"{report.runs_per_s:.0f}/s, {len(report.violations)} wrong"
            total = expected_runs(report, crashes, budget)
            bars.update(task, completed=report.runs, total=total, found=found)

        yield told


def expected_runs(report: Report, crashes: int, budget: int) -> int | None:
    """Return about how many runs there will be; None as long as nobody can tell.

    That is: a life after a crash has about as many points as the first one.
    """
    if report.engine == "powerloss":
        return budget
    if not report.points:
        return None
    every = sum(report.points**count for count in range(min(crashes, _PAIRS) + 1))
    return budget if crashes > _PAIRS else min(every, budget)


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
