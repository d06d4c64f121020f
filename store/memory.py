"""The reference adapter: the promise of the port in its shortest form. It forgets at exit."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID

from bootledger.artefacts import Finding
from bootledger.errors import InvalidValue
from bootledger.files import LockHeld
from bootledger.store.admission import (
    admit,
    check_bounds,
    check_cutoff,
    check_expectation,
    check_projection_name,
    ends,
    projection_conflict,
)
from bootledger.store.archive import joined
from bootledger.store.codec import encode_event
from bootledger.store.port import (
    FIRST_ID,
    Append,
    Compacted,
    Head,
    NodeExpectation,
    Positions,
    Recorded,
    SavedProjection,
)

_STEP_EVENTS = 2
"""How many events a step of a compaction looks at: few, so that tests take many steps."""


class MemoryEventStore:
    """An event store in this object and nowhere else: nothing survives it.

    A claim is held against other claims on the same object.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._log: list[Recorded] = []
        self._heads: dict[UUID, Head] = {}
        self._unfinished: set[UUID] = set()
        self._archived: set[int] = set()
        self._projections: dict[str, SavedProjection] = {}
        self._claims: dict[UUID, str] = {}
        self._closed = False

    def append(
        self, batch: Sequence[Append], *, expect: NodeExpectation | None = None
    ) -> Sequence[int]:
        """Append a batch; see the port."""
        with self._lock:
            self._check_open()
            if expect is not None:
                check_expectation(
                    expect, frozenset(h.intent_id for h in self._pending(expect.node_id))
                )
            # Work on copies, so that a refusal in the middle leaves nothing behind.
            log, heads, unfinished = list(self._log), dict(self._heads), set(self._unfinished)
            for item in batch:
                encode_event(item.event)  # for its limit
                key = item.intent_id
                node_id = admit(item, heads.get(key), unfinished=key in unfinished)
                version = item.expected_version + 1
                log.append(Recorded(len(log) + 1, key, version, item.event))
                heads[key] = Head(key, node_id, version, len(log), item.head)
                unfinished.add(key)
                if ends(item.event):
                    unfinished.remove(key)
            first = len(self._log) + 1
            self._log, self._heads, self._unfinished = log, heads, unfinished
            return range(first, len(log) + 1)

    def head(self, intent_id: UUID) -> Head | None:
        """Return the end of the intent's history; see the port."""
        with self._lock:
            self._check_open()
            return self._heads.get(intent_id)

    def unfinished(self, node_id: str | None = None) -> Sequence[Head]:
        """Return the heads of unfinished intents; see the port."""
        with self._lock:
            self._check_open()
            return self._pending(node_id)

    def heads(self, first: UUID = FIRST_ID) -> Iterator[Head]:
        """Yield the heads of all intents; see the port."""
        with self._lock:
            self._check_open()
            heads = self._heads
        return (heads[intent_id] for intent_id in sorted(heads) if intent_id >= first)

    def history(self, intent_id: UUID) -> Iterator[Recorded]:
        """Yield the intent's events, newest first; see the port."""
        with self._lock:
            self._check_open()
            log = self._log
        return (event for event in reversed(log) if event.intent_id == intent_id)

    def read(self, after_position: int, limit: int) -> Sequence[Recorded]:
        """Return events after a position; see the port."""
        check_bounds(after_position, limit)
        with self._lock:
            self._check_open()
            return self._log[after_position : after_position + limit]

    def last_position(self) -> int:
        """Return the position of the newest event; see the port."""
        with self._lock:
            self._check_open()
            return len(self._log)

    def compact(self, after_position: int, before_ms: int) -> Compacted | None:
        """Note which of the next events are archived, and move nothing; see the port."""
        check_cutoff(after_position, before_ms)
        with self._lock:
            self._check_open()
            older = self._log[after_position:-1]
            looked_at = [e for e in older if e.position not in self._archived][:_STEP_EVENTS]
            if not looked_at:
                return None
            moved = {
                event.position
                for event in looked_at
                if event.intent_id not in self._unfinished
                and self._log[self._heads[event.intent_id].position - 1].event.recorded_at_ms
                < before_ms
            }
            self._archived |= moved
            return Compacted(looked_at[-1].position, len(moved), 0, 0)

    def archived(self) -> Iterator[Positions]:
        """Yield which positions are archived; see the port."""
        with self._lock:
            self._check_open()
            return iter(joined(Positions(p, p) for p in sorted(self._archived)))

    def load_projection(self, name: str) -> SavedProjection | None:
        """Return what was saved under `name`; see the port."""
        check_projection_name(name)
        with self._lock:
            self._check_open()
            return self._projections.get(name)

    def save_projection(self, name: str, expected_position: int, saved: SavedProjection) -> None:
        """Replace what is saved under `name`; see the port."""
        check_projection_name(name)
        with self._lock:
            self._check_open()
            position = self._projections.get(name, SavedProjection(0, b"")).position
            if position != expected_position:
                raise projection_conflict(name, expected_position, position)
            self._projections[name] = saved

    def claim(self, intent_id: UUID, words: str) -> _MemoryClaim:
        """Take hold of an intent; see the port."""
        with self._lock:
            if intent_id in self._claims:
                raise LockHeld(Path(str(intent_id)), self._claims[intent_id])
            self._claims[intent_id] = words
        return _MemoryClaim(self._claims, intent_id)

    def claimed(self, intent_id: UUID) -> bool:
        """Return whether the intent is claimed; see the port."""
        with self._lock:
            return intent_id in self._claims

    def claimant(self, intent_id: UUID) -> str | None:
        """Return who claims the intent; see the port."""
        with self._lock:
            return self._claims.get(intent_id)

    def leftovers(self) -> Iterator[Finding]:
        """Yield nothing: there are no files; see the port."""
        return iter(())

    def close(self) -> None:
        """Give the store back; see the port."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidValue("this store was closed")

    def _pending(self, node_id: str | None) -> list[Head]:
        heads = (self._heads[intent_id] for intent_id in sorted(self._unfinished))
        return [head for head in heads if node_id in (None, head.node_id)]


class _MemoryClaim:
    def __init__(self, claims: dict[UUID, str], intent_id: UUID) -> None:
        self._claims = claims
        self._intent_id: UUID | None = intent_id

    def release(self) -> None:
        """Let go. Harmless when repeated."""
        if self._intent_id is not None:
            self._claims.pop(self._intent_id, None)
            self._intent_id = None
