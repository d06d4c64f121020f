"""A target, its ledger and its database put together with any source: what every way shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from bootledger.errors import Unavailable
from bootledger.files import Files
from bootledger.operator_events import OperatorSink, log_operator_event
from bootledger.replica import unchecked
from bootledger.replica.backoff import backoff_ms
from bootledger.replica.database import Database
from bootledger.replica.identity import LEDGER_NAME, read_identity
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.keeping import Keeper
from bootledger.replica.observer import Observer
from bootledger.replica.ports import Applier, OpenApplier, Source
from bootledger.replica.readers import IDENTITY_NAME
from bootledger.replica.replication import ReplicaReplication
from bootledger.replica.settings import Settings
from bootledger.replica.target import Target
from bootledger.replica.waiting import Patience, wait


def applier(files: Files) -> OpenApplier:
    """Return what opens the database of a generation, once it was checked if it must be."""

    def opened(directory: Path) -> Applier:
        if unchecked.is_marked(directory):
            unchecked.check(directory, partial(Database.check_unopened, directory), files)
        return Database.open(directory, files, name="applier")

    return opened


@contextmanager
def owned(
    target: Path,
    node_id: str,
    database_id: str,
    settings: Settings,
    files: Files,
    *,
    ledger: Path | None = None,
    sink: OperatorSink = log_operator_event,
) -> Iterator[tuple[Target, IntentLog]]:
    """Own the target of a source's database, and open its ledger, for the length of the block.

    Raises what `Target.open` and `IntentLog.open` do.
    """
    with (
        Target.open(target, files, source_database_id=database_id, node_id=node_id) as opened,
        IntentLog.open(
            ledger or opened.path / LEDGER_NAME, files=files, clock=settings.clock, sink=sink
        ) as log,
    ):
        yield opened, log


@contextmanager
def kept(
    open_source: Callable[[], Source],
    target: Path,
    node_id: str,
    replication: ReplicaReplication,
    *,
    ledger: Path | None = None,
    settings: Settings | None = None,
    observer: Observer | None = None,
    sink: OperatorSink = log_operator_event,
    patience: Patience | None = None,
) -> Iterator[Keeper]:
    """Own the target, and yield who keeps it up to date with the source.

    A new target is made once the source has said which database it is; that is waited for as
    `patience` says. Of one that exists it is known, so that failures are recorded from the first.
    Raises as `owned`, and what asking the source does.
    """
    files = Files()
    settings, observer = settings or Settings(), observer or Observer()
    patience = patience or Patience()
    database_id = _database_id(open_source, target, settings, observer, patience)
    with owned(target, node_id, database_id, settings, files, ledger=ledger, sink=sink) as mine:
        opened, log = mine
        yield Keeper(
            log,
            open_source,
            opened,
            applier(files),
            replication,
            files=files,
            settings=settings,
            observer=observer,
            patience=patience,
        )


def _database_id(
    open_source: Callable[[], Source],
    target: Path,
    settings: Settings,
    observer: Observer,
    patience: Patience,
) -> str:
    if (target / IDENTITY_NAME).is_file():
        return read_identity(target).source_database_id
    since_s, failures = patience.now_s(), 0
    while True:
        try:
            with closing(open_source()) as source:
                return source.identity().database_id
        except (Unavailable, OSError) as error:
            delay_ms = backoff_ms(error, failures, patience.chance())
            if delay_ms is None or not patience.bears(since_s, delay_ms):
                raise
            failures += 1
            wait(error, delay_ms, settings, observer, patience)
