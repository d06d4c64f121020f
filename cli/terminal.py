"""Watching a replication on a terminal: bars, and one live line where it is kept."""

from __future__ import annotations

from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import (
    Progress as Bars,
)
from rich.text import Text

from bootledger.basebackup.manifest import Chunk
from bootledger.cli.kept import position_of, rejected_words, words_of
from bootledger.cli.watching import FORECAST_STYLES, lost_words, phase_of
from bootledger.projections.forecast import Forecast
from bootledger.replica.observer import Observer
from bootledger.replica.replication import ReplicaReplication
from bootledger.statemachine import plan
from bootledger.statemachine.progress import Progress
from bootledger.statemachine.ranges import Range


class TerminalObserver(Observer):
    """A progress bar: phase, bytes, rate and time left of the copy; LSNs of the catch-up."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._catching_up = Bars(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("LSN {task.completed:.0f} of {task.total:.0f}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._console = console
        self._task: TaskID | None = None
        self._shown: Bars | None = None

    def on_step(self, step: plan.Step, progress: Progress) -> None:
        """Show the bar that fits the step."""
        self.stop()
        match step:
            case plan.Fetch(snapshot):
                self._start(self._bars, "copying", snapshot.size_bytes, snapshot.staged_bytes)
            case plan.CatchUp(applied_lsn):
                self._start(self._catching_up, "catching up", None, applied_lsn)
            case _:
                self._console.print(f"[bold]{phase_of(step)}[/bold]", highlight=False)

    def on_pinning(self, generation: int) -> None:
        """Say what may take a while without a bar."""
        self.stop()
        self._console.print("[bold]waiting for a base backup[/bold]", highlight=False)

    def on_log_lost(self, lost: BaseException) -> None:
        """Say why it is all copied again."""
        self.stop()
        self._console.print(Text(lost_words(lost), style="yellow"))

    def on_staged(self, staged: Range, progress: Progress) -> None:
        """Move the copy's bar."""
        if self._shown and self._task is not None and progress.snapshot:
            self._shown.update(self._task, completed=progress.snapshot.staged_bytes)

    def on_applied(self, applied_lsn: int, target_lsn: int) -> None:
        """Move the catch-up's bar."""
        if self._shown and self._task is not None:
            self._shown.update(self._task, completed=applied_lsn, total=target_lsn)

    def on_forecast(self, forecast: Forecast) -> None:
        """Say it above the bar."""
        self._console.print(Text(forecast.describe(), style=FORECAST_STYLES[forecast.verdict]))

    def _start(self, bars: Bars, text: str, total: int | None, completed: int) -> None:
        self._shown = bars
        bars.start()
        self._task = bars.add_task(text, total=total or completed, completed=completed)

    def stop(self) -> None:
        """Take the bar off the screen, leaving its last line."""
        if self._shown is not None:
            self._shown.stop()
            if self._task is not None:
                self._shown.remove_task(self._task)
            self._shown = self._task = None


class TerminalKeeper(TerminalObserver):
    """Bars while it copies and catches up, then one live line: the wait, or how far it follows."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._screen = console
        self._line: Live | None = None
        self._cause: BaseException | None = None

    def on_step(self, step: plan.Step, progress: Progress) -> None:
        """Show the bar that fits the step."""
        self._leave_line()
        super().on_step(step, progress)

    def on_rejected(self, place: str, chunk: Chunk, reason: str) -> None:
        """Say it above the bar; whichever thread it was."""
        self._screen.print(Text(rejected_words(place, chunk, reason), style="yellow"))

    def on_waiting(self, cause: BaseException, left_s: float) -> None:
        """Count down to the next attempt."""
        if cause is not self._cause:
            self.stop()
            self._cause = cause
            self._screen.print(Text(words_of(cause), style="yellow"))
        self._show(
            Text.assemble(("waiting", "bold yellow"), f" next attempt in {max(1, round(left_s))} s")
        )

    def on_following(self, replication: ReplicaReplication) -> None:
        """Show where it is."""
        if self._cause is not None:
            self._cause = None
            self._screen.print("[bold]connected again[/bold]", highlight=False)
        self._show(Text.assemble(("following", "bold green"), f" {position_of(replication)}"))

    def _show(self, text: Text) -> None:
        if self._line is None:
            self.stop()
            self._line = Live(console=self._screen, auto_refresh=False, transient=True)
            self._line.start()
        self._line.update(text, refresh=True)

    def _leave_line(self) -> None:
        self._cause = None
        if self._line is not None:
            self._line.stop()
            self._line = None

    def stop(self) -> None:
        """Take everything off the screen that moves."""
        self._leave_line()
        super().stop()
