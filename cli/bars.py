"""A progress bar for work that says how far it has got; on a terminal, and nowhere else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console

from bootledger.watch import Watch, watch_nothing


@contextlib.contextmanager
def bar(description: str, *, quiet: bool = False) -> Iterator[Watch]:
    """Show a bar on standard error for the length of the block, if that is a terminal."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield watch_nothing
        return
    # Most starts of a command have no terminal, and the bars take their time to import.
    from rich.progress import (  # noqa: PLC0415 - as said
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

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
