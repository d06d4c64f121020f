"""What the README shows is what happens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from pictures import pictures

from bootledger.cli.app import MODULES
from bootledger.projections.latest import LatestIntents
from bootledger.projections.runner import rebuild
from bootledger.replica.intent_log import IntentLog
from bootledger.statemachine.progress import State

README = Path(__file__).parent.parent / "README.md"


def example(number: int) -> str:
    """Return one of the README's three Python examples."""
    copy_a_file, replicate_a_database, simulate = re.findall(
        r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL
    )
    return str((copy_a_file, replicate_a_database, simulate)[number])


def test_the_example_survives_being_killed_and_copies_nothing_twice(tmp_path: Path) -> None:
    """Killed in the middle, started again: the same intent ends, and the copy is exact."""
    source, copy = tmp_path / "source.bin", tmp_path / "copy.bin"
    source.write_bytes(os.urandom(64 * 2**20))
    command = [sys.executable, "-c", example(0)]
    with subprocess.Popen(command, cwd=tmp_path) as child:
        while not copy.exists() or copy.stat().st_size < 4 * 2**20:
            time.sleep(0.001)
        child.kill()
    assert child.returncode == -signal.SIGKILL
    with IntentLog.open(tmp_path / "ledger") as log:
        (intent,) = log.list_unfinished()
    assert intent.progress.snapshot is not None
    assert 0 < intent.progress.snapshot.offset_bytes < source.stat().st_size

    subprocess.run(command, cwd=tmp_path, check=True)

    assert copy.read_bytes() == source.read_bytes()
    with IntentLog.open(tmp_path / "ledger") as log:
        ((intent_id, progress),) = rebuild(log.store, LatestIntents()).by_intent().items()
    assert (intent_id, progress.state, progress.epoch) == (intent.intent_id, State.COMPLETED, 2)


def test_the_database_example_prints_what_was_written(tmp_path: Path) -> None:
    """A primary is made, replicated and read as shown."""
    command = [sys.executable, "-c", example(1)]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout == "2 b'value'\n"


def test_the_simulation_finds_nothing_and_says_how_much_it_did(tmp_path: Path) -> None:
    """The example crashes at every point once, and every run ends well."""
    command = [sys.executable, "-c", example(2)]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    runs, crashes = re.fullmatch(r"(\d+) runs, (\d+) crashes, seed 0\n", done.stdout).groups()
    assert int(runs) == int(crashes) + 1 > 100


def test_every_picture_is_one_that_is_drawn() -> None:
    """The README shows nothing but what a test compares with the code, the table first."""
    shown = re.findall(r"!\[[^]]+\]\(docs/pictures/(.*?)\)", README.read_text())
    assert shown[0] == "bootstrap.svg"
    assert set(shown) <= set(pictures())
    assert README.read_text().count("![") == len(shown)


def test_the_layout_table_names_every_room() -> None:
    """No room is missing from the README, and none is named that is not there."""
    root = README.parent
    rooms = {link.name for link in (root / "src" / "bootledger").iterdir() if link.is_symlink()}
    named = set(re.findall(r"^\| `(\w+)/` \| `bootledger\.\w+`", README.read_text(), re.MULTILINE))
    assert named == rooms


def test_the_table_of_commands_names_every_command() -> None:
    """Whoever reads the README knows every command, and none that there is not."""
    commands = set(MODULES) - {"demo", "diagram", "schema"}
    table = re.findall(
        r"^\| (?:bring|look|decide|foresee|keep in order|prove) \|.*$",
        README.read_text(),
        re.MULTILINE,
    )
    named = set(re.findall(r"`([a-z]+(?:-[a-z]+)*)(?: [A-Z]+)?`", "".join(table)))
    assert named == commands - {"replicate"}
