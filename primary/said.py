"""What replicas let us know and is not on disk yet. Pure."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from bootledger.primary.slot_tables import Stored


class Said(NamedTuple):
    """What a replica let us know and is not on disk yet; `lsn` is 0 if it was only there."""

    hold: int
    lsn: int
    at_ms: int


def with_said(stored: Stored, said: Said | None) -> Stored:
    """Return a slot with what the replica said since: never earlier, and only of the same hold."""
    slot = stored.slot
    if said is None or said.hold != stored.hold or slot.invalid_because is not None:
        return stored
    return Stored(
        stored.hold,
        msgspec.structs.replace(
            slot,
            acknowledged_lsn=max(slot.acknowledged_lsn, said.lsn),
            active_at_ms=max(slot.active_at_ms, said.at_ms),
        ),
    )
