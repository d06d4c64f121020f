from __future__ import annotations

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path
from uuid import UUID

import ledgers
import pytest
import sample_events as sample
from jsonschema import Draft202012Validator
from rich.console import Console
from typer.testing import CliRunner, Result

from bootledger.cli import watch
from bootledger.cli.app import app
from bootledger.cli.errors import ExitCode
from bootledger.cli.standing_table import live_table
from bootledger.cli.visible import visible
from bootledger.errors import InvalidValue
from bootledger.projections.find import find_intent
from bootledger.projections.standing import Source, standings
from bootledger.replica.intent_log import IntentLog
from bootledger.statemachine.fold import fold
from bootledger.store.memory import MemoryEventStore

EVIL = "evil\nforged: completed\x1b[31m[red]"


def command(*arguments: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_what_others_wrote_neither_forges_a_line_nor_commands_the_terminal(tmp_path: Path) -> None:
    """Node, actor, reason and label, in every text; JSON has them as they are."""
    path = tmp_path / "ledger"
    with IntentLog.open(path) as log:
        handle = log.begin(EVIL, 0, 0, labels={"why": EVIL})
        handle.close()
    held = command("hold", path, handle.intent_id, "--reason", EVIL, "--actor", EVIL)
    assert held.exit_code == 0, held.output
    for words in (
        ("status", path),
        ("dangling", path),
        ("history", path),
        ("history", path, handle.intent_id),
        ("explain", path, handle.intent_id),
        ("resume-point", path, "--node", EVIL),
        ("abort", path, handle.intent_id, "--reason", EVIL, "--actor", EVIL),
        ("explain", path, handle.intent_id),
        ("watch", path, "--until", "done"),
        ("hold", path, handle.intent_id, "--reason", "x"),
    ):
        shown = command(*words).output
        assert "\x1b" not in shown, words
        assert not any(line.startswith("forged") for line in shown.splitlines()), words
    (told,) = json.loads(command("status", path, "--json").stdout)
    assert told["node_id"] == EVIL
    assert visible("tab\tund übrigens \u202e") == "tab\\tund übrigens \\u202e"


def test_an_output_that_is_not_unicode_is_told_all_of_it(tmp_path: Path) -> None:
    """Escaped instead of a traceback, and JSON stays JSON."""
    path = tmp_path / "ledger"
    with IntentLog.open(path) as log:
        log.begin("köln-😀", 0, 0).close()
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    text, told = (
        subprocess.run(
            [sys.executable, "-m", "bootledger", "status", path, *more],
            capture_output=True,
            text=True,
            check=True,
            env=env,
        ).stdout
        for more in ((), ("--json",))
    )
    assert r"k\xf6ln-\U0001f600" in text
    assert json.loads(told)[0]["node_id"] == "köln-😀"


def test_a_terminal_that_cannot_be_redrawn_gets_lines_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a pipe gets, instead of nothing until the end."""
    with IntentLog.open(tmp_path / "ledger") as log, log.begin("a", 0, 0) as handle:
        handle.checkpoint(1, 1)
        handle.complete(1, 1)
    dumb = {"TERM": "dumb"}
    screen = Console(file=StringIO(), force_terminal=True, _environ=dumb)
    monkeypatch.setattr(watch, "console", lambda: screen)
    assert "a: completed" in command("watch", tmp_path / "ledger", "--until", "done").output


@pytest.mark.parametrize("width", [46, 50, 59, 60, 70, 80, 110, 140])
def test_a_live_table_has_its_border_at_any_width(width: int) -> None:
    """Columns give way; and Ctrl-C is echoed into an empty last line."""
    histories = (sample.HALF, (*sample.HALF, sample.hold()), sample.PROMOTING)
    sources = {
        UUID(int=number): Source(fold(history), None, ())
        for number, history in enumerate(histories)
    }
    screen = Console(file=StringIO(), force_terminal=True, width=width, color_system=None)
    found = standings(sources)
    screen.print(live_table(found, width=width))
    assert isinstance(screen.file, StringIO)
    assert {line[-1] for line in screen.file.getvalue().splitlines() if line} <= set("┓┃┩│┘")
    lines = screen.render_lines(watch.view(found, screen), pad=False)
    assert "".join(segment.text for segment in lines[-1]).strip() == ""


def test_a_node_names_its_unfinished_intent_else_its_newest() -> None:
    """Several unfinished ones are told with node and state, no more than a few of them."""
    store = MemoryEventStore()
    ids = [UUID(f"0190abcd-{number}000-7000-8000-000000000000") for number in range(9)]
    begun, over = sample.begin(), sample.abort()
    node = begun.node_id
    for intent_id in ids[:2]:
        ledgers.append(store, [(intent_id, begun), (intent_id, over)])
    assert find_intent(store, node) == ids[1]
    ledgers.append(store, [(ids[2], begun)])
    assert find_intent(store, node) == ids[2]
    for intent_id in ids[3:]:
        ledgers.append(store, [(intent_id, begun)])
    with pytest.raises(InvalidValue, match=rf"{ids[2]} \('{node}', begun\).*, and 2 more"):
        find_intent(store, node)
    with pytest.raises(InvalidValue, match=rf"{ids[0]} \('{node}', aborted\).*, and 4 more"):
        find_intent(store, "0190")


def test_history_without_an_intent_lists_all_of_them(tmp_path: Path) -> None:
    """Finished ones too, a line each, as the schema says; of one, nothing before it began."""
    path = tmp_path / "ledger"
    with IntentLog.open(path) as log:
        log.begin("first", 0, 0).abort("enough")
        second = log.begin("first", 0, 0)
        second.close()
    lines = command("history", path).output.splitlines()
    assert [line.split(maxsplit=3)[3] for line in lines] == [
        "first: aborted, 1 start",
        "first: begun, 1 start",
    ]
    judge = Draft202012Validator(json.loads(command("schema", "history-intents").output))
    told = [json.loads(line) for line in command("history", path, "--json").output.splitlines()]
    for one in told:
        judge.validate(one)
    assert [one["state"] for one in told] == ["aborted", "begun"]
    assert command("history", path, "--at", 1).exit_code == ExitCode.REFUSED
    early = command("history", path, second.intent_id, "--at", 1)
    assert (early.exit_code, "had not begun" in early.output) == (ExitCode.REFUSED, True)


def test_who_holds_an_intent_is_said_with_a_command_that_ends_it(tmp_path: Path) -> None:
    """It can be pasted as it stands; `status` says who, too."""
    path = tmp_path / "a ledger"
    with IntentLog.open(path) as log:
        handle = log.begin("n", 0, 0)
        handle.close()
    command("hold", path, "n", "--reason", "maintenance", "--actor", "ada")
    assert "held by ada" in command("status", path).output
    shown = command("dangling", path).output
    assert "held by ada, for" in shown
    (told,) = json.loads(command("dangling", path, "--json").output)
    assert f"`bootledger release '{path}' {handle.intent_id}`" in told["what_to_do"]
    assert told["held_by"] == "ada"
