"""The application that keeps writing to the demonstration's primary, in a process of its own."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from bootledger.files import Files
from bootledger.replica.database import Database

_PAUSE_S = 0.004
_RECORDS = 50_000
_DELETIONS = 0.1


def write_until_told(path: Path, seed: int) -> None:
    """Write small random transactions until SIGTERM, or until the parent is gone."""
    chance = random.Random(seed)  # noqa: S311 - a demonstration, not a secret
    parent = os.getppid()
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
    with Database.open(path, Files(), name="primary") as primary:
        while not told and os.getppid() == parent:
            primary.write(_transaction(chance))
            time.sleep(_PAUSE_S)


def _transaction(chance: random.Random) -> list[tuple[bytes, bytes | None]]:
    return [
        (
            b"live/%08d" % chance.randrange(_RECORDS),
            None if chance.random() < _DELETIONS else chance.randbytes(chance.randrange(20, 500)),
        )
        for _ in range(chance.randrange(1, 40))
    ]


if __name__ == "__main__":
    write_until_told(Path(sys.argv[1]), int(sys.argv[2]))
