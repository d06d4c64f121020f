"""Every unfinished intent, read from the heads: no history is touched, however long it is."""

from __future__ import annotations

from uuid import UUID

import msgspec

from bootledger.positions import U64
from bootledger.projections.heads import decode_head
from bootledger.statemachine.events import OP_REPLICA_BOOTSTRAP
from bootledger.statemachine.progress import Progress
from bootledger.store.port import EventStore


class UnfinishedIntent(msgspec.Struct, frozen=True):
    """An intent that has begun and not ended.

    `running` says whether a live process owned it when this was read, None of an earlier time, of
    which nobody can tell; `position` is where its last event stands in the ledger.
    """

    intent_id: UUID
    progress: Progress
    position: U64
    running: bool | None

    @property
    def node_id(self) -> str:
        """The node that is being bootstrapped."""
        return self.progress.begin.node_id if self.progress.begin else ""

    @property
    def op(self) -> str:
        """What is being done: `replica_bootstrap`."""
        return self.progress.begin.op if self.progress.begin else OP_REPLICA_BOOTSTRAP


def list_unfinished(store: EventStore, node_id: str | None = None) -> list[UnfinishedIntent]:
    """Return all unfinished intents, or those of one node, by intent id. Reads no history.

    Raises `Corrupted` if a head cannot be read: unreadable is never "none".
    """
    return [
        UnfinishedIntent(
            head.intent_id, decode_head(head), head.position, store.claimed(head.intent_id)
        )
        for head in sorted(store.unfinished(node_id), key=lambda head: head.intent_id.bytes)
    ]
