"""The answers to RedDB's `replication_snapshot`, staged: the seed's two functions.

A payload carries the whole manifest and at most one chunk. What is staged is a file a chunk, below
one root, each of them checked before it gets its name; so what is there after a crash can be told
by looking at it, and no record is needed of what was done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bootledger.basebackup.reddb_errors import InvalidField
from bootledger.basebackup.reddb_manifest import PrimaryReplicaBaseBackupManifest
from bootledger.basebackup.reddb_parts import recover_staged_chunk_parts, stage_chunk_part
from bootledger.basebackup.reddb_wire import CHUNK_ORDINAL_FIELD, BaseBackupChunk
from bootledger.files import Files


@dataclass(frozen=True)
class StagedBaseBackupChunk:
    """What one payload brought: the manifest, and which chunk was staged, if it had one.

    The other three are what the payload says about the primary's data file.
    """

    manifest: PrimaryReplicaBaseBackupManifest
    chunk_ordinal: int | None
    snapshot_offset: int
    next_snapshot_offset: int | None
    snapshot_complete: bool


def stage_basebackup_snapshot_chunk(
    payload: BaseBackupChunk, parts_root: Path, files: Files
) -> StagedBaseBackupChunk | None:
    """Stage the chunk that `payload` carries, below `parts_root`; None without a base backup.

    The manifest is checked first, then the chunk against it; nothing is written before. The part
    is durable when this returns, and replaces what was there.

    Raises `MissingField`, `InvalidField`, `InvalidOperation` or `FileIo`.
    """
    if not payload.basebackup_available:
        return None
    manifest = PrimaryReplicaBaseBackupManifest.decode(payload.required_manifest())
    manifest.validate()
    return stage_chunk_of(payload, manifest, parts_root, files)


def stage_chunk_of(
    payload: BaseBackupChunk,
    manifest: PrimaryReplicaBaseBackupManifest,
    parts_root: Path,
    files: Files,
) -> StagedBaseBackupChunk:
    """Stage the chunk that `payload` carries, if it carries one, as `manifest` describes it.

    The manifest must be the payload's: for callers who have decoded it already. Otherwise as
    `stage_basebackup_snapshot_chunk`.
    """
    part = payload.chunk_part()
    if part is not None:
        if not any(chunk.ordinal == part.ordinal for chunk in manifest.chunks):
            raise InvalidField(CHUNK_ORDINAL_FIELD, f"the manifest has no chunk {part.ordinal}")
        stage_chunk_part(manifest, parts_root, part.ordinal, part.bytes, files)
    return StagedBaseBackupChunk(
        manifest=manifest,
        chunk_ordinal=part.ordinal if part else None,
        snapshot_offset=payload.snapshot_offset,
        next_snapshot_offset=payload.next_snapshot_offset,
        snapshot_complete=payload.snapshot_complete,
    )


def recover_staged_basebackup_chunks(
    manifest: PrimaryReplicaBaseBackupManifest,
    parts_root: Path,
    files: Files,
    *,
    pause: Callable[[], None] = lambda: None,
) -> set[int]:
    """Return the ordinals of the chunks that are staged below `parts_root`, and whole.

    Every part is read, `pause` is called before each. One that is not what the manifest describes
    is removed. Raises `FileIo` if a part can be neither read nor missed.
    """
    return set(recover_staged_chunk_parts(manifest, parts_root, files, pause=pause))
