"""Recording: run something under strace and read what it did to a directory. Linux only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from bootledger.errors import Refused, Unavailable
from bootledger.simulation.forks import fork
from bootledger.simulation.places import fresh_place
from bootledger.simulation.powerloss.image import Image
from bootledger.simulation.powerloss.places import read_place
from bootledger.simulation.powerloss.reading import TRACED, operations
from bootledger.simulation.powerloss.trace import Trace

ACKNOWLEDGEMENTS = "BOOTLEDGER_ACKNOWLEDGEMENTS"
"""The environment variable that names the file into which a recorded program may promise."""

Acknowledge: TypeAlias = Callable[[bytes], None]

_LONGEST_STRING_BYTES = 2**26
_PR_SET_PTRACER = 0x59616D61
_PR_SET_PTRACER_ANY = -1
_LIBC = ctypes.CDLL(None, use_errno=True)


class CannotTrace(Unavailable):
    """There is no strace on this machine, or it is not allowed: nothing was recorded."""


class RecordedRunFailed(Refused):
    """What was to be recorded did not come to its end; the message is its own."""


def record(run: Callable[[Acknowledge], None], place: Path) -> Trace:
    """Run `run(acknowledge)` in a forked child and return what it did to the directory `place`.

    What is in `place` before counts as durable. Each call of `acknowledge(data)` is a promise to
    the outside world, found in the trace where it was made. `run` opens everything itself: what was
    open before cannot be followed, and LMDB forbids to carry an environment across a fork.

    Raises `CannotTrace` where strace is missing or forbidden, `RecordedRunFailed` with the child's
    traceback, `Unmodelled` if it did what the model has no word for.
    """
    place = place.resolve()
    base = read_place(place)
    with _fresh_scratch() as scratch:
        ready, go = os.pipe()
        child = fork()
        if not child:
            os.close(go)
            _live(run, ready, scratch)
        os.close(ready)
        try:
            with _attached(child, scratch):
                os.write(go, b"!")
                _, status = os.waitpid(child, 0)
                child = 0
        finally:
            os.close(go)
            if child:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
        if status:
            raise RecordedRunFailed(scratch.failure(status))
        return scratch.trace(place, base, Path.cwd())


def record_command(
    command: Sequence[str | os.PathLike[str]],
    place: Path,
    *,
    environment: Mapping[str, str] | None = None,
) -> Trace:
    """Run any program to its successful end and return what it did to the directory `place`.

    It may make promises by appending each, in one write, to the file that the environment variable
    `ACKNOWLEDGEMENTS` names. Raises as `record`.
    """
    place = place.resolve()
    base = read_place(place)
    with _fresh_scratch() as scratch:
        done = subprocess.run(  # noqa: S603 - the caller's own command
            [*_strace(scratch), "--seccomp-bpf", "-qq", "--", *command],
            env={
                **(os.environ if environment is None else environment),
                ACKNOWLEDGEMENTS: os.fspath(scratch.promises),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
        if not scratch.told.exists() or not scratch.told.stat().st_size:
            raise CannotTrace(done.stderr.strip())
        if done.returncode:
            raise RecordedRunFailed(f"{command} ended with {done.returncode}: {done.stderr}")
        return scratch.trace(place, base, Path.cwd())


class _Scratch:
    """The files, in a directory of our own, for what strace tells and the recorded one promises."""

    def __init__(self, path: Path) -> None:
        self.told = path / "strace"
        self.promises = path / "acknowledgements"
        self.words = path / "words"
        self.promises.touch()

    def failure(self, status: int) -> str:
        """Return why the recorded run failed."""
        if self.words.exists():
            return f"the recorded run failed: {self.words.read_text()}"
        return f"the recorded run ended with {os.waitstatus_to_exitcode(status)}"

    def trace(self, place: Path, base: Image, directory: Path) -> Trace:
        """Return what strace has told."""
        with self.told.open(encoding="ascii") as lines:
            done = operations(
                lines, os.fspath(place), os.fspath(self.promises), base, os.fspath(directory)
            )
        return Trace(place, base, tuple(done))


@contextlib.contextmanager
def _fresh_scratch() -> Iterator[_Scratch]:
    with fresh_place() as path:
        yield _Scratch(path.resolve())


def _strace(scratch: _Scratch) -> list[str]:
    program = shutil.which("strace")
    if program is None:
        raise CannotTrace("strace is not installed", hint="install the package strace")
    names = ",".join(f"?{name}" for name in TRACED)
    return [
        *(program, "-f", "-y", "-xx", "-s", str(_LONGEST_STRING_BYTES)),
        *("-e", f"trace={names}", "-o", os.fspath(scratch.told)),
    ]


@contextlib.contextmanager
def _attached(child: int, scratch: _Scratch) -> Iterator[None]:
    """Trace the process `child` for the length of the block, in which it must end."""
    with subprocess.Popen(  # noqa: S603 - a list of words of ours
        [*_strace(scratch), "-p", str(child)], stderr=subprocess.PIPE, text=True
    ) as tracer:
        assert tracer.stderr is not None  # noqa: S101 - it was asked for
        words = tracer.stderr.readline()
        if "attached" not in words:
            raise CannotTrace(
                f"strace does not attach: {words.strip() or 'no word why'}",
                hint="a container may need the capability SYS_PTRACE",
            )
        try:
            yield
        finally:
            tracer.stderr.read()


def _live(run: Callable[[Acknowledge], None], ready: int, scratch: _Scratch) -> None:
    """Be the recorded child: wait for the tracer, run, and end without any of Python's tidying."""
    status = 1
    try:
        promises = os.open(scratch.promises, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

        def acknowledge(data: bytes) -> None:
            os.write(promises, data)

        _LIBC.prctl(_PR_SET_PTRACER, ctypes.c_long(_PR_SET_PTRACER_ANY), 0, 0, 0)
        if os.read(ready, 1):
            run(acknowledge)
            status = 0
    except BaseException:  # noqa: BLE001 - whatever it was, the parent is told
        scratch.words.write_text(traceback.format_exc())
    finally:
        os._exit(status)
