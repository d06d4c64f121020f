"""Every sync is needed, or is on a list that says why not; the list is exact."""

from __future__ import annotations

import pytest
from losses import Ledger, one_by_one, recorded

from bootledger.simulation.places import fresh_place
from bootledger.simulation.powerloss.bootstrap import Bootstrap
from bootledger.simulation.powerloss.elision import Elided, elided

COVERED = "a later sync of the same covers it before anything depends on it"
BUILT = "inside of what is built under another name; its syncs stand in for each other"
NOTHING = "nothing is pending there in a life that was not interrupted before"
MADE_AGAIN = "what is lost is made again by the next life"
ORDERED = "names of one directory arrive in their order, and nobody asks for what is removed"
UNTOLD = "nobody has been told of that checkpoint; the next commit makes both durable"

LEDGER_SURVIVORS = {
    ".#1": NOTHING,
    ".#2": COVERED,
    ".ledger.creating/data.mdb#1": BUILT,
    ".ledger.creating/data.mdb#2": BUILT,
    ".ledger.creating/data.mdb#3": BUILT,
    "ledger#1": COVERED,
    "ledger/reserve#1": MADE_AGAIN,
    "ledger#2": MADE_AGAIN,
}

BACKUP = "primary/basebackups/*.1"
CANDIDATE = "target/gen-0001"
SURVIVORS = {
    "target#2": COVERED,
    "target#3": NOTHING,
    "target#4": COVERED,
    **{f"target/{name}": reason for name, reason in LEDGER_SURVIVORS.items() if name[1:2] != "#"},
    f"{BACKUP}/data.mdb#1": COVERED,
    f"{BACKUP}#1": COVERED,
    f"{BACKUP}/data.mdb#2": NOTHING,
    f"{BACKUP}/.manifest.tmp#1": COVERED,
    f"{BACKUP}#2": COVERED,
    "target#6": COVERED,
    f"{CANDIDATE}/.intent.tmp#1": MADE_AGAIN,
    f"{CANDIDATE}#1": COVERED,
    f"{CANDIDATE}/.manifest.tmp#1": COVERED,
    f"{CANDIDATE}#2": COVERED,
    f"{CANDIDATE}/.manifest.tmp#2": MADE_AGAIN,
    f"{CANDIDATE}#3": COVERED,
    "target#7": NOTHING,
    f"{CANDIDATE}/data.mdb#1": COVERED,
    "target#8": NOTHING,
    f"{BACKUP}#4": ORDERED,
    "primary/basebackups#2": MADE_AGAIN,
    "target/ledger/data.mdb#12": UNTOLD,
    "target/ledger/data.mdb#14": UNTOLD,
    f"{CANDIDATE}/readers.lock#1": MADE_AGAIN,
}
"""By the name of the sync (`Trace.syncs`), why nothing is amiss without it."""


def survivors(found: list[Elided]) -> set[str]:
    """Return the names of those syncs whose loss was survived."""
    return {each.name for each in found if each.survived}


def test_every_sync_of_a_ledger_is_needed_or_known_not_to_be() -> None:
    """One event, the creation of its ledger included: one sync after the other is taken away."""
    ledger = Ledger(one_by_one(3))
    with fresh_place() as place:
        trace = recorded(ledger.run, place)
        found = list(elided(trace, ledger.recover, budget=100))
    assert survivors(found) == LEDGER_SURVIVORS.keys()


@pytest.mark.crash
def test_every_sync_of_a_bootstrap_is_needed_or_known_not_to_be() -> None:
    """A whole bootstrap: the list of what is not needed is exact, both ways."""
    life = Bootstrap(records=20, chunk_bytes=2**15)
    with fresh_place() as place:
        life.prepare(place)
        trace = recorded(life.run, place)
        found = list(elided(trace, life.recover, budget=1500))
    assert survivors(found) == SURVIVORS.keys()
    assert sum(each.report.judged for each in found) >= 10_000
