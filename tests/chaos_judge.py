"""What must be true after chaos, from what the replica's lives printed and what its ledger holds.

The two were written at different moments by processes that died: a line comes after the event that
it tells of, so the last event of a life that was killed may have no lines.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from bootledger.statemachine.events import (
    Abort,
    Begin,
    Checkpoint,
    Complete,
    Resume,
    SnapshotChunk,
)
from bootledger.statemachine.ranges import Range
from bootledger.store.port import Recorded

Line = dict[str, object]


@dataclass
class Told:
    """One life of the replica, as it is judged: who it was, how it ended, and what it printed."""

    pid: int
    killed: bool
    lines: Sequence[Line]


@dataclass
class Copy:
    """What became of one generation's copy, in chunks of the base backup by their offsets."""

    starts: int = 0
    fetched: Counter[int] = field(default_factory=Counter)
    rejected: Counter[int] = field(default_factory=Counter)
    staged: int = 0

    @property
    def again(self) -> int:
        """How many chunks were fetched again although what came was right."""
        return self.fetched.total() - len(self.fetched)


def copies_of(lives: Sequence[Told]) -> dict[int, Copy]:
    """Return what the lives told of each generation's copy."""
    found: defaultdict[int, Copy] = defaultdict(Copy)
    for life in lives:
        generation = -1
        for line in life.lines:
            match line:
                case {"event": "step", "phase": "copying", "generation": int(generation)}:
                    found[generation].starts += 1
                case {"event": "fetched", "start": int(start)}:
                    found[generation].fetched[start] += 1
                case {"event": "rejected", "start": int(start)}:
                    found[generation].rejected[start] += 1
                case _:
                    pass
    return dict(found)


def fetched_bytes_of(events: Sequence[Recorded]) -> Counter[int]:
    """Return how many bytes the ledger says were fetched, of each generation's copy."""
    found: Counter[int] = Counter()
    for recorded in events:
        if isinstance(recorded.event, SnapshotChunk):
            found[recorded.event.generation] += recorded.event.length_bytes
    return found


def check_fetched(
    events: Sequence[Recorded], lives: Sequence[Told], in_flight: int, chunk_bytes: int
) -> dict[str, int]:
    """Check that every chunk that came from the source is accounted for.

    It was rejected, or staged by an event, or it was in flight when a copy was cut short, at most
    `in_flight` each time. Only these may be fetched again.
    """
    sums: Counter[str] = Counter()
    claimed_bytes = fetched_bytes_of(events)
    for generation, copy in copies_of(lives).items():
        most = in_flight * max(0, copy.starts - 1)
        # The last chunk is shorter, and may be the one that is claimed.
        in_flight_then = copy.fetched.total() - -(-claimed_bytes[generation] // chunk_bytes)
        assert 0 <= in_flight_then <= in_flight * copy.starts, (
            f"generation {generation}: {copy.fetched.total()} chunks were fetched, "
            f"{claimed_bytes[generation]} bytes claimed, {copy.starts} starts"
        )
        sums["chunks in flight when it was cut short"] += in_flight_then
        assert copy.again <= most, (
            f"generation {generation}: {copy.again} chunks were fetched again, "
            f"{copy.starts} starts allow {most}"
        )
        sums["copies"] += 1
        sums["starts of a copy"] += copy.starts
        sums["chunks fetched"] += copy.fetched.total()
        sums["chunks fetched again"] += copy.again
        sums["chunks fetched again at most"] += most
        sums["chunks rejected"] += copy.rejected.total()
    return dict(sums)


def owners(events: Sequence[Recorded]) -> dict[int, list[tuple[Range, ...]]]:
    """Return what each process claimed, an entry an event, by the pid of the intent's owner."""
    owner: dict[UUID, int] = {}
    claimed: defaultdict[int, list[tuple[Range, ...]]] = defaultdict(list)
    for recorded in events:
        match recorded.event:
            case Begin(holder=holder) | Resume(holder=holder):
                owner[recorded.intent_id] = holder.pid
            case SnapshotChunk() as chunk:
                brought = tuple(it for it in chunk.brought if it.start_bytes < it.end_bytes)
                if brought:
                    claimed[owner[recorded.intent_id]].append(brought)
            case _:
                pass
    return dict(claimed)


def check_only_owners_wrote(events: Sequence[Recorded], lives: Sequence[Told]) -> int:
    """Check that each life staged what the ledger holds from the time it owned the intent.

    In that order, and nothing more: a life that was fenced, or that had died, claimed nothing. The
    last event of a life that was killed may be untold. Returns how many events were compared.
    """
    claimed = owners(events)
    compared = 0
    for life in lives:
        said = [
            Range(start, end)
            for line in life.lines
            if line.get("event") == "staged"
            and isinstance(start := line["start"], int)
            and isinstance(end := line["end"], int)
        ]
        mine = claimed.pop(life.pid, [])
        recorded = [each for event in mine for each in event]
        untold = len(mine[-1]) if life.killed and mine else 0
        assert recorded[: len(said)] == said, f"{life.pid} staged what it did not own"
        assert len(recorded) - len(said) <= untold, f"{life.pid} claimed what it did not tell"
        compared += len(mine)
    assert not claimed, f"claimed by somebody else: {sorted(claimed)}"
    return compared


def check_resumed(events: Sequence[Recorded]) -> dict[str, int]:
    """Check that every bootstrap with progress was resumed until its end, never begun anew.

    The only end of an intent with progress is its completion. Returns what was counted.
    """
    progress: dict[UUID, bool] = {}
    sums: Counter[str] = Counter()
    for recorded in events:
        match recorded.event:
            case Begin():
                left = [intent for intent, went_on in progress.items() if went_on]
                assert not left, f"{recorded.intent_id} was begun, {left} could have gone on"
                progress[recorded.intent_id] = False
                sums["intents"] += 1
            case SnapshotChunk(size_bytes=size_bytes):
                progress[recorded.intent_id] = True
                sums["generations"] += size_bytes is not None
                sums["chunk events"] += 1
                sums["bytes reused"] += sum(
                    it.end_bytes - it.start_bytes for it in recorded.event.reused
                )
                sums["bytes staged"] += sum(
                    it.end_bytes - it.start_bytes for it in recorded.event.brought
                )
            case Checkpoint():
                progress[recorded.intent_id] = True
                sums["checkpoints"] += 1
            case Resume(dropped=dropped):
                assert dropped == (), f"staged bytes were lost: {dropped}"
                sums["resumed"] += 1
            case Complete():
                del progress[recorded.intent_id]
                sums["completed"] += 1
            case Abort(abort_kind=kind):
                went_on = progress.pop(recorded.intent_id)
                assert kind == "superseded", recorded
                assert not went_on, f"{recorded.intent_id} was given up with its progress"
            case _:
                pass
    return dict(sums)
