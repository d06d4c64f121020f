"""What can be counted, for Prometheus. On a registry of its own: a process may hold several."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from bootledger.primary.service import Primary
from bootledger.replica.wire import Slot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts requests and invalidated slots, and asks the primary for the rest when it is read.

    `live` returns what only the server knows: connections, publications under way, bytes sent.
    """

    def __init__(self, primary: Primary, live: Callable[[], tuple[int, int, int]]) -> None:
        self._registry = CollectorRegistry()
        self._primary = primary
        self._live = live
        self.requests = Counter(
            "bootledger_requests",
            "Requests that were answered.",
            ("endpoint", "status"),
            registry=self._registry,
        )
        self.invalidated = Counter(
            "bootledger_slots_invalidated",
            "Slots that were invalidated by the retention of the log.",
            registry=self._registry,
        )
        self.dropped = Counter(
            "bootledger_stalled_readers",
            "Clients that were dropped because they did not take their answer.",
            registry=self._registry,
        )
        self._registry.register(self)

    def text(self) -> bytes:
        """Return all of it as Prometheus reads it. Blocking: it asks the database."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield what is asked for anew each time."""
        info = self._primary.info()
        connections, publishing, sent_bytes = self._live()
        for name, says, value in (
            ("last_lsn", "LSN of the newest change.", info.last_lsn),
            ("pruned_lsn", "Highest LSN whose change is no longer kept.", info.pruned_lsn),
            ("log_bytes", "What the change log takes on disk.", info.log_bytes),
            ("database_bytes", "What the database takes on disk.", info.size_bytes),
            ("connections", "Connections that are open.", connections),
            ("publications", "Base backups that are being made or waited for.", publishing),
            ("base_backups", "Base backups that are held.", len(self._primary.backups())),
        ):
            yield GaugeMetricFamily(f"bootledger_{name}", says, value=value)
        yield CounterMetricFamily(
            "bootledger_sent_bytes", "Bytes of answers, without heads.", value=sent_bytes
        )
        yield from _of_slots(self._primary.slots(), info.last_lsn)

    def describe(self) -> Iterator[Metric]:
        """Yield nothing: registering must not ask the database."""
        yield from ()


def _of_slots(slots: list[Slot], last_lsn: int) -> Iterator[Metric]:
    acknowledged = GaugeMetricFamily(
        "bootledger_slot_acknowledged_lsn", "What a replica has durably.", labels=("slot",)
    )
    lag = GaugeMetricFamily(
        "bootledger_slot_lag_changes", "How many changes a replica is behind.", labels=("slot",)
    )
    valid = GaugeMetricFamily(
        "bootledger_slot_valid", "1 as long as the log is kept for a replica.", labels=("slot",)
    )
    for slot in slots:
        acknowledged.add_metric((slot.name,), slot.acknowledged_lsn)
        lag.add_metric((slot.name,), max(0, last_lsn - slot.acknowledged_lsn))
        valid.add_metric((slot.name,), float(slot.invalid_because is None))
    yield from (acknowledged, lag, valid)
