"""The world of one life: the directory that it works in, and everything that may vary in a run.

Whoever takes part in a simulation gets its clock, its chance and its files from the world, so that
the same seed is the same run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Protocol
from uuid import UUID

from bootledger.replica.readers import current_directory
from bootledger.replica.target import LEDGER_NAME
from bootledger.simulation.crashing import CrashingFiles, Where
from bootledger.simulation.facts import Fact, Noted, Passed
from bootledger.simulation.schedules import check_name

_START_MS = 1_700_000_000_000
_LIFE_MS = 1_000_000


class MakeFiles(Protocol):
    """Makes the files of one life, which dies where `crash` says; `tell` hears of each point."""

    def __call__(
        self, crash: Where | None, /, *, tell: Callable[[str], None] | None
    ) -> CrashingFiles:
        """Return them."""


class Closable(Protocol):
    """Something that the operating system closes when its process dies."""

    def close(self) -> None:
        """Give it back."""


class World:
    """One life of one simulated process, in the directory `path`, which outlives it.

    `life` counts from 1. `files` is to be passed to whatever of bootledger takes `files`. A life
    that is to die somewhere was made with files that know where. `clock_offset_ms` is by how much
    the clock is wrong; negative, it goes back behind what earlier lives have read.
    """

    def __init__(
        self,
        path: Path,
        *,
        life: int = 1,
        seed: int = 0,
        crash: Where | None = None,
        files: MakeFiles = CrashingFiles,
        hear: Callable[[Fact], None] | None = None,
        clock_offset_ms: int = 0,
    ) -> None:
        self.path = path
        self.life = life
        self.facts: list[Fact] = []
        self.say: Callable[[Fact], None] = hear or self.facts.append
        self.files = files(crash, tell=lambda token: self.say(Passed(token)))
        self._seed = seed
        self._now_ms = _START_MS + life * _LIFE_MS + clock_offset_ms
        self._open: list[Closable] = []

    @cached_property
    def random(self) -> Random:
        """The chance of this life: the same in each repetition."""
        return Random(f"{self._seed} {self.life}")

    @cached_property
    def target(self) -> Path:
        """Where the kit keeps the replica: the directory of `bootledger.replica.target`."""
        return self.path / "target"

    @cached_property
    def ledger(self) -> Path:
        """Where the kit keeps the ledger."""
        return self.target / LEDGER_NAME

    @property
    def database(self) -> Path:
        """The directory of the generation in service. Raises `InvalidValue` before the first."""
        return current_directory(self.target)

    def point(self, name: str) -> None:
        """Pass a point of the caller's own: here, too, this life may end.

        Call it where something has just become durable, or is about to. Names are words with dots
        (`my.index.written`); nothing of the caller runs between a point and the death there.
        Raises `InvalidValue` for a name that no token could hold.
        """
        check_name(name)
        self.files.point(name)

    def note(self, words: str) -> None:
        """Add words to the story of this run."""
        self.say(Noted(words))

    def clock(self) -> int:
        """Return the time of this world in milliseconds; it goes on by one each time."""
        self._now_ms += 1
        return self._now_ms

    def new_id(self) -> UUID:
        """Return an id that no other in this run has, the same in each repetition: a UUIDv7.

        Its chance differs from life to life, so that a clock that goes back repeats none.
        """
        value = self.clock() << 80 | self.random.getrandbits(80)
        value = value & ~(0xF << 76) | 7 << 76
        return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)

    def closes(self, resource: Closable) -> None:
        """Have `resource` closed when this life ends, however it does: as the system would.

        For what does not go through `files`: connections, open files, other databases. Closing
        must not make anything durable that was not.
        """
        self._open.append(resource)

    def bury(self) -> None:
        """Do what the operating system does when a process is gone."""
        while self._open:
            self._open.pop().close()
        self.files.bury()
