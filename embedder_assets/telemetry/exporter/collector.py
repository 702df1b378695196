"""The metrics over stage records: what an endpoint serves, and how much of it each run has added.

The long-running exporter follows the Dagster event log: each scrape first reads the records that are new. After a
restart the whole log is read again, so counters and histograms come back as they were, and short runs between two
scrapes are never missed. A run that finds no exporter serves its own records the same way for a moment.

``samples_of_run`` is measured on the instruments themselves, before and after a record was observed, so it says what a
scrape shows and not what the record promised.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator

import dagster as dg
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

from embedder_assets.telemetry.event_log import RecordReader, RunEndReader
from embedder_assets.telemetry.exporter.metrics import StageMetrics
from embedder_assets.telemetry.stage_record import StageName, StageRecord

# A run asks for its samples within seconds of its end.
RUNS_REMEMBERED = 1000

RunSamples = dict[StageName, int]


class RecordCollector(Collector):
    """A collector that catches up with its source whenever it is scraped.

    Args:
        new_records: Called for (run id, record) of what is new.
        new_ends: Called for the statuses of runs that have ended since the last call.
        known: Called for the collections that there are; None: all that the records name.
    """

    def __init__(
        self,
        new_records: Callable[[], Iterable[tuple[str, StageRecord]]],
        new_ends: Callable[[], Iterable[str]] = tuple,
        known: Callable[[], Collection[str]] | None = None,
    ) -> None:
        self._new_records = new_records
        self._new_ends = new_ends
        self._known = known
        self._metrics = StageMetrics(CollectorRegistry())
        self._samples: OrderedDict[str, Counter[StageName]] = OrderedDict()
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """The metrics over all records until now."""
        with self._lock:
            self._read_new()
            if self._known is not None:
                self._metrics.keep_only(self._known())
            yield from self._metrics.registry.collect()

    def samples_of_run(self, run_id: str) -> RunSamples | None:
        """How many samples a run's records have added to each histogram; None for a run without records."""
        with self._lock:
            self._read_new()
            found = self._samples.get(run_id)
            return dict(found) if found is not None else None

    def catch_up(self) -> None:
        """Reads what is new, so that the first scrape does not have to."""
        with self._lock:
            self._read_new()

    def _read_new(self) -> None:
        for run_id, record in self._new_records():
            before = self._metrics.latency_samples()
            self._metrics.observe(record)
            after = self._metrics.latency_samples()
            of_run = self._samples.setdefault(run_id, Counter())
            of_run.update({stage: after[stage] - before[stage] for stage in after})
            if len(self._samples) > RUNS_REMEMBERED:
                self._samples.popitem(last=False)
        for status in self._new_ends():
            self._metrics.run_ended(status)


def event_log_collector(
    instance: dg.DagsterInstance, known: Callable[[], Collection[str]] | None = None
) -> RecordCollector:
    """A collector over the whole event log of an instance; ``known`` gives the collections that there are."""
    return RecordCollector(RecordReader(instance).new_records, RunEndReader(instance).new_ends, known)


def run_collector(run_id: str, records: Iterable[StageRecord]) -> RecordCollector:
    """A collector over the records of one run."""
    pending = [(run_id, record) for record in records]

    def new_records() -> Iterator[tuple[str, StageRecord]]:
        while pending:
            yield pending.pop(0)

    return RecordCollector(new_records)
