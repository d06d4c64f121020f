"""How many disks that a loss of power may leave are recovered a second, beside what limits it.

Run: python benchmarks/powerloss.py [STORE_STATES [END_TO_END_STATES]]

A ledger is opened, read whole, appended to twice, and read again; end to end, a replication with a
ledger, four chunks, changes and a promotion is lived to its end, and compared with its primary. Two
workers. The limits: how fast the disks are enumerated, with nobody looking, and how often an LMDB
environment is opened, put to and closed in one process on tmpfs, which a recovered ledger needs
twice and a replication about ten times. Wall-clock time is disturbed by neighbours; what a state
takes of the CPU, workers and all, is less so, and says what two free processors would do.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import lmdb

from bootledger.simulation.places import fresh_place
from bootledger.simulation.powerloss import Acknowledge, Recover, Rules, States, judge, record
from bootledger.simulation.powerloss.bootstrap import Bootstrap
from bootledger.statemachine.events import Begin, Holder
from bootledger.store.lmdb import LmdbEventStore
from bootledger.store.port import Append

TARGET_PER_S = 900
"""End to end."""
WORKERS = 2
EVENTS = 30
HOLDER = Holder("replica-1", 4242, 1_700_000_000_000)


def item(number: int) -> Append:
    """Return the beginning of that intent."""
    begin = Begin(
        recorded_at_ms=number,
        node_id="replica-1",
        source_lsn=number,
        target_lsn_hint=number,
        holder=HOLDER,
    )
    return Append(UUID(int=number), 0, begin, b"%d" % number)


def append_all(place: Path, acknowledge: Acknowledge) -> None:
    """Append the events one by one to a new ledger."""
    store = LmdbEventStore.open(place / "ledger")
    for number in range(1, EVENTS + 1):
        store.append([item(number)])
        acknowledge(b"%d" % number)
    store.close()


def recover_ledger(place: Path, acknowledged: Sequence[bytes]) -> None:
    """Read what is there, append two events, open it again and read them."""
    store = LmdbEventStore.open(place / "ledger", create=not acknowledged)
    found = len(store.read(0, EVENTS + 2))
    assert len(acknowledged) <= found <= len(acknowledged) + 1
    for number in (found + 1, found + 2):
        store.append([item(number)])
    store.close()
    store = LmdbEventStore.open(place / "ledger", create=False)
    assert [each.intent_id.int for each in store.read(0, 1000)] == list(range(1, found + 3))
    store.close()


def enumerated_per_s(states: States) -> float:
    """Return how many disks are put together a second."""
    began_s = time.monotonic()
    count = sum(1 for state in states if states.image(state))
    return count / (time.monotonic() - began_s)


def openings_per_s(times: int) -> float:
    """Return how often a second an LMDB environment is opened, put to and closed."""
    with fresh_place() as place:
        began_s = time.monotonic()
        for _ in range(times):
            with lmdb.open(os.fspath(place)) as env, env.begin(write=True) as txn:
                txn.put(b"key", b"value")
        return times / (time.monotonic() - began_s)


def cpu_s() -> float:
    """Return what this process and its children that ended have taken of the CPU."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def measure(name: str, states: States, recover: Recover, openings: float) -> float:
    """Judge the states, print how fast that went beside its limits, and return it."""
    began_s = cpu_s()
    report = judge(states, recover, workers=WORKERS)
    took_ms = 1000 * (cpu_s() - began_s) / report.judged
    assert not report.violated, report.violations[:3]
    rate = report.states_per_s
    print(f"{name:<12}{rate:8.0f} states/s, {report.judged} judged by {report.workers} workers")
    print(f"    CPU of each          {took_ms:8.2f} ms, so at most {2000 / took_ms:.0f} states/s")
    print(f"    enumerated alone     {enumerated_per_s(states):8.0f} states/s")
    print(f"    of LMDB's openings   {rate / openings:8.3f}")
    return rate


def main() -> None:
    """Measure and print."""
    store_states = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    end_to_end_states = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    openings = openings_per_s(3000)
    print(f"limit       {openings:8.0f} openings of LMDB a second, in one process")
    with fresh_place() as place:
        trace = record(lambda acknowledge: append_all(place, acknowledge), place)
        measure("ledger", States(trace, budget=store_states), recover_ledger, openings)
    with fresh_place() as place:
        bootstrap = Bootstrap()
        bootstrap.prepare(place)
        trace = record(lambda acknowledge: bootstrap.run(place, acknowledge), place)
        states = States(trace, Rules.STRICT, budget=end_to_end_states)
        rate = measure("end to end", states, bootstrap.recover, openings)
    print(f"target      {TARGET_PER_S:8} states/s end to end: {rate / TARGET_PER_S:.2f} of it")


if __name__ == "__main__":
    main()
