"""Watching a replica that is kept: waits and their reasons, what is rejected, how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from bootledger.basebackup.manifest import Chunk
from bootledger.cli.answers import Following, Rejected, Reused, Waiting
from bootledger.cli.visible import visible
from bootledger.cli.watching import (
    JsonObserver,
    PlainObserver,
    write_json,
    write_line,
)
from bootledger.replica.observer import Observer
from bootledger.replica.ports import CUT
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


def rejected_words(place: str, chunk: Chunk, reason: str) -> str:
    """Return what was dropped, in words: rejected if it was wrong, cut if a part of it came."""
    verb = "cut" if reason.startswith(CUT) else "rejected"
    where = f"{chunk.length_bytes} bytes at {chunk.offset_bytes} from {place}"
    return visible(f"{verb} {where}: {reason.removeprefix(CUT)}")


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
        write_line(rejected_words(place, chunk, reason))

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


@contextmanager
def keeper_observer(screen: Console, *, json: bool) -> Iterator[Observer]:
    """Show it as JSON, on a terminal, or as lines, for the length of the block."""
    if json:
        yield JsonKeeper()
    elif not screen.is_terminal:
        yield PlainKeeper()
    else:
        # Most starts of a command have no terminal, and the bars take their time to import.
        from bootledger.cli.terminal import TerminalKeeper  # noqa: PLC0415 - as said

        shown = TerminalKeeper(screen)
        try:
            yield shown
        finally:
            shown.stop()
