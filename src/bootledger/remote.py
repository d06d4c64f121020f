"""A primary that serves over HTTP, replicated into a directory of this machine.

What came over the network is checked by `Database.check_unopened` before anything opens it, and
every request is given up for a stop that is asked for meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bootledger.operator_events import OperatorSink, log_operator_event
from bootledger.replica.database import Database
from bootledger.replica.forecasting import Forecasting
from bootledger.replica.http.source import Access, Compression, HttpSource
from bootledger.replica.keeping import Keeper
from bootledger.replica.loop import Outcome
from bootledger.replica.observer import Observer
from bootledger.replica.replication import ReplicaReplication
from bootledger.replica.settings import Settings
from bootledger.replica.stoppable import StoppableSource
from bootledger.replica.waiting import Patience
from bootledger.replica.wiring import kept

DEFAULT_IN_FLIGHT = 16
"""How many chunks are fetched at once over a network, unless settings are given."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """How to reach a primary: as `HttpSource.open`.

    A bootstrap that cannot converge is refused, unless `ignore_forecast`.
    """

    access: Access = field(default_factory=Access)
    mirrors: tuple[str, ...] = ()
    compression: Compression = "auto"
    ignore_forecast: bool = False


def replicate_from(
    url: str,
    target: Path,
    node_id: str,
    *,
    link: Link | None = None,
    ledger: Path | None = None,
    settings: Settings | None = None,
    observer: Observer | None = None,
    sink: OperatorSink = log_operator_event,
    patience: Patience | None = None,
) -> Outcome:
    """Bring the replica in `target` up to date with the primary at `url` once, and return how.

    As `bootledger.local.replicate`, over http or https, through links that break: what time may
    mend is tried again, without end unless `patience` has one. The log is held at the primary by a
    slot of the name `node_id`. Up to `DEFAULT_IN_FLIGHT` chunks are in flight unless `settings` are
    given.

    Raises as `Keeper.bring_up_to_date`, `HttpSource.open`, `Target.open` and `IntentLog.open`.
    """
    with _keeper(
        url,
        target,
        node_id,
        link=link,
        ledger=ledger,
        settings=settings,
        observer=observer,
        sink=sink,
        patience=patience,
    ) as keeper:
        return keeper.bring_up_to_date()


def keep_replicating(
    url: str,
    target: Path,
    node_id: str,
    *,
    link: Link | None = None,
    ledger: Path | None = None,
    settings: Settings | None = None,
    observer: Observer | None = None,
    sink: OperatorSink = log_operator_event,
    patience: Patience | None = None,
) -> Outcome:
    """Bring the replica in `target` up to date with the primary at `url`, and keep it so.

    As `replicate_from`, and then every change is applied as it comes, until `settings.stop` asks to
    stop; returns the outcome of the last bootstrap with the LSN that was applied in the end. Raises
    as `Keeper.follow`.
    """
    with _keeper(
        url,
        target,
        node_id,
        link=link,
        ledger=ledger,
        settings=settings,
        observer=observer,
        sink=sink,
        patience=patience,
    ) as keeper:
        return keeper.follow()


@contextmanager
def _keeper(
    url: str,
    target: Path,
    node_id: str,
    *,
    link: Link | None,
    ledger: Path | None,
    settings: Settings | None,
    observer: Observer | None,
    sink: OperatorSink,
    patience: Patience | None,
) -> Iterator[Keeper]:
    link, patience = link or Link(), patience or Patience()
    settings = replace(
        settings or Settings(max_in_flight=DEFAULT_IN_FLIGHT),
        check_restored=Database.check_unopened,
    )
    with HttpSource.open(
        url,
        slot=node_id,
        access=link.access,
        mirrors=link.mirrors,
        compression=link.compression,
        connections=settings.max_in_flight + 1,
    ) as http:
        source = StoppableSource(http, settings.stop)
        with kept(
            lambda: source,
            target,
            node_id,
            ReplicaReplication(url, poll_interval=patience.poll_interval),
            ledger=ledger,
            settings=settings,
            observer=observer,
            sink=sink,
            patience=patience,
        ) as keeper:
            keeper.observer = Forecasting.watching(
                keeper.observer, source, keeper.log.store, node_id, ignore=link.ignore_forecast
            )
            yield keeper
