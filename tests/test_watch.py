from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from bootledger.cli import watch
from bootledger.cli.app import app
from bootledger.cli.errors import ExitCode
from bootledger.cli.history import history_of
from bootledger.cli.picture import picture
from bootledger.cli.standing_table import status_of
from bootledger.diagrams.chart import chart_of_table
from bootledger.projections.follow import Follower
from bootledger.replica.intent_log import IntentLog
from bootledger.store.lmdb import LmdbEventStore

Between = Callable[[int], None]


def command(*arguments: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[IntentLog]:
    """Return a ledger that other commands may open too."""
    with IntentLog.open(tmp_path / "ledger") as log:
        yield log


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[Between], None]:
    """Have something done between two looks instead of sleeping."""

    def set_to(what: Between) -> None:
        looks = itertools.count(1)
        monkeypatch.setattr(watch.time, "sleep", lambda _: what(next(looks)))

    return set_to


def moving(log: IntentLog) -> Between:
    """Return what moves two nodes while they are watched, until both are done."""
    a, b = log.begin("a", 100, 100), log.begin("b", 0, 0)
    steps = {
        1: lambda: a.checkpoint(40, 1),
        2: lambda: None,
        3: lambda: a.complete(1, 1),
        4: lambda: b.checkpoint(1, 1),
        5: lambda: b.complete(1, 1),
    }

    def step(number: int) -> None:
        if number not in steps:
            raise AssertionError("it should have ended")
        steps[number]()

    return step


def test_in_a_pipe_watch_writes_one_line_for_each_change_and_ends_when_all_is_done(
    ledger: IntentLog, tmp_path: Path, between: Callable[[Between], None]
) -> None:
    """What did not change is not repeated; `--until done` is exit code 0."""
    between(moving(ledger))
    done = command("watch", tmp_path / "ledger", "--until", "done")
    assert done.exit_code == 0, done.output
    assert [line.split(maxsplit=2)[2].split(", epoch")[0] for line in done.output.splitlines()] == [
        "a: begun",
        "b: begun",
        "a: catching_up, LSN 40, 60 or more behind",
        "a: completed, 100%, LSN 40",
        "b: catching_up, LSN 1",
        "b: completed, 100%, LSN 1",
    ]


def test_json_is_one_object_for_each_change_the_same_that_status_gives(
    ledger: IntentLog, tmp_path: Path, between: Callable[[Between], None]
) -> None:
    """For scripts; and of one node, if that is asked for."""
    between(moving(ledger))
    path = tmp_path / "ledger"
    done = command("watch", path, "--json", "--node", "b", "--until", "done")
    told = [json.loads(line) for line in done.output.splitlines()]
    assert [(one["node_id"], one["state"]) for one in told] == [
        ("b", "begun"),
        ("b", "catching_up"),
        ("b", "completed"),
    ]
    (ended,) = (
        one for one in json.loads(command("status", path, "--json").output) if one["node_id"] == "b"
    )
    assert ended == told[-1]


def test_ctrl_c_ends_watching_with_0(
    ledger: IntentLog, tmp_path: Path, between: Callable[[Between], None]
) -> None:
    """It is the ordinary end, not a failure."""

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    between(interrupt)
    ledger.begin("a", 0, 0).close()
    done = command("watch", tmp_path / "ledger")
    assert (done.exit_code, done.output.count("\n")) == (0, 1)
    assert "a: begun, owner died" in done.output


def test_on_a_terminal_the_marked_state_moves_along_the_way(
    ledger: IntentLog,
    tmp_path: Path,
    between: Callable[[Between], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The picture at each look, then the table."""
    between(moving(ledger))
    screen = Console(file=StringIO(), force_terminal=True, width=80, height=30, color_system=None)
    monkeypatch.setattr(watch, "console", lambda: screen)
    assert command("watch", tmp_path / "ledger", "--until", "done").exit_code == 0
    assert isinstance(screen.file, StringIO)
    shown = screen.file.getvalue()
    places = [
        shown.index(words)
        for words in (
            "[begun 2]",
            "[begun 1]─▶ transferring ─▶[catching_up 1]",
            "[begun 1]─▶ transferring ─▶ catching_up ─▶ promoting ─▶[completed 1]",
            "─▶[completed 2]",
        )
    ]
    assert places == sorted(places)


def test_watching_writes_nothing_into_the_ledger(
    ledger: IntentLog,
    tmp_path: Path,
    between: Callable[[Between], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Writers wait for nobody who only looks: the only transactions are theirs."""
    writes: list[str] = []
    step = moving(ledger)
    monkeypatch.setattr(
        LmdbEventStore, "save_projection", lambda *_: writes.append("save_projection")
    )
    between(step)
    assert command("watch", tmp_path / "ledger", "--until", "done").exit_code == 0
    assert writes == []


@pytest.mark.parametrize("interval", ["0", "-1", "nan", "4000"])
def test_an_interval_must_be_one(ledger: IntentLog, tmp_path: Path, interval: str) -> None:
    """Neither endless nor busy."""
    assert command("watch", tmp_path / "ledger", "--interval", interval).exit_code == 2


def test_a_node_that_the_ledger_never_saw_is_said_to_be_unknown(
    ledger: IntentLog, tmp_path: Path
) -> None:
    """A typing error is no answer: refused, by `resume-point` and by `watch`."""
    ledger.begin("known", 0, 0).abort("enough")
    path = tmp_path / "ledger"
    for arguments in (("resume-point", path), ("watch", path)):
        refused = command(*arguments, "--node", "unknown")
        assert refused.exit_code == ExitCode.REFUSED
        assert "'unknown'" in refused.stderr
        assert "known" in refused.stderr
    assert command("resume-point", path, "--node", "known").exit_code == 0


def test_what_operations_shows_of_watching_is_what_is_shown(
    ledger: IntentLog, tmp_path: Path, between: Callable[[Between], None]
) -> None:
    """The picture, and the lines in a pipe without their times."""
    page = (Path(__file__).parent.parent / "docs" / "operations.md").read_text()
    drawn, lines = re.findall(r"```text\n(.*?)```", page, flags=re.DOTALL)
    present = {"transferring": "ab", "catching_up": "c", "suspended": "d", "completed": "efgh"}
    shown = picture(chart_of_table(), present, width=100).plain
    assert [line.rstrip() for line in shown.splitlines()] == drawn.splitlines()

    handle = ledger.begin("replica-1", 100, 100)
    steps = {1: lambda: handle.checkpoint(40, 1), 2: lambda: handle.complete(1, 1)}
    between(lambda number: steps[number]())
    done = command("watch", tmp_path / "ledger", "--until", "done")
    said = [line.split(maxsplit=2)[2] for line in done.output.splitlines()]
    assert said == lines.splitlines()


@pytest.mark.parametrize("width", [60, 99, 100, 200])
def test_a_history_and_a_status_are_whole_at_any_width(ledger: IntentLog, width: int) -> None:
    """Ids are copied into other commands, and what happened is what one came for."""
    with ledger.begin("a-node", 0, 0, on_exit="suspend") as handle:
        handle.checkpoint(4711, 1)
    screen = Console(file=StringIO(), force_terminal=True, width=width, color_system=None)
    screen.print(history_of(list(ledger.store.history(handle.intent_id)), width=width))
    screen.print(status_of(Follower(ledger.store).look(), width=width, bars=True))
    assert isinstance(screen.file, StringIO)
    shown = screen.file.getvalue()
    assert max(map(len, shown.splitlines())) <= width
    for words in (str(handle.intent_id), "4711", "checkpoint", "start it again", "a-node"):
        assert words in shown


def test_a_file_that_is_neither_export_nor_log_is_refused_and_no_ledger_is_made(
    tmp_path: Path,
) -> None:
    """A slip of the hand is no damaged log; whoever knows better says so."""
    file, path = tmp_path / "picture.png", tmp_path / "ledger"
    file.write_bytes(bytes(range(256)) * 100)
    refused = command("import", file, "--ledger", path)
    assert (refused.exit_code, path.exists()) == (ExitCode.REFUSED, False)
    assert "neither" in refused.stderr
    told = command("import", file, "--ledger", path, "--from", "reddb")
    assert told.exit_code == ExitCode.CORRUPTED
