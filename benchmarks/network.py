"""A bootstrap over HTTP against `curl` and one CRC pass, and over a long line against a short one.

Run: python benchmarks/network.py [MIB [VALUE_BYTES [RUNS]]]

Builds a primary of 2 GiB (or MIB) out of values of 64 KiB (or VALUE_BYTES). In turn, RUNS times:
`curl` fetches its base backup from nginx, reads it once for a CRC32C and syncs it; and the real
commands bring a new replica up to date from `bootledger serve`, where the base backup exists
already. Then the same through a proxy with nothing in between, and with 25 ms each way. Quote the
ratios: disks and neighbours drift. Memory is what the kernel says of each process; LMDB maps its
files, so what is resident of them is the page cache's.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from network_parts import (
    MIB,
    Memory,
    Replica,
    build,
    cpu_s,
    curl_and_crc,
    held,
    nginx,
    proxied,
    remove,
    replicate,
    serving,
)


def median_of(name: str, took_s: list[float], size_bytes: int) -> float:
    """Print the times of one thing, and return their median."""
    median = statistics.median(took_s)
    each = ", ".join(f"{it:.2f}" for it in took_s)
    print(f"{name:32} {median:7.2f} s  {size_bytes / median / 1e6:6.0f} MB/s  ({each})", flush=True)
    return median


def ratio_of(name: str, others: list[float], ours: list[float]) -> None:
    """Print the median of the ratios of runs that were made in turn."""
    ratios = [other / our for other, our in zip(others, ours, strict=True)]
    print(f"{name:32} {statistics.median(ratios):7.2f}", flush=True)


def phases_of(runs: list[Replica]) -> None:
    """Print where the time went."""
    names = list(dict.fromkeys(name for run in runs for name in run.phases_s))
    for name in names:
        took_s = statistics.median(run.phases_s.get(name, 0) for run in runs)
        print(f"    {name:28} {took_s:7.2f} s")


def worst(memories: list[Memory]) -> Memory:
    """Return the one with the highest peak."""
    return max(memories, key=lambda memory: memory.peak)


def on_loopback(work: Path, address: str, server: int, runs: int) -> None:
    """Compare with curl and one CRC pass over the same file."""
    size_bytes = (work / "served" / "data.mdb").stat().st_size
    unsynced, synced, replicas, cpu = [], [], [], []
    with nginx(work / "served", work) as (other, other_server):
        for _ in range(runs):
            before_s = cpu_s(other_server)
            read_s, took_s = curl_and_crc(other, "data.mdb", work / "copy")
            between_s, ours_s = cpu_s(other_server), cpu_s(server)
            unsynced.append(read_s)
            synced.append(took_s)
            replicas.append(replicate(address, work / "replica"))
            cpu.append((between_s - before_s, cpu_s(server) - ours_s))
            remove(work / "replica")
    whole = [run.took_s for run in replicas]
    copying = [run.phases_s["copying"] for run in replicas]
    median_of("curl, CRC32C", unsynced, size_bytes)
    median_of("curl, CRC32C, sync", synced, size_bytes)
    median_of("replicate", whole, size_bytes)
    median_of("  its copy alone", copying, size_bytes)
    phases_of(replicas)
    ratio_of("curl, CRC32C, sync / replicate", synced, whole)
    ratio_of("curl, CRC32C, sync / copy", synced, copying)
    ratio_of("curl, CRC32C / copy", unsynced, copying)
    for number, name in enumerate(("curl, nginx, CRC32C", "replica and server")):
        print(f"CPU of {name:25} {statistics.median(it[number] for it in cpu):7.2f} s")
    print(f"replica: {worst([run.memory for run in replicas])}", flush=True)


def over_a_long_line(work: Path, address: str, runs: int) -> None:
    """Compare 25 ms each way with none, through the same proxy."""
    size_bytes = (work / "served" / "data.mdb").stat().st_size
    short: list[Replica] = []
    long: list[Replica] = []
    with proxied(address, "clear") as near, proxied(address, "latency") as far:
        for _ in range(runs):
            for through, seen in ((near, short), (far, long)):
                seen.append(replicate(through, work / "replica"))
                remove(work / "replica")
    for name, runs_of in (("short line", short), ("long line", long)):
        median_of(f"replicate, {name}", [run.took_s for run in runs_of], size_bytes)
        phases_of(runs_of)
    ratio_of("short / long", [run.took_s for run in short], [run.took_s for run in long])
    copies = [[run.phases_s["copying"] for run in each] for each in (short, long)]
    ratio_of("short / long, copy alone", *copies)
    print(f"replica, long line: {worst([run.memory for run in long])}", flush=True)


def main() -> None:
    """Measure and print."""
    asked = [int(word) for word in sys.argv[1:]]
    mib, value_bytes, runs = (*asked, *(2048, 64 * 1024, 3)[len(asked) :])
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        data = build(work / "primary", mib, value_bytes)
        print(f"{data.stat().st_size / MIB:.0f} MiB, values of {value_bytes} bytes", flush=True)
        (work / "served").mkdir()
        with serving(work / "primary") as (address, memory):
            first = replicate(address, work / "replica")
            print(f"first replicate, with publication {first.took_s:.2f} s", flush=True)
            phases_of([first])
            remove(work / "replica")
            with held(address) as token:
                shutil.copy(work / "primary" / "basebackups" / token / "data.mdb", work / "served")
                on_loopback(work, address, memory.pid, runs)
                over_a_long_line(work, address, runs)
            print(f"server: {memory}", flush=True)


if __name__ == "__main__":
    main()
