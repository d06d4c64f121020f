"""From errors to exit codes: who must act, as a number that scripts can rely on."""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import sys
from collections.abc import Iterator

import typer
from rich.console import Console
from rich.text import Text

from bootledger.cli.visible import visible
from bootledger.errors import BootledgerError, Corrupted, Refused, Unavailable

_OUTPUT_LOST = {errno.EPIPE, errno.ENOSPC, errno.EBADF}


class ExitCode(enum.IntEnum):
    """What the commands exit with, besides 0 (done) and 2 (wrong usage)."""

    FOUND = 3
    """`dangling`: there is something unfinished. `forecast`: it is doubtful."""
    DAMAGED_FILE = 11
    """`verify`: layer 1, the structure of the file."""
    DAMAGED_RECORDS = 12
    """`verify`: layer 2, a record or its place."""
    DAMAGED_HISTORY = 13
    """`verify`: layer 3, what the events say, or what is kept beside them."""
    VIOLATED = 21
    """`simulate`: a run ended wrong."""
    BLIND = 22
    """`simulate --prove`: the check accepted a fault that was planted."""
    FEW_BOUNDARIES = 23
    """`simulate`: lives ended at too few distinct points to prove anything."""
    REFUSED = 64
    """The request may not be carried out; nothing was written. `forecast`: it cannot converge."""
    CORRUPTED = 65
    """What lies on disk, or what the source sent, is damaged: a person must look."""
    TRY_AGAIN = 75
    """Not possible now, or stopped as asked; the same command later goes on where it was."""


@contextlib.contextmanager
def told_to_people() -> Iterator[None]:
    """Print an error of ours with its hint on standard error, and exit with its code."""
    try:
        yield
    except BootledgerError as error:
        console = Console(stderr=True, highlight=False, soft_wrap=True)  # a path stays one word
        console.print(Text.assemble((f"{type(error).__name__}: ", "bold red"), visible(str(error))))
        for line in (error.hint, *getattr(error, "__notes__", ())):
            if line:
                console.print(Text(f"  {visible(line)}", style="yellow"))
        raise typer.Exit(_exit_code(error)) from error


class OutputLost(Unavailable):
    """Standard output takes no more: it is full, or nobody reads it any longer."""


@contextlib.contextmanager
def lost_output_told() -> Iterator[None]:
    """Say on standard error that standard output takes no more, and exit with `TRY_AGAIN`.

    What the command did is done: it is the answer that is lost.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except (OSError, OutputLost) as error:
        if isinstance(error, OSError) and error.errno not in _OUTPUT_LOST:
            raise
        # At its end Python flushes once more: what cannot be written is given up.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.stderr.write(f"standard output takes no more: {error}\n")
        raise SystemExit(ExitCode.TRY_AGAIN) from error


def _exit_code(error: BootledgerError) -> ExitCode:
    if isinstance(error, Refused):
        return ExitCode.REFUSED
    if isinstance(error, Corrupted):
        return ExitCode.CORRUPTED
    return ExitCode.TRY_AGAIN
