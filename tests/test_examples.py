"""The examples do what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent / "examples" / "sqlite_applier.py"
TOKEN = "lsn.committed#3"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the example to its end."""
    return subprocess.run(
        [sys.executable, EXAMPLE, *arguments], capture_output=True, text=True, check=False
    )


def test_the_bug_is_found_and_told_by_its_smallest_token() -> None:
    """An LSN that is committed before its rows: a crash in between, in the last batch, does it."""
    done = run()
    assert done.returncode == 1
    first, *story = done.stdout.splitlines()
    assert first == f"after crashes at {TOKEN}: 5 rows, not the 6 that were sent"
    assert story[0] == "life 1"
    assert story[-1] == "WRONG: 5 rows, not the 6 that were sent"
    assert f"`{TOKEN}`" in (EXAMPLE.parent.parent / "docs" / "crash-safety.md").read_text()


def test_the_mended_one_is_clean_and_its_check_sees_what_is_planted() -> None:
    """Every single crash, and three planted faults."""
    done = run("mended")
    assert done.returncode == 0
    assert done.stdout.endswith(
        "runs, nothing found; planted and seen: forgetful, doubling, early\n"
    )
