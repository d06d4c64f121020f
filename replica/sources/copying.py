"""A source without a log and its target, wired up: what a caller needs for a copy is one call."""

from __future__ import annotations

from pathlib import Path

from bootledger.files import Files
from bootledger.operator_events import OperatorSink, log_operator_event
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.loop import Outcome, Replication
from bootledger.replica.observer import Observer
from bootledger.replica.ports import OpenApplier, Source
from bootledger.replica.settings import Settings
from bootledger.replica.sources.appliers import open_file_copy
from bootledger.replica.target import LEDGER_NAME, Target


def copy(
    source: Source,
    target: Path,
    node_id: str,
    *,
    open_applier: OpenApplier = open_file_copy,
    ledger: Path | None = None,
    settings: Settings | None = None,
    observer: Observer | None = None,
    sink: OperatorSink = log_operator_event,
    files: Files | None = None,
) -> Outcome:
    """Bring the copy in `target` up to date with `source`, and return how. The caller closes it.

    New, interrupted, behind or up to date already: the same call. The target is made if it is
    missing (in an existing parent); the copy is the file that
    `bootledger.replica.readers.data_file` names in the generation in service. The source's spool
    belongs into the target (`target / SPOOL_NAME`), where the data becomes the copy by a rename.

    When this returns, the copy holds at least what the source held when this was called. When it
    raises, the same call goes on from there, after the death of the process too. Raises `Refused`,
    `Unavailable` and `Corrupted` as `bootledger.replicate`.
    """
    files = files or Files()
    settings = settings or Settings()
    database_id = source.identity().database_id
    with (
        Target.open(target, files, source_database_id=database_id, node_id=node_id) as opened,
        IntentLog.open(
            ledger or opened.path / LEDGER_NAME, files=files, clock=settings.clock, sink=sink
        ) as log,
    ):
        return Replication(
            node_id,
            log,
            source,
            opened,
            open_applier,
            files=files,
            settings=settings,
            observer=observer,
        ).run()
