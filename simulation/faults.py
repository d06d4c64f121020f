"""What goes wrong besides dying: a source that sends rubbish, a disk that fails, people, clocks.

    faults = Faults()
    scenario = bootstrap(faulty(build, faults), check)
    with fresh_run(scenario, faults.live, seed=0) as run:
        faults.plant(BadChunk("corrupt", number=2))
        run.live(None)  # True: it was stopped, and judged like a death
        faults.flip_bit(run.place)
        run.live(None)  # False: it reached its end, and was checked

A fault is planted into the next life. That life may live on with it, or give up because of it, by
an error that the fault excuses and by no other; then it is judged like one that died, and the next
one has to go on from there. Works in process only: what is planted lies outside of the lives.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from bootledger.basebackup.manifest import DATA_NAME
from bootledger.errors import (
    BootledgerError,
    ClosedByOperator,
    CorruptChunk,
    GuardRefused,
    InvalidValue,
    OutOfSpace,
    Unavailable,
)
from bootledger.projections.heads import decode_head
from bootledger.replica.readers import generation_name
from bootledger.simulation.crashing import CrashingFiles, Where
from bootledger.simulation.engines import Life, live_in
from bootledger.simulation.facts import Fact, Flipped
from bootledger.simulation.interference import OperatorActs, SecondResumer, Verb, say
from bootledger.simulation.scenario import Broken, Visit
from bootledger.simulation.world import World
from bootledger.statemachine.progress import Progress, State
from bootledger.store.looking import look

Spoilt: TypeAlias = Literal["short", "corrupt", "duplicate", "reordered"]
"""What may be wrong with a chunk: its last byte is missing; a bit is flipped; it comes twice in one
answer; it is the chunk before it (the one after it, for the first)."""


@dataclass(frozen=True)
class BadChunk:
    """The `number`-th chunk that the life fetches is not what it should be: see `Spoilt`."""

    how: Spoilt
    number: int = 1

    def excuses(self, error: BaseException) -> bool:
        """Return whether a life may give up by `error`."""
        return isinstance(error, CorruptChunk)


@dataclass(frozen=True)
class SnapshotGone:
    """The source has lost the base backup when the life reads from it for the `number`-th time."""

    number: int = 1

    def excuses(self, error: BaseException) -> bool:
        """Return False: the life has to ask for another one."""
        return False


@dataclass(frozen=True)
class LogPruned:
    """The source's log is gone when the life asks for changes for the `number`-th time.

    It is so until another base backup is pinned. If that one is older than what was applied
    already, the state machine refuses it, and the life may give up.
    """

    number: int = 1

    def excuses(self, error: BaseException) -> bool:
        """Return whether a life may give up by `error`."""
        return isinstance(error, GuardRefused)


@dataclass(frozen=True)
class DiskFails:
    """What comes next at the point `where` fails: `EIO`, or `ENOSPC` for a full disk.

    Once: what follows works again. At a point of the caller's own parts they get an `OSError`.
    """

    where: Where
    code: int = errno.EIO

    def excuses(self, error: BaseException) -> bool:
        """Return whether a life may give up by `error`: it stems from this, and is not damage."""
        proper = isinstance(error, Unavailable) or not isinstance(error, BootledgerError)
        return proper and any(isinstance(each, DiskFailed | DiskFull) for each in _chain(error))


@dataclass(frozen=True)
class ClockGoesBack:
    """The clock of the life is behind by so much, compared with the lives before and after."""

    by_ms: int

    def excuses(self, error: BaseException) -> bool:
        """Return False: nothing may rest on a clock."""
        return False


OfSource: TypeAlias = BadChunk | SnapshotGone | LogPruned
Fault: TypeAlias = OfSource | DiskFails | ClockGoesBack | SecondResumer | OperatorActs
S = TypeVar("S", BadChunk, SnapshotGone, LogPruned)


class DiskFailed(Unavailable, OSError):
    """A planted EIO: what the system says of a call, and what bootledger makes of that, in one.

    Because points lie on both sides of the door where the one becomes the other.
    """


class DiskFull(OutOfSpace, OSError):
    """A planted ENOSPC; as `DiskFailed`."""


class Faults:
    """The faults that the next life will meet; see the module. `happened` are those that one met.

    A life meets them if it is lived by `live`, its source if it was made by
    `bootledger.simulation.faulty_source.faulty`.
    """

    def __init__(self) -> None:
        self.happened: list[Fault] = []
        self.lost: set[str] = set()
        """Tokens of the base backups that the source has lost."""
        self.pruned = False
        """Whether the source has lost its log."""
        self._next: list[Fault] = []
        self._due: list[Fault] = []
        self._facts: list[Fact] = []

    # --- Between two lives --------------------------------------------------------------------

    def plant(self, *faults: Fault) -> None:
        """Have the next life meet `faults`."""
        self._next.extend(faults)

    def clear(self) -> None:
        """Forget what was planted and has not happened."""
        self._next.clear()

    def flip_bit(self, place: Path, pick: int = 0) -> Flipped:
        """Flip a bit of what is called staged, the `pick`-th of all of them, counted in a circle.

        A life has to repair it before it relies on that byte. Raises `InvalidValue` if none is
        called staged.
        """
        for progress in unfinished(place):
            if progress.snapshot is None or not has_staged(progress):
                continue
            number, bit = divmod(pick % (8 * progress.snapshot.staged_bytes), 8)
            staged = [at for piece in progress.snapshot.staged for at in range(*piece)]
            flipped = Flipped(progress.snapshot.generation, staged[number], bit)
            path = World(place, life=0).target / generation_name(flipped.generation) / DATA_NAME
            data = bytearray(path.read_bytes())
            data[flipped.offset_bytes] ^= 1 << bit
            path.write_bytes(data)
            self._facts.append(flipped)
            return flipped
        raise InvalidValue("no byte is called staged, so none can be damaged")

    def say(self, place: Path, verb: Verb, *, life: int) -> bool:
        """Be an operator, before that life: say `verb` of the unfinished intent.

        Returns whether anything was written. Raises `Broken` if that is not what the table of the
        state machine says, `InvalidValue` if there is no intent.
        """
        world = World(place, life=life)
        try:
            written = say(world, verb)
        finally:
            world.bury()
            self._facts.extend(world.facts)
        if written is None:
            raise InvalidValue(f"there is no unfinished intent to {verb}")
        return written

    # --- A life -------------------------------------------------------------------------------

    def live(self, run: Visit, path: Path, life: int, seed: int, crash: Where | None) -> Life:
        """Live in this process with what is planted: an `Engine`."""
        held = any(progress.held for progress in unfinished(path))
        self._due, self._next = self._next, []
        back = [fault for fault in self._due if isinstance(fault, ClockGoesBack)]

        def at_point(token: str) -> None:
            self._at_point(token, world)

        world = World(
            path,
            life=life,
            seed=seed,
            crash=crash,
            files=partial(_FaultyFiles, at_point),
            clock_offset_ms=-sum(fault.by_ms for fault in back),
        )
        before = len(self.happened)
        for fault in back:
            self._happen(fault, world)
        lived = live_in(world, run)
        lived = lived._replace(facts=[*self._facts, *lived.facts])
        self._facts = []
        if lived.ended and held:
            return lived._replace(error=Broken("an operator held it, and it went on to its end"))
        error = lived.error
        if error is None:
            return lived
        by_hold = held and isinstance(error, ClosedByOperator)
        if by_hold or any(fault.excuses(error) for fault in self.happened[before:]):
            return lived._replace(error=None, stopped_by=error)
        return lived

    def meet(self, kind: type[S], number: int, world: World) -> S | None:
        """Return the fault of a kind that is due at the `number`-th call, None if none is."""
        for fault in self._due:
            if isinstance(fault, kind) and fault.number == number:
                self._happen(fault, world)
                return fault
        return None

    def _at_point(self, token: str, world: World) -> None:
        for fault in self._due[:]:
            if isinstance(fault, SecondResumer | OperatorActs):
                if _passed(fault.where, world) and fault.act(world):
                    self._happen(fault, world)
            elif isinstance(fault, DiskFails) and fault.where in (token, len(world.files.passed)):
                self._happen(fault, world)
                raise _planted(fault.code, token)

    def _happen(self, fault: Fault, world: World) -> None:
        self._due.remove(fault)
        self.happened.append(fault)
        world.note(f"PLANTED: {fault}")


class _FaultyFiles(CrashingFiles):
    """Files of a life that meets faults at its points, unless it dies there."""

    def __init__(
        self,
        at_point: Callable[[str], None],
        crash: Where | None = None,
        *,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(crash, tell=tell)
        self._at_point = at_point

    def point(self, name: str) -> None:
        super().point(name)
        self._at_point(self.passed[-1])


def unfinished(place: Path) -> list[Progress]:
    """Return what is true of each unfinished intent of the ledger in `place`."""
    heads = look(World(place, life=0).ledger).heads
    return [progress for progress in map(decode_head, heads) if progress.unfinished]


def has_staged(progress: Progress) -> bool:
    """Return whether bytes are called staged, and the database has not been restored of them."""
    snapshot = progress.snapshot
    return progress.phase is State.TRANSFERRING and snapshot is not None and snapshot.staged != ()


def _passed(where: Where, world: World) -> bool:
    passed = world.files.passed
    return where in passed if isinstance(where, str) else len(passed) >= where


def _planted(code: int, token: str) -> DiskFailed | DiskFull:
    kind = DiskFull if code == errno.ENOSPC else DiskFailed
    error = kind(f"planted at {token}: {errno.errorcode[code]}")
    error.errno = code
    return error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
