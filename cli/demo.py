"""The demonstration: a real database, a real copy, real kills, and a proof at the end.

A primary is built out of real files, and another process keeps writing to it. `bootledger
replicate` runs as a child and is killed with SIGKILL at moments that a seed decides: in the copy,
in the catch-up and around promotion. What each life fetched is what it reported before it died.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer
from rich.filesize import decimal
from rich.live import Live
from rich.table import Column, Table

from bootledger.basebackup.publishing import DEFAULT_CHUNK_BYTES
from bootledger.cli.base import REPLICATING, app
from bootledger.cli.corpus import real_records
from bootledger.cli.demo_run import Kill, Line, Phase, run_and_kill
from bootledger.cli.errors import told_to_people
from bootledger.cli.tables import console
from bootledger.cli.watching import write_line
from bootledger.errors import InvalidValue
from bootledger.files import Files
from bootledger.replica.database import Database
from bootledger.replica.readers import open_current

NODE = "demo-replica"
_BATCH_BYTES = 8 * 2**20
_IN_THE_COPY = 2 / 3
_TRIES = 5


@dataclass
class Observed:
    """What a demonstration saw: enough to judge it by.

    `primary` and `replica` are the LSN and the digest that each ended with.
    """

    asked_kills: int
    killed: int = 0
    pins: int = 0
    again_bytes: int = 0
    last_exit_code: int = 0
    primary: tuple[int, str] = (0, "")
    replica: tuple[int, str] = (0, "")


def failures(observed: Observed) -> list[str]:
    """Return what a demonstration did not show, in words; nothing if it showed everything."""
    found = []
    if observed.primary != observed.replica:
        found.append("the replica is not equal to the primary at the same LSN")
    if observed.killed != observed.asked_kills:
        found.append(f"{observed.killed} of {observed.asked_kills} kills came in time")
    if observed.last_exit_code:
        found.append(f"the last start ended with exit code {observed.last_exit_code}")
    if observed.again_bytes > observed.killed * DEFAULT_CHUNK_BYTES:
        found.append("more was fetched again than one chunk a kill")
    if observed.pins != 1:
        found.append(f"{observed.pins} base backups were asked for, one should do")
    return found


def schedule(size_bytes: int, kills: int, chance: random.Random) -> list[Kill]:
    """Return three or more kills of the copy of about `size_bytes`, in an order that can happen.

    At least one in each phase. The first catch-up is long, so one kill there leaves the promotion
    still to come; further ones hit a replica in service, which catches up at every start.
    """
    chunks = size_bytes // DEFAULT_CHUNK_BYTES
    copies = 1 + sum(chance.random() < _IN_THE_COPY for _ in range(kills - 3))
    # A life stages its last chunk or one more: three chunks a kill, or the copy is over too early.
    copies = max(1, min(copies, chunks // 3))
    counts = [chance.randrange(1, max(2, chunks // copies - 1)) for _ in range(copies)]
    signs: list[tuple[Phase, int]] = [("copying", count) for count in counts]
    signs += [("catching up", 1), ("promoting", 1)]
    signs += [("catching up", 1)] * (kills - len(signs))
    return [Kill(phase, count, chance.uniform(0, 0.003)) for phase, count in signs]


def run_demo(*, size_mb: int, kills: int, seed: int, keep: Path | None) -> bool:
    """Run the demonstration and return whether it showed everything that it is to show.

    Works in the new directory `keep` and leaves it behind, or in a temporary one.
    """
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="bootledger-demo-") as work:
            return _Demonstration(Path(work), size_mb * 10**6, kills, seed).run()
    if keep.exists():
        raise InvalidValue(f"{keep} exists", hint="name a directory that does not exist yet")
    keep.mkdir(parents=True)
    shown = _Demonstration(keep, size_mb * 10**6, kills, seed).run()
    ledger = quote(str(keep / "replica"))
    write_line("Look at it:")
    write_line(f"  bootledger history {ledger}")
    write_line(f"  bootledger explain {ledger} {NODE}")
    write_line(f"  bootledger diagram {ledger} --timeline {NODE} --output timeline.svg")
    return shown


class _Demonstration:
    """One demonstration in the directory `work`."""

    def __init__(self, work: Path, size_bytes: int, kills: int, seed: int) -> None:
        self._console = console()
        self._chance = random.Random(seed)  # noqa: S311 - a demonstration, not a secret
        self._primary = work / "primary"
        self._target = work / "replica"
        self._size_bytes = size_bytes
        self._seed = seed
        self._seen: set[tuple[int, int, int]] = set()
        self._observed = Observed(asked_kills=kills)
        self._table = Table(
            "start",
            "went on from",
            Column("fetched", justify="right"),
            Column("again", justify="right"),
            "ended",
        )

    def run(self) -> bool:
        self._say(f"Building a primary of {decimal(self._size_bytes)} out of real files.")
        self._build()
        self._say(
            "Another process keeps writing to it. "
            f"The replica will be killed {self._observed.asked_kills} times."
        )
        on_terminal = self._console.is_terminal
        with Live(self._table, console=self._console) if on_terminal else nullcontext():
            with _writer(self._primary, self._seed):
                for kill in schedule(self._size_bytes, self._observed.asked_kills, self._chance):
                    # Copy and promotion come once; a catch-up comes again, if one was too short.
                    for _ in range(_TRIES if kill.phase == "catching up" else 1):
                        if self._live(kill):
                            break
                self._live(None)
            # The writer has stopped: one more start follows the log to its end.
            self._live(None)
        if not on_terminal:
            self._console.print(self._table)
        return self._verify()

    def _build(self) -> None:
        files = Files()
        Database.create(self._primary, files)
        with Database.open(self._primary, files, name="primary") as primary:
            batch: list[tuple[bytes, bytes | None]] = []
            held_bytes = 0
            for key, value in real_records(self._size_bytes):
                batch.append((key, value))
                held_bytes += len(value)
                if held_bytes >= _BATCH_BYTES:
                    primary.prune(primary.write(batch))
                    batch, held_bytes = [], 0
            if batch:
                # Nobody follows this log yet: without it the base backup is half as large.
                primary.prune(primary.write(batch))

    def _live(self, kill: Kill | None) -> bool:
        """Let the replica live once, note what it did, and return whether it was killed."""
        run = run_and_kill(self._primary, self._target, NODE, kill)
        again_bytes = sum(end - start for _, start, end in self._seen.intersection(run.fetched))
        self._seen.update(run.fetched)
        self._observed.again_bytes += again_bytes
        self._observed.killed += run.killed
        self._observed.pins += run.pins
        self._observed.last_exit_code = run.exit_code
        if run.killed:
            ended = f"[red]SIGKILL[/red], {run.last.phase if run.last else 'starting'}"
        elif run.exit_code:
            ended = f"[red]exit code {run.exit_code}[/red]"
        else:
            ended = "[green]up to date[/green]"
        self._table.add_row(
            str(self._table.row_count + 1),
            _where(run.resumed),
            decimal(run.fetched_bytes),
            decimal(again_bytes),
            ended,
        )
        return run.killed

    def _verify(self) -> bool:
        seen = self._observed
        seen.primary, seen.replica = digests(self._primary, self._target)
        self._say(f"primary  LSN {seen.primary[0]}\n  BLAKE3 {seen.primary[1]}")
        self._say(f"replica  LSN {seen.replica[0]}\n  BLAKE3 {seen.replica[1]}")
        found = failures(seen)
        self._say(
            f"Killed {seen.killed} times; {decimal(seen.again_bytes)} fetched again; "
            f"base backups: {seen.pins}; "
            + ("[bold red]FAILED[/]" if found else "[bold green]equal[/]")
        )
        for failure in found:
            self._say(f"  [red]{failure}[/red]")
        return not found

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)


def digests(primary: Path, target: Path) -> tuple[tuple[int, str], tuple[int, str]]:
    """Return LSN and digest of all records, of the primary and of the target's CURRENT."""
    files = Files()
    with (
        Database.open(primary, files, name="primary") as source,
        open_current(target) as directory,
        Database.open(directory, files, name="applier") as replica,
    ):
        return source.digest(), replica.digest()


@contextmanager
def _writer(primary: Path, seed: int) -> Iterator[None]:
    command = [sys.executable, "-m", "bootledger.cli.demo_writer", str(primary), str(seed)]
    with subprocess.Popen(command) as process:  # noqa: S603 - our own module
        try:
            yield
        finally:
            process.terminate()


def _where(resumed: Line | None) -> str:
    if resumed is None:
        return "nothing"
    match resumed.phase:
        case "copying":
            return f"copying at {decimal(resumed.staged_bytes)}"
        case "catching up":
            return f"catching up, LSN {resumed.applied_lsn}"
        case "promoting":
            return f"promoting generation {resumed.generation}"
        case _ if resumed.generation:
            return f"generation {resumed.generation}, in service"
        case _:
            return "nothing"


@app.command(rich_help_panel=REPLICATING)
def demo(
    *,
    size_mb: Annotated[int, typer.Option(min=64, help="How much to copy, in MB.")] = 64,
    kills: Annotated[int, typer.Option(min=3, help="How often to kill the replica.")] = 5,
    seed: Annotated[int, typer.Option(help="Decides when it is killed.")] = 1,
    keep: Annotated[
        Path | None, typer.Option(help="Work in this directory and leave it there.")
    ] = None,
) -> None:
    """Copy real files into a replica that is killed again and again; prove it equal at the end."""
    with told_to_people():
        shown = run_demo(size_mb=size_mb, kills=kills, seed=seed, keep=keep)
    if not shown:
        raise typer.Exit(1)
