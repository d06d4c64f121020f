"""Power loss, end to end: every disk is recovered until the replica equals its primary."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from losses import LMDB_ENGINES, cannot_trace_skips, create_with, recorded, survived
from tallies import Tally

from bootledger.simulation import explore_scenario, samples
from bootledger.simulation.places import fresh_place
from bootledger.simulation.powerloss import Rules, States, judge
from bootledger.simulation.powerloss.bootstrap import Bootstrap
from bootledger.simulation.powerloss.nested import nested
from bootledger.statemachine.events import SnapshotChunk
from bootledger.store.lmdb import LmdbEventStore

STRICT, EXT4 = Rules
SHARES = [(STRICT, 4096, 500), (STRICT, 512, 300), (EXT4, 4096, 200)]
"""By which rules, at which blocks, how many disks with each engine."""
STATES, SECOND_STATES = 1500, 2700


def _assert_four_chunks(place: Path) -> None:
    with closing(LmdbEventStore.open(place / "target" / "ledger", create=False)) as store:
        events = [each.event for each in store.read(0, 1000)]
    chunks = [each for each in events if isinstance(each, SnapshotChunk) and each.length_bytes]
    assert len(chunks) >= 4


@pytest.mark.crash
@pytest.mark.parametrize("engine", LMDB_ENGINES)
def test_a_replication_goes_on_to_its_end_after_every_power_loss(
    engine: str, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    """Ledger, four chunks, applier, promotion: equal to a primary that lost power too."""
    create_with(engine, monkeypatch)
    bootstrap = Bootstrap()
    with fresh_place() as place:
        bootstrap.prepare(place)
        trace = recorded(bootstrap.run, place)
        _assert_four_chunks(place)
        judged = 0
        for rules, block_bytes, budget in SHARES:
            states = States(trace, rules, block_bytes, budget=budget)
            judged += survived(judge(states, bootstrap.recover, stop_after=10)).judged
    assert judged >= STATES // len(LMDB_ENGINES)
    tally(f"end to end, LMDB {engine}", judged)


@pytest.mark.crash
def test_a_replication_goes_on_to_its_end_after_two_power_losses(tally: Tally) -> None:
    """The recovery of forty disks is recorded, and loses its power in turn."""
    bootstrap = Bootstrap()
    with fresh_place() as place:
        bootstrap.prepare(place)
        states = States(recorded(bootstrap.run, place), budget=1000)
        budget = SECOND_STATES * 5 // 4
        live, recover = bootstrap.run, bootstrap.recover
        seconds = list(nested(states, live, recover, firsts=40, budget=budget))
    judged = sum(survived(second.report, second.first).judged for second in seconds)
    assert len(seconds) == 40
    assert judged >= SECOND_STATES
    tally("end to end, power lost twice", judged)


@pytest.mark.parametrize("budget", [2, 30])
def test_no_more_disks_are_judged_than_were_asked_for(budget: int) -> None:
    """Of first losses and of second ones together, however many moments there are."""
    with cannot_trace_skips():
        report = explore_scenario(samples.small(), engine="powerloss", crashes=2, budget=budget)
    assert not report.violations
    assert budget // 2 <= report.runs <= budget
