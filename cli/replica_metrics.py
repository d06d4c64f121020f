"""What a replica tells Prometheus: how far it is, what came from where, and what it waits for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, start_http_server

from bootledger.basebackup.manifest import Chunk
from bootledger.errors import InvalidValue
from bootledger.replica.observer import Observer, Relay
from bootledger.replica.replication import ReplicaReplication
from bootledger.statemachine import plan
from bootledger.statemachine.progress import Progress, State
from bootledger.statemachine.ranges import Range

_PREFIX = "bootledger_replica_"


class Metered(Relay):
    """Counts what `observer` is told, into a registry of its own."""

    def __init__(self, observer: Observer, node_id: str) -> None:
        super().__init__(observer)
        self.registry = CollectorRegistry()
        self._node = node_id
        self._cause: BaseException | None = None
        self._follows = False
        self._lsn = self._gauge("last_applied_lsn", "LSN up to which changes are durable here")
        self._source_lsn = self._gauge("source_last_lsn", "LSN of the source when last heard of")
        self._lag = self._gauge("lag_changes", "Changes that the source has and the replica not")
        self._connected = self._gauge("connected", "1 while the source answers, 0 while it waits")
        self._attempts = self._counter("attempts", "Attempts, failed ones included")
        self._fetched = self._counter("fetched_bytes", "Bytes of base backups that were fetched")
        self._reused = self._counter("reused_bytes", "Bytes that were here and were not fetched")
        self._rejected = self._counter("rejected_bytes", "Bytes that were not what was pinned")
        self._states = Enum(
            _PREFIX + "intent_state",
            "Where the newest intent stands",
            ["node"],
            states=list(State),
            registry=self.registry,
        ).labels(node_id)
        self._attempts.inc()

    def _gauge(self, name: str, says: str) -> Gauge:
        return Gauge(_PREFIX + name, says, ["node"], registry=self.registry).labels(self._node)

    def _counter(self, name: str, says: str) -> Counter:
        return Counter(_PREFIX + name, says, ["node"], registry=self.registry).labels(self._node)

    def on_step(self, step: plan.Step, progress: Progress) -> None:
        """Note the state."""
        self._follows = False
        self._connected.set(1)
        self._states.state(progress.state)
        if progress.applied_lsn is not None:
            self._lsn.set(progress.applied_lsn)
        super().on_step(step, progress)

    def on_fetched(self, fetched: Range) -> None:
        """Count the bytes."""
        self._fetched.inc(fetched.end_bytes - fetched.start_bytes)
        super().on_fetched(fetched)

    def on_reused(self, reused: Range) -> None:
        """Count the bytes."""
        self._reused.inc(reused.end_bytes - reused.start_bytes)
        super().on_reused(reused)

    def on_rejected(self, place: str, chunk: Chunk, reason: str) -> None:
        """Count the bytes."""
        self._rejected.inc(chunk.length_bytes)
        super().on_rejected(place, chunk, reason)

    def on_staged(self, staged: Range, progress: Progress) -> None:
        """Note the state."""
        self._states.state(progress.state)
        super().on_staged(staged, progress)

    def on_applied(self, applied_lsn: int, target_lsn: int) -> None:
        """Note how far it is."""
        self._stands(applied_lsn, target_lsn)
        super().on_applied(applied_lsn, target_lsn)

    def on_following(self, replication: ReplicaReplication) -> None:
        """Note how far it is; what is followed is completed."""
        self._follows = True
        self._connected.set(1)
        self._states.state(State.COMPLETED)
        applied_lsn = replication.last_applied_lsn
        self._stands(applied_lsn, replication.source_lsn or applied_lsn)
        super().on_following(replication)

    def on_waiting(self, cause: BaseException, left_s: float) -> None:
        """Count each wait once: an attempt follows it."""
        if cause is not self._cause:
            self._cause = cause
            self._attempts.inc()
            self._connected.set(0)
            if not self._follows:
                self._states.state(State.SUSPENDED)
        super().on_waiting(cause, left_s)

    def _stands(self, applied_lsn: int, source_lsn: int) -> None:
        self._lsn.set(applied_lsn)
        self._source_lsn.set(source_lsn)
        self._lag.set(max(0, source_lsn - applied_lsn))


@contextmanager
def metered(observer: Observer, node_id: str, host: str, port: int) -> Iterator[Metered]:
    """Count what `observer` is told, and serve it over HTTP there for the length of the block.

    Raises `InvalidValue` if nobody can listen there.
    """
    counting = Metered(observer, node_id)
    try:
        server, thread = start_http_server(port, host, counting.registry)
    except OSError as error:
        raise InvalidValue(f"metrics cannot be served on {host}:{port}: {error}") from error
    try:
        yield counting
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
