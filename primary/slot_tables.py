"""What is done inside one transaction on the tables of `PRIMARY/slots`: `slots`, `pins`, `meta`.

Each function is handed the transaction and the tables; what it raises ends the transaction. The
layout is a promise: docs/format.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from bootledger.environment import Databases, Transaction
from bootledger.errors import CorruptRecord, UnknownFormat
from bootledger.positions import TEXT_MAX_BYTES
from bootledger.replica.wire import Slot
from bootledger.sealing import seal, unseal

TABLES = ("slots", "pins", "meta")
FORMAT = 1
RELEASED = b"released_lsn"
HOLDS = b"holds"

_NUMBER = Struct(">Q")
_SLOT = Struct(">QQQQ")


class Stored(NamedTuple):
    """A slot as it is on disk, with the number of the hold that made it what it is.

    An acknowledgement counts for its own hold only. One that was on its way when the slot was held
    again, further back, would else let go of what was just promised.
    """

    hold: int
    slot: Slot


def initialise(txn: Transaction, db: Databases) -> None:
    """Write what an environment without slots says about itself."""
    put_number(txn, db, b"format", FORMAT)
    put_number(txn, db, RELEASED, 0)
    put_number(txn, db, HOLDS, 0)


def check_format(txn: Transaction, db: Databases) -> None:
    """Raise `UnknownFormat` unless the slots are in the format that this version writes."""
    found = number(txn, db, b"format")
    if found != FORMAT:
        raise UnknownFormat(
            f"the slots have format {found}, this version knows {FORMAT}",
            hint="use the version of bootledger that wrote them, or a newer one",
        )


def number(txn: Transaction, db: Databases, name: bytes) -> int:
    """Return a number of `meta`."""
    record = txn.get(name, db=db["meta"])
    what = f"the {name.decode()} of the slots"
    if record is None:
        raise CorruptRecord(f"{what} is missing")
    body = unseal(name, record, what)
    if len(body) != _NUMBER.size:
        raise CorruptRecord(f"{what} is no number: {body!r}")
    return int.from_bytes(body, "big")


def put_number(txn: Transaction, db: Databases, name: bytes, content: int) -> None:
    """Write a number of `meta`."""
    txn.put(name, seal(name, _NUMBER.pack(content)), db=db["meta"])


def put_slot(txn: Transaction, db: Databases, stored: Stored) -> None:
    """Write a slot."""
    slot = stored.slot
    key = slot.name.encode()
    body = (
        _SLOT.pack(stored.hold, slot.acknowledged_lsn, slot.created_at_ms, slot.active_at_ms)
        + (slot.invalid_because or "").encode()
    )
    txn.put(key, seal(key, body), db=db["slots"])


def get_slot(txn: Transaction, db: Databases, name: str) -> Stored | None:
    """Return the slot of that name, None if there is none."""
    key = name.encode()
    record = txn.get(key, db=db["slots"])
    return None if record is None else _decode(key, record)


def slots(txn: Transaction, db: Databases) -> Iterator[Stored]:
    """Yield every slot, by name. Nothing may be written meanwhile."""
    for key, record in txn.cursor(db["slots"]):
        yield _decode(key, record)


def put_pin(txn: Transaction, db: Databases, token: str, name: str) -> None:
    """Write which slot a base backup was made for."""
    key = token.encode()
    txn.put(key, seal(key, name.encode()), db=db["pins"])


def pins(txn: Transaction, db: Databases) -> Iterator[tuple[str, str]]:
    """Yield every token with the name of its slot. Nothing may be written meanwhile."""
    for key, record in txn.cursor(db["pins"]):
        yield _text(key, "a token"), _pinned_by(key, record)


def get_pin(txn: Transaction, db: Databases, token: str) -> str | None:
    """Return the name of the slot that a base backup was made for, None if nobody wrote it."""
    key = token.encode()
    record = txn.get(key, db=db["pins"])
    return None if record is None else _pinned_by(key, record)


def _pinned_by(key: bytes, record: bytes) -> str:
    what = f"the pin {key[:80]!r}"
    return _text(unseal(key, record, what), what)


def _decode(key: bytes, record: bytes) -> Stored:
    what = f"the slot {key[:80]!r}"
    body = unseal(key, record, what)
    if not _SLOT.size <= len(body) <= _SLOT.size + TEXT_MAX_BYTES:
        raise CorruptRecord(f"{what} has {len(body)} bytes")
    hold, acknowledged_lsn, created_at_ms, active_at_ms = _SLOT.unpack_from(body)
    return Stored(
        hold,
        Slot(
            name=_text(key, what),
            acknowledged_lsn=acknowledged_lsn,
            created_at_ms=created_at_ms,
            active_at_ms=active_at_ms,
            invalid_because=_text(body[_SLOT.size :], what) or None,
        ),
    )


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as wrong:
        raise CorruptRecord(f"{what} is not UTF-8: {wrong}") from wrong
