"""Lives that hang, explorations that are cut short, and where it is that a life raised."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from bootledger.simulation import Scenario, World, explore_scenario, limits
from bootledger.simulation.engines import live_in_process
from bootledger.simulation.kit import EngineName

_LIMIT_S = 0.2


def _waits_for_the_dead(world: World) -> None:
    """Waits for a lock that a life which died has left behind."""
    lock = world.path / "lock"
    if lock.exists():
        threading.Event().wait()
    lock.touch()
    world.point("locked")
    lock.unlink()


@pytest.mark.parametrize(
    ("engine", "workers"), [("inproc", 1), ("inproc", 2), ("sigkill", 1), ("sigkill", 2)]
)
def test_a_life_that_hangs_is_found(
    engine: EngineName, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ended, and the story has the stack: in each engine, here and in workers."""
    monkeypatch.setattr(limits, "LIFE_HANG_S", _LIMIT_S)
    report = explore_scenario(Scenario(_waits_for_the_dead), engine=engine, workers=workers)
    (found,) = report.violations
    assert (found.token, found.what) == ("locked#1", "life 2 did not end within 0.2 s")
    stack = [line for line in found.story if "in _waits_for_the_dead" in line]
    assert len(stack) == 1, "\n".join(found.story)
    assert len(found.story) < 20, "\n".join(found.story)


@pytest.mark.parametrize(("engine", "workers"), [("inproc", 2), ("sigkill", 1)])
def test_an_alarm_of_the_callers_is_not_a_workers(
    engine: EngineName, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of the kit's own has its limit even if its parent listens to SIGALRM itself."""
    monkeypatch.setattr(limits, "LIFE_HANG_S", _LIMIT_S)
    signal.signal(signal.SIGALRM, lambda *_: None)
    try:
        report = explore_scenario(Scenario(_waits_for_the_dead), engine=engine, workers=workers)
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert [found.what for found in report.violations] == ["life 2 did not end within 0.2 s"]


def test_what_a_life_swallows_does_not_keep_it_from_hanging(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Even if it goes on to its end after all, it is called hung; SIGALRM is as it was."""
    monkeypatch.setattr(limits, "LIFE_HANG_S", _LIMIT_S)

    def swallows(_: World) -> None:
        try:
            threading.Event().wait()
        except BaseException:  # noqa: BLE001 - the bug that is planted
            return

    life = live_in_process(swallows, tmp_path, 1, 0, None)
    assert str(life.error) == "life 1 did not end within 0.2 s"
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_an_alarm_of_the_callers_is_left_alone(tmp_path: Path) -> None:
    """Where SIGALRM is in use, or cannot be heard, a life has no limit."""
    seen: list[object] = []

    def looks(_: World) -> None:
        seen.append((signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[0]))

    def ours(*_: object) -> None: ...

    other = threading.Thread(target=live_in_process, args=(looks, tmp_path, 1, 0, None))
    other.start()
    other.join()
    signal.signal(signal.SIGALRM, ours)
    try:
        live_in_process(looks, tmp_path, 1, 0, None)
        assert signal.getsignal(signal.SIGALRM) is ours
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert seen == [(signal.SIG_DFL, 0), (ours, 0)]


_HANGS = """
import sys, threading
from bootledger.simulation import Scenario, explore_scenario
def hangs(world):
    print(world.path, flush=True)
    threading.Event().wait()
try:
    explore_scenario(Scenario(hangs), engine=sys.argv[1], workers=int(sys.argv[2]))
except KeyboardInterrupt:
    sys.exit(3)
"""


@pytest.mark.parametrize(
    ("engine", "workers", "how"),
    [("inproc", 2, signal.SIGINT), ("sigkill", 1, signal.SIGINT), ("sigkill", 2, signal.SIGTERM)],
)
def test_nothing_is_left_of_an_exploration_that_is_cut_short(
    engine: str, workers: int, how: signal.Signals
) -> None:
    """SIGINT and SIGTERM to the process that explores end it and the life that hangs."""
    command: Sequence[str] = (sys.executable, "-c", _HANGS, engine, str(workers))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as explores:
        assert explores.stdout is not None
        place = Path(explores.stdout.readline().rstrip())
        explores.send_signal(how)
        # All that was forked holds the pipe: it ends with the last of them.
        assert explores.communicate(timeout=30)[0] == ""
    if how == signal.SIGTERM:  # which lets nobody tidy up
        place.rmdir()
        place.parent.rmdir()
    assert place.name
    assert not place.exists()
    assert explores.returncode == (3 if how == signal.SIGINT else -signal.SIGTERM)


def _refuse(value: int) -> None:
    raise ValueError(f"{value} is refused\nfor good")


@pytest.mark.parametrize("engine", ["inproc", "sigkill"])
def test_what_a_life_raised_is_said_in_a_line_and_has_a_place(engine: EngineName) -> None:
    """Type and message are the objection, the caller's innermost frame is where it raised."""

    def raises(world: World) -> None:
        world.point("a")
        _refuse(7)

    found = explore_scenario(Scenario(raises), engine=engine).violations[0]
    assert found.what == "ValueError: 7 is refused\nfor good"
    line = _refuse.__code__.co_firstlineno + 1
    assert f"    RAISES an error at {__file__}:{line} in _refuse" in found.story
    traces = [line for line in found.story if "Traceback" in line]
    assert len(traces) == (engine == "sigkill")


def test_the_place_of_an_error_is_the_callers(tmp_path: Path) -> None:
    """Neither this project nor the standard library is where the caller has to look."""

    def lives(world: World) -> None:
        world.files.lock(tmp_path / "missing" / "lock").acquire()

    found = explore_scenario(Scenario(lives)).violations[0]
    line = lives.__code__.co_firstlineno + 1
    assert f"    RAISES an error at {__file__}:{line} in lives" in found.story
