from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest

from bootledger.errors import ClosedByOperator, SourceUnavailable, Stopped
from bootledger.replica.ports import Change, Pause, Pin, SourceIdentity, go_on
from bootledger.replica.stoppable import StoppableSource
from bootledger.simulation.ports import ForwardingSource

IDENTITY = SourceIdentity("it", 1)


class Silent(ForwardingSource):
    """A source that answers nothing until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.asked_in: list[threading.Thread] = []
        self.pin_ended = threading.Event()

    def _hang(self) -> None:
        self.asked_in.append(threading.current_thread())
        assert self.released.wait(60)

    def identity(self) -> SourceIdentity:
        self._hang()
        return IDENTITY

    def changes_within(self, after_lsn: int, limit: int, wait_s: float) -> Sequence[Change]:
        self._hang()
        raise SourceUnavailable("cut")

    def pin(self, intent_id: str, generation: int, pause: Pause = go_on) -> Pin:
        try:
            while not self.released.wait(0.01):
                pause()
        finally:
            self.pin_ended.set()
        return Pin("token", 1, 1, 1, 1, "digest")


@pytest.fixture
def silent() -> Silent:
    """Return a source that has not answered anything yet."""
    return Silent()


QUESTIONS: list[Callable[[StoppableSource], object]] = [
    lambda source: source.identity(),
    lambda source: source.changes_within(0, 1, 60),
]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_stop_does_not_wait_for_an_answer(
    silent: Silent, question: Callable[[StoppableSource], object]
) -> None:
    """The caller is let go while the request is still on its way."""
    source = StoppableSource(silent, lambda: "SIGTERM" if silent.asked_in else None)
    with pytest.raises(Stopped, match="SIGTERM"):
        question(source)
    assert silent.asked_in[0].is_alive()
    silent.released.set()


def test_answers_and_errors_come_through(silent: Silent) -> None:
    """As if the source had been asked directly."""
    silent.released.set()
    source = StoppableSource(silent, lambda: None)
    assert source.identity() == IDENTITY
    with pytest.raises(SourceUnavailable, match="cut"):
        source.changes_within(0, 1, 1)
    assert source.pin("intent", 1).token == "token"


def test_who_waits_for_a_base_backup_asks_in_the_own_thread_and_lets_go(silent: Silent) -> None:
    """The pause touches the ledger: it is called where the caller is, and what it raises counts."""
    asked_in: list[threading.Thread] = []

    def pause() -> None:
        asked_in.append(threading.current_thread())
        raise ClosedByOperator("held by ada")

    source = StoppableSource(silent, lambda: None)
    with pytest.raises(ClosedByOperator):
        source.pin("intent", 1, pause)
    assert asked_in == [threading.current_thread()]
    assert silent.pin_ended.wait(60)
