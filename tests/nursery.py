"""The real commands as real processes that start in no time: forks of one that imported them.

A start of Python with all of bootledger takes longer than a small bootstrap. Here one process does
the imports and nothing else, and each command is a fork of it, with its own arguments and output.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

LONG_S = 300
NURSERY = """
import sys
sys.path.insert(0, sys.argv[1])
from nursery import nurse
nurse()
"""


def nurse() -> None:
    """Fork and reap as the lines of standard input say, until it ends."""
    # Whoever starts a nursery does not need them.
    import bootledger.primary.http.server  # noqa: PLC0415
    import bootledger.remote  # noqa: F401, PLC0415
    from bootledger.cli.app import MODULES  # noqa: PLC0415

    for module in MODULES.values():
        import_module(f"bootledger.cli.{module}")

    born: list[int] = []
    for line in sys.stdin:
        asked = json.loads(line)
        if "argv" in asked:
            if not (answer := os.fork()):
                _live(**asked)
            born.append(answer)
        else:
            pid, status = os.waitpid(asked["pid"], 0 if asked["wait"] else os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in born:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _live(argv: list[str], out: str, err: str) -> None:
    """Be the command, and end with its exit code."""
    from bootledger.cli import main  # noqa: PLC0415

    for fd, path in ((0, os.devnull), (1, out), (2, err)):
        flags = os.O_RDONLY if fd == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND
        os.dup2(os.open(path, flags), fd)
    sys.argv = ["bootledger", *argv]
    code = 1
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 -- what nobody catches is told, as Python does it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


class Command:
    """One command that was started. `out` and `err` are what it printed so far."""

    def __init__(self, nursery: Nursery, argv: list[str], out: Path) -> None:
        self._nursery = nursery
        self.out, self.err = out, out.with_suffix(".err")
        for path in (self.out, self.err):
            path.touch()  # whoever looks early sees that nothing was said
        paths = {"out": str(self.out), "err": str(self.err)}
        self.pid = nursery.ask({"argv": argv, **paths})
        self.code: int | None = None

    def poll(self) -> int | None:
        """Return its exit code, None while it runs; that of a death by a signal is negative."""
        return self._reap(wait=False)

    def wait(self) -> int:
        """Return its exit code as soon as it has ended."""
        return self._reap(wait=True)

    def kill(self) -> None:
        """Kill it with SIGKILL, if it still runs, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait()

    def signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _reap(self, *, wait: bool) -> int | None:
        if self.code is None:
            self.code = self._nursery.ask({"pid": self.pid, "wait": wait})
        return self.code


class Nursery:
    """Starts commands."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", NURSERY, str(Path(__file__).parent)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, argv: list[str], out: Path) -> Command:
        """Start `bootledger` with these arguments; what it prints is appended to `out`."""
        return Command(self, argv, out)

    def ask(self, what: object) -> int:
        """Ask the process that forks, and return what it answered."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        """Kill whoever is left."""
        self._process.communicate(timeout=60)


@functools.cache
def shared() -> Nursery:
    """Return the one of this process for commands that are run to their end."""
    made = Nursery()
    atexit.register(made.end)
    return made


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it said. Environment and directory are usual."""
    argv = list(map(str, arguments))
    with tempfile.TemporaryDirectory(prefix="bootledger-run-") as place:
        command = shared().start(argv, Path(place) / "out")
        until_s = time.monotonic() + LONG_S
        while command.poll() is None:
            if time.monotonic() > until_s:
                command.kill()
                raise AssertionError(f"{argv} had not ended after {LONG_S} s")
            time.sleep(0.005)
        assert command.code is not None
        said = command.out.read_text(), command.err.read_text()
        return subprocess.CompletedProcess(argv, command.code, *said)


@contextlib.contextmanager
def nursery() -> Iterator[Nursery]:
    """Start commands for the length of the block; nobody is left after it."""
    made = Nursery()
    try:
        yield made
    finally:
        made.end()
