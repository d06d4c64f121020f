"""The event store as a promise: what holds when a call returns, in which order, and who owns what.

Two adapters keep it: `bootledger.store.memory` (the reference, forgets at exit) and
`bootledger.store.lmdb` (durable). `bootledger.store.contract` checks any adapter against it.

The words
---------
*Position*: where an event stands in the whole ledger, from 1 up, without gaps; order is position.
*Version*: the how-manieth event of its own intent it is, from 1 up, without gaps.
*Head*: the fold of one intent's events as opaque bytes. The caller folds; the store keeps the
bytes next to the last event and never looks inside.
*Unfinished*: begun, and neither completed nor aborted. Kept as an index, so that asking for it does
not read history.

*Archive*: where `compact` moves events of finished intents to, so that they take less room. It is
part of the ledger, and every answer is the same with it.

The promise
-----------
Atomicity: `append` writes all events of a batch, their heads and the index of unfinished intents in
one transaction, or nothing. Order: a batch gets consecutive positions in its own order. Durability:
when `append` returns, the batch survives the death of the process and the loss of power (the
memory adapter: neither). Conflict: if any expectation does not hold, `IntentConflict` is raised and
nothing was written. Unknown outcome: if `append` raises `OutOfSpace` or `OutcomeUnknown`, the batch
may or may not be there, whole; read the heads before writing on. A store knows one thing about
events: an intent's first is its `Begin`, which names the node, and its last a `Complete` or an
`Abort`. What else may follow what is the table's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from bootledger.artefacts import Finding
from bootledger.statemachine.events import Event

FIRST_ID = UUID(int=0)
"""No intent id comes before it."""
LAST_ID = UUID(int=2**128 - 1)
"""No intent id comes after it."""


class Append(NamedTuple):
    """One event to append: `intent_id` must be at `expected_version` (0: it must not exist yet).

    `head` is the fold after the event.
    """

    intent_id: UUID
    expected_version: int
    event: Event
    head: bytes


class Recorded(NamedTuple):
    """One event as it stands in the ledger."""

    position: int
    intent_id: UUID
    version: int
    event: Event


class Head(NamedTuple):
    """The end of one intent's history: its last position and version, and the fold as bytes."""

    intent_id: UUID
    node_id: str
    version: int
    position: int
    data: bytes


class NodeExpectation(NamedTuple):
    """The caller's belief that exactly these intents of the node are unfinished."""

    node_id: str
    unfinished: frozenset[UUID]


class SavedProjection(NamedTuple):
    """A projection's state after the event at `position` (0: before the first)."""

    position: int
    state: bytes


class Positions(NamedTuple):
    """A run of positions, both ends included."""

    first: int
    last: int


class Compacted(NamedTuple):
    """What one step of a compaction did: everything up to `position` was looked at.

    `events` were moved; the log got smaller by `log_bytes`, the archive larger by `archive_bytes`.
    """

    position: int
    events: int
    log_bytes: int
    archive_bytes: int


class Claim(Protocol):
    """A live process's hold on an intent. The operating system releases it at any kind of death."""

    def release(self) -> None:
        """Let go. Harmless when repeated."""


class EventStore(Protocol):
    """A ledger of events of many intents. Safe to use from several threads."""

    def append(
        self, batch: Sequence[Append], *, expect: NodeExpectation | None = None
    ) -> Sequence[int]:
        """Append a batch and return the positions of its events.

        When this returns, all of it is durable, with heads and index; an empty batch is nothing.
        `expect` is checked in the same transaction, before the batch.

        Raises `IntentConflict` (a version or the expectation does not hold; nothing written),
        `InvalidValue` (an event larger than the record limit, a first event that is not a begin or
        a later one that is, an event after the last; nothing written), `StoreBusy` (nothing
        written), `OutOfSpace` or `OutcomeUnknown` (read again).
        """

    def head(self, intent_id: UUID) -> Head | None:
        """Return the end of the intent's history, or None if it was never begun.

        Reads no history. Raises `CorruptRecord` if the record fails its checksum.
        """

    def unfinished(self, node_id: str | None = None) -> Sequence[Head]:
        """Return the heads of all unfinished intents, or those of one node, by intent id.

        Reads no history. Raises `CorruptRecord` if a record fails its checksum.
        """

    def heads(self, first: UUID = FIRST_ID) -> Iterator[Head]:
        """Yield the heads of all intents, finished ones too, by intent id, from `first` on.

        In bounded memory, and holding nothing open: what is appended meanwhile may be seen or not.
        Raises `CorruptRecord` if a record fails its checksum.
        """

    def history(self, intent_id: UUID) -> Iterator[Recorded]:
        """Yield the intent's events, newest first, in bounded memory.

        Raises `CorruptRecord` at the first record that fails its checksum or is out of place.
        """

    def read(self, after_position: int, limit: int) -> Sequence[Recorded]:
        """Return up to `limit` events after a position, oldest first; none at the end.

        Raises `CorruptRecord` at a record that fails its checksum, or where positions have a gap.
        """

    def last_position(self) -> int:
        """Return the position of the newest event, 0 if there is none."""

    def compact(self, after_position: int, before_ms: int) -> Compacted | None:
        """Move what may be archived of the next events after a position; None if there are none.

        An event may be archived if its intent is finished and the last event of that was recorded
        before `before_ms`; except the newest event of all, so that the end of the log stays the end
        of the ledger. One step is one transaction, which moves a bounded number of events, durably
        and whole or not at all; the caller goes on after the `position` that it returns.

        Nobody who reads can tell: `read`, `history` and heads answer as before. Raises
        `CorruptRecord` before anything that is damaged is moved, and otherwise as `append` does.
        """

    def archived(self) -> Iterator[Positions]:
        """Yield which positions lie in the archive, in order, as runs that do not touch.

        Raises `CorruptRecord` if a record fails its checksum.
        """

    def load_projection(self, name: str) -> SavedProjection | None:
        """Return what was saved under `name`, or None."""

    def save_projection(self, name: str, expected_position: int, saved: SavedProjection) -> None:
        """Replace what is saved under `name`, position and state in one transaction.

        `expected_position` is the position that this work started from (0: nothing was saved).
        Raises `IntentConflict` if somebody else has saved since; nothing was written then.
        """

    def claim(self, intent_id: UUID, words: str) -> Claim:
        """Take hold of an intent for as long as this process lives; `words` say who.

        Raises `LockHeld` with the holder's words if a live process has it (this one included).
        """

    def claimed(self, intent_id: UUID) -> bool:
        """Return whether a live process holds the intent."""

    def claimant(self, intent_id: UUID) -> str | None:
        """Return the words of the live process that holds the intent, None if there is none."""

    def leftovers(self) -> Iterator[Finding]:
        """Yield what claims and other files lie about, those of the living too, and may be removed.

        What belongs to the living, or is nothing of this store, stays. A removal may raise
        `StoreBusy`. Claims are given and taken meanwhile as ever.
        """

    def close(self) -> None:
        """Give the store back. Harmless when repeated; claims are not released by it."""
