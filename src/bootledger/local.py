"""Directories of one machine, replicated and tidied up: every port wired to its local adapter."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path

from bootledger.artefacts import Swept, sweep
from bootledger.basebackup.publishing import DEFAULT_CHUNK_BYTES
from bootledger.errors import InvalidValue, SourceChanged
from bootledger.files import Files
from bootledger.operator_events import OperatorSink, log_operator_event
from bootledger.primary.backups import BaseBackups
from bootledger.primary.source import LocalSource
from bootledger.replica.database import Database
from bootledger.replica.housekeeping import (
    claimed_generations,
    needed_generations,
    target_artefacts,
    why_going_on,
    why_needed,
)
from bootledger.replica.identity import read_identity
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.loop import Outcome, Replication
from bootledger.replica.observer import Observer
from bootledger.replica.replication import ReplicaReplication
from bootledger.replica.settings import Settings
from bootledger.replica.sources.leftovers import spool_artefacts
from bootledger.replica.sources.spool import SPOOL_NAME, is_spool
from bootledger.replica.target import LEDGER_NAME, Target
from bootledger.replica.waiting import Patience
from bootledger.replica.wiring import applier, kept, owned

DEFAULT_IN_FLIGHT = 4
"""How many chunks are copied at once from a directory, unless settings are given: they keep the
disk busy while others are hashed. More brings nothing."""


def collect_garbage(
    target: Path,
    *,
    source: Path | None = None,
    ledger: Path | None = None,
    dry_run: bool = False,
    files: Files | None = None,
) -> Swept:
    """Remove what nothing owns at `target`, in its ledger and at `source`, and say what was left.

    At the target: generations that are not in service, whose intent this ledger knows to be
    finished and that no reader holds; what the spool of a copy holds, if none is unfinished; the
    temporary files of writes that died. In the ledger (`target`/ledger unless given): claims whose
    process died. At the primary in `source`: base backups whose intent this ledger knows to be
    finished, and what publications that died left. What is not ours by its exact name is never
    touched. With `dry_run` nothing is removed.

    Cut short at any point, it may be done again. Raises `TargetBusy` while a live process owns the
    target, `InvalidValue` if there is no target or no ledger, `SourceChanged` if `source` is not
    what the target is a copy of, and what opening them raises; nothing was removed then.
    """
    files = files or Files()
    identity = read_identity(target)
    with ExitStack() as stack:
        owned = stack.enter_context(
            Target.open(
                target,
                files,
                source_database_id=identity.source_database_id,
                node_id=identity.node_id,
            )
        )
        log = stack.enter_context(
            IntentLog.open(ledger or owned.path / LEDGER_NAME, files=files, create=False)
        )
        spool = owned.path / SPOOL_NAME
        findings = [
            target_artefacts(
                owned,
                claimed_generations(log, owned) | needed_generations(log, owned, identity.node_id),
                others=[SPOOL_NAME] if is_spool(spool) else [],
            ),
            spool_artefacts(spool, files, why_going_on(log, owned, identity.node_id)),
            log.store.leftovers(),
        ]
        if source is not None:
            primary = stack.enter_context(Database.open(source, files, name="primary"))
            if (found := primary.identity().database_id) != identity.source_database_id:
                raise SourceChanged(
                    f"{target} is a copy of {identity.source_database_id}, {source} is {found}",
                    hint="name the primary that this target is replicated from",
                )
            findings.append(BaseBackups(primary, files).artefacts(partial(why_needed, log)))
        return sweep(chain(*findings), dry_run=dry_run)


def replicate(
    source: Path,
    target: Path,
    node_id: str,
    *,
    ledger: Path | None = None,
    settings: Settings | None = None,
    observer: Observer | None = None,
    sink: OperatorSink = log_operator_event,
    files: Files | None = None,
    chunk_bytes: int = DEFAULT_CHUNK_BYTES,
) -> Outcome:
    """Bring the replica in `target` up to date with the primary in `source`, and return how.

    New, interrupted, a little behind or too far behind: the same call. Both are directories; the
    target is made if it is missing (in an existing parent). `node_id` names the replica in the
    ledger, which is `target`/ledger unless given. `sink` is told of every unfinished intent that
    the ledger holds. `chunk_bytes` is into what size of chunks a new base backup is cut, and what
    a crash may cost: that much, at most, is fetched again.

    When this returns, everything up to `applied_lsn` of the outcome is durable in the generation
    that the target's CURRENT names. When it raises, CURRENT names what it named before, or that;
    what was done is in the ledger, and the same call goes on from there. After the death of the
    process too.

    Raises `Refused` (nothing will change by trying again), `Unavailable` (try again later),
    `Corrupted` (a person must look): as `Replication.run`, `LocalSource.open`, `Target.open` and
    `IntentLog.open` do. Bad input and a missing source leave no trace of a target.
    """
    files = files or Files()
    settings = settings or Settings(max_in_flight=DEFAULT_IN_FLIGHT)
    _check_outside(source, target)
    with LocalSource.open(source, files, chunk_bytes=chunk_bytes) as primary:
        database_id = primary.identity().database_id
        with owned(target, node_id, database_id, settings, files, ledger=ledger, sink=sink) as mine:
            opened, log = mine
            return Replication(
                node_id,
                log,
                primary,
                opened,
                applier(files),
                files=files,
                settings=settings,
                observer=observer,
            ).run()


def keep_replicating(
    source: Path,
    target: Path,
    node_id: str,
    *,
    ledger: Path | None = None,
    settings: Settings | None = None,
    observer: Observer | None = None,
    sink: OperatorSink = log_operator_event,
    patience: Patience | None = None,
    follow: bool = True,
) -> Outcome:
    """Bring the replica in `target` up to date with the primary in `source`, and keep it so.

    As `replicate`, and then every change is applied as it comes, until `settings.stop` asks to
    stop; returns the outcome of the last bootstrap with the LSN that was applied in the end. What
    time may mend is tried again, as `patience` says. Without `follow` it ends when it is up to
    date. Raises as `Keeper.follow`.
    """
    _check_outside(source, target)
    state = ReplicaReplication(str(source), poll_interval=(patience or Patience()).poll_interval)
    with kept(
        partial(LocalSource.open, source, Files()),
        target,
        node_id,
        state,
        ledger=ledger,
        settings=settings or Settings(max_in_flight=DEFAULT_IN_FLIGHT),
        observer=observer,
        sink=sink,
        patience=patience,
    ) as keeper:
        return keeper.follow() if follow else keeper.bring_up_to_date()


def _check_outside(source: Path, target: Path) -> None:
    if target.resolve().is_relative_to(source.resolve()):
        raise InvalidValue(
            f"the target {target} lies inside of its source {source}",
            hint="choose a directory outside: the primary tidies up what lies in its own",
        )
