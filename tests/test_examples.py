"""The examples do what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"
EXAMPLE = EXAMPLES / "sqlite_applier.py"
TOKEN = "lsn.committed#3"


def run(*arguments: str, example: Path = EXAMPLE) -> subprocess.CompletedProcess[str]:
    """Run the example to its end."""
    return subprocess.run(
        [sys.executable, example, *arguments], capture_output=True, text=True, check=False
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


def test_a_file_is_copied_and_of_its_next_version_what_changed() -> None:
    """All of it, then nothing, then one chunk."""
    done = run(example=EXAMPLES / "copy_file.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "generation 1: 4194304 bytes fetched into gen-0001/large.bin",
        "generation 1: 0 bytes fetched into gen-0001/large.bin",
        "generation 2: 262144 bytes fetched into gen-0002/large.bin",
        "equal",
    ]


def test_the_target_of_a_copied_file_may_be_relative(tmp_path: Path) -> None:
    """As it is typed, from wherever."""
    (tmp_path / "file").write_bytes(b"bytes")
    command = [sys.executable, EXAMPLES / "copy_file.py", "file", "copy"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "generation 1: 5 bytes fetched into gen-0001/file\n", done.stderr


def test_a_download_that_is_killed_goes_on_and_mixes_no_versions() -> None:
    """At most the chunk that was in flight is asked for again."""
    done = run(example=EXAMPLES / "copy_url.py")
    assert done.returncode == 0, done.stderr
    killed, again, end = done.stdout.splitlines()
    assert killed == "killed with signal 9 in the middle"
    assert again in {f"generation 1: {n} of 20 chunks asked for again" for n in (0, 1)}
    assert end == "equal"


def test_a_database_is_copied_under_writes_and_kills() -> None:
    """The copy in service is one version of it."""
    done = run(example=EXAMPLES / "copy_sqlite.py")
    assert done.returncode == 0, done.stderr
    killed, end = done.stdout.splitlines()
    assert killed == "killed twice in the middle, with the writer going on"
    assert end.endswith(": one version")
