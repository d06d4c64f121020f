"""Power loss, for real workloads: what the product writes is recovered from every disk left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import lmdb
import pytest
from losses import LMDB_ENGINES, Ledger, by_chance, create_with, one_by_one, recorded, survived
from tallies import Tally

from bootledger.simulation.places import fresh_place
from bootledger.simulation.powerloss import Rules, States, judge
from bootledger.simulation.powerloss.places import read_place

STRICT, EXT4 = Rules
_RANDOM_LEDGERS = 10


def test_the_whole_trace_leaves_the_real_tree() -> None:
    """Every operation of a life, done to the model, gives byte by byte what the life left."""
    with fresh_place() as place:
        trace = recorded(Ledger(one_by_one(14)).run, place)
        real = read_place(place).tree()
    states = States(trace)
    end = states.moments[-1]
    everything = [state for state in states if state.moment == len(states.moments) - 1][-1]
    assert everything.kept == tuple(len(chain) for chain in end.chains)
    assert states.image(everything).tree() == real


@pytest.mark.parametrize(("rules", "block_bytes"), [(STRICT, 4096), (STRICT, 512), (EXT4, 4096)])
def test_a_ledger_survives_some_power_losses(rules: Rules, block_bytes: int) -> None:
    """All that was acknowledged, at most one more, and it goes on: a few disks of every moment."""
    steps = by_chance(0, 20)
    ledger = Ledger(steps, compacted_before={len(steps) // 2})
    with fresh_place() as place:
        states = States(recorded(ledger.run, place), rules, block_bytes, budget=200)
        assert survived(judge(states, ledger.recover)).judged >= 100


def _ledgers(seed: int) -> Iterator[tuple[str, Ledger, list[tuple[Rules, int, int]]]]:
    """Ledgers, and by which rules, at which blocks and how many of their disks are judged."""
    sampled = [(STRICT, 512, 1500), (EXT4, 512, 1500)]
    for events in (12, 60):
        every_page = [(STRICT, 4096, 20_000), (EXT4, 4096, 20_000)]
        yield f"{events} events", Ledger(one_by_one(events + 2)), [*every_page, *sampled]
    for number in count():
        steps = by_chance(f"{seed}/{number}")
        third = len(steps) // 3
        ledger = Ledger(steps, compacted_before={third, 2 * third})
        shares = [(STRICT, 4096, 500), (STRICT, 512, 1000), (EXT4, 512, 500)]
        yield f"ledger {number} of --store-seed {seed}", ledger, shares


@pytest.mark.crash
@pytest.mark.parametrize("engine", LMDB_ENGINES)
def test_a_ledger_survives_every_power_loss(
    engine: str, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config, tally: Tally
) -> None:
    """With both engines of LMDB: every page that may be lost of two, samples of many by chance.

    Half as many states as `--store-states` asks for, and ten random ledgers at least.
    """
    create_with(engine, monkeypatch)
    seed: int = pytestconfig.getoption("store_seed")
    wanted: int = pytestconfig.getoption("store_states") // len(LMDB_ENGINES)
    judged = 0
    for number, (name, ledger, shares) in enumerate(_ledgers(seed)):
        if judged >= wanted and number >= 2 + _RANDOM_LEDGERS:
            break
        with fresh_place() as place:
            trace = recorded(ledger.run, place)
            assert _engine_of(place / "ledger") == LMDB_ENGINES[engine]
            for rules, block_bytes, budget in shares:
                states = States(trace, rules, block_bytes, budget=budget, seed=seed)
                report = survived(judge(states, ledger.recover, stop_after=10), name)
                assert report.exhaustive or budget < 20_000
                judged += report.judged
                what = "every page" if report.exhaustive else f"{block_bytes} bytes, sampled"
                tally(f"ledger, LMDB {engine}, {rules.value}, {what}", report.judged)
    assert judged >= wanted


def _engine_of(ledger: Path) -> int:
    with lmdb.open(os.fspath(ledger), create=False, lock=False, readonly=True) as env:
        return env.lib_version()[0]
