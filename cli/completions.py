"""What a shell offers at the tab key: intents and nodes of the ledger that was named before.

Only reads, a bounded number of heads; whatever goes wrong, nothing is offered and nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path
from uuid import UUID

import typer

from bootledger.cli.paths import ledger_path
from bootledger.cli.visible import visible
from bootledger.errors import BootledgerError
from bootledger.projections.heads import decode_head
from bootledger.store.looking import Glance, glance
from bootledger.store.port import Head

_MOST_HEADS = 200
_ID_DIGITS = 32

Offered = list[tuple[str, str]]
"""Values, and what a shell that can do so says beside them."""


def unfinished_intents(context: typer.Context, incomplete: str) -> Offered:
    """Return the ids that begin so: of unfinished intents, or if there are none, of any."""
    try:
        found = _glance(context, incomplete)
        return _offered(found.unfinished, incomplete) or _offered(found.heads, incomplete)
    except (BootledgerError, OSError, ValueError):
        return []


def intents(context: typer.Context, incomplete: str) -> Offered:
    """Return the ids that begin so, of finished intents too, the newest first."""
    try:
        return _offered(_glance(context, incomplete).heads, incomplete)
    except (BootledgerError, OSError, ValueError):
        return []


def _offered(heads: Iterable[Head], incomplete: str) -> Offered:
    mine = (head for head in heads if str(head.intent_id).startswith(incomplete.lower()))
    return [
        (str(head.intent_id), f"{visible(head.node_id)}, {decode_head(head).state}")
        for head in islice(mine, _MOST_HEADS)
    ]


def nodes(context: typer.Context, incomplete: str) -> Offered:
    """Return the node ids that begin so, those of unfinished intents first.

    None that would have to be escaped: what is typed would be another one.
    """
    try:
        found = _glance(context)
        names = (head.node_id for head in chain(found.unfinished, found.heads))
        mine = (name for name in dict.fromkeys(names) if name.startswith(incomplete))
        return [(name, "") for name in mine if name == visible(name)]
    except (BootledgerError, OSError, ValueError):
        return []


def _glance(context: typer.Context, prefix: str = "") -> Glance:
    digits = prefix.replace("-", "")
    first, last = (UUID(hex=digits.ljust(_ID_DIGITS, digit)) for digit in "0f")
    # Where the value of an option is asked for, the arguments before it are not named yet.
    path = (
        context.params.get("path") or context.params.get("ledger") or next(iter(context.args), None)
    )
    if path is None:
        raise ValueError("no ledger was named before")
    return glance(ledger_path(Path(path)), first, last, limit=_MOST_HEADS)
