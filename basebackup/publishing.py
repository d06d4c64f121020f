"""Manifests as files: a manifest that exists under its name is whole, valid and durable.

The primary describes a data file while reading it once; the replica writes down what the source
sent. The one goes through `write_manifest`, the other through `receive_manifest`.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bootledger.basebackup.manifest import (
    Chunk,
    Header,
    Manifest,
    announced_bytes,
    decode,
    encode,
)
from bootledger.errors import (
    BootledgerError,
    CorruptManifest,
    InvalidValue,
    SourceUnavailable,
    Stopped,
    UnknownFormat,
)
from bootledger.files import Files, OpenFile, temporary_path, translated

DEFAULT_CHUNK_BYTES = 4 * 2**20
_PIECE_BYTES = 2**20


def describe(  # noqa: PLR0913 - most are the fields of the header
    file: OpenFile,
    *,
    source_identity: str,
    timeline: int,
    start_lsn: int,
    checkpoint_lsn: int,
    path: str,
    files: Files,
    manifest_path: Path,
    chunk_bytes: int = DEFAULT_CHUNK_BYTES,
    pause: Callable[[], None] = lambda: None,
) -> Manifest:
    """Write the manifest of `file` to `manifest_path`, and return it open: close it when done.

    The file is read once, a chunk at a time; nobody may write to it meanwhile or afterwards. It is
    made durable first, so a manifest never describes bytes that a loss of power can take away.
    `pause` is called before each chunk; what it raises ends the reading. Otherwise as
    `write_manifest`. Raises `InvalidValue` for a field that `Header` refuses, and if the file
    shrinks while it is read.
    """
    size_bytes = file.size_bytes()
    header = Header(
        source_identity=source_identity,
        timeline=timeline,
        start_lsn=start_lsn,
        checkpoint_lsn=checkpoint_lsn,
        path=path,
        size_bytes=size_bytes,
        chunk_bytes=chunk_bytes,
        chunk_count=-(-size_bytes // max(chunk_bytes, 1)),
    )
    files.point("manifest.describing")
    file.sync()
    return write_manifest(manifest_path, encode(header, _chunks_of(file, header, pause)), files)


def write_manifest(
    path: Path, pieces: Iterable[bytes], files: Files, *, digest: str | None = None
) -> Manifest:
    """Write the encoded manifest that `pieces` add up to, and return it open: close it when done.

    It gets its name only after it was synced, read back and found valid, and to have the root
    `digest` if one is given. Whatever had the name is replaced. Durable when this returns. If it
    raises, the name is untouched and nothing is left behind; a crash can leave a temporary file,
    which the next call writes over. Memory does not grow with the number of pieces.

    Raises what `open_manifest` raises, `OutOfSpace`, `ReadOnly`, and whatever `pieces` raises.
    Passes `manifest.written`, `manifest.synced`, `manifest.renamed` and `manifest.published`.
    """
    temporary = temporary_path(path)
    try:
        with files.open(temporary, size_bytes=0) as file:
            offset_bytes = 0
            for piece in pieces:
                file.write_at(offset_bytes, piece)
                offset_bytes += len(piece)
            files.point("manifest.written")
            file.sync()
        return _named(temporary, path, files, digest)
    except BootledgerError:
        files.remove(temporary)
        raise


def receive_manifest(
    path: Path,
    read: Callable[[int, int], bytes],
    files: Files,
    *,
    digest: str | None = None,
    pause: Callable[[], None] = lambda: None,
) -> Manifest:
    """Write the encoded manifest that somebody else has, and return it open: close it when done.

    `read` returns the bytes at an offset, as many as it is asked for; `pause` is called before each
    time, and what it raises ends the call. Nobody is believed: what the first bytes announce must
    be what a manifest can be, no more than that is taken, and there must be room for it before
    anything is written. What a call that broke off has written stays, and the next one goes on from
    there; if the result is wrong, it begins anew, once. Otherwise as `write_manifest`.
    """
    temporary = temporary_path(path)
    try:
        resumed = _received(temporary, read, files, pause)
        try:
            return _named(temporary, path, files, digest)
        except (CorruptManifest, UnknownFormat):
            if not resumed:
                raise
        files.remove(temporary)
        _received(temporary, read, files, pause)
        return _named(temporary, path, files, digest)
    except (SourceUnavailable, Stopped):
        raise  # the next call goes on
    except BootledgerError:
        files.remove(temporary)
        raise


def _received(
    temporary: Path,
    read: Callable[[int, int], bytes],
    files: Files,
    pause: Callable[[], None],
) -> bool:
    """Write what is missing of a manifest; return whether anything was there already."""
    with translated(temporary):
        is_file = temporary.is_file() and not temporary.is_symlink()
        here_bytes = temporary.stat().st_size if is_file else 0
    if here_bytes:
        with files.open_to_read(temporary) as file:
            start = file.read_at(0, _PIECE_BYTES)
    else:
        pause()
        start = read(0, _PIECE_BYTES)
    try:
        end_bytes = announced_bytes(start)
        if not here_bytes:
            _check_length(start, 0, end_bytes)
    except (CorruptManifest, UnknownFormat):
        if not here_bytes:
            raise
        end_bytes = 0
    if here_bytes > end_bytes:  # written by nobody, or damaged by a loss of power
        files.remove(temporary)
        return _received(temporary, read, files, pause)
    files.check_room(temporary.parent, end_bytes - here_bytes)
    with files.open(temporary, size_bytes=here_bytes) as file:
        offset_bytes = here_bytes
        if not here_bytes:
            file.write_at(0, start)
            offset_bytes = len(start)
        while offset_bytes < end_bytes:
            pause()
            piece = read(offset_bytes, min(_PIECE_BYTES, end_bytes - offset_bytes))
            _check_length(piece, offset_bytes, end_bytes)
            file.write_at(offset_bytes, piece)
            offset_bytes += len(piece)
        files.point("manifest.written")
        file.sync()
    return here_bytes > 0


def _check_length(piece: bytes, offset_bytes: int, end_bytes: int) -> None:
    expected_bytes = min(_PIECE_BYTES, end_bytes - offset_bytes)
    if len(piece) != expected_bytes:
        raise CorruptManifest(
            f"{len(piece)} bytes came at byte {offset_bytes}, {expected_bytes} of the "
            f"{end_bytes} that are announced were expected"
        )


def _named(temporary: Path, path: Path, files: Files, digest: str | None) -> Manifest:
    manifest = open_manifest(temporary, digest=digest)
    files.point("manifest.synced")
    with translated(path):
        temporary.replace(path)
    files.point("manifest.renamed")
    files.sync_directory(path.parent)
    files.point("manifest.published")
    return manifest


def open_manifest(path: Path, *, digest: str | None = None) -> Manifest:
    """Return the manifest in the file at `path`, mapped and checked. Close it when done.

    `with open_manifest(path) as manifest:` is the usual way. The file may be renamed or removed
    meanwhile, but never cut short: manifests are replaced, not written to.

    Raises `CorruptManifest` or `UnknownFormat` with the path and what is wrong, `CorruptManifest`
    too if `digest` is given and it is another one; `Unavailable` if the file cannot be read.
    """
    with translated(path), path.open("rb") as file:
        # An empty file cannot be mapped; it is refused like any other that is too short.
        empty = os.fstat(file.fileno()).st_size == 0
        mapped = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        manifest = decode(memoryview(mapped))
    except (CorruptManifest, UnknownFormat) as wrong:
        raise type(wrong)(f"{path}: {wrong}", hint=wrong.hint) from wrong
    if digest not in (None, manifest.digest):
        manifest.close()
        raise CorruptManifest(f"{path}: root digest {manifest.digest}, expected {digest}")
    return manifest


def _chunks_of(file: OpenFile, header: Header, pause: Callable[[], None]) -> Iterator[Chunk]:
    for ordinal in range(header.chunk_count):
        pause()
        offset_bytes = ordinal * header.chunk_bytes
        length_bytes = min(header.chunk_bytes, header.size_bytes - offset_bytes)
        data = file.read_at(offset_bytes, length_bytes)
        if len(data) != length_bytes:
            raise InvalidValue(
                f"{file.path} shrank from {header.size_bytes} to {file.size_bytes()} bytes",
                hint="describe a copy that nobody writes to",
            )
        yield Chunk.of(ordinal, offset_bytes, data)
