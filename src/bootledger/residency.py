"""Keep a full read of an LMDB file from counting as resident memory.

LMDB reads through a shared mapping: whoever scans a database of 1 GiB "has" 1 GiB resident, though
every page of it is page cache that the kernel may drop. On machines with memory limits that looks
like a leak and can be killed like one. Letting go of the mapping's pages while scanning keeps the
figure flat; the pages stay in the page cache, and touching one again maps it again.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

_LOW_BYTES = 40 * 2**20
_LIBC = ctypes.CDLL(None, use_errno=True)


def release_pages(file: Path) -> None:
    """Unmap the resident pages of `file` from this process. Harmless to readers and writers.

    The mapping must stay where it is meanwhile: call this only while the environment is kept open
    and its map cannot be resized, as inside of a transaction of `bootledger.environment`. Does
    nothing where the system has no `/proc/self/maps` (macOS): there the pages count until the
    environment is closed.
    """
    try:
        maps = Path("/proc/self/maps").read_text(errors="surrogateescape")
        inode = file.stat().st_ino
        name = os.path.realpath(file)
    except OSError:
        return
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)
        # Only shared mappings: of those, the file itself keeps every byte. The name as well as the
        # inode, because two file systems may use one inode number, and the other's mapping is
        # nobody's promise to keep.
        if int(fields[4]) == inode and fields[1].endswith("s") and fields[5] == name:
            start, end = (int(part, 16) for part in fields[0].split("-"))
            _LIBC.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)


def keep_residency_low(file: Path) -> None:
    """Let go of the pages of `file` if this process has more of any files resident than it should.

    Takes microseconds when there is nothing to do. Call it again and again in the course of a long
    work, and every few records if they lie anywhere: touching one byte may map two megabytes. The
    mapping must stay where it is meanwhile, as for `release_pages`.
    """
    try:
        fd = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        pages = int(os.read(fd, 200).split()[2])
    finally:
        os.close(fd)
    if pages * mmap.PAGESIZE > _LOW_BYTES:
        release_pages(file)
