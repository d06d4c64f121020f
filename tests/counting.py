"""A database of numbers that tells a whole from a mixture, and readers that look at it for ever.

Change n puts n under the key n % KEYS, so that one number says what a whole database holds.
"""

from __future__ import annotations

from pathlib import Path

from bootledger.files import Files
from bootledger.replica.database import Database

KEYS = 50

STATE = f"""
import sys, time
from pathlib import Path
import lmdb

def state(env):
    with env.begin() as txn:
        data = env.open_db(b"data", txn, create=False)
        held = {{int(key): int(value) for key, value in txn.cursor(data)}}
    last = max(held.values())
    expected = {{key: last - (last - key) % {KEYS} for key in range({KEYS})}}
    assert held == expected, f"a mixture: {{held}}"
    return last

def opened(directory):
    return lmdb.open(str(directory), readonly=True, max_dbs=8, map_size=2**30)
"""
"""For the code of readers: `state` returns the number that a whole database holds."""

READS_CURRENT = f"""{STATE}
from bootledger.replica.readers import open_current

said = None
while True:
    with open_current(Path(sys.argv[1])) as directory:
        time.sleep(0.005)  # what is held stays: there is no hurry
        with opened(directory) as env:
            now = f"{{directory.name}} {{state(env)}}"
    if now != said:
        said = now
        print(now, flush=True)
"""
"""Reads what is in service, and prints generation and number whenever they have changed."""


def write_numbers(primary: Path, count: int, *, forget: bool = True) -> int:
    """Write the next `count` numbers, let the log forget most of them, and return the last."""
    with Database.open(primary, Files(), name="primary") as database:
        return count_on(database, count, forget=forget)


def count_on(database: Database, count: int, *, forget: bool) -> int:
    """Write the next `count` numbers, let the log forget most of them, and return the last."""
    last = database.last_lsn()
    numbers = range(last + 1, last + count + 1)
    last = database.write([(b"%d" % (n % KEYS), b"%d" % n) for n in numbers])
    if forget:
        database.prune(last - 10)
    return last
