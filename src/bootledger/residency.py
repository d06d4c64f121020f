"""Keep a full read of an LMDB file from counting as resident memory.

LMDB reads through a shared mapping: whoever scans a database of 1 GiB "has" 1 GiB resident, though
every page of it is page cache that the kernel may drop. On machines with memory limits that looks
like a leak and can be killed like one. Letting go of the mapping's pages while scanning keeps the
figure flat; the pages stay in the page cache, and touching one again maps it again.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import threading
from collections.abc import Iterator
from pathlib import Path

_INTERVAL_S = 0.01


def release_pages(file: Path) -> None:
    """Unmap the resident pages of `file` from this process. Harmless to readers and writers.

    Does nothing where the system has no `/proc/self/maps` (macOS): there the pages count until the
    environment is closed.
    """
    try:
        maps = Path("/proc/self/maps").read_text(errors="surrogateescape")
        inode = file.stat().st_ino
    except OSError:
        return
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)
        # Only shared mappings: of those, the file itself keeps every byte.
        if int(fields[4]) == inode and fields[1].endswith("s"):
            start, end = (int(part, 16) for part in fields[0].split("-"))
            _LIBC.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)


@contextlib.contextmanager
def flat_residency(file: Path) -> Iterator[None]:
    """Let go of the pages of `file` again and again for as long as the block runs."""
    done = threading.Event()

    def sweep() -> None:
        while not done.wait(_INTERVAL_S):
            release_pages(file)

    sweeper = threading.Thread(target=sweep, name="bootledger-residency", daemon=True)
    sweeper.start()
    try:
        yield
    finally:
        done.set()
        sweeper.join()
        release_pages(file)


_LIBC = ctypes.CDLL(None, use_errno=True)
