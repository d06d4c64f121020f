"""A replica that is kept up to date in this very process: with its source, time and end given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from replicas import CHUNK_BYTES, NODE, quiet

from bootledger.errors import Unavailable
from bootledger.files import Files
from bootledger.primary.source import LocalSource
from bootledger.replica.database import Database
from bootledger.replica.keeping import Keeper
from bootledger.replica.loop import Outcome
from bootledger.replica.observer import Observer
from bootledger.replica.ports import Change, OpenApplier, Pause, Pin, Source, SourceIdentity, go_on
from bootledger.replica.readers import has_database
from bootledger.replica.replication import ReplicaReplication
from bootledger.replica.settings import Settings
from bootledger.replica.waiting import Patience
from bootledger.replica.wiring import applier, owned
from bootledger.simulation.ports import ForwardingSource

MOST_NAPS = 20_000


def last_lsn(path: Path) -> int:
    """Return the last LSN of the database at `path`."""
    with Database.open(path, Files(), name="looked at") as database:
        return database.last_lsn()


def prune(path: Path) -> None:
    """Forget the whole change log of the primary at `path`."""
    with Database.open(path, Files(), name="primary") as primary:
        primary.prune(primary.last_lsn())


@dataclass
class Time:
    """A clock that only sleeping moves; `act` is called at every nap."""

    act: Callable[[], None] = lambda: None
    now_ms: int = 1_000_000
    naps: int = 0

    def clock(self) -> int:
        """Return the wall clock."""
        return self.now_ms

    def now_s(self) -> float:
        """Return the time that never goes back."""
        return self.now_ms / 1000

    def sleep(self, for_s: float) -> None:
        """Let time pass."""
        self.naps += 1
        assert self.naps < MOST_NAPS, "it never ends"
        self.now_ms += round(for_s * 1000)
        self.act()


@dataclass
class Weather:
    """How a link is: `failures` are raised by the next questions, one each; None lets one pass."""

    failures: list[Exception | None] = field(default_factory=list)

    def meet(self) -> None:
        """Raise what is next."""
        if self.failures and (error := self.failures.pop(0)) is not None:
            raise error


class WeatheredSource(ForwardingSource):
    """A local primary behind a link, which sees what is acknowledged to it."""

    def __init__(
        self, source: Source, weather: Weather, acknowledged: Callable[[int], None]
    ) -> None:
        super().__init__(source)
        self._weather = weather
        self._acknowledged = acknowledged

    def identity(self) -> SourceIdentity:
        self._weather.meet()
        return super().identity()

    def last_lsn(self) -> int:
        self._weather.meet()
        return super().last_lsn()

    def pin(self, intent_id: str, generation: int, pause: Pause = go_on) -> Pin:
        self._weather.meet()
        return super().pin(intent_id, generation, pause)

    def read_chunk(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        self._weather.meet()
        return super().read_chunk(token, offset_bytes, length_bytes)

    def changes(self, after_lsn: int, limit: int) -> Sequence[Change]:
        self._acknowledged(after_lsn)
        self._weather.meet()
        return super().changes(after_lsn, limit)


class NameOnly(ForwardingSource):
    """Whatever primary is at a path when it is asked, as behind an address."""

    def __init__(self, path: Path, files: Files) -> None:
        self._path = path
        self._files = files
        self._opened: LocalSource | None = None

    @property
    def _source(self) -> Source:
        self.close()
        self._opened = LocalSource.open(self._path, self._files, chunk_bytes=CHUNK_BYTES)
        return self._opened

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()


@dataclass
class World:
    """A primary, a target, the link between them, and the time."""

    path: Path
    files: Files = field(default_factory=Files)
    weather: Weather = field(default_factory=Weather)
    time: Time = field(default_factory=Time)
    stop: Callable[[], str | None] = lambda: None
    observer: Observer | None = None
    chance: float = 0.5
    give_up_after_s: float | None = None
    by_name: bool = False
    keep_changes: int | None = None
    applier: Callable[[Files], OpenApplier] = applier
    acknowledged: list[int] = field(default_factory=list)
    state: ReplicaReplication = field(
        default_factory=lambda: ReplicaReplication("local", poll_interval=timedelta(seconds=0.2))
    )

    @property
    def primary(self) -> Path:
        """Where the primary is."""
        return self.path / "primary"

    @property
    def target(self) -> Path:
        """Where the replica is."""
        return self.path / "replica"

    @property
    def caught_up(self) -> bool:
        """Whether the follower has what the primary has."""
        return self.state.connected and self.state.last_applied_lsn == last_lsn(self.primary)

    def open_source(self) -> Source:
        """Open the primary, as every attempt does."""
        self.weather.meet()
        if self.by_name:
            source: Source = NameOnly(self.primary, self.files)
        else:
            source = LocalSource.open(self.primary, self.files, chunk_bytes=CHUNK_BYTES)
        return WeatheredSource(source, self.weather, self._acknowledge)

    def _acknowledge(self, after_lsn: int) -> None:
        """Note what the source is told, and compare it with what is durable at the replica."""
        self.acknowledged.append(after_lsn)
        there = [place for place in self.target.glob("gen-*") if has_database(place)]
        durable = max((last_lsn(place) for place in there if not self._copying(place)), default=0)
        assert after_lsn <= durable, f"LSN {after_lsn} is acknowledged, {durable} is durable"

    def _copying(self, place: Path) -> bool:
        """Whether that generation is no database yet: its chunks arrive."""
        try:
            last_lsn(place)
        except Exception:  # noqa: BLE001 - whatever LMDB says of half a file
            return True
        return False

    def run(self, work: Callable[[Keeper], Outcome]) -> Outcome:
        """Do one process's work: own the target, keep it, let go."""
        patience = Patience(
            give_up_after_s=self.give_up_after_s,
            sleep=self.time.sleep,
            chance=lambda: self.chance,
            now_s=self.time.now_s,
        )
        settings = Settings(
            batch_changes=10,
            lag_changes=0,
            keep_changes=self.keep_changes,
            stop=self.stop,
            clock=self.time.clock,
        )
        with LocalSource.open(self.primary, self.files) as source:
            database_id = source.identity().database_id
        with owned(self.target, NODE, database_id, settings, self.files, sink=quiet) as (
            target,
            log,
        ):
            keeper = Keeper(
                log,
                self.open_source,
                target,
                self.applier(self.files),
                self.state,
                files=self.files,
                settings=settings,
                observer=self.observer,
                patience=patience,
            )
            return work(keeper)


def link_down(times: int) -> list[Exception | None]:
    """Return failures of a link that is down for so many questions."""
    return [Unavailable("the link is down")] * times
