"""What to do next, as a value. The shell does it, records the event that says so, and asks again.

`next_step` looks at nothing but `Progress`, so a fresh start, a resume after a crash and the
ordinary course are the same question. Every step may be repeated: a crash after the work and
before its event leads to the same step again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, assert_never

from bootledger.statemachine.progress import Progress, Snapshot, State, known


@dataclass(frozen=True)
class BeginIntent:
    """Record a begin. Nothing exists yet."""


@dataclass(frozen=True)
class FindPosition:
    """Find out where the database stands.

    If the source's log still holds what follows the database's applied LSN, record a checkpoint at
    that LSN. Otherwise have the source publish a snapshot for the next generation and record its
    pin: an empty chunk that tells size, LSN and digest.
    """


@dataclass(frozen=True)
class Fetch:
    """Stage the missing bytes of `snapshot`; record each chunk once it is durable.

    If the source no longer has it, pin a snapshot for the next generation instead.
    """

    snapshot: Snapshot


@dataclass(frozen=True)
class Restore:
    """Verify the whole candidate of `snapshot`, then record a checkpoint at its LSN.

    Writes nothing into the candidate, so that it can be done again.
    """

    snapshot: Snapshot


@dataclass(frozen=True)
class CatchUp:
    """Apply the changes after `applied_lsn`, recording checkpoints.

    Once caught up: promote `candidate_generation` if there is one, else complete. If the source no
    longer has the changes that come next, pin a snapshot for the next generation instead.
    """

    applied_lsn: int
    candidate_generation: int | None


@dataclass(frozen=True)
class Swap:
    """Make CURRENT name `generation` (again, if it does already), then record complete."""

    generation: int


@dataclass(frozen=True)
class TakeUp:
    """Record a resume under the next epoch; it leads back to `phase`."""

    phase: State


@dataclass(frozen=True)
class Nothing:
    """It is over: completed or aborted."""


Step: TypeAlias = BeginIntent | FindPosition | Fetch | Restore | CatchUp | Swap | TakeUp | Nothing


def next_step(progress: Progress) -> Step:
    """Return what the owner of this intent has to do now.

    Raises `DivergedHistory` if `progress` contradicts itself; no fold does.
    """
    match progress.state:
        case State.ABSENT:
            return BeginIntent()
        case State.BEGUN:
            return FindPosition()
        case State.TRANSFERRING:
            snapshot = known(progress.snapshot, "the open snapshot")
            return Restore(snapshot) if snapshot.whole else Fetch(snapshot)
        case State.CATCHING_UP:
            return CatchUp(
                known(progress.applied_lsn, "the applied LSN"),
                progress.snapshot.generation if progress.snapshot else None,
            )
        case State.PROMOTING:
            return Swap(known(progress.promoted_generation, "the promoted generation"))
        case State.SUSPENDED:
            return TakeUp(progress.phase)
        case State.COMPLETED | State.ABORTED:
            return Nothing()
        case _:
            assert_never(progress.state)
