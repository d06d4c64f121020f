"""The primary's side of a RedDB base backup: a snapshot cut into parts, and its manifest as a file.

The parts get their place together, by one rename of their directory, and before the manifest gets
its name: a manifest that exists has all of its parts. Memory is flat, however long a part is.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from bootledger.basebackup.reddb_errors import FileIo, InvalidOperation, file_errors
from bootledger.basebackup.reddb_layout import (
    PrimaryReplicaFilePlan,
    atomic_temp_path,
    basebackup_chunk_relative_path,
    basebackup_snapshot_relative_path,
)
from bootledger.basebackup.reddb_manifest import (
    MAX_CHUNKS,
    BaseBackupChunkRef,
    BaseBackupPlan,
    PrimaryReplicaBaseBackupManifest,
)
from bootledger.basebackup.reddb_parts import make_directories, pieces, verify_snapshot_parts
from bootledger.errors import BootledgerError
from bootledger.files import Files, OpenFile


def write_basebackup_snapshot_parts(
    plan: PrimaryReplicaFilePlan,
    backup: BaseBackupPlan,
    snapshot: OpenFile,
    chunk_bytes: int,
    files: Files,
) -> PrimaryReplicaBaseBackupManifest:
    """Cut `snapshot` into parts of `chunk_bytes`, at least 1, and return their manifest.

    The snapshot is read twice, and nobody may write to it meanwhile. The directory of the parts
    gets its name in one step, and is durable when this returns; the manifest is not written. Parts
    that are there already are kept if they are these; if not, they are replaced, unless there is a
    manifest that somebody may rely on. One process at a time.

    Raises `InvalidOperation` if `backup` is on another timeline or contradicts itself, if there
    would be more than `MAX_CHUNKS`, or if the parts that are there are of something else; `FileIo`.
    Passes the points of `part` for each one, then `parts.renaming`, `.renamed` and `.synced`.
    """
    if backup.timeline != plan.timeline:
        raise InvalidOperation(
            f"the base backup is on timeline {backup.timeline}, the files on {plan.timeline}"
        )
    backup.check()
    with file_errors(snapshot.path):
        manifest = _described(backup, snapshot, max(chunk_bytes, 1))
    parts = plan.basebackup_parts_dir(backup)
    with file_errors(parts):
        if parts.exists() and _are_those(plan, backup, manifest):
            return manifest
        building = parts.with_name(f".{parts.name}.tmp")
        if building.exists():  # left by a crash
            files.remove(building)
        try:
            make_directories(building, files)
            for chunk in manifest.chunks:
                path = building / Path(chunk.relative_path).name
                files.replace_from(path, _cut(snapshot, chunk), name="part")
            if parts.is_dir():
                files.remove(parts)
            files.rename(building, parts, name="parts")
        except BootledgerError:
            if building.exists():
                files.remove(building)
            raise
    return manifest


def write_basebackup_manifest(
    manifest: PrimaryReplicaBaseBackupManifest, path: Path, files: Files
) -> None:
    """Make `path` hold the encoded manifest, in one step. Durable when this returns.

    Raises `InvalidOperation` for a manifest that nobody could read back, and `FileIo`. Passes
    `manifest.writing`, `manifest.written`, `manifest.renamed` and `manifest.synced`.
    """
    encoded = manifest.encode()
    PrimaryReplicaBaseBackupManifest.decode(encoded)
    with file_errors(path):
        make_directories(path.parent, files)
        files.replace(path, encoded, name="manifest", temporary=atomic_temp_path(path))


def _described(
    backup: BaseBackupPlan, snapshot: OpenFile, chunk_bytes: int
) -> PrimaryReplicaBaseBackupManifest:
    size_bytes = snapshot.size_bytes()
    if (count := -(-size_bytes // chunk_bytes)) > MAX_CHUNKS:
        raise InvalidOperation(f"{count} chunks, {MAX_CHUNKS} are allowed")
    checksum = 0
    chunks = []
    for ordinal in range(max(count, 1)):
        offset = ordinal * chunk_bytes
        length = part_checksum = 0
        for piece in pieces(snapshot, offset, min(chunk_bytes, size_bytes - offset)):
            length += len(piece)
            part_checksum = zlib.crc32(piece, part_checksum)
            checksum = zlib.crc32(piece, checksum)
        relative_path = basebackup_chunk_relative_path(backup, ordinal)
        chunks.append(BaseBackupChunkRef(ordinal, offset, length, part_checksum, relative_path))
    relative_path = basebackup_snapshot_relative_path(backup)
    return PrimaryReplicaBaseBackupManifest.incremental(
        backup, relative_path, size_bytes, checksum, chunks
    )


def _cut(snapshot: OpenFile, chunk: BaseBackupChunkRef) -> Iterator[bytes]:
    """Yield the bytes of `chunk`, and raise `InvalidOperation` if they are other ones by now."""
    length_bytes = checksum = 0
    for piece in pieces(snapshot, chunk.snapshot_offset, chunk.chunk_bytes):
        length_bytes += len(piece)
        checksum = zlib.crc32(piece, checksum)
        yield piece
    if reason := chunk.objection(length_bytes, checksum):
        raise InvalidOperation(f"{snapshot.path} changed at chunk {chunk.ordinal}: {reason}")


def _are_those(
    plan: PrimaryReplicaFilePlan, backup: BaseBackupPlan, manifest: PrimaryReplicaBaseBackupManifest
) -> bool:
    """Return whether the parts that are there are the manifest's; raise if they must not change."""
    try:
        verify_snapshot_parts(manifest, plan.basebackup_dir)
    except (InvalidOperation, FileIo):
        if plan.basebackup_path(backup).exists():
            raise
        return False
    return True
