"""Many replicas at once of one primary, a rate that is kept, and compression on a slow link.

Run: python benchmarks/network_replicas.py [REPLICAS [MIB]]

50 replicas (or REPLICAS) of a database of 64 MiB (or MIB) start at once; all must end without an
error, equal, and out of one base backup. Then one replica with a limit of 10 MB/s at the server,
and one with it at the replica; and one of text through a link of 20 MB/s, compressed and not.
"""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from network_parts import (
    MIB,
    Replica,
    build,
    proxied,
    remove,
    replicate,
    serving,
)

from bootledger.files import Files
from bootledger.replica.database import Database
from bootledger.replica.readers import open_current

RATE = 10_000_000
"""Bytes a second."""


def digest_of(target: Path) -> tuple[int, str]:
    """Return what is in service in a target."""
    with (
        open_current(target) as directory,
        Database.open(directory, Files(), name="reader") as replica,
    ):
        return replica.digest()


def many_at_once(work: Path, count: int) -> None:
    """Start so many replicas at once, and print how it went."""
    targets = [work / f"replica-{number}" for number in range(count)]
    with (
        serving(work / "primary") as (address, memory),
        ThreadPoolExecutor(count) as pool,
    ):
        began_s = time.perf_counter()

        def start(target: Path) -> Replica:
            return replicate(address, target, node=target.name)

        runs = list(pool.map(start, targets))
        took_s = time.perf_counter() - began_s
        size_bytes = (work / "primary" / "data.mdb").stat().st_size
        moved = count * size_bytes / took_s / 1e6
        print(f"{count} replicas of {size_bytes / MIB:.0f} MiB: {took_s:.1f} s, {moved:.0f} MB/s")
        with Database.open(work / "primary", Files(), name="primary") as primary:
            expected = primary.digest()
        equal = sum(digest_of(target) == expected for target in targets)
        print(f"  equal: {equal} of {count}")
        print(f"  server: {memory}")
        print(f"  worst replica: {max((run.memory for run in runs), key=lambda it: it.peak)}")
    for target in targets:
        remove(target)


def copied_s(address: str, work: Path, *options: str) -> float:
    """Return how long the copy of a new replica takes."""
    run = replicate(address, work / "replica", *options)
    remove(work / "replica")
    return run.phases_s["copying"]


def rates(work: Path) -> None:
    """Print which rate came of a limit on either side."""
    size_bytes = (work / "primary" / "data.mdb").stat().st_size
    for where in ("server", "replica"):
        limit = ("--max-rate", str(RATE))
        at_server, at_replica = (limit, ()) if where == "server" else ((), limit)
        with serving(work / "primary", *at_server) as (address, _):
            rate = size_bytes / copied_s(address, work, *at_replica)
            print(
                f"limit of {RATE / 1e6:.0f} MB/s at the {where}: {rate / 1e6:.2f} MB/s", flush=True
            )


def text(path: Path, mib: int) -> None:
    """Create a primary of values that compress as logs do."""
    Database.create(path, Files())
    line = "2026-11-29T10:00:{:02d} host-{} GET /v1/items/{} 200 {} bytes in {} ms\n"
    with Database.open(path, Files(), name="primary") as primary:
        for batch in range(mib):
            lines = [
                line.format(n % 60, n * 7919 % 97, n * 104729 % 999983, n * 31 % 4096, n % 211)
                for n in range(batch * 16_000, batch * 16_000 + 16_000)
            ]
            values = ("".join(lines[at : at + 250]).encode() for at in range(0, 16_000, 250))
            primary.prune(primary.write([(b"%d/%d" % (batch, i), v) for i, v in enumerate(values)]))


def compression(work: Path, mib: int) -> None:
    """Print what compression gains on a link of 20 MB/s, and costs on a free one."""
    text(work / "text", mib)
    with (
        serving(work / "text") as (address, _),
        proxied(address, "slow") as slow,
    ):
        for name, link in (("a link of 20 MB/s", slow), ("loopback", address)):
            off_s, on_s, auto_s = (
                copied_s(link, work, "--compression", how) for how in ("off", "on", "auto")
            )
            print(f"{name}: copy of text {off_s:.2f} s, compressed {on_s:.2f}, auto {auto_s:.2f}")


def main() -> None:
    """Measure and print."""
    asked = [int(word) for word in sys.argv[1:]]
    count, mib = (*asked, *(50, 64)[len(asked) :])
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        build(work / "primary", mib)
        many_at_once(work, count)
        rates(work)
        compression(work, mib)


if __name__ == "__main__":
    main()
