"""The caller's source, which is made to send rubbish, to lose a base backup, to lose its log."""

from __future__ import annotations

from collections.abc import Sequence

from bootledger.errors import LogWindowLost, SnapshotLost
from bootledger.replica.ports import Change, OpenApplier, Pause, Pin, Source, go_on
from bootledger.simulation.bootstrap import Build, built
from bootledger.simulation.faults import BadChunk, Faults, LogPruned, SnapshotGone
from bootledger.simulation.ports import ForwardingSource
from bootledger.simulation.world import World


class FaultySource(ForwardingSource):
    """Any `Source`, in a life of which some things go wrong that are planted in `faults`."""

    def __init__(self, source: Source, faults: Faults, world: World) -> None:
        super().__init__(source)
        self._faults = faults
        self._world = world
        self._chunks = self._reads = self._asked = 0

    def pin(self, intent_id: str, generation: int, pause: Pause = go_on) -> Pin:
        """Ask the source. From then on, it has its log and this base backup."""
        pin = super().pin(intent_id, generation, pause)
        self._faults.lost.discard(pin.token)
        self._faults.pruned = False
        return pin

    def read_manifest(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Ask the source, unless the base backup is lost."""
        self._check_kept(token)
        return super().read_manifest(token, offset_bytes, length_bytes)

    def read_chunk(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Ask the source, unless the base backup is lost, and spoil what it sends."""
        self._check_kept(token)
        data = super().read_chunk(token, offset_bytes, length_bytes)
        self._chunks += 1
        fault = self._faults.meet(BadChunk, self._chunks, self._world)
        match fault.how if fault else "as it is":
            case "short":
                return data[:-1]
            case "corrupt":
                return data[:-1] + bytes([data[-1] ^ 1]) if data else data
            case "duplicate":
                return data * 2
            case "reordered":
                other = max(0, offset_bytes - length_bytes) if offset_bytes else length_bytes
                return self._source.read_chunk(token, other, length_bytes)
            case _:
                return data

    def changes(self, after_lsn: int, limit: int) -> Sequence[Change]:
        """Ask the source, unless its log is lost."""
        self._asked += 1
        if self._faults.meet(LogPruned, self._asked, self._world):
            self._faults.pruned = True
        if self._faults.pruned:
            raise LogWindowLost(f"the changes after LSN {after_lsn} were pruned on purpose")
        return super().changes(after_lsn, limit)

    def _check_kept(self, token: str) -> None:
        self._reads += 1
        if self._faults.meet(SnapshotGone, self._reads, self._world):
            self._faults.lost.add(token)
            self._source.release(token)
        if token in self._faults.lost:
            raise SnapshotLost(f"base backup {token} was lost on purpose")


def faulty(build: Build, faults: Faults) -> Build:
    """Return a `build` that makes the caller's parts with a source that meets `faults`."""

    def build_faulty(world: World) -> tuple[Source, OpenApplier]:
        source, open_applier = built(build, world)
        return FaultySource(source, faults, world), open_applier

    return build_faulty
