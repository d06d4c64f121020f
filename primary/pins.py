"""Which slot each base backup is for: written down, so that a new start of the primary knows."""

from __future__ import annotations

from bootledger.environment import Environment
from bootledger.positions import check_node_id
from bootledger.primary import slot_tables as tables
from bootledger.primary.tokens import is_token


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
