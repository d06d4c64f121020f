"""Where the prints of a caller's code go while the answer is worked out."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

_STDOUT, _STDERR = 1, 2


@contextlib.contextmanager
def prints_on_standard_error() -> Iterator[None]:
    """Send what the caller's code prints to standard error, also from its processes.

    Standard output is for the answer. Processes know it by its descriptor only, so that is what
    is turned aside.
    """
    ours = sys.stdout
    ours.flush()
    kept = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        ours.flush()  # of whoever kept the stream of before
        os.dup2(kept, _STDOUT)
        os.close(kept)
