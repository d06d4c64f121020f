"""Copy an LMDB file while it is written to, in memory that does not grow with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb

from bootledger.residency import keep_residency_low

_PIECE_BYTES = 2**20


def copy_file(env: lmdb.Environment, source: Path, target: Path, pause: Callable[[], None]) -> None:
    """Write the file of `env`, which is `source`, as it is now, to the new file `target`.

    Durable when this returns, except for the name. `pause` is called before each piece; what it
    raises ends the copy. Whatever stops it leaves `target` behind. Raises `OSError` where writing
    fails, `lmdb.Error` where reading does.

    LMDB copies in the order of the pages, free ones included. In the order of the keys (compact) it
    would jump about, and as one touched byte maps up to two megabytes of page cache, most of the
    file would be resident at once. Pages that stay where they are also keep their digests from one
    copy to the next. The pipe makes LMDB wait while pages are let go of.
    """
    reading, writing = os.pipe()
    with contextlib.suppress(AttributeError, OSError):  # a system's own size is only slower
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIECE_BYTES)

    def produce() -> None:
        try:
            env.copyfd(writing)
        finally:
            os.close(writing)

    with ThreadPoolExecutor(max_workers=1) as pool, target.open("xb", buffering=0) as file:
        produced = pool.submit(produce)
        try:
            while piece := os.read(reading, _PIECE_BYTES):
                pause()
                rest = memoryview(piece)
                while rest:
                    rest = rest[file.write(rest) :]
                keep_residency_low(source)
        finally:
            os.close(reading)  # a producer that is not done gets a broken pipe, and ends
        produced.result()
        os.fsync(file.fileno())
