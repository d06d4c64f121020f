"""Node ids that a person types: whether the ledger has ever seen them, and what they could be."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from bootledger.errors import InvalidValue
from bootledger.positions import check_node_id
from bootledger.store.port import EventStore

_MOST_NAMED = 5


def check_known_node(store: EventStore, node: str) -> str:
    """Return `node` if an intent of it, finished or not, is in the ledger.

    Raises `InvalidValue` if there is none: a node id that nobody has is a slip of the hand.
    """
    check_node_id(node)
    if store.unfinished(node):
        return node
    others: dict[str, None] = {}
    for name in known_nodes(store):
        if name == node:
            return node
        if len(others) <= _MOST_NAMED:
            others[name] = None
    named = ", ".join(map(repr, islice(others, _MOST_NAMED)))
    more = ", …" if len(others) > _MOST_NAMED else ""
    raise InvalidValue(
        f"this ledger never saw node {node!r}",
        hint=f"it knows {named}{more}" if named else "no intent was ever begun in it",
    )


def known_nodes(store: EventStore) -> Iterator[str]:
    """Yield the node of every intent, again and again. Reads heads, no history."""
    return (head.node_id for head in store.heads())
