"""A model of the database: a reproducible stream of operations, and the records that it leads to.

`operation(n)` is what the change with LSN n does, so that any process, and any test, knows what a
database at any LSN must hold.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from struct import pack

from blake3 import blake3

from bootledger.files import Files
from bootledger.replica.database import Database
from bootledger.replica.ports import Change

IN_CHILD = f"""
import sys
sys.path.append({str(Path(__file__).parent)!r})
from pathlib import Path
from bootledger.files import Files
from bootledger.primary.source import LocalSource
from bootledger.replica.database import Database
from database_model import *
"""
"""What the code of a child process begins with."""


def operation(n: int) -> tuple[bytes, bytes | None]:
    """Return the operation of LSN `n`: few keys, so that they are written over and deleted."""
    chance = random.Random(n)
    key = b"key-%d" % chance.randrange(50)
    return key, (None if chance.random() < 0.2 else b"%d:" % n + chance.randbytes(n % 300))


def operations(first: int, last: int) -> list[tuple[bytes, bytes | None]]:
    """Return the operations from LSN `first` to LSN `last`, both included."""
    return [operation(n) for n in range(first, last + 1)]


def stream(first: int, last: int) -> list[Change]:
    """Return the changes from LSN `first` to LSN `last`, both included."""
    return [Change(n, *operation(n)) for n in range(first, last + 1)]


def records(done: Iterable[tuple[bytes, bytes | None]]) -> dict[bytes, bytes]:
    """Return what a database holds after these operations."""
    held: dict[bytes, bytes | None] = dict(done)  # the last one to a key is the one that counts
    return {key: value for key, value in held.items() if value is not None}


def digest(held: dict[bytes, bytes]) -> str:
    """Return the digest of these records, as docs/format.md defines it."""
    parts = (pack(">HI", len(k), len(held[k])) + k + held[k] for k in sorted(held))
    return blake3(b"".join(parts)).hexdigest()


def digest_at(lsn: int) -> str:
    """Return the digest of a database that holds the stream up to `lsn`."""
    return digest(records(operations(1, lsn)))


def create(path: Path, *, last: int = 0, name: str = "primary", batch: int = 500) -> Database:
    """Create a database that holds the stream up to LSN `last`, and open it."""
    Database.create(path, Files())
    database = Database.open(path, Files(), name=name)
    for start in range(1, last + 1, batch):
        database.write(operations(start, min(start + batch - 1, last)))
    return database


def fill(database: Database, size_mb: int) -> None:
    """Write records of 64 KiB that nothing can compress, a MiB to a transaction."""
    chance = random.Random(size_mb)
    for _ in range(size_mb):
        database.write(
            (b"%06d-%02d" % (chance.randrange(10**6), i), chance.randbytes(65536))
            for i in range(16)
        )
