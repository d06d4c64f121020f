"""Power loss: record what a real process writes and syncs, and judge every disk it may leave.

    def run(acknowledge: Acknowledge) -> None:
        with MyDatabase.open(place / "db") as database:
            database.put("x", 1)
            acknowledge(b"x")

    def recover(place: Path, acknowledged: Sequence[bytes]) -> None:
        with MyDatabase.open(place / "db") as database:
            assert database.keys() >= set(acknowledged)

    trace = record(run, place)  # needs strace; `CannotTrace` says so
    report = judge(States(trace, Rules.STRICT), recover)
    assert not report.violated, report.violations[0]

`States` are the disks that may be left; each has a token, and `judge(..., only=[token])` does it
again. Linux only. The pure parts (`disk`, `moments`, `states`) need no privilege and no strace.

What it assumes: a local file system that honours fsync; blocks (4096 bytes, or 512) that are
written whole or not at all; a rename that is one step. What it does not see: writable shared
mappings and several writers at once, which are refused, and permissions and dates.
"""

from bootledger.simulation.powerloss.calls import Unmodelled
from bootledger.simulation.powerloss.disk import Rules
from bootledger.simulation.powerloss.judging import Report, Violation, judge
from bootledger.simulation.powerloss.states import State, States
from bootledger.simulation.powerloss.strace import (
    ACKNOWLEDGEMENTS,
    Acknowledge,
    CannotTrace,
    RecordedRunFailed,
    record,
    record_command,
)
from bootledger.simulation.powerloss.trace import Trace
from bootledger.simulation.powerloss.workers import Recover

__all__ = [
    "ACKNOWLEDGEMENTS",
    "Acknowledge",
    "CannotTrace",
    "RecordedRunFailed",
    "Recover",
    "Report",
    "Rules",
    "State",
    "States",
    "Trace",
    "Unmodelled",
    "Violation",
    "judge",
    "record",
    "record_command",
]
