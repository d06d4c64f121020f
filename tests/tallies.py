"""How many disks were judged: each proof counts its own, and the end of the run prints them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

import pytest

Tally: TypeAlias = Callable[[str, int], None]
"""`tally(what, states)`: so many more disks of that kind were judged, and none was wrong."""

_NAME = "states "


def tally_into(record_property: Callable[[str, object], None]) -> Tally:
    """Return the tally of a test that has these properties."""
    return lambda what, states: record_property(f"{_NAME}{what}", states)


def print_tally(terminal: pytest.TerminalReporter) -> None:
    """Print what the tests that passed have counted, kind by kind; nothing if they have not."""
    judged: Counter[str] = Counter()
    for report in terminal.stats.get("passed", ()):
        for name, states in report.user_properties:
            if name.startswith(_NAME):
                judged[name.removeprefix(_NAME)] += states
    if judged:
        terminal.section("disks left by a loss of power, none of them wrong")
        for what, states in sorted(judged.items()):
            terminal.write_line(f"{states:>10,}  {what}")
        terminal.write_line(f"{judged.total():>10,}  in all")
