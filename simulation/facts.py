"""What a life says of itself while it lasts: the points it passes and what it was told is durable.

A judge compares these facts with what is found on disk after the death. They are values, so that
they cross from a process that is killed to the one that judges it.
"""

from __future__ import annotations

from typing import TypeAlias
from uuid import UUID

import msgspec

from bootledger.statemachine.events import Event


class _Fact(msgspec.Struct, frozen=True, tag_field="fact"):
    """What all facts have: a tag."""


class Began(_Fact, frozen=True, tag="began"):
    """A life began."""

    life: int


class Passed(_Fact, frozen=True, tag="passed"):
    """A point was passed, or was where the life ended."""

    token: str


class Said(msgspec.Struct, frozen=True):
    """One event that the ledger was asked to keep: the `version`-th of its intent."""

    intent_id: UUID
    version: int
    event: Event


class Appending(_Fact, frozen=True, tag="appending"):
    """The ledger was asked to append these events; whether they are there is not known yet."""

    batch: tuple[Said, ...]


class Appended(_Fact, frozen=True, tag="appended"):
    """The ledger said that the batch it was asked for last is durable."""


class Refused(_Fact, frozen=True, tag="refused"):
    """The ledger raised instead; `error` is its words, and the outcome may be unknown."""

    error: str


class Fetched(_Fact, frozen=True, tag="fetched"):
    """These bytes of a base backup came from the source."""

    token: str
    start_bytes: int
    end_bytes: int


class Flipped(_Fact, frozen=True, tag="flipped"):
    """A bit of a candidate was flipped: where it was called staged, it is not there now."""

    generation: int
    offset_bytes: int
    bit: int


class Noted(_Fact, frozen=True, tag="noted"):
    """Words for the story, by whoever takes part: a fault that was planted, a step."""

    words: str


Fact: TypeAlias = Began | Passed | Appending | Appended | Refused | Fetched | Flipped | Noted

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Fact)


def encode_fact(fact: Fact) -> bytes:
    """Return `fact` as bytes."""
    return _encoder.encode(fact)


def decode_fact(data: bytes | memoryview) -> Fact:
    """Return the fact that `encode_fact` made bytes of."""
    fact: Fact = _decoder.decode(data)
    return fact
