"""Hypothesis strategies for events and histories.

`histories()` are legal; `attempts(progress)` are single events that are legal more often than not;
`any_events()` are well-formed and fit nothing in particular.
"""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st
from sample_events import HOLDER, NEXT_HOLDER

from bootledger.errors import Refused
from bootledger.positions import U64_MAX
from bootledger.statemachine.events import (
    Abort,
    AbortKind,
    Begin,
    CauseClass,
    Checkpoint,
    Complete,
    Event,
    Holder,
    Promote,
    Resume,
    SnapshotChunk,
    Suspend,
)
from bootledger.statemachine.fold import EMPTY, advance
from bootledger.statemachine.progress import Progress, State
from bootledger.statemachine.ranges import Range, Ranges, gaps
from bootledger.statemachine.table import legal_kinds

SMALL_SIZE_BYTES = 40
_FORWARD = ("begin", "snapshot_chunk", "checkpoint", "promote")
_ENDS = ("complete", "abort")

u64s = st.one_of(st.integers(0, 60), st.integers(0, U64_MAX), st.just(U64_MAX))
texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=20)
holders = st.builds(Holder, host=texts, pid=u64s, started_at_ms=u64s)
cause_classes: st.SearchStrategy[CauseClass] = st.sampled_from(
    ("network", "shutdown", "capacity", "source", "operator", "diverged", "error")
)
abort_kinds: st.SearchStrategy[AbortKind] = st.sampled_from(("operator", "superseded", "left"))


@st.composite
def ranges(draw: st.DrawFn, *, max_bytes: int = SMALL_SIZE_BYTES) -> Ranges:
    """Sorted, disjoint, non-adjacent ranges below `max_bytes`."""
    edges = sorted(draw(st.sets(st.integers(0, max_bytes), max_size=8)))
    if len(edges) % 2:
        edges.pop()
    return tuple(Range(*pair) for pair in zip(edges[::2], edges[1::2], strict=True))


begins = st.builds(
    Begin,
    recorded_at_ms=u64s,
    node_id=texts,
    source_lsn=u64s,
    target_lsn_hint=u64s,
    holder=holders,
    source_identity=st.none() | texts,
    timeline=st.integers(1, 3),
    last_generation=st.integers(0, 3),
    labels=st.dictionaries(texts, st.just("") | texts, max_size=3),
)


_half = st.integers(0, U64_MAX // 2)
_any_event: st.SearchStrategy[Event] = st.one_of(
    begins,
    st.builds(
        SnapshotChunk,
        recorded_at_ms=u64s,
        token=texts,
        generation=u64s,
        offset_bytes=_half,
        length_bytes=_half,
        size_bytes=st.none() | u64s,
        snapshot_lsn=st.none() | u64s,
        manifest_digest=st.none() | texts,
        reused=ranges(),
        applied_lsn=st.none() | u64s,
        batches=st.none() | u64s,
    ),
    st.builds(Checkpoint, recorded_at_ms=u64s, applied_lsn=u64s, batches=u64s, timeline=u64s),
    st.builds(Promote, recorded_at_ms=u64s, generation=u64s, applied_lsn=u64s),
    st.builds(
        Suspend,
        recorded_at_ms=u64s,
        cause=texts,
        cause_class=cause_classes,
        retry_at_ms=st.none() | u64s,
        actor=st.none() | texts,
    ),
    st.builds(
        Resume,
        recorded_at_ms=u64s,
        epoch=u64s,
        holder=holders,
        actor=st.none() | texts,
        dropped=ranges(),
    ),
    st.builds(Complete, recorded_at_ms=u64s, total_records=u64s, duration_ms=u64s),
    st.builds(
        Abort,
        recorded_at_ms=u64s,
        actor=texts,
        reason=texts,
        abort_kind=abort_kinds,
        keep_artifacts=st.booleans(),
        rolled_back=st.booleans(),
    ),
)


def any_events() -> st.SearchStrategy[Event]:
    """Well-formed events of every kind that fit no history in particular."""
    return _any_event


@st.composite
def attempts(draw: st.DrawFn, progress: Progress) -> Event:
    """One event for `progress`: legal more often than not, and then with plausible fields."""
    return _attempt(draw, progress)


@st.composite
def histories(draw: st.DrawFn, *, min_size: int = 0, max_size: int = 16) -> tuple[Event, ...]:
    """Legal histories: events that the table refused are left out."""
    history: list[Event] = []
    progress = EMPTY
    for _ in range(draw(st.integers(min_size, max_size))):
        event = _attempt(draw, progress)
        try:
            progress = advance(progress, event)
        except Refused:
            continue
        history.append(event)
    return tuple(history)


def _attempt(draw: st.DrawFn, progress: Progress) -> Event:
    luck = draw(st.integers(0, 19))
    if luck == 19:
        return draw(_any_event)
    legal = legal_kinds(progress.state)
    # Ends and interruptions are rare, so that histories get far.
    kinds = [kind for kind in legal if kind in _FORWARD]
    if not kinds or luck < 4:
        kinds = [kind for kind in legal if luck == 0 or kind not in _ENDS] or ["begin"]
    event = _plausible(draw, draw(st.sampled_from(kinds)), progress)
    return _bent(draw, event) if luck == 18 else event


def _plausible(draw: st.DrawFn, kind: str, progress: Progress) -> Event:
    at_ms = progress.recorded_at_ms
    known_lsn = max(progress.applied_lsn or 0, _snapshot_lsn(progress))
    match kind:
        case "begin":
            return Begin(
                recorded_at_ms=1,
                node_id="replica-a",
                source_lsn=draw(u64s),
                target_lsn_hint=0,
                holder=HOLDER,
                timeline=draw(st.integers(1, 3)),
                last_generation=draw(st.integers(0, 3)),
            )
        case "snapshot_chunk":
            return _chunk(draw, progress)
        case "checkpoint":
            return Checkpoint(
                recorded_at_ms=at_ms,
                applied_lsn=min(known_lsn + draw(st.integers(0, 5)), U64_MAX),
                batches=draw(st.integers(0, 9)),
                timeline=min(progress.timeline + draw(st.sampled_from((0, 0, 0, 1))), U64_MAX),
            )
        case "promote":
            return Promote(
                recorded_at_ms=at_ms,
                generation=progress.generation,
                applied_lsn=progress.applied_lsn or 0,
            )
        case "suspend":
            return Suspend(
                recorded_at_ms=at_ms,
                cause="why not",
                cause_class=draw(cause_classes),
                actor=draw(st.sampled_from(("ada", None))),
            )
        case "resume":
            return Resume(
                recorded_at_ms=at_ms,
                epoch=progress.epoch + 1,
                holder=NEXT_HOLDER,
                actor=draw(st.sampled_from(("ada", None))),
                dropped=_part_of_staged(draw, progress),
            )
        case "complete":
            return Complete(recorded_at_ms=at_ms, total_records=1, duration_ms=1)
        case "abort":
            return Abort(
                recorded_at_ms=at_ms,
                actor="ada",
                reason="enough",
                abort_kind=draw(abort_kinds),
                rolled_back=draw(st.booleans()),
            )
        case _:
            raise AssertionError(kind)


def _chunk(draw: st.DrawFn, progress: Progress) -> SnapshotChunk:
    snapshot = progress.snapshot
    lsn = max(progress.applied_lsn or 0, _snapshot_lsn(progress))
    told_lsn = min(lsn + draw(st.integers(0, 5)), U64_MAX)
    opens = (
        snapshot is None or progress.state is not State.TRANSFERRING or draw(st.integers(0, 5)) == 5
    )
    if snapshot is None or opens:
        generation = progress.generation + 1
        return SnapshotChunk(
            recorded_at_ms=progress.recorded_at_ms,
            token=f"snapshot-{generation}",
            generation=generation,
            offset_bytes=0,
            length_bytes=draw(st.integers(0, 5)),
            size_bytes=draw(st.none() | st.integers(5, SMALL_SIZE_BYTES)),
            snapshot_lsn=draw(st.sampled_from((told_lsn, told_lsn, None))),
        )
    size = SMALL_SIZE_BYTES if snapshot.size_bytes is None else snapshot.size_bytes
    missing = [gap for gap in gaps(snapshot.staged, size) if gap.end_bytes <= SMALL_SIZE_BYTES]
    first, reused = Range(0, 0), tuple(missing[1:])
    if missing:
        first = missing[0]
    if draw(st.booleans()):  # only a part of what is missing
        start = draw(st.integers(first.start_bytes, first.end_bytes))
        first, reused = Range(start, draw(st.integers(start, first.end_bytes))), ()
    return SnapshotChunk(
        recorded_at_ms=progress.recorded_at_ms,
        token=snapshot.token,
        generation=snapshot.generation,
        offset_bytes=first.start_bytes,
        length_bytes=first.end_bytes - first.start_bytes,
        size_bytes=draw(st.sampled_from((None, None, size))),
        snapshot_lsn=draw(st.sampled_from((None, None, told_lsn))),
        reused=reused,
        applied_lsn=draw(st.sampled_from((None, None, progress.applied_lsn, snapshot.lsn))),
    )


def _part_of_staged(draw: st.DrawFn, progress: Progress) -> Ranges:
    staged = progress.snapshot.staged if progress.snapshot else ()
    if progress.phase is not State.TRANSFERRING or not staged or draw(st.booleans()):
        return ()
    whole = draw(st.sampled_from(staged))
    start = draw(st.integers(whole.start_bytes, whole.end_bytes - 1))
    return (Range(start, draw(st.integers(start + 1, whole.end_bytes))),)


def _bent(draw: st.DrawFn, event: Event) -> Event:
    """The event with one number changed by one, which is often one too many."""
    numbers = [
        field
        for field in event.__struct_fields__
        if field not in ("offset_bytes", "length_bytes")
        and isinstance(getattr(event, field), int)
        and not isinstance(getattr(event, field), bool)
    ]
    field = draw(st.sampled_from(numbers))
    value = getattr(event, field) + draw(st.sampled_from((-1, 1)))
    return msgspec.structs.replace(event, **{field: min(max(value, 0), U64_MAX)})


def _snapshot_lsn(progress: Progress) -> int:
    return (progress.snapshot.lsn or 0) if progress.snapshot else 0
