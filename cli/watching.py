"""Watching a replication: a progress bar on a terminal, plain lines in a pipe, JSON for scripts."""

from __future__ import annotations

import json
import sys

import msgspec
from rich.console import Console
from rich.text import Text

from bootledger.cli.answers import Applied, Fetched, Forecasted, LogLost, Pinning, Staged, Step
from bootledger.cli.errors import OutputLost
from bootledger.cli.visible import visible
from bootledger.operator_events import OperatorEvent, OperatorSink
from bootledger.projections.convergence import Convergence
from bootledger.projections.dangling import DanglingIntent
from bootledger.projections.forecast import Forecast
from bootledger.replica.observer import Observer
from bootledger.statemachine import plan
from bootledger.statemachine.progress import Progress
from bootledger.statemachine.ranges import Range

FORECAST_STYLES = {
    Convergence.CONVERGES: "green",
    Convergence.DOUBTFUL: "yellow",
    Convergence.CANNOT: "bold red",
}


def phase_of(step: plan.Step) -> str:
    """Return what a step is called on a screen."""
    match step:
        case plan.FindPosition():
            return "looking where to start"
        case plan.Fetch():
            return "copying"
        case plan.Restore():
            return "restoring"
        case plan.CatchUp():
            return "catching up"
        case plan.Swap():
            return "promoting"
        case _:
            return "waiting"


def lost_words(lost: BaseException) -> str:
    """Return why a new base backup is needed, in words."""
    return visible(f"the log is lost: {lost}; a new base backup is needed")


class PlainObserver(Observer):
    """One line a step, for logs and pipes."""

    def on_step(self, step: plan.Step, progress: Progress) -> None:
        """Say what is about to be done, and from where."""
        match step:
            case plan.Fetch(snapshot):
                detail = f" {snapshot.staged_bytes} of {snapshot.size_bytes} bytes are here"
            case plan.CatchUp(applied_lsn):
                detail = f" from LSN {applied_lsn}"
            case _:
                detail = ""
        write_line(f"{phase_of(step)}{detail}")

    def on_pinning(self, generation: int) -> None:
        """Say what may take a while."""
        write_line("waiting for a base backup")

    def on_log_lost(self, lost: BaseException) -> None:
        """Say why it is all copied again."""
        write_line(lost_words(lost))

    def on_forecast(self, forecast: Forecast) -> None:
        """Say it in a line."""
        write_line(f"forecast: {forecast.describe()}")


class JsonObserver(Observer):
    """One JSON object a line for everything that happens."""

    def on_step(self, step: plan.Step, progress: Progress) -> None:
        """Print `step`: its phase, the state, staged bytes and applied LSN."""
        snapshot = progress.snapshot
        write_json(
            Step(
                phase=phase_of(step),
                state=progress.state,
                epoch=progress.epoch,
                staged_bytes=snapshot.staged_bytes if snapshot else 0,
                size_bytes=snapshot.size_bytes if snapshot else None,
                generation=progress.generation,
                applied_lsn=progress.applied_lsn,
            )
        )

    def on_pinning(self, generation: int) -> None:
        """Print `pinning`: a base backup is asked for."""
        write_json(Pinning(generation=generation))

    def on_log_lost(self, lost: BaseException) -> None:
        """Print `log-lost`."""
        write_json(LogLost(error=type(lost).__name__, cause=str(lost)))

    def on_fetched(self, fetched: Range) -> None:
        """Print `fetched`."""
        write_json(Fetched(start=fetched.start_bytes, end=fetched.end_bytes))

    def on_staged(self, staged: Range, progress: Progress) -> None:
        """Print `staged`."""
        write_json(Staged(start=staged.start_bytes, end=staged.end_bytes))

    def on_applied(self, applied_lsn: int, target_lsn: int) -> None:
        """Print `applied`."""
        write_json(Applied(lsn=applied_lsn, target_lsn=target_lsn))

    def on_forecast(self, forecast: Forecast) -> None:
        """Print `forecast`."""
        write_json(Forecasted(says=forecast.describe(), forecast=forecast))


def write_json(value: object) -> None:
    """Print one value as one line of JSON, at once; escaped where the output is not Unicode."""
    line = msgspec.json.encode(value).decode()
    try:
        line.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        line = "".join(each if each.isascii() else json.dumps(each)[1:-1] for each in line)
    write_line(line)


def write_line(line: str) -> None:
    """Print one line, at once.

    So that who reads along knows what has happened before this process dies. Raises `OutputLost`.
    """
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError as error:
        raise OutputLost(f"standard output: {error}") from error


def telling(node_id: str) -> OperatorSink:
    """Return a sink that tells of other nodes' dangling intents on standard error.

    This node's own is about to be resumed, which the first step says better.
    """

    def tell(event: OperatorEvent) -> None:
        if not isinstance(event, DanglingIntent) or event.node_id != node_id:
            Console(stderr=True, highlight=False, soft_wrap=True).print(
                Text(visible(event.describe()), style="yellow")
            )

    return tell
