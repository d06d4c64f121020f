"""What the commands of a primary print with `--json`, as types: see `bootledger.cli.answers`."""

from __future__ import annotations

import msgspec

from bootledger.positions import U64


class Listening(msgspec.Struct, frozen=True, kw_only=True):
    """Said once, when a server accepts connections; `listening` is its address."""

    listening: str


class SlotListed(msgspec.Struct, frozen=True, kw_only=True):
    """One slot of a primary: changes after `acknowledged_lsn` are kept for that replica.

    `held_bytes` is an estimate: the share of `held_changes` in the log, times what that takes on
    disk. `invalid_because` is null as long as they are kept; else both are 0.
    """

    name: str
    acknowledged_lsn: U64
    held_changes: U64
    held_bytes: U64
    created_at_ms: U64
    active_at_ms: U64
    invalid_because: str | None
