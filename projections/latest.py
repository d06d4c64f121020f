"""Where every node stands, by replay: all unfinished intents, and each node's last finished one."""

from __future__ import annotations

from typing import TypeAlias
from uuid import UUID

import msgspec

from bootledger.errors import CorruptRecord, DivergedHistory, Refused
from bootledger.statemachine.fold import EMPTY, advance
from bootledger.statemachine.progress import Progress
from bootledger.store.port import Recorded

Latest: TypeAlias = dict[UUID, Progress]


class LatestIntents:
    """A projection: the progress of every intent that is unfinished or its node's last.

    Its state grows with the number of nodes and unfinished intents, never with the history. The
    unfinished ones equal what the heads say: that is a law under test.
    """

    name = "latest_intents"

    def initial(self) -> Latest:
        """Return the empty ledger's answer: nothing."""
        return {}

    def fold(self, state: Latest, recorded: Recorded) -> Latest:
        """Return the state after one more event; `state` itself is used up.

        Raises `DivergedHistory` naming the position of an event that the table refuses.
        """
        before = state.get(recorded.intent_id, EMPTY)
        if recorded.version != before.version + 1:
            raise DivergedHistory(
                f"position {recorded.position}: event {recorded.version} of intent "
                f"{recorded.intent_id} follows event {before.version}"
            )
        try:
            after = advance(before, recorded.event)
        except Refused as refusal:
            raise DivergedHistory(
                f"position {recorded.position} breaks the rules: {refusal}"
            ) from refusal
        if not after.unfinished:
            for other in _finished_of_same_node(state, after):
                del state[other]
        state[recorded.intent_id] = after
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


def _finished_of_same_node(state: Latest, after: Progress) -> list[UUID]:
    return [
        intent_id
        for intent_id, progress in state.items()
        if not progress.unfinished
        and progress.begin is not None
        and after.begin is not None
        and progress.begin.node_id == after.begin.node_id
    ]
