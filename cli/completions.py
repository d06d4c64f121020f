"""What a shell offers at the tab key: intents and nodes of the ledger that was named before.

Only reads, a bounded number of heads; whatever goes wrong, nothing is offered and nothing is said.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from uuid import UUID

import typer

from bootledger.cli.paths import ledger_path
from bootledger.errors import BootledgerError
from bootledger.projections.heads import decode_head
from bootledger.store.looking import Glance, glance
from bootledger.store.port import FIRST_ID

_MOST_HEADS = 200
_ID_DIGITS = 32

Offered = list[tuple[str, str]]
"""Values, and what a shell that can do so says beside them."""


def intents(context: typer.Context, incomplete: str) -> Offered:
    """Return the ids that begin so: of unfinished intents, or if there are none, of any."""
    try:
        found = _glance(context, UUID(hex=incomplete.replace("-", "").ljust(_ID_DIGITS, "0")))
        for heads in (found.unfinished, found.heads):
            mine = [head for head in heads if str(head.intent_id).startswith(incomplete.lower())]
            if mine:
                return [
                    (str(head.intent_id), f"{head.node_id}, {decode_head(head).state}")
                    for head in mine[:_MOST_HEADS]
                ]
    except (BootledgerError, OSError, ValueError):
        pass
    return []


def nodes(context: typer.Context, incomplete: str) -> Offered:
    """Return the node ids that begin so, those of unfinished intents first."""
    try:
        found = _glance(context)
        names = (head.node_id for head in chain(found.unfinished, found.heads))
        return [(name, "") for name in dict.fromkeys(names) if name.startswith(incomplete)]
    except (BootledgerError, OSError, ValueError):
        return []


def _glance(context: typer.Context, first: UUID = FIRST_ID) -> Glance:
    # Where the value of an option is asked for, the arguments before it are not named yet.
    path = context.params.get("path") or next(iter(context.args), None)
    if path is None:
        raise ValueError("no ledger was named before")
    return glance(ledger_path(Path(path)), first, limit=_MOST_HEADS)
