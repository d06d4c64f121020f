from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bootledger.cli.app import app
from bootledger.replica.intent_log import IntentLog

_ASK_BASH = """
source <(_BOOTLEDGER_COMPLETE=source_bash bootledger)
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
"$(complete -p bootledger | sed 's/.*-F \\([^ ]*\\).*/\\1/')" bootledger
printf '%s\\n' "${COMPREPLY[@]}"
"""
_ASK_FISH = """
_BOOTLEDGER_COMPLETE=source_fish bootledger | source
complete --do-complete "$argv"
"""
# What zsh offers needs a terminal; _arguments is asked what it would be told.
_ASK_ZSH = """
compdef() { }
_arguments() { print -r -- "$@" }
source <(_BOOTLEDGER_COMPLETE=source_zsh bootledger)
words=("$@") CURRENT=$#
_bootledger_completion
"""


@pytest.fixture
def ledger(tmp_path: Path) -> tuple[Path, list[str]]:
    """Return a ledger of three nodes, one of them done, and the ids of its intents in order."""
    path = tmp_path / "ledger"
    ids = []
    with IntentLog.open(path) as log:
        for node in ("ulm", "bonn", "berlin"):
            with log.begin(node, 0, 0, on_exit="suspend") as handle:
                ids.append(str(handle.intent_id))
                if node == "ulm":
                    handle.checkpoint(1, 1)
                    handle.complete(1, 1)
    return path, ids


def offered(*words: object) -> list[str]:
    """Return what is offered for the last word, asked as bash asks, in this process."""
    typed = list(map(str, words))
    done = CliRunner().invoke(
        app,
        prog_name="bootledger",
        env={
            "_BOOTLEDGER_COMPLETE": "complete_bash",
            "COMP_WORDS": "\n".join(typed),
            "COMP_CWORD": str(len(typed) - 1),
        },
    )
    assert done.exit_code == 0, done.output
    return done.stdout.split()


def test_intents_and_nodes_of_the_named_ledger_are_offered(ledger: tuple[Path, list[str]]) -> None:
    """To verbs unfinished ones; to who looks all, the newest first; nodes wherever one is named."""
    path, (done, *unfinished) = ledger
    for verb in ("hold", "release", "adopt", "abort", "discard"):
        assert offered("bootledger", verb, path, "") == unfinished
        assert offered("bootledger", verb, path, done) == [done]
    newest_first = [*reversed(unfinished), done]
    for words in (
        ("explain", path, ""),
        ("history", path, ""),
        ("diagram", path, "--intent", ""),
        ("diagram", path, "--timeline", ""),
    ):
        assert offered("bootledger", *words) == newest_first
    assert offered("bootledger", "history", path, done) == [done]
    assert offered("bootledger", "watch", path, "--node", "") == ["bonn", "berlin", "ulm"]
    assert offered("bootledger", "resume-point", path, "--node", "b") == ["bonn", "berlin"]


def test_a_node_that_cannot_be_typed_as_it_is_shown_is_not_offered(tmp_path: Path) -> None:
    """A line break in it would offer another node."""
    with IntentLog.open(tmp_path / "ledger") as log:
        for node in ("good", "evil\ngood2", "\x1b[31m"):
            log.begin(node, 0, 0).close()
    assert offered("bootledger", "watch", tmp_path / "ledger", "--node", "") == ["good"]


def test_where_nothing_can_be_read_nothing_is_offered_and_nothing_is_made(
    ledger: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """No ledger, a damaged one, no id: silence. And a sound one is as it was."""
    path, _ = ledger
    (broken := tmp_path / "broken").mkdir()
    (broken / "data.mdb").write_bytes(os.urandom(8192))
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    for words in ((tmp_path / "nothing", ""), (broken, ""), (path, "no-id")):
        assert offered("bootledger", "explain", *words) == []
    offered("bootledger", "explain", path, "")
    del before[path / "lock.mdb"]  # where LMDB has its readers
    assert {file: file.read_bytes() for file in before} == before
    assert not (tmp_path / "nothing").exists()
    assert {file.name for file in broken.iterdir()} <= {"data.mdb", "lock.mdb"}


@pytest.mark.parametrize(
    ("shell", "script"), [("bash", _ASK_BASH), ("fish", _ASK_FISH), ("zsh", _ASK_ZSH)]
)
def test_a_real_shell_offers_them(
    ledger: tuple[Path, list[str]], tmp_path: Path, shell: str, script: str
) -> None:
    """What the shell's own completion function finds, with the script that the command prints."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: nobody asked its completions")
    path, (_, *unfinished) = ledger
    (asking := tmp_path / "ask").write_text(script)
    words = ["bootledger", "explain", str(path), "0"]
    found = subprocess.run(
        [shell, asking, *([" ".join(words)] if shell == "fish" else words)],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    for intent_id in unfinished:
        assert intent_id in found.stdout, (found.stdout, found.stderr)
