"""What dies at a point leaves the same: poisoned, killed for real, or copied on its way."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from bootledger.simulation import World, samples
from bootledger.simulation.engines import Life, live_and_copy, live_in_a_child, live_in_process
from bootledger.simulation.places import fresh_place

_PROCESSES = ("lock.mdb", ".lock")
"""What names the process that held it: LMDB's table of readers, and the words in a lock's file."""


def _tree(place: Path) -> dict[str, bytes | str]:
    """Everything below the place: bytes of files, the kind of the rest."""
    return {
        str(path.relative_to(place)): (
            path.read_bytes()
            if path.is_file() and not path.name.endswith(_PROCESSES)
            else "file or directory"
        )
        for path in sorted(place.rglob("*"))
    }


def _boundaries() -> Sequence[str]:
    with fresh_place() as place:
        return live_in_process(samples.small().run, place, 1, 0, None).points


def _assert_same(boundaries: Sequence[str]) -> None:
    run = samples.small().run
    with ExitStack() as places:
        copies = {token: places.enter_context(fresh_place()) for token in boundaries}
        copied = live_and_copy(run, places.enter_context(fresh_place()), 1, 0, copies)
        _assert_each_same(copies, copied)


def _assert_each_same(copies: Mapping[str, Path], copied: Mapping[str, Life]) -> None:
    run = samples.small().run
    for token, copy in copies.items():
        with fresh_place() as poisoned, fresh_place() as killed:
            first = live_in_process(run, poisoned, 1, 0, token)
            second = live_in_a_child(run, killed, 1, 0, token)
            assert first.error is None
            assert second.error is None
            assert first.died_at == second.died_at == token
            assert first.points == second.points
            left = _tree(poisoned)
            assert left == _tree(killed), f"after a death at {token}"
            assert left == _tree(copy), f"in the copy at {token}"
            assert first == copied[token]
            assert left or token == "directory.making#1"


def test_a_poisoned_death_and_a_copy_are_what_a_kill_leaves() -> None:
    """At every seventh boundary of the small bootstrap, byte by byte."""
    boundaries = _boundaries()
    assert len(boundaries) > 100
    _assert_same(boundaries[::7])


@pytest.mark.crash
def test_every_poisoned_death_and_copy_is_what_a_kill_leaves() -> None:
    """At every boundary of the small bootstrap, byte by byte."""
    _assert_same(_boundaries())


def test_a_process_that_somebody_else_kills_did_not_die_at_a_point() -> None:
    """Before its first point, and after one in a life that was to reach its end: an error."""

    def killed(world: World) -> None:
        if world.life == 2:
            world.point("a")
        os.kill(os.getpid(), signal.SIGKILL)

    with fresh_place() as place:
        for life, crash in ((1, "a#1"), (2, None)):
            ended = live_in_a_child(killed, place, life, 0, crash)
            assert ended.died_at is None
            assert "ended with -9, killed by others" in str(ended.error)
