"""Power lost twice: a recovery is recorded, and every disk that *it* may leave is judged."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from bootledger.simulation.powerloss.judging import DEFAULT_HANG_S, Report, judge
from bootledger.simulation.powerloss.places import Place
from bootledger.simulation.powerloss.states import State, States
from bootledger.simulation.powerloss.strace import Acknowledge, record
from bootledger.simulation.powerloss.workers import Recover

Live: TypeAlias = Callable[[Path, Acknowledge], None]
"""`live(place, acknowledge)`: start on the disk in `place`, whatever that is, and go to the end."""


@dataclass(frozen=True)
class Second:
    """What came of the disks that the recovery of one state, `first`, may leave."""

    first: str
    states: States
    report: Report


def nested(
    states: States,
    live: Live,
    recover: Recover,
    *,
    firsts: int = 40,
    budget: int = 4000,
    seed: int = 0,
    workers: int = 2,
    hang_s: float = DEFAULT_HANG_S,
    only: tuple[str, str] | None = None,
) -> Iterator[Second]:
    """Lose power, record `live` on what is left, lose power in that, and judge with `recover`.

    `firsts` of the `states` are drawn by `seed`, and at most `budget` second states are judged in
    all: each first one gets its share, of one or more. A violation is told by two tokens: the first
    state's, and the second's in the recording of `live` on the first. What was acknowledged before
    either loss has to be there.

    With `only`, that one second state of that first one. Writes over the directory that was
    recorded.
    """
    chosen = _drawn(states, min(firsts, budget), seed) if only is None else [states.replay(only[0])]
    place = Place(states.trace.place)
    for done, state in enumerate(chosen):
        place.restore(states.image(state))
        trace = record(lambda acknowledge: live(place.path, acknowledge), place.path)
        trace = replace(trace, promised=tuple(state.acknowledged))
        second = States(
            trace,
            states.rules,
            states.block_bytes,
            budget=budget * (done + 1) // len(chosen) - budget * done // len(chosen),
            seed=seed + done,
        )
        report = judge(
            second,
            recover,
            workers=workers,
            hang_s=hang_s,
            only=None if only is None else only[1:],
        )
        yield Second(state.token, second, report)


def _drawn(states: States, count: int, seed: int) -> Sequence[State]:
    """Return `count` of the states, each as likely as any other, in their order."""
    chance = random.Random(seed)
    chosen: list[tuple[int, State]] = []
    for number, state in enumerate(states):
        if len(chosen) < count:
            chosen.append((number, state))
        elif (place := chance.randrange(number + 1)) < count:
            chosen[place] = (number, state)
    return [state for _, state in sorted(chosen, key=lambda each: each[0])]
