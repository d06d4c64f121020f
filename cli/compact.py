"""`bootledger compact`: finished intents go into the archive, where everything still finds them."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.filesize import decimal

from bootledger.cli.answers import CompactionDone
from bootledger.cli.bars import bar
from bootledger.cli.base import KEEPING, Json, LedgerPath, app, open_ledger
from bootledger.cli.errors import told_to_people
from bootledger.cli.moments import age_ms
from bootledger.cli.tables import console
from bootledger.cli.watching import write_json
from bootledger.replica.compaction import compact as compact_store


@app.command(rich_help_panel=KEEPING)
def compact(
    path: LedgerPath,
    *,
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="Only what ended longer ago than that: 30d, 12h.")
    ],
    json: Json = False,
) -> None:
    """Move finished intents of a ledger into its compressed archive.

    Nothing is lost or harder to ask for: history, --at and verify read the archive too. Replicas
    may go on meanwhile. The file does not shrink; what becomes free in it is used again.
    """
    with told_to_people(), open_ledger(path) as log, bar("compacting", quiet=json) as watch:
        done = compact_store(log.store, age_ms(older_than), watch=watch)
        archived = list(log.store.archived())
    total = sum(run.last - run.first + 1 for run in archived)
    if json:
        write_json(
            CompactionDone(
                moved_events=done.events,
                log_bytes=done.log_bytes,
                archive_bytes=done.archive_bytes,
                saved_bytes=done.saved_bytes,
                archived_events=total,
                archived_ranges=archived,
            )
        )
    elif not done.events:
        console().print(f"nothing to move; {total} events are in the archive")
    else:
        console().print(
            f"moved {done.events} events: {decimal(done.log_bytes)} of the log are "
            f"{decimal(done.archive_bytes)} of the archive now, which holds {total} events. "
            "The file keeps its size; what is free in it is used again."
        )
