"""The long-running metrics endpoint: follows the Dagster event log and serves what it says.

Each scrape first reads the records that are new. After a restart the whole log is read again, so counters and
histograms come back as they were, and short runs between two scrapes are never missed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import dagster as dg
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

from embedder_assets.telemetry.event_log import RecordFollower
from embedder_assets.telemetry.metrics import StageMetrics


class EventLogCollector(Collector):
    """A collector that catches up with the event log whenever it is scraped."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._follower = RecordFollower(instance)
        self._metrics = StageMetrics(CollectorRegistry())
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """The metrics over all records until now."""
        with self._lock:
            for record in self._follower.new_records():
                self._metrics.observe(record)
            yield from self._metrics.registry.collect()


def exporter_registry(instance: dg.DagsterInstance) -> CollectorRegistry:
    """A registry over the whole event log of an instance."""
    registry = CollectorRegistry()
    registry.register(EventLogCollector(instance))
    return registry
