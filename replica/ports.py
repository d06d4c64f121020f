"""What a bootstrap needs from the other side (`Source`) and from the database (`Applier`).

Both are promises in prose; anything that keeps them can be replicated from, or to. Errors decide
what happens next: `Unavailable` suspends the bootstrap and it goes on later, `SnapshotLost` and
`LogWindowLost` lead to a new generation, `Corrupted` and `Refused` stop it for a person to look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

from bootledger.basebackup.manifest import Chunk

Pause: TypeAlias = Callable[[], None]
"""Asked in between by whatever takes long; what it raises ends the work."""


Rejected: TypeAlias = Callable[[str, Chunk, str], None]
"""Told of bytes that are not the chunk that was asked for: the place, the chunk, and why."""
CUT = "cut: "
"""How the reason begins if only a part of a chunk came: the link broke, and nothing was wrong."""


def go_on() -> None:
    """Do nothing: nobody wants the work to end."""


def unnoticed(place: str, chunk: Chunk, reason: str) -> None:
    """Do nothing: nobody counts what is rejected."""


class SourceIdentity(NamedTuple):
    """Which database this is: an id that never changes, and the timeline that it is on."""

    database_id: str
    timeline: int


class Change(NamedTuple):
    """One change of the database: `value` is None where the key was deleted."""

    lsn: int
    key: bytes
    value: bytes | None


class Pin(NamedTuple):
    """A base backup that the source keeps under `token` until it is released.

    It holds exactly the changes up to `lsn`. `manifest_digest` is the hex root digest of its
    manifest.
    """

    token: str
    timeline: int
    lsn: int
    size_bytes: int
    manifest_size_bytes: int
    manifest_digest: str


class Source(Protocol):
    """The side that is copied from. Every method may raise `SourceUnavailable`."""

    def identity(self) -> SourceIdentity:
        """Return which database this is."""

    def last_lsn(self) -> int:
        """Return the LSN of the newest change, 0 before the first."""

    def pin(self, intent_id: str, generation: int, pause: Pause = go_on) -> Pin:
        """Publish a base backup for this intent and generation, or return the one that exists.

        When this returns, the backup is durable at the source and stays until `release`. The
        source is free to share one backup between intents. `pause` is called again and again while
        it takes long, at least once a second if that can be; what it raises ends the call.
        """

    def read_manifest(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Return that part of the encoded manifest. Raises `SnapshotLost` if the token is gone."""

    def read_chunk(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Return that part of the base backup. Raises `SnapshotLost` if the token is gone.

        The bytes are not trusted: the caller checks them against the manifest. Called from several
        threads at once if `Settings.max_in_flight` is more than 1.
        """

    def changes(self, after_lsn: int, limit: int) -> Sequence[Change]:
        """Return up to `limit` changes after an LSN, in order, without gaps; none at the end.

        Fewer than `limit` may come although there are more (large values). Raises `LogWindowLost`
        if the next change is no longer kept.
        """

    def release(self, token: str) -> None:
        """Say that the base backup is not needed any more. Harmless when repeated."""

    def close(self) -> None:
        """Give the source back."""


@runtime_checkable
class LongPolling(Protocol):
    """A source that can wait for news by itself; others are asked again after a while."""

    def changes_within(self, after_lsn: int, limit: int, wait_s: float) -> Sequence[Change]:
        """As `Source.changes`, but wait up to `wait_s` for the first one; none after that."""


class LastChange(NamedTuple):
    """The last change that a replica has: its LSN, and `records.change_digest` of it."""

    lsn: int
    digest: str


@runtime_checkable
class ChecksHistory(Protocol):
    """A source that compares what a replica has with its own log whenever it is asked for more.

    It may be another one by then that answers under the same address; of others, the replica
    compares the last change once, when it connects.
    """

    def changes_following(
        self, last: LastChange, limit: int, wait_s: float = 0.0
    ) -> Sequence[Change]:
        """As `Source.changes` after `last.lsn`; who is `LongPolling` waits up to `wait_s` for news.

        Raises `DivergedHistory` if the source has another change at that LSN; nothing counts as
        acknowledged then. Nothing is compared if it no longer keeps that change.
        """


@runtime_checkable
class HandsOver(Protocol):
    """A source that may keep a base backup in a file on the replica's side already."""

    def hand_over(self, token: str, path: Path) -> None:
        """Give that file the name `path`, where nothing is, so that its bytes need no copying.

        Durable when this returns. Nothing happens if there is no such file, or it lies on another
        file system: the bytes come by `Source.read_chunk` then. What was handed over is checked
        like anything that lies there.
        """


@runtime_checkable
class ChecksChunks(Protocol):
    """A source that compares what it fetches with the manifest, and can fetch it again by itself.

    Such a source may fetch from several places, and knows which of them sent what is wrong. From
    others `read_chunk` is enough: a wrong chunk then ends the run.
    """

    def fetch_chunk(self, token: str, chunk: Chunk, rejected: Rejected = unnoticed) -> bytes:
        """Return the bytes of the base backup that are `chunk`: its sums were compared.

        Bytes that are something else are dropped, `rejected` is told of them, and they are fetched
        again, from another place if there is one; so what was received and is not returned was told
        of. `rejected` is called from the thread that fetches.

        Thread-safe. Raises `CorruptChunk` after every place sent something else again and again,
        otherwise as `Source.read_chunk`.
        """


class Applier(Protocol):
    """The database that is brought up to date, in one generation's directory."""

    def identity(self) -> SourceIdentity:
        """Return which database this is a copy of."""

    def applied_lsn(self) -> int:
        """Return the LSN up to which changes are durably applied. Writes nothing."""

    def apply(self, changes: Sequence[Change]) -> None:
        """Apply the changes and advance the applied LSN, in one transaction: exactly once.

        Durable when this returns. Changes at or below the applied LSN are skipped. Raises
        `DivergedHistory` if a change is missing in between; nothing was applied then.
        """

    def record_count(self) -> int:
        """Return how many records the database holds."""

    def close(self) -> None:
        """Give the database back. Everything applied is durable already."""


@runtime_checkable
class KeepsLog(Protocol):
    """An applier that can show what it applied last, so that it can be compared with the source."""

    def changes(self, after_lsn: int, limit: int) -> Sequence[Change]:
        """Return changes that were applied: as `Source.changes`."""


@runtime_checkable
class PrunesLog(KeepsLog, Protocol):
    """An applier whose log can be cut: nothing that it does by itself needs old changes."""

    def pruned_lsn(self) -> int:
        """Return the highest LSN whose change is no longer kept, 0 if all are."""

    def prune(self, keep_after_lsn: int) -> None:
        """Forget the changes up to and including an LSN. Durable when this returns."""


class OpenApplier(Protocol):
    """Opens the database of a generation, restored from a base backup or in service."""

    def __call__(self, directory: Path, /) -> Applier:
        """Return the applier. Changes nothing on disk that a manifest covers.

        Raises `Corrupted` if the files are not a sound database of the expected kind.
        """
