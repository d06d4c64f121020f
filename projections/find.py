"""From what a person types to the intent that is meant."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice, takewhile
from uuid import UUID

from bootledger.errors import InvalidValue
from bootledger.projections.heads import decode_head
from bootledger.store.port import EventStore, Head

_ID_DIGITS = 32
_HEX_DIGITS = frozenset("0123456789abcdef")
_MOST_NAMED = 5


def find_intent(store: EventStore, name: str) -> UUID:
    """Return the intent, finished or not, whose id begins with `name`, or the node's of that name.

    The node's is its unfinished one, else its newest. Of an id, case and hyphens do not matter; it
    goes before a node whose intents are all finished. Reads no history. Raises `InvalidValue` if
    there is none, or more than one.
    """
    found = _candidates(store, name)
    first = next(found, None) or _newest_of(store, name)
    if first is None:
        raise InvalidValue(
            f"{name!r:.80} is neither the beginning of an intent's id nor a node of this ledger",
            hint="bootledger history LEDGER lists all intents",
        )
    if (second := next(found, None)) is not None:
        named = [first, second, *islice(found, _MOST_NAMED - 2)]
        listed = ", ".join(
            f"{head.intent_id} ({head.node_id!r}, {decode_head(head).state})" for head in named
        )
        left = sum(1 for _ in found)
        raise InvalidValue(
            f"several intents are called {name!r:.80}: {listed}"
            + (f", and {left} more" if left else ""),
            hint="write more of the id",
        )
    return first.intent_id


def _candidates(store: EventStore, name: str) -> Iterator[Head]:
    """Yield the intents whose ids begin so, then the other unfinished ones of that node."""
    digits = name.replace("-", "").lower()
    if not digits or len(digits) > _ID_DIGITS or not set(digits) <= _HEX_DIGITS:
        return iter(store.unfinished(name))
    first = UUID(hex=digits.ljust(_ID_DIGITS, "0"))
    by_id = takewhile(lambda head: head.intent_id.hex.startswith(digits), store.heads(first))
    by_node = (head for head in store.unfinished(name) if not head.intent_id.hex.startswith(digits))
    return chain(by_id, by_node)


def _newest_of(store: EventStore, node_id: str) -> Head | None:
    mine = (head for head in store.heads() if head.node_id == node_id)
    return max(mine, key=lambda head: head.position, default=None)
