"""What is so now, for the long-running exporter: runs and stages in progress, results of checks, sizes, quality.

Unlike the metrics of stage records these add nothing up: each scrape asks Dagster's storage and shows the answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import dagster as dg
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from embedder_assets.telemetry.check_results import LatestResults
from embedder_assets.telemetry.event_log import ASSET_OF_STAGE, is_same

TABLES = (
    *("documents", "chunks", "dense_embeddings", "sparse_embeddings"),
    *("queries", "fused_candidates", "reranked_candidates"),
)
EVALUATION = "evaluation"
ROWS_KEY = "dagster/row_count"
NDCG_PREFIX = "ndcg_at_10_"
RANKINGS = ("dense", "sparse", "fused", "reranked")
PAGE = 500
# Name to meaning and labels.
GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "rag_runs_in_progress": ("Runs that have started and not ended.", ()),
    "rag_stage_start_timestamp_seconds": (
        "Unix time at which the oldest stage in progress has started; no series while none is.",
        ("stage",),
    ),
    "rag_check_passed": (
        "Whether an asset check has passed when a run last asked it about a collection.",
        ("asset", "check", "severity", "collection"),
    ),
    "rag_table_rows": ("Rows of a table at its newest materialization.", ("table", "collection")),
    "rag_retrieval_ndcg_at_10": (
        "nDCG@10 of a ranking at the newest evaluation of a collection.",
        ("collection", "ranking"),
    ),
}

# Asset to partition to the numbers among the metadata.
Figures = dict[str, dict[str, dict[str, float]]]


class StateCollector(Collector):
    """Gauges over the present state of an instance.

    Args:
        instance: Whose storage is asked.
        checks: The asset checks of the code location.
        known: Called for the collections that there are; the others have no series.
    """

    def __init__(
        self, instance: dg.DagsterInstance, checks: Sequence[dg.AssetCheckKey], known: Callable[[], Collection[str]]
    ) -> None:
        self._instance = instance
        self._known = known
        self._results = LatestResults(instance, checks)
        self._figures = LatestMetadata(instance)
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """The gauges as they are now."""
        with self._lock:
            known = set(self._known())
            figures = {
                asset: {name: numbers for name, numbers in of_asset.items() if name in known}
                for asset, of_asset in self._figures.read().items()
            }
            results = _check_results(self._results, known)
        yield from _in_progress(self._instance)
        yield results
        yield _rows(figures)
        yield _quality(figures)


class LatestMetadata:
    """The numbers among the metadata of the newest materialization of each table and collection."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._figures: Figures = {}
        # Asset to the last event that was read.
        self._last: dict[str, dg.EventLogRecord] = {}

    def read(self) -> Figures:
        """Reads what is new since the last call, only the newest of each collection."""
        self._forget_deleted()
        for asset in (*TABLES, EVALUATION):
            newest = self._instance.get_latest_storage_id_by_partition(
                dg.AssetKey(asset),
                dg.DagsterEventType.ASSET_MATERIALIZATION,
                after_cursor=self._last[asset].storage_id if asset in self._last else None,
            )
            if newest:
                self._keep(asset, newest)
        return self._figures

    def _forget_deleted(self) -> None:
        """Starts anew with each asset whose last event is gone: SQLite gives its id to another one."""
        if not self._last:
            return
        wanted = dg.EventRecordsFilter(
            dg.DagsterEventType.ASSET_MATERIALIZATION, storage_ids=[each.storage_id for each in self._last.values()]
        )
        found = self._instance.event_log_storage.get_event_records(wanted)
        for asset, last in list(self._last.items()):
            if not any(is_same(last, event) for event in found):
                del self._last[asset]
                self._figures.pop(asset, None)

    def _keep(self, asset: str, newest: Mapping[str, int]) -> None:
        ids = list(newest.values())
        for start in range(0, len(ids), PAGE):
            wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), storage_ids=ids[start : start + PAGE])
            for record in self._instance.fetch_materializations(wanted, limit=PAGE).records:
                event = record.asset_materialization
                if event is not None and event.partition is not None:
                    self._figures.setdefault(asset, {})[event.partition] = _numbers(event.metadata)
                    if asset not in self._last or record.storage_id > self._last[asset].storage_id:
                        self._last[asset] = record


def _gauge(name: str) -> GaugeMetricFamily:
    meaning, labels = GAUGES[name]
    return GaugeMetricFamily(name, meaning, labels=labels)


def _numbers(metadata: Mapping[str, dg.MetadataValue]) -> dict[str, float]:
    return {
        key: float(value.value)
        for key, value in metadata.items()
        if isinstance(value, dg.IntMetadataValue | dg.FloatMetadataValue) and value.value is not None
    }


def _in_progress(instance: dg.DagsterInstance) -> Iterator[Metric]:
    runs = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    count = _gauge("rag_runs_in_progress")
    count.add_metric([], len(runs))
    yield count
    starts = [
        (step.step_key, step.start_time)
        for run in runs
        for step in instance.get_run_step_stats(run.run_id, list(ASSET_OF_STAGE.values()))
        if step.start_time is not None and step.end_time is None
    ]
    family = _gauge("rag_stage_start_timestamp_seconds")
    for stage, asset in ASSET_OF_STAGE.items():
        of_stage = [start for key, start in starts if key == asset]
        if of_stage:
            family.add_metric([stage], min(of_stage))
    yield family


def _check_results(results: LatestResults, known: Collection[str]) -> Metric:
    family = _gauge("rag_check_passed")
    for key, of_check in results.read(known).items():
        for collection, result in sorted(of_check.items()):
            labels = [key.asset_key.to_user_string(), key.name, result.severity, collection]
            family.add_metric(labels, float(result.passed))
    return family


def _rows(figures: Figures) -> Metric:
    family = _gauge("rag_table_rows")
    for table in TABLES:
        for collection, numbers in figures.get(table, {}).items():
            if ROWS_KEY in numbers:
                family.add_metric([table, collection], numbers[ROWS_KEY])
    return family


def _quality(figures: Figures) -> Metric:
    family = _gauge("rag_retrieval_ndcg_at_10")
    for collection, numbers in figures.get(EVALUATION, {}).items():
        for ranking in RANKINGS:
            if (value := numbers.get(f"{NDCG_PREFIX}{ranking}")) is not None:
                family.add_metric([collection, ranking], value)
    return family
