"""No event with a wrong value can be made, neither by hand nor by decoding."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from sample_events import abort, begin, checkpoint, chunk, complete, pin, promote, resume, suspend
from strategies import any_events

from bootledger.errors import InvalidValue
from bootledger.positions import NODE_ID_MAX_BYTES, TEXT_MAX_BYTES, U64_MAX
from bootledger.statemachine.events import EVENT_TYPES, Event, kind_of
from bootledger.statemachine.ranges import Range

SAMPLES: tuple[Event, ...] = (
    begin(),
    chunk(
        1,
        2,
        size_bytes=10,
        snapshot_lsn=3,
        manifest_digest="ab",
        reused=(Range(4, 5),),
        applied_lsn=1,
    ),
    checkpoint(),
    promote(),
    msgspec.structs.replace(suspend(), retry_at_ms=1, actor="ada"),
    resume(actor="ada", dropped=(Range(0, 1),)),
    complete(),
    abort(),
)

NOT_U64 = (-1, U64_MAX + 1, 1.0, True, "1", b"1")
NOT_TEXT = ("", "a\0b", "x" * (TEXT_MAX_BYTES + 1), "\ud800", 7, b"bytes")
CHOICES = ("cause_class", "abort_kind")
OPTIONAL = {
    "source_lsn",
    "target_lsn_hint",
    "source_identity",
    "size_bytes",
    "snapshot_lsn",
    "manifest_digest",
    "applied_lsn of snapshot_chunk",
    "batches of snapshot_chunk",
    "retry_at_ms",
    "actor of suspend",
    "actor of resume",
    "total_records",
    "duration_ms",
}


def fields(*kinds: type) -> list[tuple[Event, str]]:
    """Every field of every sample that holds one of `kinds`, the choices left out."""
    told = [
        msgspec.structs.replace(event, batches=1) if kind_of(event) == "snapshot_chunk" else event
        for event in SAMPLES
    ]
    return [
        (event, name)
        for event in told
        for name in event.__struct_fields__
        if type(getattr(event, name)) in kinds and name not in CHOICES
    ]


def ids(value: object) -> str:
    """Short test ids: an event by its kind, a value by its beginning."""
    return kind_of(value) if isinstance(value, EVENT_TYPES) else repr(value)[:20]


def raw(event: Event, **changes: object) -> dict[str, object]:
    """The event as plain builtins, the way a decoder meets it, with changes."""
    return {**msgspec.to_builtins(event), "kind": kind_of(event), **changes}


def refused(event: Event, name: str, wrong: object) -> None:
    """Check that `event` can be had with `wrong` in field `name` on no way."""
    with pytest.raises(InvalidValue):
        msgspec.structs.replace(event, **{name: wrong})
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(raw(event, **{name: wrong}), Event)


def test_the_samples_show_every_kind() -> None:
    """There is a sample of every event, so that no event goes unchecked."""
    assert [type(sample) for sample in SAMPLES] == list(EVENT_TYPES)


@pytest.mark.parametrize("wrong", NOT_U64, ids=ids)
@pytest.mark.parametrize(("event", "name"), fields(int), ids=ids)
def test_numbers_are_u64(event: Event, name: str, wrong: object) -> None:
    """Negative, too large, float, boolean and textual numbers are refused in every field."""
    refused(event, name, wrong)


@pytest.mark.parametrize(("event", "name"), fields(int), ids=ids)
def test_u64_bounds_are_values_like_others(event: Event, name: str) -> None:
    """Zero and 2**64 - 1 travel through the wire format unchanged, in every field.

    An offset and a length share one bound, so one of them must be small.
    """
    if name in ("offset_bytes", "length_bytes"):
        event = msgspec.structs.replace(event, offset_bytes=0, length_bytes=0)
    for value in (0, U64_MAX):
        extreme = msgspec.structs.replace(event, **{name: value})
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(extreme), type=Event) == extreme


@pytest.mark.parametrize("wrong", NOT_TEXT, ids=ids)
@pytest.mark.parametrize(("event", "name"), fields(str), ids=ids)
def test_texts_are_bounded(event: Event, name: str, wrong: object) -> None:
    """Empty, overlong and unencodable texts, and texts with NUL, are refused in every field."""
    refused(event, name, wrong)


@pytest.mark.parametrize(("event", "name"), fields(int, str), ids=ids)
def test_only_what_may_be_untold_is_optional(event: Event, name: str) -> None:
    """None is refused wherever the field must be told."""
    if {name, f"{name} of {kind_of(event)}"} & OPTIONAL:
        assert getattr(msgspec.structs.replace(event, **{name: None}), name) is None
    else:
        refused(event, name, None)


@pytest.mark.parametrize("wrong", ["", "x" * 10_240, "n" * (NODE_ID_MAX_BYTES + 1), "a\0b", 7])
def test_a_node_id_fits_into_a_key(wrong: object) -> None:
    """A node id is neither empty nor longer than a key of the store allows."""
    refused(begin(), "node_id", wrong)


def test_the_longest_node_id_is_legal() -> None:
    """The bound itself is still inside."""
    assert len(begin(node_id="n" * NODE_ID_MAX_BYTES).node_id) == NODE_ID_MAX_BYTES


@pytest.mark.parametrize(
    "wrong",
    [
        (Range(1, 1),),
        (Range(2, 1),),
        (Range(-1, 1),),
        (Range(0, U64_MAX + 1),),
        (Range(0, 1.0),),
        ((0,),),
        None,
    ],
    ids=ids,
)
@pytest.mark.parametrize(("event", "name"), [(chunk(), "reused"), (resume(), "dropped")], ids=ids)
def test_ranges_run_forward(event: Event, name: str, wrong: object) -> None:
    """A range is a pair of u64 numbers and holds at least one byte."""
    refused(event, name, wrong)


@pytest.mark.parametrize(("event", "name"), [(chunk(), "reused"), (resume(), "dropped")], ids=ids)
@pytest.mark.parametrize("wrong", [((0, 1),), [Range(0, 1)]], ids=ids)
def test_ranges_by_hand_are_ranges(event: Event, name: str, wrong: object) -> None:
    """Whoever makes an event by hand passes a tuple of `Range`: a bare pair has no names."""
    with pytest.raises(InvalidValue):
        msgspec.structs.replace(event, **{name: wrong})


def test_a_chunk_does_not_wrap_around() -> None:
    """Offset and length each fit into u64, and so must their sum."""
    with pytest.raises(InvalidValue, match="offset_bytes"):
        chunk(U64_MAX, 1)
    assert chunk(U64_MAX - 1, 1).staged == Range(U64_MAX - 1, U64_MAX)


@pytest.mark.parametrize(
    ("event", "name"),
    [(suspend(), "cause_class"), (abort(), "abort_kind")],
    ids=ids,
)
def test_choices_are_closed(event: Event, name: str) -> None:
    """A word that is not one of the choices is refused, and the choices are named."""
    refused(event, name, "weather")
    with pytest.raises(InvalidValue, match=r"one of .*operator.*not 'weather'"):
        msgspec.structs.replace(event, **{name: "weather"})


@pytest.mark.parametrize("name", ["keep_artifacts", "rolled_back"])
def test_flags_are_booleans(name: str) -> None:
    """A flag is true or false, not 1 and not 'no'."""
    for wrong in (1, "no", None):
        refused(abort(), name, wrong)


@pytest.mark.parametrize("event", [begin(), resume()], ids=ids)
@pytest.mark.parametrize(
    ("name", "wrong"),
    [("host", ""), ("host", 7), ("pid", -1), ("pid", 1.5), ("started_at_ms", U64_MAX + 1)],
)
def test_a_holder_is_checked(event: Event, name: str, wrong: object) -> None:
    """Host, pid and start are checked by hand and when an event with a holder is decoded."""
    with pytest.raises(InvalidValue):
        msgspec.structs.replace(event.holder, **{name: wrong})
    holder = {**msgspec.to_builtins(event.holder), name: wrong}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(raw(event, holder=holder), Event)
    refused(event, "holder", None)


@given(any_events())
def test_events_survive_the_wire(event: Event) -> None:
    """What is encoded is decoded as the same value, of the same type."""
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=Event)
    assert decoded == event
    assert type(decoded) is type(event)


@pytest.mark.parametrize("event", SAMPLES, ids=ids)
def test_events_are_immutable_and_know_their_fields(event: Event) -> None:
    """A field cannot be assigned, and an unknown one is refused: it is a newer format's."""
    with pytest.raises(AttributeError):
        event.recorded_at_ms = 0
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert(raw(event, invented=1), Event)


def test_an_unknown_kind_is_refused() -> None:
    """An event of a kind that this version does not know cannot be decoded."""
    with pytest.raises(msgspec.ValidationError, match="teleport"):
        msgspec.convert(raw(complete(), kind="teleport"), Event)


def test_a_pin_is_an_empty_chunk() -> None:
    """The chunk that opens a snapshot may bring no byte."""
    assert pin().brought == (Range(0, 0),)
