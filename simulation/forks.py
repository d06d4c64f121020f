"""Forked children that share nothing with their parent but what they were born with."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import warnings

_PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
_LIBC = ctypes.CDLL(None)


def fork() -> int:
    """Fork: the child's pid in the parent, 0 in the child, which must end with `os._exit`.

    What the parent left for its garbage collector is not collected in the child: a temporary
    directory or an open database would be tidied up twice. The child dies with its parent.
    """
    parent = os.getpid()
    with warnings.catch_warnings():
        # Python 3.12 warns where the parent has threads. The child uses none of their locks.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        gc.freeze()
        die_with(parent)
    return child


def die_with(parent: int) -> None:
    """Have this process killed when the thread that forked it ends, and so when `parent` dies.

    Only Linux knows how: elsewhere an orphan goes on to its end.
    """
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it was dead before this process asked
            os._exit(-signal.SIGKILL)
