"""The moments of a trace at which most may be lost. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bootledger.simulation.powerloss.disk import Disk, Rules
from bootledger.simulation.powerloss.image import PAGE_BYTES, Image
from bootledger.simulation.powerloss.operations import Acknowledge, is_sync
from bootledger.simulation.powerloss.pending import Chain
from bootledger.simulation.powerloss.trace import Trace, role_of


@dataclass(frozen=True)
class Moment:
    """The moment before a sync returns (`sync#12`), or the end: what is durable, what may be.

    Of each chain any prefix may be on the disk. `cause` says what is being synced.
    """

    label: str
    cause: str
    durable: Image
    chains: tuple[Chain, ...]
    acknowledged: tuple[bytes, ...]


def moments(trace: Trace, rules: Rules, block_bytes: int = PAGE_BYTES) -> Iterator[Moment]:
    """Yield the moments at which most may be lost: before each sync returns, and at the end.

    What may be left at any other moment may be left at the next of these, too.
    """
    disk = Disk(trace.base, rules, block_bytes)
    number = 0
    acknowledged = trace.promised
    for operation in trace.operations:
        if isinstance(operation, Acknowledge):
            acknowledged += (operation.data,)
            continue
        disk.do(operation)
        if is_sync(operation):
            number += 1
            yield Moment(
                f"sync#{number}", role_of(operation), disk.durable, disk.chains(), acknowledged
            )
            disk.sync(operation)
    yield Moment("end", "the end", disk.durable, disk.chains(), acknowledged)
