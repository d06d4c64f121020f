"""Memory stays flat: what a whole replication has resident does not follow the database."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import processes
import pytest
from replicas import NODE, assert_equal

from bootledger.files import Files
from bootledger.replica.database import Database

MIB = 2**20
DATABASE_BYTES = 256 * MIB
ALLOWED_BYTES = 110 * MIB
CHANGES = 20_000
VALUE_BYTES = 16_000  # four pages a record: wherever a key lies, it is a page of its own

MEASURES = """
import resource, subprocess, sys
command = [sys.executable, "-m", "bootledger", "replicate", *sys.argv[1:]]
subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


def peak_of_replicate(primary: Path, target: Path) -> int:
    """Run the command and return its highest resident set; its parent is smaller than that."""
    return int(processes.run(MEASURES, primary, target, "--node", NODE))


@pytest.mark.xdist_group("memory")
def test_copy_and_catch_up_of_a_large_database_stay_small(tmp_path: Path) -> None:
    """256 MiB under random keys, then 20,000 changes anywhere in them: neither is resident."""
    chance = random.Random(5)
    primary, target = tmp_path / "primary", tmp_path / "replica"
    keys = [chance.randbytes(16) for _ in range(DATABASE_BYTES // VALUE_BYTES)]
    Database.create(primary, Files())
    with Database.open(primary, Files(), name="primary") as database:
        for first in range(0, len(keys), 500):
            records = [(key, chance.randbytes(VALUE_BYTES)) for key in keys[first : first + 500]]
            database.prune(database.write(records))
    assert (primary / "data.mdb").stat().st_size > DATABASE_BYTES
    in_copy = peak_of_replicate(primary, target)

    with Database.open(primary, Files(), name="primary") as database:
        for _ in range(CHANGES // 1000):
            database.write([(chance.choice(keys), chance.randbytes(100)) for _ in range(1000)])
    in_catch_up = peak_of_replicate(primary, target)

    assert_equal(primary, target)
    shutil.rmtree(tmp_path)  # half a gigabyte
    assert {"copy": in_copy < ALLOWED_BYTES, "catch-up": in_catch_up < ALLOWED_BYTES} == {
        "copy": True,
        "catch-up": True,
    }, f"{in_copy / MIB:.0f} MiB in the copy, {in_catch_up / MIB:.0f} MiB in the catch-up"
