"""The base backup being copied: its manifest, kept in the candidate's directory, and its file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootledger.basebackup.manifest import DATA_NAME, MANIFEST_NAME, Manifest
from bootledger.basebackup.publishing import open_manifest, write_manifest
from bootledger.basebackup.staging import Candidate
from bootledger.errors import CorruptManifest
from bootledger.files import Files
from bootledger.replica.ports import Source
from bootledger.statemachine.progress import Snapshot

_PIECE_BYTES = 2**20


def fetch_manifest(source: Source, snapshot: Snapshot, directory: Path, files: Files) -> Manifest:
    """Return the manifest of `snapshot`, from `directory` or else from the source. Close it.

    It has the root digest that the pin recorded, so it is the same manifest after any crash, and
    what an earlier start or a broken disk left behind is not mistaken for it. Durable in
    `directory` when this returns.

    Raises `SnapshotLost` if the source no longer has it, `CorruptManifest` if what the source sends
    is not what was pinned.
    """
    path = directory / MANIFEST_NAME
    if path.exists():
        try:
            return open_manifest(path, digest=snapshot.manifest_digest)
        except CorruptManifest:
            files.remove(path)  # damaged or another snapshot's: the source has the right one
    return write_manifest(
        path, _pieces(source, snapshot.token), files, digest=snapshot.manifest_digest
    )


@contextmanager
def open_candidate(
    source: Source, snapshot: Snapshot, directory: Path, files: Files
) -> Iterator[Candidate]:
    """Open the candidate of `snapshot` in `directory`, with its manifest, for the block.

    Raises as `fetch_manifest`, and `CorruptManifest` if the base backup is not a database.
    """
    with (
        fetch_manifest(source, snapshot, directory, files) as manifest,
        Candidate(directory, manifest, files) as candidate,
    ):
        if manifest.path != DATA_NAME:
            raise CorruptManifest(
                f"the base backup consists of {manifest.path!r}, a database is {DATA_NAME!r}"
            )
        yield candidate


def _pieces(source: Source, token: str) -> Iterator[bytes]:
    offset_bytes = 0
    while piece := source.read_manifest(token, offset_bytes, _PIECE_BYTES):
        yield piece
        offset_bytes += len(piece)
