"""Real processes for tests: run a piece of Python in a child, and let it die for real."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

_DIE = "\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a child that runs `code` with the arguments in `sys.argv[1:]`, its output piped."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(code: str, *arguments: object) -> str:
    """Run `code` in a child to its end and return what it printed; it must succeed."""
    child = start(code, *arguments)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    return out


def run_and_die(code: str, *arguments: object) -> str:
    """Run `code` in a child that then kills itself with SIGKILL; return what it printed."""
    child = start(textwrap.dedent(code) + _DIE, *arguments)
    out, err = child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL, err
    return out


def wait_for_line(child: subprocess.Popen[str]) -> str:
    """Return the next line that the child prints, without its newline."""
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        assert child.stderr is not None
        raise AssertionError(f"the child ended early: {child.stderr.read()}")
    return line.rstrip("\n")


def kill(child: subprocess.Popen[str]) -> None:
    """Kill the child with SIGKILL and take it off the process table."""
    child.kill()
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL


def peak_resident_bytes(pid: int) -> int:
    """Return the highest resident set that a live process has had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("this kernel does not report VmHWM")
