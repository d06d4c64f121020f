"""A whole replication against `cp` and sync of the same file, and its peak resident memory.

Run: python benchmarks/replicate.py [MIB]

Builds a primary of 1 GiB (or MIB), then in turn copies its file with `cp` and `sync`, and
replicates it with the real command, each into a new place. Quote the ratio: disks drift.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bootledger.files import Files
from bootledger.replica.database import Database

RUNS = 3
VALUE_BYTES = 64 * 1024


def build(path: Path, mib: int) -> None:
    """Create a primary of about this size out of random values."""
    Database.create(path, Files())
    value = os.urandom(VALUE_BYTES)
    with Database.open(path, Files(), name="primary") as primary:
        for batch in range(mib // 4):
            primary.prune(
                primary.write([(b"%d/%d" % (batch, i), value[i:] + value[:i]) for i in range(64)])
            )


def timed(command: list[str]) -> float:
    """Run a command and return how many seconds it took."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    mib = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        build(work / "primary", mib)
        size_bytes = (work / "primary" / "data.mdb").stat().st_size
        copies, replications = [], []
        for _ in range(RUNS):
            copies.append(
                timed(["sh", "-c", f"cp {work}/primary/data.mdb {work}/copy && sync {work}/copy"])
            )
            (work / "copy").unlink()
            replications.append(
                timed(
                    [
                        *(sys.executable, "-m", "bootledger", "replicate", "--node", "n"),
                        *(str(work / "primary"), str(work / "replica")),
                    ]
                )
            )
            shutil.rmtree(work / "replica")
        peak_bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        ratios = [
            copy / replication for copy, replication in zip(copies, replications, strict=True)
        ]
        print(f"size            {size_bytes / 2**20:8.0f} MiB")
        print(f"cp and sync     {statistics.median(copies):8.2f} s")
        print(f"replicate       {statistics.median(replications):8.2f} s (publish, copy, verify)")
        print(f"cp / replicate  {statistics.median(ratios):8.2f}")
        print(f"peak resident   {peak_bytes / 2**20:8.0f} MiB")


if __name__ == "__main__":
    main()
