"""One life of the demonstration's replica: start the real command, listen, kill it, take stock."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

Phase = Literal["copying", "catching up", "promoting"]


@dataclass(frozen=True)
class Kill:
    """When to kill: `delay_s` after the `count`-th sign of life of `phase`."""

    phase: Phase
    count: int
    delay_s: float


class Line(msgspec.Struct):
    """One line of `bootledger replicate --json`; only what is used here."""

    event: str
    phase: str = ""
    start: int = 0
    end: int = 0
    staged_bytes: int = 0
    generation: int = 0
    applied_lsn: int | None = None
    lsn: int = 0


@dataclass
class Run:
    """What one life reported before it ended: where it resumed, what it fetched, how it died."""

    resumed: Line | None = None
    last: Line | None = None
    fetched: list[tuple[int, int, int]] = field(default_factory=list)
    """(generation, start, end) of every range that came from the source."""
    pins: int = 0
    """How often the source was asked for a base backup."""
    exit_code: int = 0

    @property
    def killed(self) -> bool:
        """Whether it was SIGKILL that ended it."""
        return self.exit_code == -signal.SIGKILL

    @property
    def fetched_bytes(self) -> int:
        """How many bytes of the base backup this life fetched."""
        return sum(end - start for _, start, end in self.fetched)


def run_and_kill(primary: Path, target: Path, node: str, kill: Kill | None) -> Run:
    """Start `bootledger replicate`, kill it with SIGKILL as told, and return what it reported.

    With no `kill`, or if it ends before its moment comes, it ends by itself.
    """
    run = Run()
    command = [sys.executable, "-m", "bootledger", "replicate", "--json", "--node", node]
    command += [str(primary), str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own
        signs = 0
        for line in _lines(process):
            _note(run, line)
            if kill is not None and _is_sign(line, kill.phase):
                signs += 1
                if signs == kill.count:
                    time.sleep(kill.delay_s)
                    process.kill()
    run.exit_code = process.returncode
    return run


def _lines(process: subprocess.Popen[bytes]) -> Iterator[Line]:
    if process.stdout is None:
        return
    for text in process.stdout:
        if text.endswith(b"\n"):  # the last line of a killed process may be cut
            yield msgspec.json.decode(text, type=Line)


def _note(run: Run, line: Line) -> None:
    if line.event == "step":
        run.resumed = run.resumed or line
        run.last = line
    elif line.event == "pinning":
        run.pins += 1
    elif line.event == "fetched" and run.last is not None:
        run.fetched.append((run.last.generation, line.start, line.end))


def _is_sign(line: Line, phase: Phase) -> bool:
    match phase:
        case "copying":
            return line.event == "fetched"
        case "catching up":
            return line.event == "applied"
        case "promoting":
            return line.event == "step" and line.phase == "promoting"
