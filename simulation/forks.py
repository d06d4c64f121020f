"""Forked children that share nothing with their parent but what they were born with."""

from __future__ import annotations

import gc
import os
import warnings


def fork() -> int:
    """Fork: the child's pid in the parent, 0 in the child, which must end with `os._exit`.

    What the parent left for its garbage collector is not collected in the child: a temporary
    directory or an open database would be tidied up twice.
    """
    with warnings.catch_warnings():
        # Python 3.12 warns where the parent has threads. The child uses none of their locks.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        gc.freeze()
    return child
