"""From what a person types to the intent that is meant."""

from __future__ import annotations

from itertools import islice, takewhile
from uuid import UUID

from bootledger.errors import InvalidValue
from bootledger.store.port import EventStore

_ID_DIGITS = 32
_HEX_DIGITS = frozenset("0123456789abcdef")


def find_intent(store: EventStore, prefix: str) -> UUID:
    """Return the intent, finished or not, whose id begins with `prefix`. Reads no history.

    Case and hyphens do not matter. Raises `InvalidValue` if there is none, or more than one.
    """
    digits = prefix.replace("-", "").lower()
    if not digits or len(digits) > _ID_DIGITS or not set(digits) <= _HEX_DIGITS:
        raise InvalidValue(f"{prefix!r:.80} cannot be the beginning of an intent's id")
    first = UUID(hex=digits.ljust(_ID_DIGITS, "0"))
    heads = takewhile(lambda head: head.intent_id.hex.startswith(digits), store.heads(first))
    found = [head.intent_id for head in islice(heads, 2)]
    if not found:
        raise InvalidValue(f"no intent of this ledger begins with {prefix!r}")
    if len(found) > 1:
        raise InvalidValue(
            f"several intents begin with {prefix!r}: {found[0]}, {found[1]}",
            hint="write more of it",
        )
    return found[0]
