"""The Prometheus metrics: names, labels and buckets in one place, fed from stage records and the ends of runs.

No run, document or chunk id is ever a label: the number of series stays small however long the system runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from embedder_assets.telemetry.stage_record import StageName, StageRecord

# Measured on two cores, a request of 64 texts: p50 of 0.5 s (rerank) to 2.5 s (dense), p95 up to 5 s, an export 0.1 to
# 0.6 s (the runbook has the table): buckets are close there, and reach down to a GPU and up to a slow disk.
LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 5, 7.5, 10, 30, 60)

LATENCY_METRICS: dict[StageName, str] = {
    "dense": "rag_dense_latency_seconds",
    "sparse": "rag_sparse_latency_seconds",
    "rerank": "rag_rerank_latency_seconds",
    "export": "rag_export_latency_seconds",
}


# The words that a fallback and the end of a run can have. Their series are there from the start, at zero: Prometheus
# sees no increase in a series that begins with a one.
FALLBACK_REASONS = ("model_unavailable", "triton_unavailable", "inference_failed")
RUN_STATUSES = ("success", "failure", "canceled")


class StageMetrics:
    """The instruments on one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.latency = {
            stage: Histogram(
                name, f"Seconds of one batch of the {stage} stage.", registry=registry, buckets=LATENCY_BUCKETS_S
            )
            for stage, name in LATENCY_METRICS.items()
        }
        self.gpu_peak = Gauge(
            "rag_gpu_peak_bytes",
            "Highest GPU memory seen in a stage's last run.",
            ["stage", "device"],
            registry=registry,
        )
        self.sparse_coverage = Gauge(
            "rag_sparse_coverage_ratio", "Share of chunks with a sparse vector.", ["collection"], registry=registry
        )
        self.last_success = Gauge(
            "rag_last_success_timestamp_seconds",
            "Unix time of the last export that succeeded.",
            ["collection"],
            registry=registry,
        )
        self.rerank_fallback = Counter(
            "rag_rerank_fallback",
            "Runs in which the fused order stood in for reranking.",
            ["reason"],
            registry=registry,
        )
        self.items = Counter("rag_stage_items", "Items of a stage by outcome.", ["stage", "outcome"], registry=registry)
        self.runs = Counter("rag_runs", "Runs that have ended, by status.", ["status"], registry=registry)
        for reason in FALLBACK_REASONS:
            self.rerank_fallback.labels(reason)
        for status in RUN_STATUSES:
            self.runs.labels(status)

    def observe(self, record: StageRecord) -> None:
        """Adds what one stage of one run did. A stage that was off adds nothing, and its coverage is not asked for."""
        if record.status == "off":
            if record.stage == "sparse":
                _end_series(self.sparse_coverage, lambda name: name in record.collections)
            return
        # What stands in for the sparse model must not look like the model at work.
        live = record.stage != "sparse" or not record.fallback_used
        histogram = self.latency.get(record.stage)
        if histogram is not None and live:
            for latency_s in record.batch_latencies_s:
                histogram.observe(latency_s)
        for outcome, count in record.items.items():
            self.items.labels(record.stage, outcome).inc(count)
        for device, peak in record.gpu_peak_bytes.items():
            self.gpu_peak.labels(record.stage, device).set(peak)
        if record.stage == "sparse" and live:
            for collection, ratio in record.coverage.items():
                self.sparse_coverage.labels(collection).set(ratio)
        if record.stage == "rerank" and record.fallback_used:
            self.rerank_fallback.labels(record.fallback_reason or "unknown").inc()
        if record.stage == "export" and record.status == "ok":
            for collection in record.collections:
                self.last_success.labels(collection).set(record.ended_at)

    def run_ended(self, status: str) -> None:
        """Counts a run: ``success``, ``failure`` or ``canceled``."""
        self.runs.labels(status).inc()

    def keep_only(self, collections: Collection[str]) -> None:
        """Ends the series of collections that are not there any more, or an alert would wait for them for ever."""
        for gauge in (self.sparse_coverage, self.last_success):
            _end_series(gauge, lambda name: name not in collections)

    def latency_samples(self) -> dict[StageName, int]:
        """The number of samples that each histogram holds now."""
        count = self.registry.get_sample_value
        return {stage: int(count(f"{name}_count") or 0) for stage, name in LATENCY_METRICS.items()}


def _end_series(gauge: Gauge, ends: Callable[[str], bool]) -> None:
    """Ends those series of a gauge whose collection fits."""
    for sample in next(iter(gauge.collect())).samples:
        if ends(sample.labels["collection"]):
            gauge.remove(sample.labels["collection"])
