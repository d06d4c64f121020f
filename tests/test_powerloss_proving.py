"""The checker is checked: what is planted is seen, and every sync is missed that is taken away."""

from __future__ import annotations

import json

import pytest
from losses import cannot_trace_skips
from typer.testing import CliRunner

from bootledger.cli.app import app
from bootledger.simulation.powerloss.planted import PLANTED
from bootledger.simulation.powerloss.proving import Caught, plant

CHEAP = ("fsync after rename", "non-atomic creation")
"""What is seen at the first disks that are judged."""


def seen(caught: Caught) -> None:
    """Assert that a bug was caught, and that its token leads to the same violation."""
    assert caught.seen, caught


def test_a_late_fsync_and_a_creation_in_place_are_caught() -> None:
    """Two of the ten durability bugs, each with a token that repeats it."""
    with cannot_trace_skips():
        found = list(plant([bug for bug in PLANTED if bug.name in CHEAP]))
    assert [caught.name for caught in found] == list(CHEAP)
    for caught in found:
        seen(caught)


@pytest.mark.crash
def test_every_planted_durability_bug_is_caught() -> None:
    """All ten, in one recording, each with a token that repeats it."""
    with cannot_trace_skips():
        found = list(plant())
    assert len(found) == len(PLANTED) == 10
    for caught in found:
        seen(caught)


@pytest.mark.crash
def test_the_command_line_reports_that_every_planted_bug_is_caught() -> None:
    """`--prove` proves the engine, too: the ten beside the faults that the check has to see."""
    with cannot_trace_skips():
        list(plant(()))
    arguments = ["small", "--engine", "powerloss", "--budget", "9", "--crashes", "1", "--prove"]
    done = CliRunner().invoke(app, ["simulate", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    (simulation,) = json.loads(done.stdout)["simulations"]
    assert simulation["planted"].items() >= {bug.name: True for bug in PLANTED}.items()
