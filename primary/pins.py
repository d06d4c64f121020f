"""Which slot each base backup is for: written down, so that a new start of the primary knows."""

from __future__ import annotations

from collections.abc import Iterable

from bootledger.environment import Environment
from bootledger.positions import check_node_id
from bootledger.primary import slot_tables as tables
from bootledger.primary.tokens import generation_of, intent_of, is_token

KEPT_BESIDES = 1
"""How many base backups a slot has besides the newest one: a slot is for one replica."""


class Pins:
    """Tokens and the slots that they were given to. Made by `Slots`, in the same environment."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def add(self, token: str, slot: str) -> None:
        """Write down for which slot the base backup `token` is. Durable when this returns."""
        check_node_id(slot)
        if self.slot_of(token) != slot:
            self._environment.write(lambda txn, db: tables.put_pin(txn, db, token, slot))

    def remove(self, token: str) -> None:
        """Forget a base backup. Durable when this returns; harmless when repeated."""
        if self.slot_of(token) is not None:
            self._environment.write(lambda txn, db: txn.delete(token.encode(), db=db["pins"]))

    def slot_of(self, token: str) -> str | None:
        """Return the name of the slot that a base backup is for, None if nobody wrote it down."""
        if not is_token(token):
            return None
        return self._environment.read(lambda txn, db: tables.get_pin(txn, db, token))

    def all(self) -> dict[str, str]:
        """Return the name of the slot of every base backup that is written down, by its token."""
        return self._environment.read(lambda txn, db: dict(tables.pins(txn, db)))


def is_earlier(token: str, intent_id: str, generation: int) -> bool:
    """Return whether a base backup was made for an earlier generation of the intent."""
    return intent_of(token) == intent_id and generation_of(token) < generation


def superseded(token: str, others: Iterable[str]) -> list[str]:
    """Return which of the `others` of a slot, oldest first, go when it has pinned `token`. Pure.

    All of earlier generations, and of the rest all but the `KEPT_BESIDES` newest.
    """
    intent_id, generation = intent_of(token), generation_of(token)
    earlier: list[str] = []
    rest: list[str] = []
    for other in others:
        if other != token:
            (earlier if is_earlier(other, intent_id, generation) else rest).append(other)
    return earlier + rest[: max(0, len(rest) - KEPT_BESIDES)]
