"""How far a simulation has come, on a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from bootledger.simulation.exploring import Told
from bootledger.simulation.reports import Report

_PAIRS = 2
"""With more crashes in a run, schedules are drawn until the budget is spent."""


@contextlib.contextmanager
def simulation_bar(
    description: str, *, crashes: int, budget: int, at_first: str = "", quiet: bool = False
) -> Iterator[Told]:
    """Show how far a simulation has come, on standard error, if that is a terminal.

    `at_first` is what to say as long as there are no numbers.
    """
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
        # What scenarios print comes from forked processes too, where a lock of the bar's may be
        # held for ever by a thread that was not forked.
        redirect_stdout=False,
        redirect_stderr=False,
    ) as bars:
        task = bars.add_task(description, total=None, found=at_first)

        def told(report: Report) -> None:
            found = f"{report.runs_per_s:.0f}/s, {len(report.violations)} wrong"
            total = expected_runs(report, crashes, budget)
            bars.update(task, completed=report.runs, total=total, found=found)

        yield told


def expected_runs(report: Report, crashes: int, budget: int) -> int | None:
    """Return how many runs there will be at most; None as long as nobody can tell.

    Of pairs nobody can: how many points follow a crash differs from one to the next.
    """
    if report.engine == "powerloss" or crashes > _PAIRS:
        return budget
    if not report.points or crashes == _PAIRS:
        return None
    return min(1 + crashes * report.points, budget)
