"""`bootledger simulate` says what it did, exits with what it found, and refuses nonsense."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from bootledger.cli.app import app
from bootledger.cli.errors import ExitCode

MODULE = """
from bootledger.simulation import bootstrap
from bootledger.simulation.samples import build, check, small

def wrong(world):
    assert world.life, "nothing is ever right"

objects = bootstrap(build, wrong)
blind = bootstrap(build, lambda world: None)
number = 7
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
