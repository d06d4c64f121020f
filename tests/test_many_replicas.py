"""Many replicas bootstrap from one primary at once: one base backup, and all of them end equal."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from nursery import Command, nursery
from replicas import assert_equal, make_primary

PATIENCE_S = 240.0
REUSE_S = "3600"


def _backups(primary: Path) -> set[int]:
    """Return the files of base backups that there are now; names may share one."""
    found = set()
    for path in primary.glob("basebackups/*/data.mdb"):
        try:
            found.add(path.stat().st_ino)
        except FileNotFoundError:
            continue  # released meanwhile
    return found


def _address(server: Command) -> str:
    """Return where a server listens, as soon as it says so."""
    deadline = time.monotonic() + PATIENCE_S
    while "http://" not in (said := server.out.read_text()):
        assert server.poll() is None, server.err.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return said.split("listening on ")[1].split()[0]


def replicate_at_once(place: Path, count: int, *, records: int, chunk_bytes: int) -> None:
    """Start so many replicas of one primary at once; check what must be true of all of them."""
    primary = place / "primary"
    make_primary(primary, records=records, value_bytes=2000)
    targets = [place / f"replica-{number}" for number in range(count)]
    with nursery() as commands:
        argv = ["serve", str(primary), "--listen", "127.0.0.1:0", "--reuse-backups-for", REUSE_S]
        argv += ["--chunk-bytes", str(chunk_bytes), "--enforce-every", "0.5"]
        server = commands.start(argv, place / "server.out")
        address = _address(server)
        replicas = [
            commands.start(
                ["replicate", address, str(target), "--node", target.name, "--once"],
                target.with_suffix(".out"),
            )
            for target in targets
        ]
        seen: set[int] = set()
        while any(replica.poll() is None for replica in replicas):
            seen |= _backups(primary)
            time.sleep(0.05)
        codes = [(replica.wait(), replica.err.read_text()) for replica in replicas]
        assert codes == [(0, "")] * count
        assert server.poll() is None
        assert len(seen) == 1, f"{len(seen)} base backups were made"
        assert _backups(primary) == set(), "the space of a base backup that nobody needs"
    for target in targets:
        assert_equal(primary, target)


def test_eight_replicas_at_once_share_one_base_backup_and_end_equal(tmp_path: Path) -> None:
    """No error, one base backup, none left at the end, and every replica holds everything."""
    replicate_at_once(tmp_path, 8, records=500, chunk_bytes=64 * 1024)


@pytest.mark.crash
def test_fifty_replicas_at_once_share_one_base_backup_and_end_equal(tmp_path: Path) -> None:
    """The same for fifty."""
    replicate_at_once(tmp_path, 50, records=10_000, chunk_bytes=2**20)
