"""A large file, copied so that no death costs more than a chunk, and kept up to date.

    python examples/copy_file.py             # in a directory of its own, which is removed
    python examples/copy_file.py FILE TARGET # your own: run it again whenever you like

The second run has nothing to do; after a change, the third fetches the changed chunk alone.
"""

from __future__ import annotations

import sys
import tempfile
from hashlib import shake_128
from pathlib import Path

from bootledger.files import Files
from bootledger.replica.observer import Observer
from bootledger.replica.readers import data_file, open_current
from bootledger.replica.sources.copying import copy
from bootledger.replica.sources.file import FileSource
from bootledger.replica.sources.spool import SPOOL_NAME
from bootledger.statemachine.ranges import Range

CHUNK_BYTES = 2**18


class Fetched(Observer):
    """Adds up what came from the source."""

    total_bytes = 0

    def on_fetched(self, fetched: Range) -> None:
        """Count it."""
        self.total_bytes += fetched.end_bytes - fetched.start_bytes


def bring_up_to_date(file: Path, target: Path) -> None:
    """Copy what is missing, and say what that was."""
    fetched = Fetched()
    with FileSource(file, target / SPOOL_NAME, Files(), chunk_bytes=CHUNK_BYTES) as source:
        outcome = copy(source, target, "copy-1", observer=fetched)
    with open_current(target) as directory:
        where = data_file(directory).relative_to(target.resolve())
    print(f"generation {outcome.generation}: {fetched.total_bytes} bytes fetched into {where}")


def show(place: Path) -> None:
    """Copy a file, again, and once more after a change."""
    file, target = place / "large.bin", place / "copy"
    data = bytearray(shake_128(b"any bytes").digest(16 * CHUNK_BYTES))
    file.write_bytes(data)
    bring_up_to_date(file, target)
    bring_up_to_date(file, target)
    data[7 * CHUNK_BYTES] ^= 1
    file.write_bytes(data)
    bring_up_to_date(file, target)
    with open_current(target) as directory:
        print("equal" if data_file(directory).read_bytes() == data else "DIFFERENT")


if __name__ == "__main__":
    if sys.argv[1:]:
        bring_up_to_date(*map(Path, sys.argv[1:]))
    else:
        with tempfile.TemporaryDirectory() as name:
            show(Path(name))
