"""The bytes of the ledger: pinned, and never read as anything but what was written."""

from __future__ import annotations

from uuid import UUID

import msgspec
import pytest
import sample_events as sample
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st
from strategies import any_events, u64s

from bootledger.errors import Corrupted, CorruptRecord, InvalidValue, UnknownFormat
from bootledger.sealing import seal, unseal
from bootledger.statemachine.events import Begin, Event, Holder
from bootledger.store import records
from bootledger.store.codec import (
    MAX_EVENT_BYTES,
    UPCASTS,
    Frame,
    decode_frame,
    encode_event,
    encode_frame,
)
from bootledger.store.port import Head, SavedProjection

INTENT = UUID("0192f0c1-7b1e-7000-8000-0123456789ab")
EVENT = sample.checkpoint(7, batches=1)
POSITION, VERSION, PREVIOUS = 0x0102, 3, 0x0101

GOLDEN_FRAME = (
    "424c4556"  # magic
    "0001"  # format
    "0037"  # payload length
    "68762e10"  # CRC32C
    "0192f0c17b1e700080000123456789ab"  # intent id
    "0000000000000003"  # version
    "0000000000000101"  # previous position
    "84a46b696e64aa636865636b706f696e74"  # payload: four fields, kind checkpoint
    "ae7265636f726465645f61745f6d7303"  # recorded_at_ms 3
    "ab6170706c6965645f6c736e07"  # applied_lsn 7
    "a76261746368657301"  # batches 1
)


def crc32c_by_the_book(data: bytes) -> int:
    """CRC32C bit by bit, from its polynomial (RFC 3720, reflected)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def frame(event: Event = EVENT) -> bytes:
    """A frame of `event` at the position, version and previous position of the golden one."""
    return encode_frame(POSITION, INTENT, VERSION, PREVIOUS, encode_event(event))


def reframed(payload: bytes, *, written_format: int = 1) -> bytes:
    """A frame with a right checksum around any payload, in any format: a foreign writer's."""
    whole = bytearray(encode_frame(POSITION, INTENT, VERSION, PREVIOUS, payload))
    whole[4:6] = written_format.to_bytes(2, "big")
    crc = crc32c(POSITION.to_bytes(8, "big") + whole[:8] + whole[12:])
    whole[8:12] = crc.to_bytes(4, "big")
    return bytes(whole)


def test_a_frame_has_the_bytes_of_the_format() -> None:
    """The layout in docs/format.md, byte by byte: changing it needs a new format."""
    assert frame().hex() == GOLDEN_FRAME
    golden = bytes.fromhex(GOLDEN_FRAME)
    covered = POSITION.to_bytes(8, "big") + golden[:8] + golden[12:]
    assert int.from_bytes(golden[8:12], "big") == crc32c_by_the_book(covered)
    assert decode_frame(POSITION, golden) == Frame(INTENT, VERSION, PREVIOUS, EVENT)


def test_small_records_have_the_bytes_of_the_format() -> None:
    """Heads, index entries, projections and numbers, as docs/format.md has them."""
    head = Head(INTENT, "node", 3, 258, b"head")
    index_key = records.index_key("node", INTENT)
    projection = SavedProjection(258, b"state")
    assert index_key.hex() == "6e6f6465000192f0c17b1e700080000123456789ab"
    for key, record, body in (
        (INTENT.bytes, records.encode_head(head), f"{3:016x}{258:016x}046e6f646568656164"),
        (index_key, seal(index_key, b""), ""),
        (b"name", records.encode_projection(b"name", projection), f"{258:016x}7374617465"),
        (b"format", records.encode_number(b"format", 1), f"{1:016x}"),
    ):
        assert record[4:].hex() == body
        assert int.from_bytes(record[:4], "big") == crc32c_by_the_book(key + record[4:])


@given(event=any_events(), position=u64s, version=u64s, previous=u64s, intent=st.uuids())
def test_a_frame_gives_back_what_it_was_given(
    event: Event, position: int, version: int, previous: int, intent: UUID
) -> None:
    """Decoding is the inverse of encoding, for every event and every number."""
    whole = encode_frame(position, intent, version, previous, encode_event(event))
    assert decode_frame(position, whole) == Frame(intent, version, previous, event)


def test_a_frame_cut_anywhere_is_an_error() -> None:
    """No beginning of a frame is a frame, and neither is a frame with a byte behind it."""
    whole = frame()
    for end in range(len(whole)):
        with pytest.raises(CorruptRecord, match="position 258"):
            decode_frame(POSITION, whole[:end])
    with pytest.raises(CorruptRecord, match="position 258"):
        decode_frame(POSITION, whole + b"\0")


@pytest.mark.parametrize(
    "event", [EVENT, sample.begin(), sample.pin()], ids=lambda e: type(e).__name__
)
def test_a_frame_with_any_bit_flipped_is_an_error(event: Event) -> None:
    """One flipped bit, wherever it is, is a corrupt record that names its position."""
    whole = frame(event)
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptRecord, match="position 258"):
            decode_frame(POSITION, bytes(flipped))


@given(position=u64s.filter(lambda position: position != POSITION))
def test_a_frame_in_the_wrong_place_is_an_error(position: int) -> None:
    """A sound frame under another key is caught by its checksum."""
    with pytest.raises(CorruptRecord, match="wrong place"):
        decode_frame(position, frame())


def test_an_event_of_the_limit_fits_and_one_byte_more_does_not() -> None:
    """The record limit is exact, and says how much was given."""
    small = len(encode_event(sample.begin()))

    def begin_of(size: int) -> Begin:
        labels = {f"label {n}": "x" * 1000 for n in range(2)}
        event = msgspec.structs.replace(sample.begin(), labels={**labels, "last": "x" * 300})
        missing = size - len(encode_event(event))
        return msgspec.structs.replace(event, labels={**labels, "last": "x" * (300 + missing)})

    assert small < MAX_EVENT_BYTES
    assert len(encode_event(begin_of(MAX_EVENT_BYTES))) == MAX_EVENT_BYTES
    with pytest.raises(InvalidValue, match=f"{MAX_EVENT_BYTES + 1} bytes"):
        encode_event(begin_of(MAX_EVENT_BYTES + 1))


def test_a_newer_format_is_refused() -> None:
    """A sound frame of a format that does not exist yet, or never did, is not guessed at."""
    for other in (0, len(UPCASTS) + 2, 65535):
        with pytest.raises(UnknownFormat, match=f"format {other}"):
            decode_frame(POSITION, reframed(encode_event(EVENT), written_format=other))


@pytest.mark.parametrize(
    "change",
    [{"kind": "teleport"}, {"colour": "red"}, {"kind": 7}],
    ids=["unknown kind", "unknown field", "kind of another type"],
)
def test_an_unknown_event_is_refused(change: dict[str, object]) -> None:
    """A kind or a field that this version does not know belongs to a newer one."""
    fields = msgspec.to_builtins(EVENT) | change
    with pytest.raises(UnknownFormat, match="position 258"):
        decode_frame(POSITION, reframed(msgspec.msgpack.encode(fields)))


def test_an_unknown_field_inside_of_a_field_is_refused() -> None:
    """Fields of fields count as well."""
    fields = msgspec.to_builtins(sample.begin())
    fields["holder"]["shoe_size"] = 43
    with pytest.raises(UnknownFormat, match="position 258"):
        decode_frame(POSITION, reframed(msgspec.msgpack.encode(fields)))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode([]),
        msgspec.msgpack.encode({}),
        msgspec.msgpack.encode(msgspec.to_builtins(EVENT) | {"applied_lsn": -1}),
        msgspec.msgpack.encode(msgspec.to_builtins(EVENT) | {"applied_lsn": 1.5}),
        msgspec.msgpack.encode({"kind": "checkpoint"}),
        encode_event(EVENT) + b"\0",
    ],
)
def test_a_payload_that_is_no_event_is_an_error(payload: bytes) -> None:
    """A right checksum does not make an event."""
    with pytest.raises(CorruptRecord, match="position 258"):
        decode_frame(POSITION, reframed(payload))


def test_an_older_format_is_upcast_step_by_step() -> None:
    """A frame of format 1 is read by version 3 of the format through two pure functions."""

    def holder_became_a_struct(fields: dict[str, object]) -> dict[str, object]:
        if fields["kind"] != "begin":
            return fields
        host, pid = str(fields["owner"]).split(":")
        rest = {key: value for key, value in fields.items() if key != "owner"}
        return {**rest, "holder": {"host": host, "pid": int(pid), "started_at_ms": 0}}

    def hint_is_required(fields: dict[str, object]) -> dict[str, object]:
        return {"target_lsn_hint": 0, **fields}

    steps = (holder_became_a_struct, hint_is_required)
    old = {"kind": "begin", "recorded_at_ms": 1, "node_id": "n", "source_lsn": 5, "owner": "h:7"}
    event = Begin(
        recorded_at_ms=1,
        node_id="n",
        source_lsn=5,
        target_lsn_hint=0,
        holder=Holder("h", 7, 0),
    )
    format_1 = reframed(msgspec.msgpack.encode(old))
    assert decode_frame(POSITION, format_1, upcasts=steps).event == event
    half = msgspec.msgpack.encode(holder_became_a_struct(old))
    assert decode_frame(POSITION, reframed(half, written_format=2), upcasts=steps).event == event
    current = reframed(encode_event(sample.pin()), written_format=3)
    assert decode_frame(POSITION, current, upcasts=steps).event == sample.pin()
    with pytest.raises(UnknownFormat, match="owner"):
        decode_frame(POSITION, format_1)


@given(key=st.binary(max_size=40), body=st.binary(max_size=40))
def test_a_sealed_record_opens_under_its_own_key_only(key: bytes, body: bytes) -> None:
    """Every flipped bit of key or record and every cut is caught."""
    record = seal(key, body)
    assert unseal(key, record, "it") == body
    for where, data in (("key", key), ("record", record)):
        for bit in range(8 * len(data)):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            other = (bytes(flipped), record) if where == "key" else (key, bytes(flipped))
            with pytest.raises(CorruptRecord, match="it does not match"):
                unseal(*other, "it")
    for end in range(len(record)):
        with pytest.raises(CorruptRecord, match="it"):
            unseal(key, record[:end], "it")


@given(
    head=st.builds(
        Head,
        intent_id=st.uuids(),
        node_id=st.text(
            st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=60
        ),
        version=u64s,
        position=u64s,
        data=st.binary(max_size=100),
    )
)
def test_a_head_gives_back_what_it_was_given(head: Head) -> None:
    """Node ids of many bytes and heads of none included."""
    assert records.decode_head(head.intent_id.bytes, records.encode_head(head)) == head
    assert (
        records.decode_index(
            records.index_key(head.node_id, head.intent_id),
            seal(records.index_key(head.node_id, head.intent_id), b""),
        )
        == head.intent_id
    )


def test_a_sealed_record_of_another_shape_is_an_error() -> None:
    """A right checksum around the wrong shape is caught by the shape."""
    key = INTENT.bytes
    for body in (b"", b"\0" * 16, b"\0" * 16 + b"\xff" + b"node"):
        with pytest.raises(Corrupted, match="cut short"):
            records.decode_head(key, seal(key, body))
    with pytest.raises(Corrupted, match="cut short"):
        records.decode_projection(b"name", seal(b"name", b"1234567"))
    with pytest.raises(Corrupted, match="has 7 bytes"):
        records.decode_number(b"format", seal(b"format", b"1234567"), "the format")
    with pytest.raises(Corrupted, match="is missing"):
        records.decode_number(b"format", None, "the format")
    with pytest.raises(Corrupted, match="cannot stand"):
        records.decode_index(key, seal(key, b""))
