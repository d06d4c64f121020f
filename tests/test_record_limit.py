"""The record limit, seen through a handle: a clear error, and nothing is used up by a refusal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
import sample_events as sample

from bootledger.errors import BootledgerError, InvalidValue, Refused
from bootledger.positions import NODE_ID_MAX_BYTES, TEXT_MAX_BYTES, U64_MAX
from bootledger.replica.handle import BootstrapHandle
from bootledger.replica.intent_log import IntentLog
from bootledger.statemachine.events import (
    EVENT_TYPES,
    Abort,
    Begin,
    Checkpoint,
    Complete,
    Event,
    Holder,
    Promote,
    Resume,
    Suspend,
)
from bootledger.statemachine.ranges import MAX_ISLANDS, Range
from bootledger.store.codec import MAX_EVENT_BYTES, encode_event
from bootledger.store.memory import MemoryEventStore

LONG = "x" * TEXT_MAX_BYTES
HOLDER = Holder(LONG, U64_MAX, U64_MAX)
ISLANDS = tuple(Range(2**63 + 2 * n, 2**63 + 2 * n + 1) for n in range(MAX_ISLANDS))

TOO_LARGE: tuple[Event, ...] = (
    msgspec.structs.replace(sample.begin(), labels={str(n): LONG for n in range(3)}),
    msgspec.structs.replace(
        sample.chunk(generation=2), token=LONG, manifest_digest=LONG, reused=ISLANDS
    ),
    Resume(recorded_at_ms=1, epoch=2, holder=HOLDER, actor=LONG, dropped=ISLANDS),
)
"""The kinds of event that can be too large: those that hold ranges or labels. All are legal."""

LARGEST: tuple[Event, ...] = (
    Checkpoint(recorded_at_ms=U64_MAX, applied_lsn=U64_MAX, batches=U64_MAX, timeline=U64_MAX),
    Promote(recorded_at_ms=U64_MAX, generation=U64_MAX, applied_lsn=U64_MAX),
    Suspend(
        recorded_at_ms=U64_MAX,
        cause=LONG,
        cause_class="operator",
        retry_at_ms=U64_MAX,
        actor=LONG,
    ),
    Complete(recorded_at_ms=U64_MAX, total_records=U64_MAX, duration_ms=U64_MAX),
    Abort(
        recorded_at_ms=U64_MAX,
        actor=LONG,
        reason=LONG,
        abort_kind="superseded",
        keep_artifacts=True,
        rolled_back=True,
    ),
)
"""The largest event of every other kind."""


@contextmanager
def handle_on() -> Iterator[tuple[MemoryEventStore, BootstrapHandle]]:
    """A handle in the copy, after one chunk and one checkpoint of the first generation."""
    store = MemoryEventStore()
    handle = IntentLog(store, sink=lambda _: None).begin("node", 0, 0)
    handle.checkpoint(5, 1)
    handle.checkpoint_snapshot_transfer("snap", 10, 5, 1)
    yield store, handle
    handle.close()


def refused(store: MemoryEventStore, handle: BootstrapHandle, event: Event) -> BootledgerError:
    """The refusal of `event`; nothing is different after it."""
    before = handle.progress, store.read(0, 99), store.head(handle.intent_id)
    with pytest.raises(Refused) as caught:
        handle.record(event)
    assert (handle.progress, store.read(0, 99), store.head(handle.intent_id)) == before
    return caught.value


def test_every_kind_is_either_bounded_or_checked() -> None:
    """Each kind of event is here once: either it can be too large, or its largest one fits."""
    assert {type(event) for event in (*TOO_LARGE, *LARGEST)} == set(EVENT_TYPES)
    for event in LARGEST:
        assert len(encode_event(event)) <= MAX_EVENT_BYTES


@pytest.mark.parametrize("event", TOO_LARGE, ids=lambda event: type(event).__name__)
def test_too_large_an_event_is_refused_with_its_size(event: Event) -> None:
    """The error names the size and the limit, and says what to shorten."""
    with pytest.raises(InvalidValue, match=rf"the event is \d+ bytes long, {MAX_EVENT_BYTES}") as e:
        encode_event(event)
    assert "shorten" in e.value.hint


def test_a_begin_that_is_too_large_leaves_nothing_behind() -> None:
    """No event, no claim: the same node begins at once with fewer labels."""
    store = MemoryEventStore()
    log = IntentLog(store, sink=lambda _: None)
    with pytest.raises(InvalidValue, match="bytes long"):
        log.begin("n" * NODE_ID_MAX_BYTES, 0, 0, labels={str(n): LONG for n in range(3)})
    assert store.last_position() == 0
    log.begin("n" * NODE_ID_MAX_BYTES, 0, 0, labels={str(n): LONG for n in range(2)}).close()
    assert isinstance(store.read(0, 1)[0].event, Begin)


def test_a_refused_checkpoint_uses_up_no_number() -> None:
    """Too large, too long or going back: the next one has the next number, of whatever kind."""
    with handle_on() as (store, handle):
        number, version = handle.progress.checkpoint_number, handle.progress.version
        assert "bytes long" in str(refused(store, handle, TOO_LARGE[1]))
        refused(store, handle, sample.checkpoint(4))
        refused(store, handle, sample.promote())
        with pytest.raises(InvalidValue):
            handle.checkpoint_snapshot_transfer("t" * (TEXT_MAX_BYTES + 1), 20, 5, 1)
        with pytest.raises(InvalidValue):
            handle.checkpoint(U64_MAX + 1, 1)
        with pytest.raises(Refused):
            handle.checkpoint_snapshot_transfer("snap", 9, 5, 1)
        handle.checkpoint_snapshot_transfer("snap", 20, 5, 1)
        assert handle.progress.checkpoint_number == number + 1
        handle.checkpoint(6, 2)
        assert handle.progress.checkpoint_number == number + 2
        assert handle.progress.version == version + 2


def test_a_resume_that_is_too_large_takes_nothing_over() -> None:
    """The epoch stays, and the handle goes on."""
    with handle_on() as (store, handle):
        handle.record(sample.chunk(10, 0, token="snap", reused=ISLANDS))
        assert "bytes long" in str(refused(store, handle, TOO_LARGE[2]))
        assert handle.progress.epoch == 1
        handle.checkpoint(5, 1)
