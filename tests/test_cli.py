from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nursery import run as bootledger
from replicas import NODE, assert_equal, make_primary, replicate, write_more
from rich.console import Console
from typer.testing import CliRunner

from bootledger.basebackup.publishing import DEFAULT_CHUNK_BYTES
from bootledger.cli.app import app
from bootledger.cli.demo import Observed, digests, failures, run_demo, schedule
from bootledger.cli.errors import ExitCode
from bootledger.cli.signals import StopRequest
from bootledger.cli.tables import dangling_blocks
from bootledger.cli.terminal import TerminalObserver
from bootledger.cli.watching import telling
from bootledger.diagrams.chart import chart_of_table
from bootledger.diagrams.dot import dot
from bootledger.diagrams.markdown import markdown
from bootledger.diagrams.mermaid import mermaid
from bootledger.diagrams.plantuml import plantuml
from bootledger.diagrams.scxml import scxml
from bootledger.diagrams.svg import svg
from bootledger.files import Files
from bootledger.projections import dangling
from bootledger.replica.database import Database
from bootledger.replica.intent_log import IntentLog
from bootledger.store.memory import MemoryEventStore

COMMAND = [sys.executable, "-m", "bootledger"]


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start the command with its output piped."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(child: subprocess.Popen[str], event: str) -> dict[str, object]:
    """Read JSON lines until one of this kind comes."""
    assert child.stdout is not None
    for line in child.stdout:
        value: dict[str, object] = json.loads(line)
        if value["event"] == event:
            return value
    raise AssertionError(f"the command ended before {event}: {child.communicate()[1]}")


@pytest.fixture(scope="module")
def big_primary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a primary that takes a while to copy: about 48 MiB, twelve chunks."""
    path = tmp_path_factory.mktemp("big") / "primary"
    Database.create(path, Files())
    with Database.open(path, Files(), name="primary") as primary:
        for batch in range(12):
            primary.prune(
                primary.write([(b"%d/%d" % (batch, i), os.urandom(2**19)) for i in range(8)])
            )
    return path


@pytest.fixture
def copying(big_primary: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Return a replication into `tmp_path/replica` that has just staged its first chunk."""
    slowly = ("--in-flight", "1")
    child = start("replicate", big_primary, tmp_path / "replica", "--node", NODE, "--json", *slowly)
    wait_for(child, "staged")
    yield child
    child.kill()
    child.communicate()


def test_replicate_brings_a_target_up_to_date_and_status_says_so(tmp_path: Path) -> None:
    """The ordinary use: replicate, look, replicate again."""
    make_primary(tmp_path / "primary")
    for seed in (1, 2):
        done = bootledger("replicate", tmp_path / "primary", tmp_path / "replica", "--node", NODE)
        assert done.returncode == 0, done.stderr
        assert "up to date" in done.stdout
        assert_equal(tmp_path / "primary", tmp_path / "replica")
        write_more(tmp_path / "primary", seed=seed)

    status = bootledger("status", tmp_path / "replica", "--json")
    (node,) = json.loads(status.stdout)
    assert node["progress"]["state"] == "completed"
    assert node["progress"]["begin"]["node_id"] == NODE
    assert "completed" in bootledger("status", tmp_path / "replica").stdout

    found = bootledger("dangling", tmp_path / "replica", "--json")
    assert (found.returncode, json.loads(found.stdout)) == (0, [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_suspends_with_its_name_and_the_next_start_goes_on(
    copying: subprocess.Popen[str], big_primary: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C and SIGTERM are a pause: recorded with their cause, and resumed."""
    copying.send_signal(number)
    _, err = copying.communicate(timeout=60)
    assert copying.returncode == ExitCode.TRY_AGAIN
    assert number.name in err

    found = bootledger("dangling", tmp_path / "replica", "--json")
    (report,) = json.loads(found.stdout)
    assert found.returncode == ExitCode.FOUND
    assert report["liveness"] == "stopped, with a word"
    assert report["cause"] == f"stopped by {number.name}"
    assert report["staged_bytes"] > 0

    again = bootledger("replicate", big_primary, tmp_path / "replica", "--node", NODE, "--json")
    outcome = json.loads(again.stdout.splitlines()[-1])
    assert (outcome["intent_id"], outcome["epochs"]) == (report["intent_id"], 2)
    assert_equal(big_primary, tmp_path / "replica")


def test_a_killed_replication_is_reported_and_what_it_staged_is_not_fetched_again(
    copying: subprocess.Popen[str], big_primary: Path, tmp_path: Path
) -> None:
    """SIGKILL in the copy: the report says what happened, the next start fetches only the rest."""
    copying.kill()
    copying.wait()
    (report,) = json.loads(bootledger("dangling", tmp_path / "replica", "--json").stdout)
    assert report["liveness"] == "stopped, without a word"
    assert "resumes here" in report["what_to_do"]

    again = bootledger("replicate", big_primary, tmp_path / "replica", "--node", NODE, "--json")
    lines = [json.loads(line) for line in again.stdout.splitlines()]
    fetched = sum(line["end"] - line["start"] for line in lines if line["event"] == "fetched")
    assert fetched <= report["size_bytes"] - report["staged_bytes"]
    assert lines[-1]["intent_id"] == report["intent_id"]
    assert_equal(big_primary, tmp_path / "replica")


def test_a_second_replication_of_a_target_is_refused_with_the_pid_of_the_first(
    copying: subprocess.Popen[str], big_primary: Path, tmp_path: Path
) -> None:
    """Two on one target: the second is told who has it, and changes nothing."""
    copying.send_signal(signal.SIGSTOP)
    second = bootledger("replicate", big_primary, tmp_path / "replica", "--node", NODE)
    (report,) = json.loads(bootledger("dangling", tmp_path / "replica", "--json").stdout)
    copying.send_signal(signal.SIGCONT)
    assert second.returncode == ExitCode.TRY_AGAIN
    assert f"pid {copying.pid}" in second.stderr
    assert report["liveness"] == "running"
    copying.communicate(timeout=60)
    assert copying.returncode == 0
    assert_equal(big_primary, tmp_path / "replica")


def test_a_primary_that_is_gone_is_worth_another_try_and_nothing_is_made(tmp_path: Path) -> None:
    """No source: exit code 75, and no trace of a target."""
    done = bootledger("replicate", tmp_path / "nothing", tmp_path / "replica", "--node", NODE)
    assert done.returncode == ExitCode.TRY_AGAIN
    assert "no primary" in done.stderr
    assert not (tmp_path / "replica").exists()


def test_a_damaged_target_stops_for_a_person(tmp_path: Path) -> None:
    """A CURRENT that names nothing sensible is exit code 65, never an empty target."""
    make_primary(tmp_path / "primary")
    bootledger("replicate", tmp_path / "primary", tmp_path / "replica", "--node", NODE)
    (tmp_path / "replica" / "CURRENT").write_text("gen-../..\n")
    done = bootledger("replicate", tmp_path / "primary", tmp_path / "replica", "--node", NODE)
    assert done.returncode == ExitCode.CORRUPTED
    assert "CURRENT" in done.stderr


@pytest.mark.parametrize("node", ["", "x" * 10_000])
def test_a_bad_node_id_is_refused_and_nothing_is_made(tmp_path: Path, node: str) -> None:
    """Bad input is refused at the door."""
    make_primary(tmp_path / "primary")
    done = bootledger("replicate", tmp_path / "primary", tmp_path / "replica", "--node", node)
    assert done.returncode == ExitCode.REFUSED
    assert "node id" in done.stderr
    assert not (tmp_path / "replica").exists()


def test_where_there_is_no_ledger_there_is_no_status(tmp_path: Path) -> None:
    """Looking makes nothing."""
    done = bootledger("status", tmp_path)
    assert done.returncode == ExitCode.REFUSED
    assert list(tmp_path.iterdir()) == []


def test_the_diagram_command_prints_the_table() -> None:
    """What is printed is what the library draws."""
    assert bootledger("diagram").stdout == mermaid(chart_of_table(), guards=False)
    assert bootledger("diagram", "--guards").stdout == mermaid(chart_of_table(), guards=True)


@pytest.mark.parametrize("write", [mermaid, dot, plantuml, scxml, markdown, svg])
def test_a_diagram_is_written_whole_in_each_format(
    write: Callable[..., str], tmp_path: Path
) -> None:
    """With -o, the file holds what is printed otherwise, and nothing else is left beside it."""
    file = tmp_path / "picture"
    file.write_text("what was there before")
    done = CliRunner().invoke(app, ["diagram", "--format", write.__name__, "-o", str(file)])
    assert (done.exit_code, done.output) == (0, "")
    assert file.read_text() == write(chart_of_table(), guards=False)
    assert list(tmp_path.iterdir()) == [file]


def test_a_diagram_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """There must be a directory for it, and no other thing than a file in its place."""

    def refused(*arguments: str) -> int:
        return CliRunner().invoke(app, ["diagram", *arguments]).exit_code

    assert refused("-o", str(tmp_path)) == ExitCode.REFUSED
    assert refused("-o", str(tmp_path / "missing" / "picture")) == ExitCode.REFUSED
    assert refused("-o", "") == 2
    assert refused("--format", "runes") == 2
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_the_command_says_what_to_install() -> None:
    """The core installs without a command line; its entry point says so."""
    code = "import sys; sys.modules['typer'] = None; from bootledger.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'bootledger[cli]'" in done.stderr


def test_the_demo_kills_resumes_and_proves_equality(tmp_path: Path) -> None:
    """The whole demonstration, with real kills; and its proof can fail."""
    work = tmp_path / "demo"
    assert run_demo(size_mb=16, kills=3, seed=3, keep=work)
    write_more(work / "primary", records=1)
    primary, replica = digests(work / "primary", work / "replica")
    assert primary != replica


SHOWN = Observed(
    asked_kills=3, killed=3, pins=1, again_bytes=2**22, primary=(9, "ab"), replica=(9, "ab")
)


@pytest.mark.parametrize(
    ("flaw", "words"),
    [
        ({"replica": (9, "cd")}, "not equal"),
        ({"replica": (8, "ab")}, "not equal"),
        ({"killed": 2}, "2 of 3 kills"),
        ({"last_exit_code": 75}, "exit code 75"),
        ({"again_bytes": 3 * 2**22 + 1}, "more was fetched again"),
        ({"pins": 2}, "2 base backups"),
        ({"pins": 0}, "0 base backups"),
    ],
)
def test_the_demos_verdict_can_fail(flaw: dict[str, object], words: str) -> None:
    """Each thing that the demonstration is to show is judged by itself."""
    assert failures(SHOWN) == []
    (failure,) = failures(replace(SHOWN, **flaw))
    assert words in failure


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_heard_at_once_while_a_base_backup_is_waited_for(
    big_primary: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """The longest step asks nobody: a signal ends it, with its cause on the record."""
    lock = big_primary / "basebackups" / "publishing.lock"
    lock.parent.mkdir(exist_ok=True)
    with Files().lock(lock).acquire(words="a slow publication"):
        child = start("replicate", big_primary, tmp_path / "replica", "--node", NODE, "--json")
        wait_for(child, "pinning")
        child.send_signal(number)
        child.communicate(timeout=60)
    assert child.returncode == ExitCode.TRY_AGAIN
    (report,) = json.loads(bootledger("dangling", tmp_path / "replica", "--json").stdout)
    assert report["cause"] == f"stopped by {number.name}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_interrupts(number: signal.Signals) -> None:
    """Whoever asks twice means it."""
    stop = StopRequest()
    stop._on_signal(number, None)
    assert stop() == f"stopped by {number.name}"
    with pytest.raises(KeyboardInterrupt):
        stop._on_signal(number, None)


def test_nothing_is_cut_in_a_pipe_or_on_a_narrow_terminal(
    copying: subprocess.Popen[str], tmp_path: Path
) -> None:
    """The intent's id and the advice are what one needs: they are whole at any width."""
    copying.kill()
    copying.wait()
    (report,) = json.loads(bootledger("dangling", tmp_path / "replica", "--json").stdout)
    for command in ("status", "dangling"):
        assert report["intent_id"] in bootledger(command, tmp_path / "replica").stdout

    narrow = Console(file=StringIO(), force_terminal=True, width=60, color_system=None)
    with IntentLog.open(tmp_path / "replica" / "ledger") as log:
        narrow.print(dangling_blocks(dangling.report(log.list_unfinished())))
    assert isinstance(narrow.file, StringIO)
    shown = " ".join(narrow.file.getvalue().split())
    assert report["intent_id"] in shown
    assert report["what_to_do"] in shown


def test_the_progress_bar_shows_phase_bytes_and_lsn(tmp_path: Path) -> None:
    """On a terminal the copy and the catch-up each have their bar."""
    make_primary(tmp_path / "primary")
    screen = Console(file=StringIO(), force_terminal=True, width=80, color_system=None)
    observer = TerminalObserver(screen)
    replicate(tmp_path / "primary", tmp_path / "replica", observer=observer)
    write_more(tmp_path / "primary", seed=1)
    replicate(tmp_path / "primary", tmp_path / "replica", observer=observer)
    observer.stop()
    assert isinstance(screen.file, StringIO)
    shown = screen.file.getvalue()
    for words in ("waiting for a base backup", "copying", "100%", "promoting", "LSN 220 of 220"):
        assert words in shown


def test_other_nodes_intents_are_told_of_and_ones_own_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What this run resumes anyway is no news; what nobody resumes is."""
    log = IntentLog(MemoryEventStore())
    for node in ("mine", "other"):
        log.begin(node, 0, 9).close()
    for event in dangling.report(log.list_unfinished()):
        telling("mine")(event)
    told = capsys.readouterr().err
    assert "'other'" in told
    assert "'mine'" not in told


@given(st.integers(12, 2000), st.integers(3, 60), st.integers())
def test_every_kill_of_a_schedule_can_happen(size_mb: int, kills: int, seed: int) -> None:
    """As many as asked for, the phases in their order, and the copy outlasts its kills."""
    planned = schedule(size_mb * 10**6, kills, random.Random(seed))
    copies = [kill.count for kill in planned if kill.phase == "copying"]
    rest = [kill.phase for kill in planned[len(copies) :]]
    assert len(planned) == kills
    assert rest == ["catching up", "promoting", *["catching up"] * (kills - len(copies) - 2)]
    assert min(copies) >= 1
    assert sum(copies) + len(copies) < size_mb * 10**6 / DEFAULT_CHUNK_BYTES


def test_a_pipe_gets_one_plain_line_a_step(tmp_path: Path) -> None:
    """In a log there are no bars and no colours: what is done, and from where."""
    make_primary(tmp_path / "primary")
    arguments = ("replicate", tmp_path / "primary", tmp_path / "replica", "--node", NODE)
    size_bytes = (tmp_path / "primary" / "data.mdb").stat().st_size
    *lines, last = bootledger(*arguments).stdout.splitlines()
    assert lines == [
        "looking where to start",
        "waiting for a base backup",
        f"copying 0 of {size_bytes} bytes are here",
        "restoring",
        "catching up from LSN 200",
        "promoting",
    ]
    assert last == "up to date: copied and caught up, LSN 200, generation 1"
    assert bootledger(*arguments).stdout.splitlines() == [
        "looking where to start",
        "catching up from LSN 200",
        "up to date: caught up, LSN 200, generation 1",
    ]


@pytest.mark.parametrize("lag", [0, 10**6])
def test_lag_decides_whether_changes_that_come_meanwhile_are_waited_for(
    tmp_path: Path, lag: int
) -> None:
    """No lag allowed: the replica has them too. Much lag allowed: it ends where it meant to."""
    make_primary(tmp_path / "primary")
    replicate(tmp_path / "primary", tmp_path / "replica")
    meant_lsn = write_more(tmp_path / "primary", records=40_000)
    arguments = ("replicate", tmp_path / "primary", tmp_path / "replica", "--node", NODE, "--json")
    with start(*arguments, "--lag", lag) as child:
        wait_for(child, "applied")
        child.send_signal(signal.SIGSTOP)
        last_lsn = write_more(tmp_path / "primary", seed=1)
        child.send_signal(signal.SIGCONT)
        outcome = wait_for(child, "outcome")
    assert outcome["applied_lsn"] == (meant_lsn if lag else last_lsn)


def test_a_negative_lag_is_wrong_usage(tmp_path: Path) -> None:
    """Refused before anything is opened."""
    make_primary(tmp_path / "primary")
    arguments = ("replicate", tmp_path / "primary", tmp_path / "replica", "--node", NODE)
    assert bootledger(*arguments, "--lag", -1).returncode == 2
    assert not (tmp_path / "replica").exists()


@pytest.mark.parametrize("flags", [(), ("--verify-staged",)])
def test_verify_staged_finds_damage_before_the_first_step(
    copying: subprocess.Popen[str], big_primary: Path, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """With it a damaged chunk is missing from the start; without it, the restore finds it."""
    copying.kill()
    copying.wait()
    (report,) = json.loads(bootledger("dangling", tmp_path / "replica", "--json").stdout)
    with (tmp_path / "replica" / "gen-0001" / "data.mdb").open("r+b") as candidate:
        candidate.seek(DEFAULT_CHUNK_BYTES // 2)
        byte = candidate.read(1)
        candidate.seek(-1, os.SEEK_CUR)
        candidate.write(bytes([byte[0] ^ 1]))

    arguments = ("replicate", big_primary, tmp_path / "replica", "--node", NODE, "--json")
    first, *_ = map(json.loads, bootledger(*arguments, *flags).stdout.splitlines())
    lost_bytes = DEFAULT_CHUNK_BYTES if flags else 0
    assert first["staged_bytes"] == report["staged_bytes"] - lost_bytes
    assert_equal(big_primary, tmp_path / "replica")


def test_two_signals_end_the_command_at_once_and_it_still_suspends(
    copying: subprocess.Popen[str], tmp_path: Path
) -> None:
    """Ctrl-C, then SIGTERM before anybody asked: interrupted, with a word."""
    copying.send_signal(signal.SIGSTOP)
    copying.send_signal(signal.SIGINT)
    copying.send_signal(signal.SIGTERM)
    copying.send_signal(signal.SIGCONT)
    copying.communicate(timeout=60)
    (report,) = json.loads(bootledger("dangling", tmp_path / "replica", "--json").stdout)
    assert report["liveness"] == "stopped, with a word"
    assert report["cause"].startswith("KeyboardInterrupt")
    assert copying.returncode == 130


def test_the_version_is_the_distributions() -> None:
    """Who reports a fault can say of what."""
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, metadata.version("bootledger") + "\n")
