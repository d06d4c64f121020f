"""The fields of RedDB's replication payloads, by its own rules of what counts as absent.

A payload is one JSON object. What is not of the expected type is absent, it is not an error: a
number that is no u64 (`-1`, `1.0`, `1e3`, `-0`, 2**64, `"7"`), a flag that is neither true nor
false, an empty string where text is meant. Required fields that are absent are `MissingField`.
Exceptions are few: hexadecimal digits that are none, a u32 that is larger, a list that is none.

Of keys that come twice, the last one counts. Reading takes time and memory in proportion to the
text, whatever it claims: nesting deeper than RedDB reads is refused before anything is parsed.

Pure: no clock, no disk, no randomness.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from typing import Self, TypeVar

import msgspec

from bootledger.basebackup.reddb_errors import Decode, InvalidField, MissingField
from bootledger.errors import InvalidValue
from bootledger.positions import U64_MAX, check_u64

U32_MAX = 2**32 - 1
MOST_NESTED = 127
"""How deep arrays and objects may lie in each other, the payload itself included."""

_Value = TypeVar("_Value")
_BRACKETS = b"[]{}"
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'"' + _BRACKETS))
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_STRING = re.compile(rb'"[^"]*"')
_MINUS_ZERO = re.compile(rb"-0(?![0-9.eE])")
# Possessive: nothing is kept to go back to, so a long text takes no more memory than it has.
_STRING_OR_MINUS_ZERO = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|-0(?![0-9.eE])', re.DOTALL)


class InvalidHex(InvalidField):
    """A field should be hexadecimal digits in pairs and is not; `field` is its name."""


class NotJson(Decode):
    """A payload is not JSON, or nested deeper than anything that RedDB reads."""


class NotObject(Decode):
    """A payload is JSON, but not an object."""


class Fields:
    """One JSON object. Every method takes the name of a field."""

    def __init__(self, values: Mapping[object, object]) -> None:
        self._values = values

    @classmethod
    def decode(cls, payload: str | bytes) -> Self:
        """Return the object that `payload` is. Raises `NotJson` or `NotObject`."""
        try:
            data = payload.encode() if isinstance(payload, str) else payload
            if _nesting(data) > MOST_NESTED:
                raise NotJson(f"the payload is nested deeper than {MOST_NESTED} levels")
            value: object = msgspec.json.decode(_with_minus_zero_as_float(data))
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise NotJson(f"the payload is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise NotObject(f"the payload is not a JSON object, but {type(value).__name__}")
        return cls(value)

    def u64(self, name: str) -> int | None:
        """Return the number, None if it is absent."""
        value = self._values.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= U64_MAX:
            return None
        return value

    def u32(self, name: str) -> int | None:
        """Return the number, None if it is absent. Raises `InvalidField` if it is a larger u64."""
        value = self.u64(name)
        if value is not None and value > U32_MAX:
            raise InvalidField(name, f"{value} does not fit into 32 bits")
        return value

    def string(self, name: str) -> str | None:
        """Return the text, which may be empty; None if it is absent."""
        value = self._values.get(name)
        return value if isinstance(value, str) else None

    def text(self, name: str) -> str | None:
        """Return the text, None if it is absent or empty."""
        return self.string(name) or None

    def flag(self, name: str) -> bool:
        """Return whether the value is true itself, and not merely something that looks like it."""
        return self._values.get(name) is True

    def hexadecimal(self, name: str) -> bytes | None:
        """Return the bytes, which may be none; None if they are absent. Raises `InvalidHex`."""
        value = self.string(name)
        return None if value is None else _from_hex(name, value)

    def objects(self, name: str) -> list[Fields]:
        """Return the objects of a list, none if it is missing.

        Raises `InvalidField` if it is not a list (null is none), or holds anything else.
        """
        if name not in self._values:
            return []
        value = self._values[name]
        if not isinstance(value, list):
            raise InvalidField(name, f"a list is meant, not {type(value).__name__}")
        for element in value:
            if not isinstance(element, dict):
                raise InvalidField(name, f"objects are meant, not {type(element).__name__}")
        return list(map(Fields, value))

    def required_u64(self, name: str) -> int:
        """Return the number. Raises `MissingField`."""
        return _present(self.u64(name), name)

    def required_u32(self, name: str) -> int:
        """Return the number. Raises `MissingField`, or `InvalidField` if it is a larger u64."""
        return _present(self.u32(name), name)

    def required_text(self, name: str) -> str:
        """Return the text, which is not empty. Raises `MissingField`."""
        return _present(self.text(name), name)

    def required_bytes(self, name: str) -> bytes:
        """Return the bytes, of which there is at least one. Raises `MissingField`, `InvalidHex`."""
        return _from_hex(name, self.required_text(name))


def encode(values: Mapping[str, object]) -> str:
    """Return the JSON object of `values`, keys in byte order; None is left out, bytes become hex.

    Raises `InvalidValue` for a number that is no u64 and for text that is not Unicode.
    """
    return msgspec.json.encode(_encodable(values), order="deterministic").decode()


def _encodable(values: Mapping[str, object]) -> dict[str, object]:
    encodable: dict[str, object] = {}
    for name, value in values.items():
        match value:
            case None:
                continue
            case bool():
                encodable[name] = value
            case int():
                encodable[name] = check_u64(value, name)
            case str():
                encodable[name] = _unicode(value, name)
            case bytes():
                encodable[name] = value.hex()
            case list():
                encodable[name] = [_encodable(element) for element in value]
            case _:
                raise InvalidValue(f"{name} cannot be {value!r:.80}")
    return encodable


def _unicode(value: str, name: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidValue(f"{name} is not encodable as UTF-8: {value[:40]!r}") from None
    return value


def _present(value: _Value | None, name: str) -> _Value:
    if value is None:
        raise MissingField(name)
    return value


def _from_hex(name: str, value: str) -> bytes:
    try:
        return binascii.unhexlify(value)
    except ValueError as error:  # binascii.Error, or digits that are not ASCII
        raise InvalidHex(name, f"not hexadecimal: {error}") from error


def _nesting(data: bytes) -> int:
    """Return how deep brackets lie in each other at most, strings aside; 0 if it is no question."""
    if data.count(b"[") + data.count(b"{") <= MOST_NESTED:
        return 0
    if b"\\" in data:
        data = _ESCAPE.sub(b"", data)
    deepest = depth = 0
    for bracket in _STRING.sub(b"", data.translate(None, _NOT_STRUCTURE)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _with_minus_zero_as_float(data: bytes) -> bytes:
    """Write `-0` as `-0.0`: the parser would make it a zero, which is a u64, and it is none."""
    if not _MINUS_ZERO.search(data):
        return data

    def corrected(found: re.Match[bytes]) -> bytes:
        return b"-0.0" if found.group() == b"-0" else found.group()

    return _STRING_OR_MINUS_ZERO.sub(corrected, data)
