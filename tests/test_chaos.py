"""A replica and its primary, killed again and again, with a bad link in between: it ends equal."""

from __future__ import annotations

import contextlib
import random
import sys
import time
from pathlib import Path

import pytest
from chaos_arena import IN_FLIGHT, Arena, make_primary, once
from chaos_judge import (
    Told,
    check_fetched,
    check_only_owners_wrote,
    check_resumed,
)
from nursery import Nursery, nursery
from replicas import assert_equal
from worlds import fresh_place

from bootledger.files import Files
from bootledger.replica.database import Database
from bootledger.replica.readers import open_current
from bootledger.replica.target import LEDGER_NAME
from bootledger.store.lmdb import LmdbEventStore

PATIENCE_S = 90.0
"""How long a replica may take to become equal once nothing disturbs it."""


def judged(arena: Arena, nursery: Nursery) -> dict[str, int]:
    """Check everything that must be true after chaos and calm; return what was counted."""
    with (
        open_current(arena.target) as directory,
        Database.open(directory, Files(), name="reader") as replica,
    ):
        acknowledged, last_lsn = arena.acknowledged(), replica.last_lsn()
        for number, lsn in acknowledged:
            key, value = once(number)
            assert lsn <= last_lsn, f"{lsn} was acknowledged, the replica ends at {last_lsn}"
            assert replica.get(key) == value, f"{key!r} was acknowledged and is not there"
    assert_equal(arena.primary, arena.target)
    ledger = arena.target / LEDGER_NAME
    verified = nursery.start(["verify", str(ledger)], arena.place / "verify.out")
    assert verified.wait() == 0, verified.out.read_text()
    with contextlib.closing(LmdbEventStore.open(ledger)) as store:
        events = store.read(0, 10**6)
    lives = [Told(it.process.pid, it.killed, it.said()) for it in (*arena.lives, *arena.rivals)]
    return {
        "writes acknowledged": len(acknowledged),
        "events": len(events),
        "claims compared": check_only_owners_wrote(events, lives),
        **check_resumed(events),
        **check_fetched(events, lives, IN_FLIGHT, arena.chunk_bytes),
    }


def how_lives_ended(arena: Arena) -> dict[str, int]:
    """Return how many lives ended how."""
    ends = [
        "killed" if it.killed else f"exit {it.process.poll()}"
        for it in (*arena.lives, *arena.rivals)
    ]
    return {end: ends.count(end) for end in sorted(set(ends))}


def tell(**what: object) -> None:
    """Print what was done and counted, for whoever asks with -s or -rP."""
    for name, counts in what.items():
        sys.stdout.write(f"{name}: {counts}\n")


def test_killed_behind_a_bad_link_the_replica_ends_equal() -> None:
    """Seconds of kills and harm: nothing acknowledged is lost, what is fetched again is counted."""
    with fresh_place() as place, nursery() as commands:
        make_primary(place / "primary", mib=2)
        arena = Arena(
            place,
            random.Random(1),
            commands,
            "squalls",
            ("--keep-changes", "50"),
            chunk_bytes=16 * 1024,
        )
        with arena.everybody(pause_s=0.01):
            for blow in ("kill_replica", "kill_server", "kill_both"):
                arena.wait_for("fetched", 30, PATIENCE_S)
                arena.strike({blow: 1})
            arena.wait_for("staged", 10, PATIENCE_S)
            arena.lose_window(PATIENCE_S)
            took_s = arena.calm(PATIENCE_S)
        counts = judged(arena, commands)
        tell(done=arena.done, harm=arena.harm, lives=how_lives_ended(arena), counts=counts)
        tell(calm_s=round(took_s, 1))
        assert counts["writes acknowledged"] > 20
        assert counts["resumed"] >= 1
        assert counts["generations"] > 1
        assert counts["starts of a copy"] > counts["copies"] + 1


@pytest.mark.crash
def test_for_minutes_behind_a_bad_link_the_replica_ends_equal(
    pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    """The same for as long as asked: windows are lost, owners fenced, and it ends equal."""
    seconds = pytestconfig.getoption("chaos_s")
    with nursery() as commands:
        make_primary(tmp_path / "primary", mib=64)
        arena = Arena(
            tmp_path,
            random.Random(2),
            commands,
            "storm",
            ("--keep-changes", "200", "--slot-max-changes", "4000", "--slot-idle", "20"),
            chunk_bytes=128 * 1024,
        )
        blows = {
            "kill_replica": 6,
            "kill_server": 4,
            "kill_both": 2,
            "freeze": 4,
            "drop_slot": 2,
            "keep_down": 1,
            "lose_window": 1,
            "interfere": 2,
            "rival": 1,
        }
        with arena.everybody(pause_s=0.02):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                until = time.monotonic() + arena.chance.uniform(0.5, 6)
                while time.monotonic() < until:
                    time.sleep(0.2)
                    arena.see_to()
                arena.strike(blows)
            took_s = arena.calm(PATIENCE_S)
        counts = judged(arena, commands)
        tell(done=arena.done, harm=arena.harm, lives=how_lives_ended(arena), counts=counts)
        tell(calm_s=round(took_s, 1))
        assert counts["generations"] > 1
        assert counts["resumed"] >= 1
