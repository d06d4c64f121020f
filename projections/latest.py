"""Where every node stands, by replay: all unfinished intents, and each node's last finished one."""

from __future__ import annotations

from uuid import UUID

import msgspec

from bootledger.errors import CorruptRecord, DivergedHistory, Refused
from bootledger.statemachine.fold import EMPTY, advance
from bootledger.statemachine.progress import Progress
from bootledger.store.port import Recorded


class Latest(msgspec.Struct):
    """The state of the projection: it grows with nodes and unfinished intents, not with history.

    `unfinished` equals what the heads say: that is a law under test. `finished` has each node's
    intent that ended last.
    """

    unfinished: dict[UUID, Progress] = {}
    finished: dict[str, tuple[UUID, Progress]] = {}

    def by_intent(self) -> dict[UUID, Progress]:
        """Return all of them, in the order in which they began."""
        return dict(sorted([*self.unfinished.items(), *self.finished.values()]))


class LatestIntents:
    """A projection: the progress of every intent that is unfinished or its node's last."""

    name = "latest_intents"

    def initial(self) -> Latest:
        """Return the empty ledger's answer: nothing."""
        return Latest()

    def fold(self, state: Latest, recorded: Recorded) -> Latest:
        """Return the state after one more event; `state` itself is used up.

        Raises `DivergedHistory` naming the position of an event that the table refuses.
        """
        intent_id = recorded.intent_id
        before = state.unfinished.get(intent_id, EMPTY)
        if recorded.version != before.version + 1:
            raise DivergedHistory(
                f"position {recorded.position}: event {recorded.version} of intent "
                f"{intent_id} follows event {before.version}",
                position=recorded.position,
            )
        try:
            after = advance(before, recorded.event)
        except Refused as refusal:
            raise DivergedHistory(
                f"position {recorded.position} breaks the rules: {refusal}",
                position=recorded.position,
            ) from refusal
        if after.unfinished or after.begin is None:
            state.unfinished[intent_id] = after
        else:
            state.unfinished.pop(intent_id, None)
            state.finished[after.begin.node_id] = (intent_id, after)
        return state

    def encode(self, state: Latest) -> bytes:
        """Return the state as msgpack."""
        return msgspec.msgpack.encode(state)

    def decode(self, data: bytes) -> Latest:
        """Return the state that `encode` wrote; raises `CorruptRecord` for anything else."""
        try:
            return msgspec.msgpack.decode(data, type=Latest)
        except msgspec.DecodeError as error:
            raise CorruptRecord(
                f"the saved projection {self.name} is unreadable: {error}",
                hint="it can be rebuilt from the log",
            ) from error
