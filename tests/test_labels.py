from __future__ import annotations

from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_events import begin

from bootledger.errors import InvalidValue
from bootledger.positions import TEXT_MAX_BYTES, U64_MAX
from bootledger.replica.intent_log import IntentLog
from bootledger.statemachine.events import Begin, Event
from bootledger.statemachine.labels import (
    MAX_DEPTH,
    MAX_VALUES,
    NAME_MAX_BYTES,
    REDACTED,
    is_sensitive,
    redacted,
)
from bootledger.store.codec import decode_frame, encode_event, encode_frame
from bootledger.store.memory import MemoryEventStore

SECRET = "hunter2"
SENSITIVE_NAMES = (
    *("password", "secret", "token", "key", "credential", "auth"),
    *("PASSWORD", "Secret", "KEY", "keys", "TOKENS", "TOKENs", "credentials", "passwords"),
    *("api_key", "apiKey", "APIKey", "api-key", "api.key", "API KEY", "apikey", "accesskey"),
    *("X-Auth-Token", "auth2", "key1", "db_password_2", "passWord", "secretKey", "authtoken"),
    *(
        "Authorization",
        "proxy-authorization",
        "authentication",
        "\uff2b\uff25\uff39",
        "schlüssel/key",
    ),
)
HARMLESS_NAMES = (
    *("monkey", "author", "authors", "tokenizer", "keyboard", "keystone", "turkey", "Monkeys"),
    *("authority", "secretary", "passwordless", "credentialed", "tokenize", "hockey", "note"),
)

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), U64_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(names | st.sampled_from(SENSITIVE_NAMES), inner, max_size=3)
    ),
    max_leaves=8,
)
labels = st.dictionaries(names | st.sampled_from(SENSITIVE_NAMES + HARMLESS_NAMES), values)


def bearing(**given: object) -> Begin:
    """A begin with these labels."""
    return msgspec.structs.replace(begin(), labels=given)


@pytest.mark.parametrize("name", SENSITIVE_NAMES)
def test_a_whole_word_makes_a_name_sensitive(name: str) -> None:
    """The seed's six words are found in any case, at separators and humps, and as plurals."""
    assert is_sensitive(name)


@pytest.mark.parametrize("name", HARMLESS_NAMES)
def test_a_part_of_a_word_is_harmless(name: str) -> None:
    """A word that merely contains one of the six keeps its value."""
    assert not is_sensitive(name)


def test_secrets_are_redacted_at_any_depth_whatever_they_are() -> None:
    """In maps, and in maps within lists; text, numbers, lists and maps alike."""
    given = {
        "password": SECRET,
        "monkey": SECRET,
        "tokens": [SECRET],
        "deep": {"list": [1, {"apiKey": {"inner": SECRET}, "ok": None}], "auth": 5},
    }
    assert redacted(given) == {
        "password": REDACTED,
        "monkey": SECRET,
        "tokens": REDACTED,
        "deep": {"list": [1, {"apiKey": REDACTED, "ok": None}], "auth": REDACTED},
    }


@given(labels)
def test_redaction_leaves_no_secret_and_nothing_else_out(given_labels: dict[str, object]) -> None:
    """Every sensitive name has the stand-in, every other value is as it was, and twice is once."""

    def same(before: object, after: object) -> bool:
        match before, after:
            case dict(), dict():
                return list(before) == list(after) and all(
                    after[name] == REDACTED if is_sensitive(name) else same(value, after[name])
                    for name, value in before.items()
                )
            case list(), list():
                return len(before) == len(after) and all(map(same, before, after))
            case _:
                return type(before) is type(after) and before == after

    once = redacted(given_labels)
    assert same(given_labels, once)
    assert redacted(once) == once


@given(labels)
def test_labels_come_back_from_both_formats(given_labels: dict[str, object]) -> None:
    """Whatever a label may be, frames and JSON give it back, exactly and in order."""
    event = bearing(**given_labels)
    for encoder, decoder in (
        (encode_event, msgspec.msgpack.Decoder(Event)),
        (msgspec.json.encode, msgspec.json.Decoder(Event)),
    ):
        back = decoder.decode(encoder(event))
        assert back == event
        assert encoder(back) == encoder(event)


def test_no_way_in_carries_a_secret() -> None:
    """A call, a frame and a line of JSON made without redaction: all are redacted when read."""
    harmless = bearing(passw0rd=SECRET)
    frame = encode_frame(1, UUID(int=1), 1, 0, smuggled(msgspec.msgpack.encode(harmless)))
    decoded = decode_frame(1, frame).event
    from_json: Event = msgspec.json.decode(smuggled(msgspec.json.encode(harmless)), type=Event)
    store = MemoryEventStore()
    log = IntentLog(store)
    log.begin("node", 0, 0, labels={"password": SECRET}).close()
    (recorded,) = store.read(0, 1)
    for event in (decoded, from_json, recorded.event):
        assert isinstance(event, Begin)
        assert event.labels == {"password": REDACTED}
        assert SECRET.encode() not in encode_event(event)


def smuggled(encoded: bytes) -> bytes:
    """The bytes of an event whose label is renamed to a sensitive name of the same length."""
    assert encoded.count(b"passw0rd") == 1
    return encoded.replace(b"passw0rd", b"password")


def test_the_caller_keeps_its_own_labels() -> None:
    """The caller's dict is neither changed nor kept: a secret added later does not get in."""
    mine: dict[str, object] = {"password": SECRET, "deep": {}}
    event = bearing(**mine)
    mine["deep"] = {"late": SECRET}
    assert mine["password"] == SECRET
    assert event.labels == {"password": REDACTED, "deep": {}}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"": "x"}, "label name"),
        ({"n" * (NAME_MAX_BYTES + 1): "x"}, "label name"),
        ({"a": "x" * (TEXT_MAX_BYTES + 1)}, "label 'a'"),
        ({"a": "\0"}, "label 'a'"),
        ({"a": "\ud800"}, "label 'a'"),
        ({"a": {"b": ["\0"]}}, "label 'a'['b'][0]"),
        ({"a": {"": 1}}, "a name in label 'a'"),
        ({"a": U64_MAX + 1}, "label 'a'"),
        ({"a": -(2**63) - 1}, "label 'a'"),
        ({"a": 10**400}, "label 'a'"),
        ({"a": float("nan")}, "label 'a'"),
        ({"a": float("inf")}, "label 'a'"),
        ({"a": b"bytes"}, "label 'a'"),
        ({"a": (1,)}, "label 'a'"),
        ({1: "x"}, "label name"),
        (["a"], "labels"),
        (None, "labels"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_label_is_refused_by_name(wrong: object, named: str) -> None:
    """The error says which label, and the begin is not made."""
    with pytest.raises(InvalidValue) as caught:
        msgspec.structs.replace(begin(), labels=wrong)
    assert str(caught.value).startswith(named)


def test_labels_are_neither_deep_nor_many() -> None:
    """The bounds themselves are inside; beyond them, and in a circle, the error comes at once."""

    def nested(levels: int) -> dict[str, object]:
        inner: object = "x"
        for _ in range(levels):
            inner = {"a": inner}
        assert isinstance(inner, dict)
        return inner

    assert redacted(nested(MAX_DEPTH))
    assert redacted({"a": [0] * (MAX_VALUES - 1)})
    circle: list[object] = []
    circle.append(circle)
    wide: object = "x"
    for _ in range(MAX_DEPTH - 1):
        wide = [wide] * 60  # few objects, but 60 to the power of seven values
    for wrong in (nested(MAX_DEPTH + 1), nested(10_000), {"a": circle}):
        with pytest.raises(InvalidValue, match="too deep"):
            redacted(wrong)
    for many in ({"a": [0] * MAX_VALUES}, {"a": wide}):
        with pytest.raises(InvalidValue, match="too many"):
            redacted(many)
