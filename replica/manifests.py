"""The base backup being copied: its manifest, kept in the candidate's directory, and its file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bootledger.basebackup.manifest import MANIFEST_NAME, Manifest
from bootledger.basebackup.publishing import open_manifest, receive_manifest
from bootledger.basebackup.staging import Candidate
from bootledger.errors import CorruptManifest, InvalidValue
from bootledger.files import Files
from bootledger.replica.ports import Pause, Source, go_on
from bootledger.replica.readers import check_data_name
from bootledger.statemachine.progress import Snapshot


def fetch_manifest(
    source: Source, snapshot: Snapshot, directory: Path, files: Files, pause: Pause = go_on
) -> Manifest:
    """Return the manifest of `snapshot`, from `directory` or else from the source. Close it.

    It has the root digest that the pin recorded, so it is the same manifest after any crash, and
    what an earlier start or a broken disk left behind is not mistaken for it. Durable in
    `directory` when this returns. What a start that broke off had of it already is not fetched
    again. `pause` is called before each piece; what it raises ends the call.

    Raises `SnapshotLost` if the source no longer has it, `CorruptManifest` if what the source sends
    is not what was pinned.
    """
    path = directory / MANIFEST_NAME
    if path.exists():
        try:
            return open_manifest(path, digest=snapshot.manifest_digest)
        except CorruptManifest:
            files.remove(path)  # damaged or another snapshot's: the source has the right one
    return receive_manifest(
        path,
        partial(source.read_manifest, snapshot.token),
        files,
        digest=snapshot.manifest_digest,
        pause=pause,
    )


@contextmanager
def open_candidate(
    source: Source, snapshot: Snapshot, directory: Path, files: Files, pause: Pause = go_on
) -> Iterator[Candidate]:
    """Open the candidate of `snapshot` in `directory`, with its manifest, for the block.

    Raises as `fetch_manifest`, and `CorruptManifest` if its file cannot have that name here.
    """
    with (
        fetch_manifest(source, snapshot, directory, files, pause) as manifest,
        Candidate(directory, manifest, files) as candidate,
    ):
        try:
            check_data_name(manifest.path)
        except InvalidValue as wrong:
            raise CorruptManifest(f"the base backup: {wrong}") from wrong
        yield candidate
