"""Watching a replica that is kept: waits and their reasons, what is rejected, how far it is."""

from __future__ import annotations

from rich.console import Console
from rich.live import Live
from rich.text import Text

from bootledger.basebackup.manifest import Chunk
from bootledger.cli.answers import Following, Rejected, Reused, Waiting
from bootledger.cli.visible import visible
from bootledger.cli.watching import (
    JsonObserver,
    PlainObserver,
    TerminalObserver,
    write_json,
    write_line,
)
from bootledger.replica.observer import Observer
from bootledger.replica.replication import ReplicaReplication
from bootledger.statemachine import plan
from bootledger.statemachine.progress import Progress
from bootledger.statemachine.ranges import Range


def words_of(cause: BaseException) -> str:
    """Return an error as it is shown: its name and what it says."""
    return visible(f"{type(cause).__name__}: {cause}")


def position_of(replication: ReplicaReplication) -> str:
    """Return how far a replica is that follows, in words."""
    lag = replication.lag_changes
    return f"LSN {replication.last_applied_lsn}" + (f", {lag} behind" if lag else "")


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
        said = f"rejected {chunk.length_bytes} bytes at {chunk.offset_bytes} from {place}: {reason}"
        self._screen.print(Text(visible(said), style="yellow"))

    def on_waiting(self, cause: BaseException, left_s: float) -> None:
        """Count down to the next attempt."""
        if cause is not self._cause:
            self.stop()
            self._cause = cause
            self._screen.print(Text(words_of(cause), style="yellow"))
        self._show(Text.assemble(("waiting", "bold yellow"), f" next attempt in {left_s:.0f} s"))

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


class PlainKeeper(PlainObserver):
    """One line for each wait, each connection, and once it has everything after it had not."""

    def __init__(self) -> None:
        self._cause: BaseException | None = None
        self._followed: tuple[bool, int] | None = None

    def on_step(self, step: plan.Step, progress: Progress) -> None:
        """Say what is about to be done, and from where."""
        self._followed = None
        super().on_step(step, progress)

    def on_rejected(self, place: str, chunk: Chunk, reason: str) -> None:
        """Say it."""
        said = f"rejected {chunk.length_bytes} bytes at {chunk.offset_bytes} from {place}: {reason}"
        write_line(visible(said))

    def on_waiting(self, cause: BaseException, left_s: float) -> None:
        """Say it once: why, and for how long."""
        if cause is not self._cause:
            self._cause, self._followed = cause, None
            write_line(f"waiting {left_s:.1f} s: {words_of(cause)}")

    def on_following(self, replication: ReplicaReplication) -> None:
        """Say where it is, when it connected and whenever it has caught up."""
        behind = bool(replication.lag_changes)
        now = (behind, replication.last_applied_lsn)
        if self._followed is None or (now != self._followed and not behind):
            write_line(f"following {position_of(replication)}")
            self._followed = now


class JsonKeeper(JsonObserver):
    """One JSON object a line for everything that happens."""

    def __init__(self) -> None:
        self._cause: BaseException | None = None
        self._followed: tuple[int, int | None] | None = None

    def on_reused(self, reused: Range) -> None:
        """Print `reused`."""
        write_json(Reused(start=reused.start_bytes, end=reused.end_bytes))

    def on_rejected(self, place: str, chunk: Chunk, reason: str) -> None:
        """Print `rejected`."""
        found = chunk.range
        write_json(
            Rejected(place=place, start=found.start_bytes, end=found.end_bytes, reason=reason)
        )

    def on_waiting(self, cause: BaseException, left_s: float) -> None:
        """Print `waiting`, once a wait."""
        if cause is not self._cause:
            self._cause, self._followed = cause, None
            write_json(
                Waiting(
                    error=type(cause).__name__, cause=str(cause), retry_in_ms=round(left_s * 1000)
                )
            )

    def on_following(self, replication: ReplicaReplication) -> None:
        """Print `following` when it connected, and whenever something has changed."""
        now = (replication.last_applied_lsn, replication.source_lsn)
        if now != self._followed:
            self._followed = now
            write_json(
                Following(
                    lsn=now[0],
                    source_lsn=replication.source_lsn or 0,
                    lag_changes=replication.lag_changes or 0,
                )
            )


def keeper_observer(screen: Console, *, json: bool) -> Observer:
    """Return who shows it: as JSON, on a terminal, or as lines."""
    if json:
        return JsonKeeper()
    return TerminalKeeper(screen) if screen.is_terminal else PlainKeeper()
