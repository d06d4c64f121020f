"""Faults that are planted into the caller's applier, for the caller's check to see.

A check that looks at too little (a count, the LSN, some of the rows) accepts a broken applier, and
then the runs that it accepted prove nothing. So three broken ones are made of the caller's own,
each with a fault that real appliers have:

- `forgetful`: the effect of one change of a batch is lost. Its LSN is applied all the same.
- `doubling`: an earlier change of a key is applied again after the last one, as by a retry that
  comes too late: the old value is back.
- `early`: a part of a batch is called applied before it is. Without a crash it is made up for; a
  crash loses it, and the applier says ever after that it was applied.

All of it is done with the port alone, so it works on any applier: a change that is to have no
effect is sent with key and value of the one before it, which applying again does not change. What a
fault remembers lies outside of the lives, which have to share a process for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from bootledger.replica.ports import Applier, Change, OpenApplier, Source, SourceIdentity
from bootledger.simulation.bootstrap import Build, built
from bootledger.simulation.world import World


class _Wrapped:
    """The caller's applier, in which a fault overrides what it spoils."""

    def __init__(self, applier: Applier, world: World) -> None:
        self.applier = applier
        self.world = world

    def identity(self) -> SourceIdentity:
        return self.applier.identity()

    def applied_lsn(self) -> int:
        return self.applier.applied_lsn()

    def apply(self, changes: Sequence[Change]) -> None:
        self.applier.apply(changes)

    def record_count(self) -> int:
        return self.applier.record_count()

    def close(self) -> None:
        self.applier.close()


class Recording:
    """Plants nothing: writes down every change that is applied, by its LSN."""

    def __init__(self) -> None:
        self.changes: dict[int, Change] = {}

    def plant(self, applier: Applier, world: World) -> Applier:
        """Return the applier that is recorded."""
        return _Recorded(applier, world, self)

    def in_order(self) -> list[Change]:
        """Return what was applied, in the order of the LSNs."""
        return [self.changes[lsn] for lsn in sorted(self.changes)]


class _Recorded(_Wrapped):
    def __init__(self, applier: Applier, world: World, recording: Recording) -> None:
        super().__init__(applier, world)
        self._recording = recording

    def apply(self, changes: Sequence[Change]) -> None:
        super().apply(changes)
        self._recording.changes.update((change.lsn, change) for change in changes)


class Wrong:
    """Applies `instead`, whose LSN it has, in the place of one change."""

    def __init__(self, instead: Change) -> None:
        self.instead = instead
        self.happened = False

    def plant(self, applier: Applier, world: World) -> Applier:
        """Return the applier that does it."""
        return _Wrong(applier, world, self)


class _Wrong(_Wrapped):
    def __init__(self, applier: Applier, world: World, fault: Wrong) -> None:
        super().__init__(applier, world)
        self._fault = fault

    def apply(self, changes: Sequence[Change]) -> None:
        instead = self._fault.instead
        if any(change.lsn == instead.lsn for change in changes):
            self._fault.happened = True
            changes = [instead if change.lsn == instead.lsn else change for change in changes]
            self.world.note(f"PLANTED: change {instead.lsn} is not what the source sent")
        super().apply(changes)


class Early:
    """Calls a batch applied of which the change `first_lsn`, and what follows it, is not yet.

    `harmless` is what a crash leaves in their place: the change before, once more.
    """

    CLAIMED = "PLANTED: the end of a batch is put off, and called applied"

    def __init__(self, first_lsn: int, harmless: Change) -> None:
        self.first_lsn = first_lsn
        self.harmless = harmless
        self.claimed_lsn = 0
        self.happened = False

    def anew(self) -> Early:
        """Return the same fault for another run."""
        return Early(self.first_lsn, self.harmless)

    def plant(self, applier: Applier, world: World) -> Applier:
        """Return the applier that does it."""
        return _Early(applier, world, self)


class _Early(_Wrapped):
    def __init__(self, applier: Applier, world: World, fault: Early) -> None:
        super().__init__(applier, world)
        self._fault = fault
        self._later: list[Change] = []
        lost = range(applier.applied_lsn() + 1, fault.claimed_lsn + 1)
        if lost:
            fault.happened = True
            world.note(f"PLANTED: changes {lost[0]} to {lost[-1]} are lost, and called applied")
            super().apply([fault.harmless._replace(lsn=lsn) for lsn in lost])

    def apply(self, changes: Sequence[Change]) -> None:
        self._make_up()
        fault = self._fault
        now = [change for change in changes if change.lsn < fault.first_lsn or fault.claimed_lsn]
        if now:
            super().apply(now)
        self._later = list(changes[len(now) :])
        if self._later:
            fault.claimed_lsn = changes[-1].lsn
            self.world.note(fault.CLAIMED)

    def applied_lsn(self) -> int:
        return max(super().applied_lsn(), self._fault.claimed_lsn)

    def record_count(self) -> int:
        self._make_up()
        return super().record_count()

    def close(self) -> None:
        if self.world.files.died_at is None:
            self._make_up()
        super().close()

    def _make_up(self) -> None:
        later, self._later = self._later, []
        if later:
            super().apply(later)


Fault: TypeAlias = Recording | Wrong | Early


def planted(build: Build, fault: Fault) -> Build:
    """Return a `build` that makes the caller's parts with `fault` in each of the appliers."""

    def build_planted(world: World) -> tuple[Source, OpenApplier]:
        source, open_applier = built(build, world)
        return source, lambda directory: fault.plant(open_applier(directory), world)

    return build_planted
