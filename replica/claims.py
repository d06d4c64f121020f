"""What is durable in the candidate and not yet claimed, and the events that claim it."""

from __future__ import annotations

from bootledger.replica.handle import BootstrapHandle
from bootledger.replica.observer import Observer
from bootledger.replica.settings import Settings
from bootledger.statemachine.events import SnapshotChunk
from bootledger.statemachine.progress import Snapshot, known
from bootledger.statemachine.ranges import MAX_ISLANDS, Range, Ranges, add, islands, subtract


class Claims:
    """Collects durable ranges, and claims them with one event for each that was fetched.

    Ranges that touch become one; what was reused goes into the event of what was fetched before it.
    Where a claim would make more than `MAX_ISLANDS` islands it is put off until what is missing
    before it has come: whatever goes on at the first gap can always be claimed. So once every chunk
    is durable, everything is claimed.
    """

    def __init__(self, handle: BootstrapHandle, settings: Settings, observer: Observer) -> None:
        self._handle = handle
        self._settings = settings
        self._observer = observer
        self._fetched: Ranges = ()
        self._reused: Ranges = ()

    def add(self, durable: Range, *, reused: bool) -> None:
        """Take note of a chunk that is durable, as far as no event has claimed it."""
        parts: Ranges = (durable,)
        for staged in self._snapshot.staged:
            parts = subtract(parts, staged)
        for part in parts:
            if reused:
                self._reused = add(self._reused, part)
            else:
                self._fetched = add(self._fetched, part)

    def record(self) -> None:
        """Record what can be claimed now, in the order of the file. Durable when this returns."""
        for fetched, reused in self._events():
            self._handle.record(
                SnapshotChunk(
                    recorded_at_ms=self._settings.clock(),
                    token=self._snapshot.token,
                    generation=self._snapshot.generation,
                    offset_bytes=fetched.start_bytes,
                    length_bytes=fetched.end_bytes - fetched.start_bytes,
                    reused=reused,
                )
            )
            self._fetched = subtract(self._fetched, fetched)
            for each in reused:
                self._reused = subtract(self._reused, each)
            self._tell(fetched, reused)

    def _events(self) -> list[tuple[Range, Ranges]]:
        """Return what each event is to claim: a fetched range, which may be empty, and reused ones.

        In the order of the file, so that every event finds what comes before it claimed.
        """
        staged = self._snapshot.staged
        pending = [(part, False) for part in self._fetched]
        pending += [(part, True) for part in self._reused]
        events: list[tuple[Range, Ranges]] = []
        for part, reused in sorted(pending):
            after = add(staged, part)
            if islands(after) > MAX_ISLANDS:
                continue
            staged = after
            if not reused:
                events.append((part, ()))
            elif events and len(events[-1][1]) < MAX_ISLANDS:
                events[-1] = (events[-1][0], (*events[-1][1], part))
            else:
                events.append((Range(part.start_bytes, part.start_bytes), (part,)))
        return events

    def _tell(self, fetched: Range, reused: Ranges) -> None:
        for each in reused:
            self._observer.on_reused(each)
        for each in (fetched, *reused):
            if each.start_bytes < each.end_bytes:
                self._observer.on_staged(each, self._handle.progress)

    @property
    def _snapshot(self) -> Snapshot:
        return known(self._handle.progress.snapshot, "the snapshot that is being copied")
