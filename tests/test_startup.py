"""Every command is started anew each time: none waits for libraries that only others need."""

from __future__ import annotations

from pathlib import Path

import processes
from replicas import NODE
from typer.testing import CliRunner

from bootledger.cli.app import MODULES, app
from bootledger.files import Files
from bootledger.replica.database import Database

IMPORTED = """
import sys
from bootledger.cli import main
sys.argv = ["bootledger", *sys.argv[1:]]
try:
    main()
except SystemExit:
    pass
print("imported", *sys.modules)
"""
NETWORK = {"aiohttp", "asyncio", "prometheus_client", "tenacity", "urllib3", "zstandard"}
PROOFS = {"bootledger.simulation", "bootledger.diagrams", "hypothesis", "rich.progress"}


def imported(*argv: object) -> set[str]:
    """Run a command and return the names of the modules that its process had in the end."""
    *_, names = processes.run(IMPORTED, *argv).splitlines()
    return set(names.split()[1:])


def test_a_directory_needs_no_network_and_an_address_no_simulation(tmp_path: Path) -> None:
    """Whole runs: one that copies a database, one that gives up an address where nobody is."""
    Database.create(tmp_path / "primary", Files())
    replica = (tmp_path / "replica", "--node", NODE)
    assert not imported("replicate", tmp_path / "primary", *replica) & (NETWORK | PROOFS)
    nobody = imported("replicate", "http://127.0.0.1:1", *replica, "--once", "--give-up-after", 0)
    assert "urllib3" in nobody
    assert not nobody & (PROOFS | {"aiohttp", "prometheus_client"})


def test_every_command_has_its_help_and_stands_in_that_of_all() -> None:
    """The module that the table names has the command, and no command is missing in the table."""
    told = CliRunner().invoke(app, ["--help"], prog_name="bootledger")
    for name in MODULES:
        assert f" {name} " in told.output
        mine = CliRunner().invoke(app, [name, "--help"], prog_name="bootledger")
        assert f"Usage: bootledger {name} " in mine.output
    assert len(app.registered_commands) == len(MODULES)


def test_a_name_that_nobody_has_gets_those_that_are_like_it() -> None:
    """Although no command was imported before."""
    told = CliRunner().invoke(app, ["replicat"], prog_name="bootledger")
    assert told.exit_code == 2
    assert "Did you mean 'replicate'" in told.output
