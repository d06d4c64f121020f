"""What holds for the whole suite: repeatable examples, and where the reference's answers lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from tallies import Tally, print_tally, tally_into

# The same examples at every run, on any machine, at any speed.
settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=False)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let another folder of answers be judged."""
    parser.addoption(
        "--vectors",
        type=Path,
        default=Path(__file__).parent / "vectors",
        help="a folder of the reference's answers (default: the copy in tests/vectors)",
    )
    parser.addoption(
        "--policy-examples",
        type=int,
        default=25,
        help="how many random histories the policy is compared with its model on",
    )
    parser.addoption(
        "--fight-s", type=float, default=3.0, help="how many seconds a fight for a target lasts"
    )
    parser.addoption(
        "--fuzz-responses",
        type=int,
        default=500_000,
        help="how many damaged answers of a primary a replica is given",
    )
    parser.addoption(
        "--store-states",
        type=int,
        default=75_000,
        help="how many disks that a loss of power may leave of a ledger are judged at least",
    )
    parser.addoption(
        "--store-seed",
        type=int,
        default=0,
        help="which random ledgers those are, and which of their disks",
    )
    parser.addoption(
        "--fuzz-requests",
        type=int,
        default=100_000,
        help="how many mutated requests the long form of that test sends to a server",
    )


@pytest.fixture(scope="session")
def vectors(pytestconfig: pytest.Config) -> Path:
    """Return the folder of the reference's answers."""
    folder: Path = pytestconfig.getoption("vectors")
    return folder.resolve()


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Tally:
    """Return what counts judged states, for the table at the end of the run."""
    return tally_into(record_property)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was counted: the disks that were judged, and the answers of the reference."""
    print_tally(terminalreporter)
    _print_conformance(terminalreporter)


def _print_conformance(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the conformance test counted, by file and by rule."""
    told = {
        name.removeprefix("conformance "): count
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, count in getattr(report, "user_properties", ())
        if name.startswith("conformance ")
    }
    if not told:
        return
    terminalreporter.section("conformance")
    for file, count in sorted(told.items()):
        shown = (f"{count.get(word, 0)} {word}" for word in ("equal", "different", "wrong"))
        terminalreporter.write_line(f"{file}: {', '.join(shown)}")
        for word, number in sorted(count.items()):
            if word.startswith("rule "):
                terminalreporter.write_line(f"    {number} by {word}")
