"""The events: what can happen to one bootstrap, as frozen values.

An event is checked when it is made, by hand or by decoding, so no event with a wrong number or an
endless text can reach the table or the disk. Whether it may happen *now* is not decided here but
in `bootledger.statemachine.table`.

`recorded_at_ms` is wall-clock time in milliseconds since 1970, for people; order comes from
versions and positions, never from clocks.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import msgspec

from bootledger.errors import InvalidValue
from bootledger.positions import (
    FIRST_TIMELINE,
    U64,
    check_node_id,
    check_text,
    check_u64,
)
from bootledger.statemachine.labels import redacted
from bootledger.statemachine.ranges import Range, Ranges
from bootledger.statemachine.target_ref import TargetRef

OP_REPLICA_BOOTSTRAP = "replica_bootstrap"

CauseClass: TypeAlias = Literal[
    "network", "shutdown", "capacity", "source", "operator", "diverged", "error"
]
"""Why a bootstrap stands still: the link broke; the process was asked to stop; no room; the source
refused or is broken; a person holds it; data and log disagree; a fault that fits none of these."""

AbortKind: TypeAlias = Literal["operator", "superseded", "left"]
"""Who ended it: a person; a later bootstrap of the same node; its owner, by leaving it."""


class Holder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One life of one process that owns an intent.

    `started_at_ms` tells apart two processes that got the same pid one after the other.
    """

    host: str
    pid: U64
    started_at_ms: U64

    def __post_init__(self) -> None:
        """Check the host and all numbers."""
        check_text(self.host, "host")
        check_u64(self.pid, "pid")
        check_u64(self.started_at_ms, "started_at_ms")

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}"


class _Event(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag_field="kind",
):
    """What all events have. Unknown fields are refused: they are a newer format's."""

    recorded_at_ms: U64

    def _check(
        self,
        *,
        u64: tuple[str, ...] = (),
        text: tuple[str, ...] = (),
        optional: tuple[str, ...] = (),
        flags: tuple[str, ...] = (),
    ) -> None:
        """Raise `InvalidValue` for a named field that is not what it must be.

        Those named in `optional` as well may be None.
        """
        for names, check in ((("recorded_at_ms", *u64), check_u64), (text, check_text)):
            for name in names:
                value = getattr(self, name)
                if value is not None or name not in optional:
                    check(value, name)
        for name in flags:
            _check_is(getattr(self, name), bool, name)


class Begin(_Event, frozen=True, kw_only=True, tag="begin"):
    """A bootstrap of `node_id` begins; nothing has been copied.

    `source_lsn` is the source's LSN at the start, `target_lsn_hint` the LSN at which it is expected
    to end (for people); None where an imported log does not tell. `source_identity` is what every
    later start must find again; None where the caller vouches for the source itself.
    `last_generation` is the highest generation that the target already holds: generations of this
    intent are numbered from there. `target` says where its artefacts are; None where only the
    caller knows. `labels` are the caller's, without their secrets
    (`bootledger.statemachine.labels`).
    """

    node_id: str
    source_lsn: U64 | None
    target_lsn_hint: U64 | None
    holder: Holder
    source_identity: str | None = None
    timeline: U64 = FIRST_TIMELINE
    last_generation: U64 = 0
    target: TargetRef | None = None
    labels: dict[str, object] = {}
    op: str = OP_REPLICA_BOOTSTRAP

    def __post_init__(self) -> None:
        """Check the node id, all numbers and all texts; redact the labels."""
        check_node_id(self.node_id)
        self._check(
            u64=("source_lsn", "target_lsn_hint", "timeline", "last_generation"),
            text=("source_identity", "op"),
            optional=("source_lsn", "target_lsn_hint", "source_identity"),
        )
        _check_is(self.holder, Holder, "holder")
        if self.target is not None:
            _check_is(self.target, TargetRef, "target")
        msgspec.structs.force_setattr(self, "labels", redacted(self.labels))


class SnapshotChunk(_Event, frozen=True, kw_only=True, tag="snapshot_chunk"):
    """Bytes `offset_bytes` to `offset_bytes + length_bytes` of the snapshot are durably staged.

    The first chunk of a generation pins the snapshot and may be empty. `size_bytes`,
    `snapshot_lsn` and `manifest_digest` (hex BLAKE3) describe the snapshot and are told once.
    `reused` are further ranges that were not fetched because their digest was already here.
    """

    token: str
    generation: U64
    offset_bytes: U64
    length_bytes: U64
    size_bytes: U64 | None = None
    snapshot_lsn: U64 | None = None
    manifest_digest: str | None = None
    reused: Ranges = ()
    applied_lsn: U64 | None = None
    batches: U64 | None = None

    def __post_init__(self) -> None:
        """Check all numbers, and that no range wraps around or runs backwards."""
        self._check(
            u64=(
                "generation",
                "offset_bytes",
                "length_bytes",
                "size_bytes",
                "snapshot_lsn",
                "applied_lsn",
                "batches",
            ),
            text=("token", "manifest_digest"),
            optional=("size_bytes", "snapshot_lsn", "manifest_digest", "applied_lsn", "batches"),
        )
        check_u64(self.offset_bytes + self.length_bytes, "offset_bytes + length_bytes")
        _check_ranges(self.reused, "reused")

    @property
    def staged(self) -> Range:
        """The range that was fetched."""
        return Range(self.offset_bytes, self.offset_bytes + self.length_bytes)

    @property
    def brought(self) -> Ranges:
        """All ranges that are durably staged with this event: the fetched one, then the reused."""
        return (self.staged, *self.reused)


class Checkpoint(_Event, frozen=True, kw_only=True, tag="checkpoint"):
    """Everything up to `applied_lsn` is durably applied to the database.

    The first checkpoint after a snapshot says that the snapshot was restored and verified.
    `batches` counts batches applied so far, for people.
    """

    applied_lsn: U64
    batches: U64
    timeline: U64 = FIRST_TIMELINE

    def __post_init__(self) -> None:
        """Check all numbers."""
        self._check(u64=("applied_lsn", "batches", "timeline"))


class Promote(_Event, frozen=True, kw_only=True, tag="promote"):
    """The candidate of `generation`, synced and verified at `applied_lsn`, shall become current.

    From here on the swap is repeated until it is done.
    """

    generation: U64
    applied_lsn: U64

    def __post_init__(self) -> None:
        """Check all numbers."""
        self._check(u64=("generation", "applied_lsn"))


class Suspend(_Event, frozen=True, kw_only=True, tag="suspend"):
    """The bootstrap stands still, with a word: why, and from when on another try makes sense.

    Class `operator` is a hold: only a resume with an actor ends it.
    """

    cause: str
    cause_class: CauseClass
    retry_at_ms: U64 | None = None
    actor: str | None = None

    def __post_init__(self) -> None:
        """Check the cause and its class."""
        self._check(
            u64=("retry_at_ms",), text=("cause", "actor"), optional=("retry_at_ms", "actor")
        )
        _check_choice(self.cause_class, CauseClass, "cause_class")


class Resume(_Event, frozen=True, kw_only=True, tag="resume"):
    """A holder takes the bootstrap up again: every earlier holder is fenced from here on.

    `dropped` are staged ranges that failed verification and are to be fetched again.
    """

    epoch: U64
    holder: Holder
    actor: str | None = None
    dropped: Ranges = ()

    def __post_init__(self) -> None:
        """Check the epoch, the actor and the ranges."""
        self._check(u64=("epoch",), text=("actor",), optional=("actor",))
        _check_is(self.holder, Holder, "holder")
        _check_ranges(self.dropped, "dropped")


class Complete(_Event, frozen=True, kw_only=True, tag="complete"):
    """The replica is up to date and in service. Final.

    Both numbers are for people, and None where an imported log does not tell them.
    """

    total_records: U64 | None
    duration_ms: U64 | None

    def __post_init__(self) -> None:
        """Check all numbers."""
        names = ("total_records", "duration_ms")
        self._check(u64=names, optional=names)


class Abort(_Event, frozen=True, kw_only=True, tag="abort"):
    """Somebody ended the bootstrap on purpose. Final.

    `rolled_back` is the actor's word that CURRENT does not name this intent's candidate; without
    it a bootstrap that was promoting cannot be aborted.
    """

    actor: str
    reason: str
    abort_kind: AbortKind
    keep_artifacts: bool = False
    rolled_back: bool = False

    def __post_init__(self) -> None:
        """Check the actor, the reason, the kind and the flags."""
        self._check(text=("actor", "reason"), flags=("keep_artifacts", "rolled_back"))
        _check_choice(self.abort_kind, AbortKind, "abort_kind")


Event: TypeAlias = (
    Begin | SnapshotChunk | Checkpoint | Promote | Suspend | Resume | Complete | Abort
)
EVENT_TYPES: tuple[type[Event], ...] = get_args(Event)


def kind_of(event: Event | type[_Event]) -> str:
    """Return the name under which an event, or its type, is stored and drawn."""
    return str(event.__struct_config__.tag)


def _check_is(value: object, expected: type, name: str) -> None:
    if not isinstance(value, expected):
        raise InvalidValue(f"{name} must be a {expected.__name__}, not {value!r:.80}")


def _check_ranges(ranges: Ranges, name: str) -> None:
    _check_is(ranges, tuple, name)
    for item in ranges:
        _check_is(item, Range, f"each of {name}")
        start, end = item
        check_u64(start, f"{name} start")
        check_u64(end, f"{name} end")
        if start >= end:
            raise InvalidValue(f"{name} holds an empty or backward range: {start}..{end}")


def _check_choice(value: str, choices: object, name: str) -> None:
    if value not in get_args(choices):
        raise InvalidValue(f"{name} must be one of {', '.join(get_args(choices))}, not {value!r}")
