"""How the memory of a worker is given out, where that is a matter of time."""

from __future__ import annotations

import ctypes
import sys

_M_MMAP_THRESHOLD = -3  # of <malloc.h>, in glibc
_THRESHOLD_BYTES = 512 * 1024


def expect_openings() -> None:
    """Have this process, a worker, open LMDB environments in half the time. Harmless elsewhere.

    LMDB asks for two megabytes of zeros at every opening to write. Memory that was freed before is
    cleared byte by byte; what glibc maps for it anew, from the system, is zeros already.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES)
