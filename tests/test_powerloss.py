"""Power loss, for real workloads: what the product writes is recovered from every disk left."""

from __future__ import annotations

import pytest
from losses import Ledger, recorded, survived

from bootledger.simulation.places import fresh_place
from bootledger.simulation.powerloss import Rules, States, judge
from bootledger.simulation.powerloss.places import read_place


def test_the_whole_trace_leaves_the_real_tree() -> None:
    """Every operation of a life, done to the model, gives byte by byte what the life left."""
    with fresh_place() as place:
        trace = recorded(Ledger(12).run, place)
        real = read_place(place).tree()
    states = States(trace)
    end = states.epochs[-1]
    everything = [state for state in states if state.epoch == len(states.epochs) - 1][-1]
    assert everything.kept == tuple(len(chain) for chain in end.chains)
    assert states.image(everything).tree() == real


@pytest.mark.parametrize("rules", Rules)
@pytest.mark.parametrize("block_bytes", [4096, 512])
def test_a_ledger_survives_every_power_loss(rules: Rules, block_bytes: int) -> None:
    """Twelve events, one by one: all that was acknowledged, at most one more, and it goes on."""
    ledger = Ledger(12)
    with fresh_place() as place:
        states = States(recorded(ledger.run, place), rules, block_bytes, budget=1000)
        report = survived(judge(states, ledger.recover))
    assert report.exhaustive or block_bytes == 512
