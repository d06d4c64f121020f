"""`bootledger simulate` says what it did, exits with what it found, and refuses nonsense."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from bootledger.cli.app import app
from bootledger.cli.bars import expected_runs
from bootledger.cli.errors import ExitCode
from bootledger.cli.scenarios import SAMPLES
from bootledger.simulation import Report

MODULE = """
from functools import partial
from pathlib import Path

from bootledger.simulation import Scenario, bootstrap
from bootledger.simulation.samples import (
    CHUNK_BYTES, SNAPSHOT_LSN, FileApplier, ListedSource, build, check, database_at,
    sample_changes, small
)

def wrong(world):
    assert world.life, "nothing is ever right"

objects = bootstrap(build, wrong)
blind = bootstrap(build, lambda world: None)
number = 7
no_applier = Scenario(lambda world: world.point("done"))
too_quiet = bootstrap(
    lambda world: (
        ListedSource(
            database_at(SNAPSHOT_LSN).encode(),
            SNAPSHOT_LSN,
            sample_changes()[:SNAPSHOT_LSN],
            chunk_bytes=CHUNK_BYTES,
        ),
        partial(FileApplier, world.files),
    ),
    lambda world: None,
)
told = bootstrap(build, lambda world: Path("begun").touch())
def raises():
    raise RuntimeError("not today")
"""


def simulate(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, ["simulate", *map(str, arguments)])


@pytest.fixture
def scenarios(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make a module of an embedder's, in the current directory."""
    (tmp_path / "their_crashes.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("their_crashes", None)


def test_a_clean_simulation_exits_with_nothing_and_reports_it(tmp_path: Path) -> None:
    """The report in the file is what `--json` prints."""
    arguments = ("small", "--crashes", 1, "--budget", 12, "--workers", 1, "--min-boundaries", 5)
    done = simulate(*arguments, "--json", "--report", tmp_path / "report.json")
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed == json.loads((tmp_path / "report.json").read_text())
    (simulation,) = printed["simulations"]
    assert (printed["verdict"], simulation["runs"], simulation["crashes"]) == ("clean", 12, 11)


def test_too_few_boundaries_are_no_proof() -> None:
    """Without a crash nothing was shown, and the exit code says so."""
    assert simulate("small", "--crashes", 0).exit_code == ExitCode.FEW_BOUNDARIES


def test_the_table_names_what_was_played() -> None:
    """People see seed, runs and where lives ended."""
    done = simulate("small", "--crashes", 1, "--budget", 30, "--workers", 1)
    assert "log.committed" in done.stdout
    assert "30 in" in done.stdout


@pytest.mark.usefixtures("scenarios")
def test_a_violation_is_told_with_the_command_that_repeats_it() -> None:
    """The exit code is its own, and the token is quoted for a shell."""
    done = simulate("their_crashes:objects", "--crashes", 1, "--workers", 1)
    assert done.exit_code == ExitCode.VIOLATED
    assert "nothing is ever right" in done.stdout
    assert "bootledger simulate their_crashes:objects --engine inproc" in done.stdout


@pytest.mark.usefixtures("scenarios")
def test_the_command_that_is_told_repeats_the_violation(tmp_path: Path) -> None:
    """Pasted into a shell it ends in the same way, and tells the story."""
    (tmp_path / "their_bug.py").write_text(LOST_AFTER_A_CRASH)
    found = simulate("their_bug:scenario", "--crashes", 1, "--workers", 1, "--min-boundaries", 0)
    assert found.exit_code == ExitCode.VIOLATED
    assert "crashes at work.done#1" in found.stdout
    (line,) = (line for line in found.stdout.splitlines() if "--replay" in line)
    again = simulate(*shlex.split(line)[2:])
    assert again.exit_code == ExitCode.VIOLATED
    assert again.stdout.startswith("life 1\n")
    assert "WRONG: done twice" in again.stdout


LOST_AFTER_A_CRASH = """
from bootledger.simulation import Scenario

def run(world):
    with (world.path / "done").open("a") as done:
        done.write("x")
    world.point("work.done")

def check(world):
    assert (world.path / "done").read_text() == "x", "done twice"

scenario = Scenario(run, check=check)
"""


@pytest.mark.usefixtures("scenarios")
def test_a_blind_check_is_told() -> None:
    """A check that accepts everything proves nothing."""
    done = simulate("their_crashes:blind", "--crashes", 0, "--prove", "--workers", 1)
    assert done.exit_code == ExitCode.BLIND
    assert "forgetful, doubling, early" in done.stdout


def test_a_replay_tells_the_story() -> None:
    """Each life, where it died, and the end."""
    done = simulate("small", "--replay", "chunk.synced#3,log.committed#1")
    assert done.exit_code == 0
    assert done.stdout.startswith("life 1\n")
    assert "everything is as it must be" in done.stdout


@pytest.mark.usefixtures("scenarios")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing",), "is no scenario"),
        (("no_such_module:x",), "there is no module"),
        (("their_crashes:nothing",), "has no 'nothing'"),
        (("their_crashes:number",), "is a int, not a Scenario"),
        (("their_crashes:raises",), "not today"),
        (("small", "--engine", "magic"), "there is no engine 'magic'"),
        (("small", "--seed", "x"), "is no seed"),
        (("small", "--seed", "-3"), "is no seed"),
        (("small", "--report", "nowhere/report.json"), "there is no directory nowhere"),
        (("small", "--replay", "log.committed#99"), "no life came to log.committed#99"),
        (("their_crashes:no_applier", "--prove", "--crashes", "0"), "with a fault"),
        (("their_crashes:too_quiet", "--prove", "--crashes", "0"), "cannot be proved: 0 changes"),
        (("small", "--replay", "foo"), "is no point"),
        (("--replay", "log.committed#1"), "plays one scenario"),
        (("their_crashes:small", "--prove", "--crashes", "0", "--budget", "0"), "budget"),
    ],
)
def test_nonsense_is_refused_by_name(arguments: tuple[str, ...], words: str) -> None:
    """What was wrong is in the message."""
    done = simulate(*arguments)
    assert done.exit_code in {2, ExitCode.REFUSED}, done.output
    assert words in done.output


@pytest.mark.parametrize("name", SAMPLES)
def test_the_check_of_each_sample_sees_what_is_planted(name: str) -> None:
    """A sample that cannot be proved would end `make crash` before it has begun."""
    done = simulate(name, "--crashes", 0, "--prove", "--min-boundaries", 0, "--workers", 1)
    assert done.exit_code == 0, done.output
    assert "3 of 3 were seen" in done.stdout


def test_a_new_seed_is_told_at_once_and_in_the_report() -> None:
    """Whoever is killed in the middle still knows how to repeat it."""
    done = simulate(
        "small", "--seed", "random", "--crashes", 0, "--min-boundaries", 0, "--workers", 1, "--json"
    )
    assert done.exit_code == 0, done.output
    assert done.stderr == f"seed {json.loads(done.stdout)['seed']}\n"


@pytest.mark.usefixtures("scenarios")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_known_is_told_when_it_is_stopped(number: signal.Signals, tmp_path: Path) -> None:
    """A signal ends it at once, its workers too; nothing is called proved that was not."""
    command = [sys.executable, "-m", "bootledger", "simulate", "their_crashes:told", "--json"]
    with subprocess.Popen(
        [*command, "--workers", "2"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as child:
        while not (tmp_path / "begun").exists():
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(number)
        output, _ = child.communicate(timeout=30)
    assert child.returncode == ExitCode.TRY_AGAIN
    document = json.loads(output)
    (simulation,) = document["simulations"]
    assert document["verdict"] == simulation["verdict"] == "stopped"
    assert not simulation["exhaustive"]


def test_the_bar_has_an_end_that_can_be_reached() -> None:
    """Unknown before the dry run, then what singles and pairs come to, never above the budget."""
    report = Report(engine="inproc", seed=0)
    assert expected_runs(report, 2, 1000) is None
    report.points = 20
    assert expected_runs(report, 0, 1000) == 1
    assert expected_runs(report, 1, 1000) == 21
    assert expected_runs(report, 2, 1000) == 421
    assert expected_runs(report, 2, 300) == 300
    assert expected_runs(report, 3, 1000) == 1000
    assert expected_runs(Report(engine="powerloss", seed=0), 2, 1000) == 1000
