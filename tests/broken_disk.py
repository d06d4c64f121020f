"""A disk that fails for real, once: what LMDB writes next is refused by the operating system."""

from __future__ import annotations

import os
from pathlib import Path


def break_data_file(path: Path) -> None:
    """Let the next commit to the environment `path` fail, until it is opened again.

    Every descriptor that this process has of the data file is replaced by one that cannot write.
    """
    data = path / "data.mdb"
    stat = data.stat()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found = os.fstat(int(entry.name))
        except OSError:
            continue  # the descriptor of this very listing
        if os.path.samestat(found, stat):
            replacement = os.open(data, os.O_RDONLY)
            os.dup2(replacement, int(entry.name))
            os.close(replacement)
