"""RedDB's change log on the wire: how a replica catches up, opens the stream, and acknowledges.

Names, defaults and the order of keys are RedDB's. What the bytes of a record mean is the database's
business and not looked at.

Pure: no clock, no disk, no randomness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from bootledger.basebackup.reddb_errors import InvalidField
from bootledger.basebackup.reddb_fields import Fields, encode
from bootledger.basebackup.reddb_layout import ReplicaCatchupMode

CATCHUP_MODE_FIELD = "catchup_mode"
DEFAULT_MAX_COUNT = 1000
DEFAULT_AWAIT_TIMEOUT_MS = 30_000
FIRST_TERM = 1


_ALIASES = {"wal": ReplicaCatchupMode.WAL_ONLY}


@dataclass(frozen=True)
class CatchupModeReply:
    """How the primary wants a replica to catch up, and from where its log still reaches back."""

    mode: ReplicaCatchupMode
    available_from_lsn: int | None = None
    replica_lsn: int | None = None
    reason: str | None = None

    @classmethod
    def decode(cls, payload: str | bytes) -> Self:
        """Return the reply. Raises `NotJson`, `NotObject`, `MissingField` or `InvalidField`."""
        fields = Fields.decode(payload)
        return cls(
            mode=_mode(fields.required_text(CATCHUP_MODE_FIELD)),
            available_from_lsn=fields.u64("available_from_lsn"),
            replica_lsn=fields.u64("replica_lsn"),
            reason=fields.text("reason"),
        )

    def encode(self) -> str:
        """Return the payload. Raises `InvalidValue`."""
        return encode(self.as_fields())

    def as_fields(self) -> dict[str, object]:
        """Return the fields by their names on the wire."""
        return {
            "available_from_lsn": self.available_from_lsn,
            CATCHUP_MODE_FIELD: self.mode.value,
            "reason": self.reason,
            "replica_lsn": self.replica_lsn,
        }


@dataclass(frozen=True)
class WalStreamOpen:
    """What a replica asks for: the changes after `since_lsn`, at most `max_count` of them.

    With `await_data` the primary answers only when there are some, or after `await_timeout_ms`.
    """

    since_lsn: int = 0
    max_count: int = DEFAULT_MAX_COUNT
    replica_id: str | None = None
    term: int = FIRST_TERM
    await_data: bool = False
    await_timeout_ms: int = DEFAULT_AWAIT_TIMEOUT_MS

    @classmethod
    def decode(cls, payload: str | bytes) -> Self:
        """Return the request. Raises `NotJson` or `NotObject`."""
        fields = Fields.decode(payload)
        return cls(
            since_lsn=fields.u64("since_lsn") or 0,
            max_count=_or(fields.u64("max_count"), DEFAULT_MAX_COUNT),
            replica_id=fields.text("replica_id"),
            term=_or(fields.u64("term"), FIRST_TERM),
            await_data=fields.flag("await_data"),
            await_timeout_ms=_or(fields.u64("await_timeout_ms"), DEFAULT_AWAIT_TIMEOUT_MS),
        )

    def encode(self) -> str:
        """Return the payload. Raises `InvalidValue`."""
        return encode(vars(self))


@dataclass(frozen=True)
class WalRecord:
    """One change of the log, as bytes that only the database understands."""

    lsn: int
    data: bytes


@dataclass(frozen=True, kw_only=True)
class WalStreamChunk:
    """A piece of the primary's log, and where the primary stands.

    `catchup` is there if the log alone will not do, or was asked about.
    """

    current_lsn: int
    records: tuple[WalRecord, ...] = ()
    oldest_available_lsn: int | None = None
    partial_resync: bool = False
    partial_resync_count: int = 0
    needs_rebootstrap: bool = False
    invalidation_reason: str | None = None
    catchup: CatchupModeReply | None = None

    @classmethod
    def decode(cls, payload: str | bytes) -> Self:
        """Return the piece. Raises `NotJson`, `NotObject`, `MissingField`, `InvalidField`, ….

        A record without bytes is a `MissingField`: RedDB has none that is empty.
        """
        fields = Fields.decode(payload)
        return cls(
            records=tuple(map(_record, fields.objects("records"))),
            current_lsn=fields.required_u64("current_lsn"),
            oldest_available_lsn=fields.u64("oldest_available_lsn"),
            partial_resync=fields.flag("partial_resync"),
            partial_resync_count=fields.u64("partial_resync_count") or 0,
            needs_rebootstrap=fields.flag("needs_rebootstrap"),
            invalidation_reason=fields.text("invalidation_reason"),
            catchup=_catchup(fields),
        )

    def encode(self) -> str:
        """Return the payload. Raises `InvalidValue`."""
        return encode(
            {
                **(self.catchup.as_fields() if self.catchup else {}),
                "current_lsn": self.current_lsn,
                "invalidation_reason": self.invalidation_reason,
                "needs_rebootstrap": self.needs_rebootstrap,
                "oldest_available_lsn": self.oldest_available_lsn,
                "partial_resync": self.partial_resync,
                "partial_resync_count": self.partial_resync_count,
                "records": [vars(record) for record in self.records],
            }
        )


@dataclass(frozen=True)
class WalStreamAck:
    """How far a replica has applied the log, and how far durably."""

    replica_id: str
    applied_lsn: int
    durable_lsn: int
    apply_errors_total: int = 0
    divergence_total: int = 0

    @classmethod
    def decode(cls, payload: str | bytes) -> Self:
        """Return the acknowledgement; what is applied counts as durable unless it says otherwise.

        Raises `NotJson`, `NotObject` or `MissingField`.
        """
        fields = Fields.decode(payload)
        replica_id = fields.required_text("replica_id")
        applied_lsn = fields.required_u64("applied_lsn")
        return cls(
            replica_id=replica_id,
            applied_lsn=applied_lsn,
            durable_lsn=_or(fields.u64("durable_lsn"), applied_lsn),
            apply_errors_total=fields.u64("apply_errors_total") or 0,
            divergence_total=fields.u64("divergence_total") or 0,
        )

    def encode(self) -> str:
        """Return the payload. Raises `InvalidValue`."""
        return encode(vars(self))


@dataclass(frozen=True)
class WalStreamAckReply:
    """What the primary has noted of an acknowledgement."""

    ok: bool
    replica_id: str
    applied_lsn: int
    durable_lsn: int
    apply_errors_total: int = 0
    divergence_total: int = 0

    @classmethod
    def to(cls, ack: WalStreamAck) -> Self:
        """Return the reply that notes all of `ack`."""
        return cls(ok=True, **vars(ack))

    @classmethod
    def decode(cls, payload: str | bytes) -> Self:
        """Return the reply. Raises `NotJson`, `NotObject` or `MissingField`."""
        fields = Fields.decode(payload)
        return cls(
            ok=fields.flag("ok"),
            replica_id=fields.required_text("replica_id"),
            applied_lsn=fields.required_u64("applied_lsn"),
            durable_lsn=fields.required_u64("durable_lsn"),
            apply_errors_total=fields.u64("apply_errors_total") or 0,
            divergence_total=fields.u64("divergence_total") or 0,
        )

    def encode(self) -> str:
        """Return the payload. Raises `InvalidValue`."""
        return encode(vars(self))


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _mode(text: str) -> ReplicaCatchupMode:
    known = {mode.value: mode for mode in ReplicaCatchupMode} | _ALIASES
    if text not in known:
        raise InvalidField(CATCHUP_MODE_FIELD, f"{text[:40]!r} is none of {', '.join(known)}")
    return known[text]


def _record(fields: Fields) -> WalRecord:
    return WalRecord(lsn=fields.required_u64("lsn"), data=fields.required_bytes("data"))


def _catchup(fields: Fields) -> CatchupModeReply | None:
    """Return what a piece of the log says about catching up; some of it goes by two names."""
    mode = fields.text(CATCHUP_MODE_FIELD)
    if mode is None:
        return None
    oldest_lsn = fields.u64("oldest_available_lsn")
    return CatchupModeReply(
        mode=_mode(mode),
        available_from_lsn=(
            oldest_lsn
            if (available_lsn := fields.u64("available_from_lsn")) is None
            else available_lsn
        ),
        replica_lsn=fields.u64("replica_lsn"),
        reason=fields.text("reason") or fields.text("invalidation_reason"),
    )
