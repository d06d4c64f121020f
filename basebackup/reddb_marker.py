"""RedDB's ready marker, and how a database that was copied anew takes the place of the old one.

    main.rdb                          the database in service
    main.rebootstrap.pending.rdb      its successor
    main.rebootstrap.ready            the marker: the successor is whole, and of which LSN
    main.rebootstrap.promoting.rdb    the successor while it is being promoted (not in RedDB)
    main.rebootstrap.previous.rdb     what was in service before
    main.rebootstrap.redbase/         the parts that the successor was made of
    main.rebootstrap.intent.jsonl     RedDB's intent log

RedDB moves the old database away first and looks for the successor afterwards; a failure, or a
crash, leaves no database in service, and one more promotion loses what there was. Here nothing
moves before everything is there; a database is in service at any moment if one was before; and the
name `promoting` says that a promotion has begun, so that it can be finished after any crash.

One process owns these files: the caller sees to that.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from crc32c import crc32c

from bootledger.basebackup.reddb_errors import Decode, InvalidOperation, file_errors
from bootledger.basebackup.reddb_fields import Fields, NotObject, encode
from bootledger.basebackup.reddb_layout import (
    atomic_temp_path,
    rebootstrap_intent_log_path,
    rebootstrap_pending_path,
    rebootstrap_previous_path,
    rebootstrap_ready_marker_path,
    rebootstrap_staging_root,
)
from bootledger.files import Files

_CRC_FIELD = "crc32c"
MARKER_MAX_BYTES = 2**20
"""A marker is a path and two numbers; what is longer is none."""


@dataclass(frozen=True)
class ReplicaRebootstrapReadyMarker:
    """Says that the database at `pending_path` is whole, and holds what `checkpoint_lsn` did.

    The path stays as it was written: two that name the same file may differ in letter.
    """

    pending_path: str
    checkpoint_lsn: int
    timeline: int

    def encode(self) -> str:
        """Return the marker's text as RedDB writes it, keys in byte order. Raises `InvalidValue`.

        It has no checksum: a digit that became another digit is not noticed.
        """
        return encode(vars(self))

    def sealed(self) -> str:
        """Return the marker's text with a checksum, which RedDB reads over. Raises `InvalidValue`.

        The field `crc32c` is the CRC32C of what `encode` returns, in hex.
        """
        return encode({**vars(self), _CRC_FIELD: self._crc()})

    def _crc(self) -> str:
        return f"{crc32c(self.encode().encode()):08x}"

    @classmethod
    def decode(cls, text: str | bytes) -> Self:
        """Return the marker, sealed or not.

        Raises `InvalidOperation` that says what is missing or wrong, and if a checksum is there
        that does not match.
        """
        try:
            fields = Fields.decode(text)
        except NotObject:
            fields = Fields({})
        except Decode as wrong:
            raise InvalidOperation(f"the rebootstrap marker cannot be read: {wrong}") from wrong
        pending_path = fields.string("pending_path")
        checkpoint_lsn = fields.u64("checkpoint_lsn")
        timeline = fields.u64("timeline")
        if pending_path is None:
            raise InvalidOperation("the rebootstrap marker has no pending_path")
        if checkpoint_lsn is None:
            raise InvalidOperation("the rebootstrap marker has no checkpoint_lsn")
        if timeline is None:
            raise InvalidOperation("the rebootstrap marker has no timeline")
        marker = cls(pending_path, checkpoint_lsn, timeline)
        told_crc = fields.string(_CRC_FIELD)
        if told_crc is not None and told_crc != marker._crc():
            raise InvalidOperation(
                f"the rebootstrap marker does not match its checksum {told_crc[:20]!r}",
                hint="it was damaged: discard it, and copy the database anew",
            )
        return marker


def write_rebootstrap_ready_marker(
    data_path: Path, marker: ReplicaRebootstrapReadyMarker, files: Files
) -> None:
    """Write the marker beside `data_path`, sealed, in one step. Durable when this returns.

    The database that it names must be durable before. Raises `FileIo`, `InvalidValue`.
    """
    path = rebootstrap_ready_marker_path(data_path)
    with file_errors(path):
        encoded = marker.sealed().encode()
        files.replace(path, encoded, name="marker", temporary=atomic_temp_path(path))


def read_rebootstrap_ready_marker(data_path: Path) -> ReplicaRebootstrapReadyMarker:
    """Return the marker beside `data_path`.

    Raises `InvalidOperation` if it is none, or names another file than the one that belongs to
    `data_path` (compared by components: `a//b/./c/` is `a/b/c`), `FileIo` if it cannot be read.
    """
    path = rebootstrap_ready_marker_path(data_path)
    with file_errors(path), path.open("rb") as file:
        text = file.read(MARKER_MAX_BYTES + 1)
    if len(text) > MARKER_MAX_BYTES:
        raise InvalidOperation(f"{path} is longer than any rebootstrap marker")
    marker = ReplicaRebootstrapReadyMarker.decode(text)
    expected = str(rebootstrap_pending_path(data_path))
    if _components(marker.pending_path) != _components(expected):
        raise InvalidOperation(
            f"{path} names {marker.pending_path[:80]!r}, expected {expected!r}",
            hint="the directory was moved, or the marker is of another database",
        )
    return marker


def discard_rebootstrap_ready_marker(data_path: Path, files: Files) -> None:
    """Remove the marker beside `data_path`. Durable when this returns.

    Raises `FileIo`; also if there is none.
    """
    path = rebootstrap_ready_marker_path(data_path)
    with file_errors(path):
        _must_exist(path)
        files.remove(path)


def cleanup_rebootstrap(data_path: Path, files: Files) -> None:
    """Remove everything of a rebootstrap; what is in service at `data_path` stays.

    Repeats harmlessly. Durable when this returns. Raises `FileIo`.
    """
    for path in (
        rebootstrap_ready_marker_path(data_path),  # first: it says that the others are whole
        rebootstrap_pending_path(data_path),
        rebootstrap_promoting_path(data_path),
        rebootstrap_staging_root(data_path),
        rebootstrap_intent_log_path(data_path),
        rebootstrap_previous_path(data_path),
    ):
        with file_errors(path):
            files.remove(path)


def rebootstrap_promoting_path(data_path: Path) -> Path:
    """Return the name that the successor of `data_path` has while it is being promoted."""
    pending = rebootstrap_pending_path(data_path)
    return pending.with_name(pending.name.replace(".pending.", ".promoting."))


def promote_rebootstrap(data_path: Path, files: Files) -> bool:
    """Put the successor of `data_path` into service; the old database becomes `previous`.

    Marker and staging are removed. To be called at each start, before the database is opened: what
    a crash interrupted is finished. Returns whether anything was promoted: false if a database is
    in service, and there is neither a successor nor a marker. Durable when this returns.

    Raises `FileIo`. If there is no successor, or no marker that says that it is whole, nothing has
    moved then. What the marker says is not looked at, as in RedDB, which promotes beside a marker
    that it cannot read: call `read_rebootstrap_ready_marker` first if a successor is there, and do
    not promote if it raises.
    """
    with file_errors(data_path):
        finished = os.path.lexists(rebootstrap_promoting_path(data_path))
        if finished:
            _finish(data_path, files)
        if not os.path.lexists(rebootstrap_pending_path(data_path)) or not os.path.lexists(
            rebootstrap_ready_marker_path(data_path)
        ):
            return finished or _nothing_to_promote(data_path)
        replaces = os.path.lexists(data_path)
        _claim(data_path, files)
        _finish(data_path, files)
        if not replaces:
            files.remove(rebootstrap_previous_path(data_path))  # it is older than what was lost
    return True


def _nothing_to_promote(data_path: Path) -> bool:
    """Return false if that is as it should be."""
    ready = rebootstrap_ready_marker_path(data_path)
    pending = rebootstrap_pending_path(data_path)
    if os.path.lexists(ready) or not os.path.lexists(data_path):
        _must_exist(pending)
    if os.path.lexists(pending):
        _must_exist(ready)
    return False


def _claim(data_path: Path, files: Files) -> None:
    """Begin: from here on the successor goes by a name that says so."""
    pending = rebootstrap_pending_path(data_path)
    for path in (data_path, rebootstrap_previous_path(data_path), pending):
        if path.is_dir() and not path.is_symlink():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    files.rename(pending, rebootstrap_promoting_path(data_path), name="promotion.begun")


def _finish(data_path: Path, files: Files) -> None:
    """Go on where a promotion stands. The last step is the one that replaces the database."""
    if os.path.lexists(data_path):
        files.link(data_path, rebootstrap_previous_path(data_path), name="previous")
    if not os.path.lexists(rebootstrap_pending_path(data_path)):
        # Else they belong to the next successor, which was copied since the crash.
        files.remove(rebootstrap_staging_root(data_path))
        files.remove(rebootstrap_ready_marker_path(data_path))
    files.rename(rebootstrap_promoting_path(data_path), data_path, name="promotion")


def _must_exist(path: Path) -> None:
    if not os.path.lexists(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def _components(path: str) -> tuple[bool, list[str]]:
    """Return whether a path is absolute, and its components, as RedDB compares them.

    A dot counts only at the beginning of a relative path.
    """
    absolute = path.startswith("/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    here = not absolute and path.split("/", maxsplit=1)[0] == "."
    return absolute, [".", *parts] if here else parts
