"""What staging costs over plain writing, and what a manifest of many chunks costs to open.

    python benchmarks/staging.py [DIRECTORY]

Writes 1 GiB twice into DIRECTORY (default: a temporary one). Only ratios of one run compare.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

from bootledger.basebackup.manifest import Chunk, Header, encode
from bootledger.basebackup.publishing import describe, open_manifest, write_manifest
from bootledger.basebackup.staging import Candidate
from bootledger.files import Files

MIB = 2**20
CHUNK_BYTES = 4 * MIB
SIZE_BYTES = 1024 * MIB
MANY_CHUNKS = 1_300_000
ROUNDS = 3


def plain(directory: Path, chunks: list[bytes]) -> float:
    """Write and sync chunk by chunk into an allocated file; return the seconds it took."""
    (directory / "plain").unlink(missing_ok=True)
    os.sync()  # what was written or freed before is not to be paid for here
    fd = os.open(directory / "plain", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(fd, 0, SIZE_BYTES)
    os.fsync(fd)
    began_s = time.perf_counter()
    for ordinal, data in enumerate(chunks):
        os.pwrite(fd, data, ordinal * CHUNK_BYTES)
        os.fdatasync(fd)
    took_s = time.perf_counter() - began_s
    os.close(fd)
    return took_s


def staged(directory: Path, chunks: list[bytes], files: Files) -> float:
    """Stage the same chunks by the manifest of the plain file; return the seconds it took."""
    (directory / "gen" / "data.mdb").unlink(missing_ok=True)
    os.sync()
    with (
        open_manifest(directory / "manifest") as manifest,
        Candidate(directory / "gen", manifest, files) as candidate,
    ):
        candidate.prepare()
        began_s = time.perf_counter()
        for chunk, data in zip(candidate.missing(()), chunks, strict=True):
            candidate.stage(chunk, data)
        return time.perf_counter() - began_s


def main(directory: Path) -> None:
    """Measure both and print the results."""
    files = Files()
    some = [os.urandom(CHUNK_BYTES) for _ in range(8)]
    chunks = [some[i % len(some)] for i in range(SIZE_BYTES // CHUNK_BYTES)]
    plain(directory, chunks)
    began_s = time.perf_counter()
    with files.open(directory / "plain") as file:
        describe(
            file,
            source_identity="benchmark",
            timeline=1,
            start_lsn=1,
            checkpoint_lsn=1,
            path="data.mdb",
            files=files,
            manifest_path=directory / "manifest",
        ).close()
    took_s = time.perf_counter() - began_s
    print(f"describe 1 GiB: {took_s:.2f} s, {SIZE_BYTES / MIB / took_s:.0f} MiB/s")
    for number in range(ROUNDS):
        plain_s, staged_s = plain(directory, chunks), staged(directory, chunks, files)
        print(
            f"round {number + 1}: plain {SIZE_BYTES / MIB / plain_s:.0f} MiB/s, "
            f"staged {SIZE_BYTES / MIB / staged_s:.0f} MiB/s, ratio {staged_s / plain_s:.2f}"
        )

    size_bytes = MANY_CHUNKS * 8 * MIB
    header = Header("benchmark", 1, 1, 1, "data.mdb", size_bytes, 8 * MIB, MANY_CHUNKS)
    entries = (Chunk(i, i * 8 * MIB, 8 * MIB, i, bytes(32)) for i in range(MANY_CHUNKS))
    path = directory / "many"
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began_s = time.perf_counter()
    write_manifest(path, encode(header, entries), files).close()
    print(f"{MANY_CHUNKS} chunks ({path.stat().st_size / MIB:.0f} MiB):")
    print(f"  write and check: {time.perf_counter() - began_s:.2f} s")
    began_s = time.perf_counter()
    open_manifest(path).close()
    print(f"  decode and validate: {time.perf_counter() - began_s:.2f} s")
    after_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"  peak resident: {(after_kib - before_kib) / 1024:.0f} MiB more, the mapped file itself"
    )
    with open_manifest(path) as manifest:
        began_s = time.perf_counter()
        found = next(manifest.covering([(size_bytes - 1, size_bytes)]))
        print(f"  find chunk {found.ordinal}: {1e6 * (time.perf_counter() - began_s):.0f} us")
    tracemalloc.start()
    open_manifest(path).close()
    print(f"  peak of Python's memory: {tracemalloc.get_traced_memory()[1] / 1024:.0f} KiB")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))
