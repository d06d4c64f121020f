from __future__ import annotations

import json
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootledger.basebackup.reddb_errors import Decode, InvalidField, MissingField
from bootledger.basebackup.reddb_fields import MOST_NESTED, InvalidHex, NotJson, NotObject
from bootledger.basebackup.reddb_layout import ReplicaCatchupMode
from bootledger.basebackup.reddb_stream import (
    CatchupModeReply,
    WalRecord,
    WalStreamAck,
    WalStreamAckReply,
    WalStreamChunk,
    WalStreamOpen,
)
from bootledger.basebackup.reddb_wire import (
    BaseBackupChunk,
    BaseBackupRequest,
    ListedChunk,
    lsn_of_token,
)
from bootledger.errors import Corrupted, InvalidValue

u64s = st.integers(0, 2**64 - 1)
u32s = st.integers(0, 2**32 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
maybe_text = st.none() | texts
maybe_bytes = st.none() | st.binary(max_size=40)
listed = st.builds(ListedChunk, u32s, u64s, u64s, u64s, texts)
catchups = st.builds(
    CatchupModeReply,
    st.sampled_from(ReplicaCatchupMode),
    st.none() | u64s,
    st.none() | u64s,
    maybe_text,
)
payloads = st.one_of(
    st.builds(BaseBackupRequest, u64s, maybe_text, st.none() | u64s, maybe_text),
    st.builds(
        BaseBackupChunk,
        replica_id=texts,
        slot_restart_lsn=u64s,
        snapshot_available=st.booleans(),
        snapshot_path=maybe_text,
        snapshot_lsn=st.none() | u64s,
        snapshot_token=maybe_text,
        snapshot_offset=u64s,
        snapshot_complete=st.booleans(),
        snapshot_chunk=maybe_bytes,
        metadata_json=maybe_bytes,
        basebackup_available=st.booleans(),
        basebackup_manifest=maybe_bytes,
        basebackup_chunk_ordinal=st.none() | u32s,
        basebackup_chunk=maybe_bytes,
        basebackup_chunks=st.lists(listed, max_size=3).map(tuple),
    ),
    catchups,
    st.builds(WalStreamOpen, u64s, u64s, maybe_text, u64s, st.booleans(), u64s),
    st.builds(
        WalStreamChunk,
        current_lsn=u64s,
        records=st.lists(
            st.builds(WalRecord, u64s, st.binary(min_size=1, max_size=9)), max_size=3
        ).map(tuple),
        partial_resync=st.booleans(),
        needs_rebootstrap=st.booleans(),
    ),
    st.builds(WalStreamAck, texts, u64s, u64s, u64s, u64s),
    st.builds(WalStreamAckReply, st.booleans(), texts, u64s, u64s, u64s, u64s),
)
SMALL = BaseBackupChunk(replica_id="r", slot_restart_lsn=7)


def keys(text: str) -> list[str]:
    """The keys of a JSON object in the order in which they are written."""
    written: list[str] = json.loads(
        text, object_pairs_hook=lambda pairs: [name for name, _ in pairs]
    )
    return written


# --- laws ---------------------------------------------------------------------------------------


@given(payloads)
@settings(max_examples=50)
def test_a_payload_decodes_to_what_was_encoded(payload: BaseBackupChunk) -> None:
    """Every kind of payload, with any Unicode and any u64 in it, comes back exactly."""
    assert type(payload).decode(payload.encode()) == payload
    assert type(payload).decode(payload.encode().encode()) == payload


@given(payloads)
@settings(max_examples=50)
def test_keys_come_in_byte_order(payload: BaseBackupChunk) -> None:
    """As RedDB writes them, without spaces and without escapes that are not needed."""
    text = payload.encode()
    assert keys(text) == sorted(keys(text))
    reread = json.loads(text)
    assert text == json.dumps(reread, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@settings(max_examples=15)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=9))
def test_anything_else_in_a_payload_is_absent_or_an_error(value: object) -> None:
    """Whatever JSON a field holds, the answer is a payload or a `Corrupted`."""
    for name in keys(replace(SMALL, basebackup_chunk=b"", basebackup_chunk_ordinal=0).encode()):
        fields = json.loads(SMALL.encode()) | {name: value}
        try:
            BaseBackupChunk.decode(json.dumps(fields))
        except Corrupted:
            continue


def test_what_redd_b_wrote_is_written_the_same(vectors: Path) -> None:
    """Every payload of a whole conversation, decoded and encoded again, is the same text."""
    conversations = json.loads((vectors / "wire" / "snapshot_sequences.json").read_text())
    written = [r["payload"] for talk in conversations for r in talk["responses"]]
    assert written
    for text in written:
        assert BaseBackupChunk.decode(text).encode() == text


# --- numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number",
    [
        *("-1", "-0", "1.0", "0.0", "1e3", "1E0", "18446744073709551616", "9" * 300),
        *('"7"', "null", "true", "false", "[]", "{}", '[-0,"-0"]'),
    ],
)
def test_what_is_no_u64_is_absent(number: str) -> None:
    """A required field is then missing, an optional one has its default."""
    with pytest.raises(MissingField) as missing:
        BaseBackupChunk.decode(f'{{"replica_id":"r","slot_restart_lsn":{number}}}')
    assert missing.value.field == "slot_restart_lsn"
    opened = WalStreamOpen.decode(f'{{"since_lsn":{number},"max_count":{number}}}')
    assert (opened.since_lsn, opened.max_count) == (0, 1000)


@pytest.mark.parametrize("text", ["-0", "a-0,", '\\"-0', "x\\\\-0"])
def test_a_minus_zero_in_a_text_stays_as_it_is(text: str) -> None:
    """Only the number is absent; what looks like it in a string is kept."""
    payload = f'{{"replica_id":"{text}","slot_restart_lsn":0,"snapshot_lsn":-0}}'
    found = BaseBackupChunk.decode(payload)
    assert (found.replica_id, found.snapshot_lsn) == (json.loads(f'"{text}"'), None)


@pytest.mark.parametrize("number", [0, 2**53 + 1, 2**63, 2**64 - 1])
def test_a_u64_is_exact(number: int) -> None:
    """No LSN goes through a float."""
    assert replace(SMALL, slot_restart_lsn=number) == BaseBackupChunk.decode(
        f'{{"replica_id":"r","slot_restart_lsn":{number},"snapshot_available":true}}'
    )


def test_an_ordinal_beyond_32_bits_is_invalid_and_one_beyond_64_is_absent() -> None:
    """As RedDB distinguishes them."""
    head = '{"replica_id":"r","slot_restart_lsn":1,"basebackup_chunk_ordinal":'
    with pytest.raises(InvalidField):
        BaseBackupChunk.decode(head + f"{2**32}}}")
    assert BaseBackupChunk.decode(head + f"{2**64}}}").basebackup_chunk_ordinal is None


@pytest.mark.parametrize("number", [-1, 2**64, 1.0, True])
def test_what_is_no_u64_is_not_written(number: object) -> None:
    """Nothing that the other side would take for absent leaves this one."""
    fields = {"since_lsn": number}
    if number is True:
        assert '"since_lsn":true' in WalStreamOpen(**fields).encode()
        return
    with pytest.raises(InvalidValue, match="since_lsn"):
        WalStreamOpen(**fields).encode()


# --- text ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        "",
        " ",
        "nope",
        "{} x",
        '{"a":1,}',
        '{"a":01}',
        '{"a":NaN}',
        '{"a":1e400}',
        '{"a":Infinity}',
        '{"a":"\x01"}',
        '{"a":"\\ud800"}',
        '{"\\udc00":1}',
        '{"a":"\\x"}',
        "\ufeff{}",
        "{'a':1}",
        "\ud800",
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
    ],
)
def test_what_is_not_json_is_refused(payload: str | bytes) -> None:
    """Also what some readers let pass; to a base backup it is a `Decode`."""
    with pytest.raises(NotJson) as refused:
        BaseBackupChunk.decode(payload)
    assert isinstance(refused.value, Decode)


@pytest.mark.parametrize("payload", ["[]", "3", "null", '"x"', "true", "-0"])
def test_what_is_not_an_object_is_refused(payload: str) -> None:
    """JSON, but not a payload."""
    with pytest.raises(NotObject):
        BaseBackupRequest.decode(payload)


def test_of_two_values_the_last_one_counts() -> None:
    """As RedDB reads it, also when the key is written differently."""
    payload = '{"snapshot_offset":1,"snapshot_offset":2,"snapshot\\u005foffset":3}'
    assert BaseBackupRequest.decode(payload).snapshot_offset == 3


@pytest.mark.parametrize("digits", ["0", "zz", "0 0", " 00", "0x00", "é0", "\u0660\u0660", "00\n"])
def test_what_is_not_hexadecimal_is_refused(digits: str) -> None:
    """Odd, not a digit, with spaces, or digits of another script."""
    payload = {"replica_id": "r", "slot_restart_lsn": 1, "basebackup_chunk_hex": digits}
    with pytest.raises(InvalidHex) as refused:
        BaseBackupChunk.decode(json.dumps(payload))
    assert refused.value.field == "basebackup_chunk_hex"
    assert isinstance(refused.value, InvalidField)


# --- bounds -------------------------------------------------------------------------------------


def nested(levels: int, *, opening: str = "[", closing: str = "]") -> str:
    """A payload with so many levels, itself included."""
    inner = opening * (levels - 1) + "0" * (opening != "[") + closing * (levels - 1)
    return f'{{"replica_id":"r","slot_restart_lsn":1,"x":{inner}}}'


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_a_payload_is_read_as_deep_as_redd_b_reads_it(opening: str, closing: str) -> None:
    """One level more is refused, however much more it is."""
    BaseBackupChunk.decode(nested(MOST_NESTED, opening=opening, closing=closing))
    for levels in (MOST_NESTED + 1, 1_000, 60_000):
        with pytest.raises(NotJson):
            BaseBackupChunk.decode(nested(levels, opening=opening, closing=closing))
    with pytest.raises(NotJson):
        BaseBackupChunk.decode("[" * 60_000)


@pytest.mark.parametrize("inside", ["[" * 500, '\\"' + "{" * 500, "\\\\" + "[{" * 500])
def test_brackets_in_a_text_are_no_nesting(inside: str) -> None:
    """Neither are those of many small objects beside each other."""
    payload = f'{{"replica_id":"{inside}","slot_restart_lsn":1}}'
    assert BaseBackupChunk.decode(payload).replica_id == json.loads(f'"{inside}"')
    many = replace(SMALL, basebackup_chunks=(ListedChunk(0, 0, 1, 2, 'a[\\"{'),) * 500)
    assert BaseBackupChunk.decode(many.encode()) == many


@pytest.mark.parametrize("token", ["snapshot:r-0:1:2", '-0"\\' * 2**18], ids=["short", "escaped"])
def test_a_large_payload_takes_memory_in_proportion_and_little_time(token: str) -> None:
    """A chunk of 4 MiB is decoded within four times its text, far faster than it travels."""
    payload = replace(SMALL, basebackup_chunk=bytes(2**22), snapshot_token=token).encode()
    tracemalloc.start()
    began = time.process_time()
    try:
        decoded = BaseBackupChunk.decode(payload)
        took_s = time.process_time() - began
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (decoded.basebackup_chunk, decoded.snapshot_token) == (bytes(2**22), token)
    assert peak_bytes < 4 * len(payload)
    assert took_s < 5


# --- what the fields mean -----------------------------------------------------------------------


def test_half_a_chunk_is_invalid_and_none_is_none() -> None:
    """An ordinal without bytes, and the other way round."""
    assert SMALL.chunk_part() is None
    for half in (
        replace(SMALL, basebackup_chunk=b""),
        replace(SMALL, basebackup_chunk_ordinal=0),
    ):
        with pytest.raises(InvalidField, match="basebackup_chunk_ordinal/basebackup_chunk_hex"):
            half.chunk_part()
    whole = replace(SMALL, basebackup_chunk=b"x", basebackup_chunk_ordinal=0).chunk_part()
    assert whole == (0, b"x")


@settings(max_examples=30)
@given(texts.filter(lambda t: ":" not in t), u64s, u64s)
def test_the_lsn_stands_third_in_a_token(replica: str, lsn: int, size: int) -> None:
    """As long as the replica's id has no colon."""
    assert lsn_of_token(f"snapshot:{replica}:{lsn}:{size}") == lsn


@pytest.mark.parametrize(
    ("token", "lsn"),
    [
        ("snapshot:r:+7:1", 7),
        ("snapshot:r:0007:1", 7),
        ("snapshot:host:7100:42:9", 7100),
        ("snapshot:r:++7:1", None),
        ("snapshot:r:-7:1", None),
        ("snapshot:r: 7:1", None),
        ("snapshot:r:\u0667:1", None),
        ("snapshot:r:7_0:1", None),
        (f"snapshot:r:{2**64}:1", None),
        ("snapshot:r:" + "9" * 5_000 + ":1", None),
        ("snapshot:r:" + "0" * 5_000 + "9:1", 9),
        ("Snapshot:r:7:1", None),
    ],
)
def test_the_lsn_in_a_token_is_what_redd_b_reads(token: str, lsn: int | None) -> None:
    """A sign and zeros in front are read; anything that is no u64 is not."""
    assert lsn_of_token(token) == lsn


def test_an_acknowledgement_counts_as_durable_unless_it_says_otherwise() -> None:
    """And the reply notes all of it."""
    ack = WalStreamAck.decode('{"replica_id":"r","applied_lsn":7}')
    assert ack.durable_lsn == 7
    assert WalStreamAckReply.decode(WalStreamAckReply.to(ack).encode()) == WalStreamAckReply(
        ok=True, replica_id="r", applied_lsn=7, durable_lsn=7
    )


def test_a_piece_of_the_log_may_say_how_to_catch_up() -> None:
    """Some of it goes by two names; the more special one counts."""
    piece = WalStreamChunk.decode(
        '{"current_lsn":9,"catchup_mode":"reclone","oldest_available_lsn":5,'
        '"available_from_lsn":6,"invalidation_reason":"slot","reason":"retention"}'
    )
    assert piece.catchup == CatchupModeReply(ReplicaCatchupMode.RECLONE, 6, None, "retention")
