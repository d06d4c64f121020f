"""A bootstrap as a scenario: the caller's source and applier, and the real loop between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

from msgspec.structs import replace

from bootledger.errors import BootledgerError, InvalidValue
from bootledger.files import Files
from bootledger.operator_events import OperatorEvent
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.loop import Replication
from bootledger.replica.ports import OpenApplier, Source
from bootledger.replica.settings import Settings
from bootledger.replica.target import Target
from bootledger.simulation.facts import Appended, Appending, Began, Fact, Refused, Said
from bootledger.simulation.ports import WatchedSource, watched_applier
from bootledger.simulation.promises import Promises
from bootledger.simulation.scenario import Scenario, Visit, nothing
from bootledger.simulation.world import World
from bootledger.statemachine.events import Begin, Holder
from bootledger.statemachine.progress import Progress
from bootledger.statemachine.target_ref import TargetRef
from bootledger.store.lmdb import LmdbEventStore
from bootledger.store.port import Append, NodeExpectation

NODE = "simulated"

Build: TypeAlias = Callable[[World], tuple[Source, OpenApplier]]
"""Makes the caller's parts for one life. Nothing of an earlier life may be reused but the disk."""

_SETTINGS = Settings(batch_changes=5, lag_changes=0)


@dataclass(frozen=True, kw_only=True)
class BootstrapScenario(Scenario):
    """A scenario that knows what it was built of; `of` makes the same of another build."""

    build: Build
    of: Callable[[Build], BootstrapScenario]


def bootstrap(
    build: Build,
    check: Visit,
    *,
    prepare: Visit = nothing,
    between: Visit = nothing,
    settings: Settings = _SETTINGS,
) -> BootstrapScenario:
    """Return the scenario in which a target is brought up to date by the caller's parts.

    One life is one start of `Replication` with what `build` makes of the world, on a real ledger;
    every call to the caller's parts is a step at which it may die. What must hold of the ledger,
    the candidate and CURRENT is judged after every life (`bootledger.simulation.promises`).
    `check` is given the world when the last life has reached its end: `world.database` is in
    service. `settings` are those of the loop; the clock is the world's.

    Raises `InvalidValue` if one of the parts cannot be called.
    """
    parts = {"build": build, "check": check, "prepare": prepare, "between": between}
    for name, part in parts.items():
        _expect_callable(name, part, "give it functions that take a world: bootstrap(build, check)")

    def live(world: World) -> None:
        world.say(Began(world.life))
        source, open_applier = built(build, world)
        watched = WatchedSource(source, world)
        with (
            closing(watched),
            Target.open(
                world.target,
                world.files,
                source_database_id=watched.identity().database_id,
                node_id=NODE,
                clock=world.clock,
                new_id=world.new_id,
            ) as target,
            open_log(world) as log,
        ):
            Replication(
                NODE,
                log,
                watched,
                target,
                watched_applier(open_applier, world),
                files=world.files,
                settings=replaced(settings, clock=world.clock),
            ).run()

    def of(other: Build) -> BootstrapScenario:
        return bootstrap(other, check, prepare=prepare, between=between, settings=settings)

    return BootstrapScenario(live, prepare, between, check, _promises, build=build, of=of)


def built(build: Build, world: World) -> tuple[Source, OpenApplier]:
    """Return what `build` makes of a world. Raises `InvalidValue` if that is not what it should."""
    made = build(world)
    try:
        source, open_applier = made
    except (TypeError, ValueError) as error:
        raise InvalidValue(
            f"build returned {made!r}; it has to return (source, open_applier)"
        ) from error
    _expect_callable("open_applier", open_applier, "build has to return (source, open_applier)")
    return source, open_applier


def _expect_callable(name: str, part: object, hint: str) -> None:
    if not callable(part):
        raise InvalidValue(f"{name} {part!r} cannot be called", hint=hint)


def _promises(path: Path) -> Promises:
    return Promises(World(path, life=0))


def open_log(world: World, *, files: Files | None = None) -> IntentLog:
    """Open the ledger of a world: its events are told to the judge, its ids are the world's.

    With `files` it is somebody else who opens it: who dies at no point of this life, and makes no
    ledger where there is none.
    """
    store = _Witnessed.open(
        world.ledger, create=files is None, files=files or world.files, clock=world.clock
    )
    store.say = world.say
    log = _Log(store, sink=_quiet, clock=world.clock, new_id=world.new_id)
    log.life = world.life
    return log


class _Log(IntentLog):
    """An intent log that says the same in each repetition, whatever process and directory it is."""

    life: int

    def _append_begin(self, intent_id: UUID, event: Begin) -> Progress:
        """Begin without the path of the target: a world may lie anywhere."""
        ref = event.target and TargetRef(event.target.target_id)
        return super()._append_begin(intent_id, replace(event, target=ref))

    def me(self) -> Holder:
        """Return this life as a holder."""
        return Holder("simulation", self.life, self.clock())


class _Witnessed(LmdbEventStore):
    """A ledger that says what it was asked to keep, and what it promised."""

    say: Callable[[Fact], None]

    def append(
        self, batch: Sequence[Append], *, expect: NodeExpectation | None = None
    ) -> Sequence[int]:
        """Append, and say so before and after."""
        said = (Said(item.intent_id, item.expected_version + 1, item.event) for item in batch)
        self.say(Appending(tuple(said)))
        try:
            positions = super().append(batch, expect=expect)
        except BootledgerError as error:
            self.say(Refused(str(error)))
            raise
        self.say(Appended())
        return positions


def _quiet(event: OperatorEvent) -> None:
    """Hear of dangling intents: the judge sees them itself."""
