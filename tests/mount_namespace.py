"""Run Python in a child that may mount file systems: full disks and read-only ones, for real."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

_WAYS = (["unshare", "--user", "--map-root-user", "--mount"], ["unshare", "--mount"])
_PREAMBLE = '''
import os, subprocess, sys
from pathlib import Path

def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)

def fill(file):
    """Write until the disk is full; return how many bytes that was."""
    total = 0
    with file.open("wb", buffering=0) as out:
        try:
            while True:
                total += out.write(b"x" * 4096)
        except OSError:
            return total

base = Path(sys.argv[1])
mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", base)
'''


def run(code: str, place: Path) -> None:
    """Run `code` with a file system of 4 MiB mounted at `base`; it must print `done` at its end.

    `mount` and `fill` are there to use. Skips the test where the machine allows no mounts.
    """
    place.mkdir()
    for way in _WAYS:
        if subprocess.run([*way, "true"], capture_output=True, check=False).returncode == 0:
            break
    else:
        pytest.skip("THIS MACHINE ALLOWS NO MOUNT NAMESPACE: a full disk was not tried")
    done = subprocess.run(
        [*way, sys.executable, "-c", _PREAMBLE + textwrap.dedent(code), str(place)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
