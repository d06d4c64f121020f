"""Where RedDB keeps the files of a base backup: the names on the primary and on the replica.

    ROOT/timeline-T/basebackup/base-START-CHECKPOINT.redbase              a manifest
    ROOT/timeline-T/basebackup/base-START-CHECKPOINT.redbase.parts/       its parts
    ROOT/timeline-T/wal/INDEX.redwal                                      a segment of the log

where numbers have twenty digits. On the replica every name comes from that of the data file, whose
extension is replaced: `main.rdb` is built as `main.rebootstrap.pending.rdb`. Two data files in one
directory that differ by their extension alone would share these files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bootledger.basebackup.reddb_errors import InvalidOperation, file_errors
from bootledger.basebackup.reddb_manifest import BaseBackupPlan, PrimaryReplicaBaseBackupManifest
from bootledger.positions import FIRST_TIMELINE, U64_MAX

MANIFEST_EXTENSION = "redbase"
MIN_SEGMENT_BYTES = 2**20
"""A segment of the log covers at least so many LSNs; a smaller size is raised to this one."""
DEFAULT_SEGMENT_BYTES = 64 * 2**20


class ReplicaCatchupMode(StrEnum):
    """How a replica gets from where it is to where the primary is."""

    WAL_ONLY = "wal-only"
    BASEBACKUP_THEN_WAL = "basebackup-then-wal"
    RECLONE = "reclone"


@dataclass(frozen=True)
class PrimaryReplicaFilePlan:
    """The files that a primary keeps for its replicas below `root`, on one timeline."""

    root: Path
    timeline: int = FIRST_TIMELINE
    segment_bytes: int = DEFAULT_SEGMENT_BYTES

    @property
    def timeline_dir(self) -> Path:
        """The directory of everything on this timeline."""
        return self.root / f"timeline-{self.timeline:020}"

    @property
    def wal_dir(self) -> Path:
        """The directory of the log's segments."""
        return self.timeline_dir / "wal"

    @property
    def basebackup_dir(self) -> Path:
        """The directory of the base backups; the paths in their manifests start here."""
        return self.timeline_dir / "basebackup"

    @property
    def timeline_history_path(self) -> Path:
        """The file that says which timeline came from which."""
        return self.root / "timeline-history.redtimeline"

    def wal_segment_index(self, lsn: int) -> int:
        """Return the number of the segment that holds an LSN, counted from 0."""
        return lsn // max(self.segment_bytes, MIN_SEGMENT_BYTES)

    def wal_segment_start_lsn(self, index: int) -> int:
        """Return the first LSN of a segment; never more than a u64 holds."""
        return min(index * max(self.segment_bytes, MIN_SEGMENT_BYTES), U64_MAX)

    def wal_segment_end_lsn(self, index: int) -> int:
        """Return the first LSN after a segment; never more than a u64 holds."""
        return self.wal_segment_start_lsn(min(index + 1, U64_MAX))

    def wal_segment_path(self, lsn: int) -> Path:
        """Return the file of the segment that holds an LSN."""
        return self.wal_dir / f"{self.wal_segment_index(lsn):020}.redwal"

    def basebackup_path(self, backup: BaseBackupPlan) -> Path:
        """Return the file of a base backup's manifest."""
        return self.basebackup_dir / f"{_artifact_name(backup)}.{MANIFEST_EXTENSION}"

    def basebackup_parts_dir(self, backup: BaseBackupPlan) -> Path:
        """Return the directory of a base backup's parts."""
        return self.basebackup_dir / _parts_name(backup)

    def list_basebackups(self) -> list[PrimaryReplicaBaseBackupManifest]:
        """Read all manifests there are, by timeline and checkpoint LSN; none without a directory.

        A file counts by its extension. One that cannot be believed fails the whole list, with
        `InvalidOperation` that names it; `FileIo` if the disk does not answer.
        """
        with file_errors(self.basebackup_dir):
            try:
                paths = sorted(self.basebackup_dir.iterdir())
            except FileNotFoundError:
                return []
        found = [read_manifest(path) for path in paths if path.suffix == f".{MANIFEST_EXTENSION}"]
        return sorted(found, key=lambda manifest: (manifest.timeline, manifest.checkpoint_lsn))

    def select_basebackup_for_catchup(
        self, available_from_lsn: int, basebackups: Iterable[PrimaryReplicaBaseBackupManifest]
    ) -> PrimaryReplicaBaseBackupManifest | None:
        """Return the newest of `basebackups` from which the log goes on, or None.

        It must be on this timeline and consistent at `available_from_lsn` or later, the LSN that
        the log reaches back to. Of two that are equally new it is the later one.
        """
        usable = [
            manifest
            for manifest in basebackups
            if manifest.timeline == self.timeline and manifest.checkpoint_lsn >= available_from_lsn
        ]
        return max(reversed(usable), key=lambda manifest: manifest.checkpoint_lsn, default=None)

    def catchup_mode(
        self,
        available_from_lsn: int,
        replica_lsn: int,
        basebackups: Iterable[PrimaryReplicaBaseBackupManifest] | None = None,
    ) -> ReplicaCatchupMode:
        """Return how a replica at `replica_lsn` catches up.

        The log alone will do if it reaches back to there. Else one of `basebackups` must serve, or
        the replica is cloned anew; with None it is taken for granted that one does.
        """
        if replica_lsn >= available_from_lsn:
            return ReplicaCatchupMode.WAL_ONLY
        if basebackups is None:
            return ReplicaCatchupMode.BASEBACKUP_THEN_WAL
        if self.select_basebackup_for_catchup(available_from_lsn, basebackups) is None:
            return ReplicaCatchupMode.RECLONE
        return ReplicaCatchupMode.BASEBACKUP_THEN_WAL


def read_manifest(path: Path) -> PrimaryReplicaBaseBackupManifest:
    """Return the manifest in the file at `path`.

    Raises `InvalidOperation` with the path and what is wrong, `FileIo` if it cannot be read.
    """
    with file_errors(path):
        encoded = path.read_bytes()
    try:
        return PrimaryReplicaBaseBackupManifest.decode(encoded)
    except InvalidOperation as wrong:
        raise InvalidOperation(f"{path}: {wrong}", hint=wrong.hint) from wrong


def basebackup_chunk_relative_path(backup: BaseBackupPlan, ordinal: int) -> str:
    """Return where the part of a chunk lies, relative to the directory of the base backups."""
    return f"{_parts_name(backup)}/{ordinal:020}.redchunk"


def basebackup_snapshot_relative_path(backup: BaseBackupPlan) -> str:
    """Return where the snapshot itself would lie, relative to the directory of the base backups."""
    return f"{_artifact_name(backup)}.snapshot"


def _artifact_name(backup: BaseBackupPlan) -> str:
    return f"base-{backup.start_lsn:020}-{backup.checkpoint_lsn:020}"


def _parts_name(backup: BaseBackupPlan) -> str:
    return f"{_artifact_name(backup)}.{MANIFEST_EXTENSION}.parts"


# --- the replica's side-cars --------------------------------------------------------------------


def rebootstrap_staging_root(data_path: Path) -> Path:
    """Return the directory in which a replica stages the parts of a base backup."""
    return with_extension(data_path, "rebootstrap.redbase")


def rebootstrap_pending_path(data_path: Path) -> Path:
    """Return the file in which a replica builds the database that is to take the place."""
    return with_extension(data_path, "rebootstrap.pending.rdb")


def rebootstrap_ready_marker_path(data_path: Path) -> Path:
    """Return the file that says that the pending one is whole."""
    return with_extension(data_path, "rebootstrap.ready")


def rebootstrap_previous_path(data_path: Path) -> Path:
    """Return the file under which the database that was replaced is kept."""
    return with_extension(data_path, "rebootstrap.previous.rdb")


def rebootstrap_intent_log_path(data_path: Path) -> Path:
    """Return the file of the intents, one JSON object a line."""
    return with_extension(data_path, "rebootstrap.intent.jsonl")


def primary_replica_root(data_path: Path) -> Path:
    """Return the root of the files that the database, as a primary, keeps for its replicas."""
    return with_extension(data_path, "primary-replica")


def atomic_temp_path(path: Path) -> Path:
    """Return the file in which the next content of `path` is written before it is renamed."""
    return with_extension(path, "tmp")


def with_extension(path: Path, extension: str) -> Path:
    """Return `path` with what follows the last dot of its name replaced.

    A dot at the beginning of a name begins no extension. A path without a name stays as it is.
    """
    if path.name in ("", ".."):
        return path
    stem, dot, _ = path.name.rpartition(".")
    return path.with_name(f"{stem if dot and stem else path.name}.{extension}")
