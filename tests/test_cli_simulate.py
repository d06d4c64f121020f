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
from bootledger.cli.errors import ExitCode
from bootledger.cli.scenarios import SAMPLES
from bootledger.cli.simulation_bar import expected_runs
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


def rows(done: Result) -> dict[str, str]:
    """Return the rows of the table, by their names."""
    pairs = (line.partition("  ") for line in done.stdout.splitlines() if line[:1].strip())
    return {name: words.strip() for name, _, words in pairs}


@pytest.fixture
def scenarios(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make a module of an embedder's, in the current directory."""
    (tmp_path / "their_crashes.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("their_crashes", "their_bug", "in_the_way"):
        sys.modules.pop(name, None)


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
    """The exit code says so."""
    done = simulate("small", "--crashes", 1, "--budget", 3, "--workers", 1)
    assert done.exit_code == ExitCode.FEW_BOUNDARIES
    assert rows(done)["verdict"] == "TOO FEW BOUNDARIES: 2, 20 are asked for"
    assert rows(done)["singles"] == "a part"


def test_without_a_crash_nothing_is_shown() -> None:
    """However few boundaries are asked for; what was not played, and not tried, is told."""
    done = simulate("small", "--crashes", 0, "--min-boundaries", 0, "--workers", 1)
    assert done.exit_code == ExitCode.FEW_BOUNDARIES
    assert rows(done)["verdict"] == "NOTHING WAS CRASHED"
    assert rows(done)["singles"] == "not played (--crashes 1)"
    assert rows(done)["pairs"] == "not played (--crashes 2)"
    assert rows(done)["planted"] == "not tried (--prove)"


@pytest.mark.usefixtures("scenarios")
def test_what_goes_wrong_without_any_crash_is_told_as_that(tmp_path: Path) -> None:
    """Its token is empty, which says nothing to people."""
    (tmp_path / "their_bug.py").write_text(WRONG_AT_ONCE)
    done = simulate("their_bug:scenario", "--workers", 1)
    assert done.exit_code == ExitCode.VIOLATED
    assert rows(done)["verdict"] == "VIOLATED: goes wrong without any crash"
    assert rows(done)["singles"] == rows(done)["pairs"] == "none"


WRONG_AT_ONCE = """
from bootledger.simulation import Scenario

def run(world):
    raise ValueError("never content")

scenario = Scenario(run)
"""


@pytest.mark.usefixtures("scenarios")
def test_equal_violations_are_told_once(tmp_path: Path) -> None:
    """What differs in the name of a temporary directory only is equal; the document has all."""
    (tmp_path / "their_bug.py").write_text(WRONG_TWICE)
    arguments = ("their_bug:scenario", "--crashes", 1, "--workers", 1)
    done = simulate(*arguments, "--report", tmp_path / "report.json")
    assert done.exit_code == ExitCode.VIOLATED
    assert "  2 runs, the smallest crashes at one#1\n    FileExistsError: " in done.stdout
    assert done.stdout.count("FileExistsError") == 1
    assert not [line for line in done.stdout.splitlines() if line != line.rstrip()]
    (simulation,) = json.loads((tmp_path / "report.json").read_bytes())["simulations"]
    assert len(simulation["violations"]) == len({v["what"] for v in simulation["violations"]}) == 2


WRONG_TWICE = """
from bootledger.simulation import Scenario

def run(world):
    (world.path / "made").mkdir()
    world.point("one")
    world.point("two")

scenario = Scenario(run)
"""


@pytest.mark.usefixtures("scenarios")
def test_what_a_scenario_prints_does_not_spoil_the_answer(tmp_path: Path) -> None:
    """Standard output is the document alone, also if a process of the scenario's writes to it."""
    (tmp_path / "talkative.py").write_text(TALKATIVE)
    command = [sys.executable, "-m", "bootledger", "simulate", "talkative:scenario", "--json"]
    done = subprocess.run(
        [*command, "--crashes", "1", "--min-boundaries", "0", "--workers", "2"],
        check=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout)["verdict"] == "clean"
    for words in ("imported", "printed", "echoed"):
        assert words in done.stderr


TALKATIVE = """
import os
from bootledger.simulation import Scenario

print("imported")

def run(world):
    print("printed")
    os.system("echo echoed")
    world.point("told")

scenario = Scenario(run)
"""


@pytest.mark.usefixtures("scenarios")
def test_a_report_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path) -> None:
    """Nobody waits for a run whose report has no place."""
    for report in (tmp_path, "/proc/report.json", "/dev/full"):
        done = simulate("their_crashes:told", "--report", report)
        assert done.exit_code == ExitCode.REFUSED, done.output
    assert not (tmp_path / "begun").exists()


@pytest.mark.usefixtures("scenarios")
@pytest.mark.parametrize(
    ("name", "code"), [("wrong", ExitCode.VIOLATED), ("right", ExitCode.TRY_AGAIN)]
)
def test_a_report_that_gets_lost_does_not_take_the_verdict_with_it(
    name: str, code: ExitCode, tmp_path: Path
) -> None:
    """The worse exit code wins, and the reason is told."""
    (tmp_path / "in_the_way.py").write_text(IN_THE_WAY)
    scenario = f"in_the_way:{name}"
    arguments = ("--crashes", 1, "--workers", 1, "--min-boundaries", 0, "--json")
    done = simulate(scenario, *arguments, "--report", "reports/report.json")
    assert done.exit_code == code
    assert json.loads(done.stdout)["simulations"]
    assert "No such file or directory" in done.stderr


IN_THE_WAY = """
import shutil
from pathlib import Path
from bootledger.simulation import Scenario

Path("reports").mkdir()

def run(world):
    world.point("here")
    shutil.rmtree("reports", ignore_errors=True)

def check(world):
    assert world.life, "nothing is ever right"

right = Scenario(run)
wrong = Scenario(run, check=check)
"""


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
        (("no_such_module:x",), "the working directory and PYTHONPATH are searched"),
        (("their_crashes.py:small",), "did you mean their_crashes:small?"),
        (("their_crashes:nothing",), "has no 'nothing'"),
        (("their_crashes:number",), "is a int, not a Scenario"),
        (("their_crashes:raises",), "not today"),
        (("small", "--engine", "magic"), "there is no engine 'magic'"),
        (("small", "--seed", "x"), "is no seed"),
        (("small", "--seed", "-3"), "is no seed"),
        (("small", "--report", "nowhere/report.json"), "/nowhere"),
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
    done = simulate(
        name, "--budget", 2, "--prove", "--min-boundaries", 0, "--workers", 1, "--crashes", 1
    )
    assert done.exit_code == 0, done.output
    assert "3 of 3 were seen" in done.stdout


def test_a_new_seed_is_told_at_once_and_in_the_report() -> None:
    """Whoever is killed in the middle still knows how to repeat it."""
    done = simulate(
        "small", "--seed", "random", "--crashes", 0, "--min-boundaries", 0, "--workers", 1, "--json"
    )
    assert done.exit_code == ExitCode.FEW_BOUNDARIES, done.output
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
    """Unknown before the dry run, and of pairs for good; never above the budget."""
    report = Report(engine="inproc", seed=0)
    assert expected_runs(report, 2, 1000) is None
    report.points = 20
    assert expected_runs(report, 0, 1000) == 1
    assert expected_runs(report, 1, 1000) == 21
    assert expected_runs(report, 1, 10) == 10
    assert expected_runs(report, 2, 1000) is None
    assert expected_runs(report, 3, 1000) == 1000
    assert expected_runs(Report(engine="powerloss", seed=0), 2, 1000) == 1000
