"""RedDB's `replication_snapshot` on the wire: what a replica asks, and the payload it is answered.

Field names, defaults and the order of keys are RedDB's. Bytes travel as hexadecimal digits. The
`snapshot_*` fields describe the primary's data file, the `basebackup_*` fields its base backup, and
only the manifest in there counts: the numbers beside it, and the list of chunks, are a courtesy
that nobody compares with it.

Pure: no clock, no disk, no randomness.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple, Self

from bootledger.basebackup.reddb_errors import InvalidField, MissingField
from bootledger.basebackup.reddb_fields import Fields, encode
from bootledger.positions import U64_MAX

MANIFEST_FIELD = "basebackup_manifest_hex"
CHUNK_ORDINAL_FIELD = "basebackup_chunk_ordinal"
CHUNK_FIELD = "basebackup_chunk_hex"

_SNAPSHOT = "snapshot"
_TOKEN_LSN = 2
_TOKEN_PARTS = 4
_NUMBER = re.compile(r"\+?0*([0-9]{1,20})")
"""As RedDB reads one. No u64 has more digits: a longer one is refused before it is made."""


@dataclass(frozen=True)
class BaseBackupRequest:
    """What a replica asks for: what follows `snapshot_offset` of the base backup, if it is named.

    `snapshot_token` is the one that an earlier answer gave, None in the first request.
    """

    snapshot_offset: int = 0
    snapshot_token: str | None = None
    max_bytes: int | None = None
    replica_id: str | None = None

    def encode(self) -> str:
        """Return the payload. Raises `InvalidValue`."""
        return encode(
            {
                "max_bytes": self.max_bytes,
                "replica_id": self.replica_id,
                "snapshot_offset": self.snapshot_offset,
                "snapshot_token": self.snapshot_token,
            }
        )

    @classmethod
    def decode(cls, payload: str | bytes) -> Self:
        """Return the request. Raises `NotJson` or `NotObject`."""
        fields = Fields.decode(payload)
        return cls(
            snapshot_offset=fields.u64("snapshot_offset") or 0,
            snapshot_token=fields.text("snapshot_token"),
            max_bytes=fields.u64("max_bytes"),
            replica_id=fields.text("replica_id"),
        )


@dataclass(frozen=True)
class ListedChunk:
    """One line of the list of chunks beside the manifest. Advice: nobody checks it."""

    ordinal: int
    snapshot_offset: int
    bytes: int
    checksum: int
    relative_path: str


class ChunkPart(NamedTuple):
    """The chunk that a payload carries."""

    ordinal: int
    bytes: bytes


@dataclass(frozen=True, kw_only=True)
class BaseBackupChunk:
    """The payload of `replication_snapshot`: a manifest, and at most one chunk. None is absent."""

    replica_id: str
    slot_restart_lsn: int
    snapshot_available: bool = True
    snapshot_path: str | None = None
    snapshot_lsn: int | None = None
    snapshot_token: str | None = None
    snapshot_total_bytes: int | None = None
    snapshot_offset: int = 0
    next_snapshot_offset: int | None = None
    snapshot_complete: bool = False
    snapshot_chunk: bytes | None = None
    snapshot_hex: bytes | None = None
    metadata_binary: bytes | None = None
    metadata_json: bytes | None = None
    basebackup_available: bool = False
    basebackup_timeline: int | None = None
    basebackup_start_lsn: int | None = None
    basebackup_checkpoint_lsn: int | None = None
    basebackup_snapshot_bytes: int | None = None
    basebackup_snapshot_checksum: int | None = None
    basebackup_manifest: bytes | None = None
    basebackup_chunk_ordinal: int | None = None
    basebackup_chunk: bytes | None = None
    basebackup_chunks: tuple[ListedChunk, ...] = ()

    @classmethod
    def decode(cls, payload: str | bytes) -> Self:
        """Return the payload's content; what it means is not looked at.

        Raises `NotJson`, `NotObject`, `MissingField`, `InvalidField` or `InvalidHex`, whether a
        base backup is available or not.
        """
        fields = Fields.decode(payload)
        return cls(
            replica_id=fields.required_text("replica_id"),
            slot_restart_lsn=fields.required_u64("slot_restart_lsn"),
            snapshot_available=fields.flag("snapshot_available"),
            snapshot_path=fields.text("snapshot_path"),
            snapshot_lsn=fields.u64("snapshot_lsn"),
            snapshot_token=fields.text("snapshot_token"),
            snapshot_total_bytes=fields.u64("snapshot_total_bytes"),
            snapshot_offset=fields.u64("snapshot_offset") or 0,
            next_snapshot_offset=fields.u64("next_snapshot_offset"),
            snapshot_complete=fields.flag("snapshot_complete"),
            snapshot_chunk=fields.hexadecimal("snapshot_chunk_hex"),
            snapshot_hex=fields.hexadecimal("snapshot_hex"),
            metadata_binary=fields.hexadecimal("metadata_binary_hex"),
            metadata_json=fields.hexadecimal("metadata_json_hex"),
            basebackup_available=fields.flag("basebackup_available"),
            basebackup_timeline=fields.u64("basebackup_timeline"),
            basebackup_start_lsn=fields.u64("basebackup_start_lsn"),
            basebackup_checkpoint_lsn=fields.u64("basebackup_checkpoint_lsn"),
            basebackup_snapshot_bytes=fields.u64("basebackup_snapshot_bytes"),
            basebackup_snapshot_checksum=fields.u64("basebackup_snapshot_checksum"),
            basebackup_manifest=fields.hexadecimal(MANIFEST_FIELD),
            basebackup_chunk_ordinal=fields.u32(CHUNK_ORDINAL_FIELD),
            basebackup_chunk=fields.hexadecimal(CHUNK_FIELD),
            basebackup_chunks=tuple(map(_listed_chunk, fields.objects("basebackup_chunks"))),
        )

    def encode(self) -> str:
        """Return the payload. Raises `InvalidValue`."""
        return encode(
            {
                "basebackup_available": self.basebackup_available,
                "basebackup_checkpoint_lsn": self.basebackup_checkpoint_lsn,
                CHUNK_FIELD: self.basebackup_chunk,
                CHUNK_ORDINAL_FIELD: self.basebackup_chunk_ordinal,
                "basebackup_chunks": [vars(chunk) for chunk in self.basebackup_chunks],
                MANIFEST_FIELD: self.basebackup_manifest,
                "basebackup_snapshot_bytes": self.basebackup_snapshot_bytes,
                "basebackup_snapshot_checksum": self.basebackup_snapshot_checksum,
                "basebackup_start_lsn": self.basebackup_start_lsn,
                "basebackup_timeline": self.basebackup_timeline,
                "metadata_binary_hex": self.metadata_binary,
                "metadata_json_hex": self.metadata_json,
                "next_snapshot_offset": self.next_snapshot_offset,
                "replica_id": self.replica_id,
                "slot_restart_lsn": self.slot_restart_lsn,
                "snapshot_available": self.snapshot_available,
                "snapshot_chunk_hex": self.snapshot_chunk,
                "snapshot_complete": self.snapshot_complete,
                "snapshot_hex": self.snapshot_hex,
                "snapshot_lsn": self.snapshot_lsn,
                "snapshot_offset": self.snapshot_offset,
                "snapshot_path": self.snapshot_path,
                "snapshot_token": self.snapshot_token,
                "snapshot_total_bytes": self.snapshot_total_bytes,
            }
        )

    def required_manifest(self) -> bytes:
        """Return the encoded manifest, which may be no bytes at all. Raises `MissingField`."""
        if self.basebackup_manifest is None:
            raise MissingField(MANIFEST_FIELD)
        return self.basebackup_manifest

    def chunk_part(self) -> ChunkPart | None:
        """Return the chunk, None if there is none. Raises `InvalidField` for half of one."""
        match self.basebackup_chunk_ordinal, self.basebackup_chunk:
            case None, None:
                return None
            case int(ordinal), bytes(data):
                return ChunkPart(ordinal, data)
            case _:
                raise InvalidField(
                    f"{CHUNK_ORDINAL_FIELD}/{CHUNK_FIELD}", "one of them without the other"
                )


def _listed_chunk(fields: Fields) -> ListedChunk:
    return ListedChunk(
        ordinal=fields.required_u32("ordinal"),
        snapshot_offset=fields.required_u64("snapshot_offset"),
        bytes=fields.required_u64("bytes"),
        checksum=fields.required_u64("checksum"),
        relative_path=fields.required_text("relative_path"),
    )


def lsn_of_token(token: str) -> int | None:
    """Return the LSN that a RedDB primary reads out of `snapshot:REPLICA:LSN:BYTES`, None for none.

    A replica id that has a colon in it moves the LSN: the primary then reads a part of the id. So
    nothing here believes what this answers; it is what the primary will do with the token.
    """
    parts = token.split(":")
    if len(parts) < _TOKEN_PARTS or parts[0] != _SNAPSHOT:
        return None
    if (found := _NUMBER.fullmatch(parts[_TOKEN_LSN])) is None:
        return None
    lsn = int(found[1])
    return lsn if lsn <= U64_MAX else None
