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
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.live import Live
from rich.table import Column, Table

from bootledger.basebackup.publishing import DEFAULT_CHUNK_BYTES
from bootledger.cli.corpus import real_records
from bootledger.cli.demo_run import Kill, Line, Phase, run_and_kill
from bootledger.errors import InvalidValue
from bootledger.files import Files
from bootledger.replica.database import Database
from bootledger.replica.readers import open_current

NODE = "demo-replica"
_BATCH_BYTES = 8 * 2**20


def run_demo(*, size_mb: int, kills: int, seed: int, keep: Path | None) -> bool:
    """Run the demonstration and return whether replica and primary ended equal.

    Works in the new directory `keep` and leaves it behind, or in a temporary one.
    """
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="bootledger-demo-") as work:
            return _Demonstration(Path(work), size_mb * 10**6, kills, seed).run()
    if keep.exists():
        raise InvalidValue(f"{keep} exists", hint="name a directory that does not exist yet")
    keep.mkdir(parents=True)
    return _Demonstration(keep, size_mb * 10**6, kills, seed).run()


class _Demonstration:
    """One demonstration in the directory `work`."""

    def __init__(self, work: Path, size_bytes: int, kills: int, seed: int) -> None:
        self._console = Console(highlight=False)
        self._chance = random.Random(seed)  # noqa: S311 - a demonstration, not a secret
        self._primary = work / "primary"
        self._target = work / "replica"
        self._size_bytes = size_bytes
        self._kills = kills
        self._seed = seed
        self._seen: set[tuple[int, int, int]] = set()
        self._again_bytes = 0
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
            f"Another process keeps writing to it. The replica will be killed {self._kills} times."
        )
        killed = 0
        with Live(self._table, console=self._console):
            with _writer(self._primary, self._seed):
                for kill in self._schedule():
                    killed += self._live(kill)
                self._live(None)
            # The writer has stopped: one more start follows the log to its end.
            self._live(None)
        return self._verify(killed)

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

    def _schedule(self) -> list[Kill]:
        """Return at least one kill in each phase, in the order in which phases come."""
        order: list[Phase] = ["copying", "catching up", "promoting"]
        phases = order + self._chance.choices(order[:2], weights=[2, 1], k=self._kills - 3)
        phases.sort(key=order.index)
        chunks = self._size_bytes // DEFAULT_CHUNK_BYTES // phases.count("copying")
        most = {"copying": max(2, chunks), "catching up": 2, "promoting": 2}
        return [
            Kill(phase, self._chance.randrange(1, most[phase]), self._chance.uniform(0, 0.003))
            for phase in phases
        ]

    def _live(self, kill: Kill | None) -> bool:
        """Let the replica live once; return whether it was killed."""
        run = run_and_kill(self._primary, self._target, NODE, kill)
        again_bytes = sum(end - start for _, start, end in self._seen.intersection(run.fetched))
        self._seen.update(run.fetched)
        self._again_bytes += again_bytes
        if run.killed:
            ended = f"[red]SIGKILL[/red] while {run.last.phase if run.last else 'starting'}"
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

    def _verify(self, killed: int) -> bool:
        primary, replica = digests(self._primary, self._target)
        self._say(f"primary  LSN {primary[0]}  BLAKE3 {primary[1]}")
        self._say(f"replica  LSN {replica[0]}  BLAKE3 {replica[1]}")
        equal = primary == replica
        generations = {generation for generation, _, _ in self._seen}
        self._say(
            f"Killed {killed} times; {decimal(self._again_bytes)} fetched again; "
            f"base backups copied: {len(generations)}; "
            + ("[bold green]equal[/]" if equal else "[bold red]NOT EQUAL[/]")
        )
        return equal

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
            return f"catching up at LSN {resumed.applied_lsn}"
        case "promoting":
            return f"promoting generation {resumed.generation}"
        case _ if resumed.generation:
            return f"generation {resumed.generation}, in service"
        case _:
            return "nothing"
