"""The time that a life may take: one that waits for what never comes is ended, and says where.

In process a signal's handler raises. It is heard where Python runs or waits, not within a call of
C code that starts again when interrupted; the engine that kills needs no handler and ends that,
too.
"""

from __future__ import annotations

import faulthandler
import signal
import threading
import traceback
from itertools import takewhile
from types import FrameType
from typing import IO

from bootledger.simulation.raising import LifeFailed
from bootledger.simulation.scenario import Visit
from bootledger.simulation.world import World

LIFE_HANG_S = 60.0
"""A life that takes longer hangs."""


class _Hung(BaseException):
    """Ends a life that hangs; no `except Exception` of its own keeps it from that."""


def hung(life: int, trace: str) -> LifeFailed:
    """Return the objection to a life that hung; `trace` says where."""
    return LifeFailed(f"life {life} did not end within {LIFE_HANG_S:g} s", trace=trace)


def live_limited(run: Visit, world: World) -> None:
    """Call `run(world)`, which is a life, with a limit to its time. Raises `LifeFailed` if it hung.

    There is no limit where it would disturb others: outside of the main thread, which alone hears
    signals, and where SIGALRM or its timer are in use.
    """
    if not _is_free():
        run(world)
        return
    traces: list[str] = []

    def ring(_: int, frame: FrameType | None) -> None:
        traces.append(_inside(frame))
        raise _Hung

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, LIFE_HANG_S)
    try:
        run(world)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        if traces:
            raise hung(world.life, traces[0]) from None


def _inside(frame: FrameType | None) -> str:
    """Return the stack from the life to `frame`, without what called the life."""
    steps = takewhile(
        lambda step: step[0].f_code is not live_limited.__code__, traceback.walk_stack(frame)
    )
    return "".join(reversed(traceback.StackSummary.extract(steps).format()))


def _is_free() -> bool:
    return (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
        and signal.getitimer(signal.ITIMER_REAL)[0] == 0
    )


def limit_process(trace: IO[bytes]) -> None:
    """Have this process, which lives one life, killed by SIGALRM if it hangs, in C code, too.

    Where it hung is written into `trace`.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    faulthandler.register(signal.SIGALRM, trace, all_threads=False, chain=True)
    signal.setitimer(signal.ITIMER_REAL, LIFE_HANG_S)
