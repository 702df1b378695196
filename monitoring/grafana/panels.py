"""What the dashboards show: one description, from which Grafana's JSON, the tests and the pictures are made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

# Every collection, or those chosen at the top of the dashboard.
CHOSEN = 'collection=~"$collection"'


@dataclass(frozen=True)
class Query:
    """A PromQL expression and what the legend says of each of its series."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One graph over time, or one number.

    Attributes:
        unit: In Grafana's words: ``s``, ``percentunit`` (0 to 1), ``bytes`` (1024), ``decbytes`` (1000), ``ops``
            (per second), ``short`` and ``none`` (plain numbers).
        needs_gpu: Whether it stays empty without a GPU.
        warn: The value at which it turns red, or green again where less is worse.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Literal["timeseries", "stat"] = "timeseries"
    needs_gpu: bool = False
    warn: float | None = None
    less_is_worse: bool = False


@dataclass(frozen=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]

    def lines(self) -> list[tuple[Panel, ...]]:
        """The panels side by side: as few lines as are full, with four panels at most, or all numbers in one."""
        count = len(self.panels)
        per_line = count if self.panels[0].kind == "stat" else next((n for n in (3, 4, 2) if count % n == 0), 3)
        return [self.panels[start : start + per_line] for start in range(0, count, per_line)]


@dataclass(frozen=True)
class Dashboard:
    """One page of Grafana; ``uid`` is its address, and the name of its JSON file."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]

    def panels(self) -> Iterator[Panel]:
        """All panels, in the order in which they are read."""
        for row in self.rows:
            yield from row.panels


# What more than one dashboard shows.
INFERENCES = Query("triton:inferences:rate5m", "{{model}}")
COVERAGE = Query(f"rag_sparse_coverage_ratio{{{CHOSEN}}}", "{{collection}}")
FALLBACKS = Query("sum by (reason) (increase(rag_rerank_fallback_total[1h]))", "{{reason}}")

PIPELINE = Dashboard(
    "embedder-pipeline",
    "Pipeline overview",
    "Are the tables fresh, complete and healthy, and how fast is each stage?",
    (
        Row(
            "Now",
            (
                Panel(
                    "Alerts firing",
                    "Rules of monitoring/prometheus/rules/alerts.yml that fire now.",
                    "short",
                    (Query('count(ALERTS{alertstate="firing"}) or vector(0)', "alerts"),),
                    kind="stat",
                    warn=1,
                ),
                Panel(
                    "Runs in progress",
                    "Runs that have started and not ended.",
                    "short",
                    (Query("rag_runs_in_progress", "runs"),),
                    kind="stat",
                ),
                Panel(
                    "Runs failed in 24 h",
                    "Runs that ended as failed.",
                    "short",
                    (Query('sum(increase(rag_runs_total{status="failure"}[24h])) or vector(0)', "runs"),),
                    kind="stat",
                    warn=0.5,
                ),
                Panel(
                    "Checks that do not pass",
                    "Asset checks that fail or warn, per collection.",
                    "short",
                    (Query(f"count(rag_check_passed{{{CHOSEN}}} == 0) or vector(0)", "checks"),),
                    kind="stat",
                    warn=1,
                ),
                Panel(
                    "Oldest export",
                    "Time since the last export of the collection that was exported longest ago.",
                    "s",
                    (Query(f"max(time() - rag_last_success_timestamp_seconds{{{CHOSEN}}})", "age"),),
                    kind="stat",
                    warn=86_400,
                ),
                Panel(
                    "Smallest sparse coverage",
                    "Share of the chunks with a sparse vector of the model, in the collection that has fewest.",
                    "percentunit",
                    (Query(f"min(rag_sparse_coverage_ratio{{{CHOSEN}}})", "coverage"),),
                    kind="stat",
                    warn=1,
                    less_is_worse=True,
                ),
            ),
        ),
        Row(
            "Stages",
            (
                Panel(
                    "Request latency, median",
                    "One request to Triton with its queue, over the last hour. The export has one per collection.",
                    "s",
                    (Query("rag:stage_latency_seconds:p50_1h", "{{stage}}"),),
                ),
                Panel(
                    "Request latency, 95th percentile",
                    "As above. RerankLatencySpike fires when rerank stays above 5 s.",
                    "s",
                    (Query("rag:stage_latency_seconds:p95_1h", "{{stage}}"),),
                    warn=5,
                ),
                Panel(
                    "Throughput",
                    "Texts and pairs that Triton computes per second.",
                    "ops",
                    (INFERENCES,),
                ),
                Panel(
                    "Running for",
                    "How long the oldest stage in progress runs. StageStalled fires when Triton computes nothing.",
                    "s",
                    (Query("rag:stage_running_seconds", "{{stage}}"),),
                    warn=1800,
                ),
                Panel(
                    "Computed, items in the last hour",
                    "What a model or the disk had to work for.",
                    "short",
                    (Query('rag:stage_items:increase1h{outcome="computed"}', "{{stage}}"),),
                ),
                Panel(
                    "Reused, items in the last hour",
                    "What was already there. After an edit nearly everything is reused.",
                    "short",
                    (Query('rag:stage_items:increase1h{outcome="reused"}', "{{stage}}"),),
                ),
            ),
        ),
        Row(
            "Coverage and fallbacks",
            (
                Panel(
                    "Sparse coverage",
                    "Share of the chunks with a sparse vector of the model. SparseCoverageDrop fires below 1.",
                    "percentunit",
                    (COVERAGE,),
                    warn=1,
                    less_is_worse=True,
                ),
                Panel(
                    "Rerank fallbacks in the last hour",
                    "Runs in which the fused order stood in for reranking.",
                    "short",
                    (FALLBACKS,),
                ),
                Panel(
                    "Failed and stood-in items in the last hour",
                    "Chunks, queries or pairs on which a model failed alone, and those for which something simpler "
                    "stood in.",
                    "short",
                    (Query('rag:stage_items:increase1h{outcome=~"failed|fallback"}', "{{stage}} {{outcome}}"),),
                ),
            ),
        ),
        Row(
            "Runs and tables",
            (
                Panel(
                    "Runs ended in the last hour",
                    "By how they ended.",
                    "short",
                    (Query("sum by (status) (increase(rag_runs_total[1h]))", "{{status}}"),),
                ),
                Panel(
                    "Time since the last export",
                    "NoSuccessIn24Hours fires above a day.",
                    "s",
                    (Query(f"time() - rag_last_success_timestamp_seconds{{{CHOSEN}}}", "{{collection}}"),),
                    warn=86_400,
                ),
                Panel(
                    "Rows",
                    "Rows of each table at its newest materialization.",
                    "short",
                    (Query(f"sum by (table) (rag_table_rows{{{CHOSEN}}})", "{{table}}"),),
                ),
                Panel(
                    "Checks that do not pass",
                    "By collection and asset. CheckFailing and CheckWarns name the check.",
                    "short",
                    (
                        Query(
                            f"sum by (collection, asset) (rag_check_passed{{{CHOSEN}}} == bool 0)",
                            "{{collection}} {{asset}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)

TRITON = Dashboard(
    "embedder-triton",
    "Triton and GPU",
    "Is the server there, what does it compute, where does a request wait, and what memory does each stage take?",
    (
        Row(
            "Now",
            (
                Panel(
                    "Triton",
                    "1 while Prometheus can scrape it. TritonDown fires at 0.",
                    "short",
                    (Query('min(up{job="triton"})', "up"),),
                    kind="stat",
                    warn=1,
                    less_is_worse=True,
                ),
                Panel(
                    "Exporter",
                    "1 while Prometheus can scrape it. ExporterDown fires at 0.",
                    "short",
                    (Query('min(up{job="exporter"})', "up"),),
                    kind="stat",
                    warn=1,
                    less_is_worse=True,
                ),
                Panel(
                    "Requests that wait",
                    "Of all models. TritonQueueGrowing fires when one model stays above 16.",
                    "short",
                    (Query("sum(triton:pending_requests)", "requests"),),
                    kind="stat",
                    warn=16,
                ),
                Panel(
                    "Failed requests in the last hour",
                    "Requests that Triton answered with an error.",
                    "short",
                    (Query("sum(increase(nv_inference_request_failure[1h]))", "requests"),),
                    kind="stat",
                    warn=0.5,
                ),
            ),
        ),
        Row(
            "Models",
            (
                Panel(
                    "Inferences",
                    "Texts and pairs computed per second.",
                    "ops",
                    (INFERENCES,),
                ),
                Panel(
                    "Requests",
                    "Requests answered per second.",
                    "ops",
                    (Query("triton:requests:rate5m", "{{model}}"),),
                ),
                Panel(
                    "Batch size",
                    "Texts or pairs that the server computes together, on average.",
                    "short",
                    (Query("triton:batch_size:mean5m", "{{model}}"),),
                ),
                Panel(
                    "Queue",
                    "Time a request waits in the server, on average.",
                    "s",
                    (Query("triton:queue_seconds:mean5m", "{{model}}"),),
                ),
                Panel(
                    "Compute",
                    "Time a request is computed, on average.",
                    "s",
                    (Query("triton:compute_seconds:mean5m", "{{model}}"),),
                ),
                Panel(
                    "Request",
                    "Time a request takes in the server, on average.",
                    "s",
                    (Query("triton:request_seconds:mean5m", "{{model}}"),),
                ),
                Panel(
                    "Requests that wait",
                    "Not yet taken up by a model's instance.",
                    "short",
                    (Query("triton:pending_requests", "{{model}}"),),
                    warn=16,
                ),
                Panel(
                    "Failures",
                    "Requests answered with an error, per second.",
                    "ops",
                    (Query("triton:failures:rate5m", "{{model}}"),),
                ),
            ),
        ),
        Row(
            "GPU",
            (
                Panel(
                    "Peak memory of a stage",
                    "Highest memory of the device seen in the stage's last run. GpuMemoryHigh fires above 11.5 GB, "
                    "GpuMemoryCritical above 12 GB.",
                    "decbytes",
                    (Query("rag_gpu_peak_bytes", "{{stage}} {{device}}"),),
                    needs_gpu=True,
                    warn=11.5e9,
                ),
                Panel(
                    "Memory in use",
                    "Of the whole device, and what it has.",
                    "decbytes",
                    (
                        Query("nv_gpu_memory_used_bytes", "{{gpu_uuid}} used"),
                        Query("nv_gpu_memory_total_bytes", "{{gpu_uuid}} total"),
                    ),
                    needs_gpu=True,
                ),
                Panel(
                    "Utilization",
                    "Share of the time in which the device computes.",
                    "percentunit",
                    (Query("nv_gpu_utilization", "{{gpu_uuid}}"),),
                    needs_gpu=True,
                ),
            ),
        ),
        Row(
            "Host",
            (
                Panel(
                    "CPU utilization",
                    "Of the server's machine, as Triton sees it.",
                    "percentunit",
                    (Query("nv_cpu_utilization", "CPU"),),
                ),
                Panel(
                    "Memory in use",
                    "Of the server's machine, and what it has.",
                    "bytes",
                    (
                        Query("nv_cpu_memory_used_bytes", "used"),
                        Query("nv_cpu_memory_total_bytes", "total"),
                    ),
                ),
            ),
        ),
    ),
)

RETRIEVAL = Dashboard(
    "embedder-retrieval",
    "Retrieval quality",
    "Do the tables still find the right passages, and what does each ranking add? Collections with judged queries.",
    (
        Row(
            "Now",
            (
                Panel(
                    "nDCG@10, reranked",
                    "Mean of the chosen collections at their newest evaluation.",
                    "none",
                    (Query(f'avg(rag_retrieval_ndcg_at_10{{ranking="reranked",{CHOSEN}}})', "nDCG@10"),),
                    kind="stat",
                ),
                Panel(
                    "Gain of reranking",
                    "nDCG@10 of the reranked order less that of the fused one.",
                    "none",
                    (
                        Query(
                            f'avg(rag_retrieval_ndcg_at_10{{ranking="reranked",{CHOSEN}}})'
                            f' - avg(rag_retrieval_ndcg_at_10{{ranking="fused",{CHOSEN}}})',
                            "gain",
                        ),
                    ),
                    kind="stat",
                ),
                Panel(
                    "Below the week's best",
                    "The largest fall of a collection. RetrievalQualityDrop fires above 0.05.",
                    "none",
                    (
                        Query(
                            f'max(max_over_time(rag_retrieval_ndcg_at_10{{ranking="reranked",{CHOSEN}}}[7d])'
                            f' - rag_retrieval_ndcg_at_10{{ranking="reranked",{CHOSEN}}})',
                            "fall",
                        ),
                    ),
                    kind="stat",
                    warn=0.05,
                ),
            ),
        ),
        Row(
            "Over time",
            (
                *(
                    Panel(
                        f"nDCG@10, {ranking}",
                        f"Of the {ranking} ranking, at each evaluation.",
                        "none",
                        (Query(f'rag_retrieval_ndcg_at_10{{ranking="{ranking}",{CHOSEN}}}', "{{collection}}"),),
                    )
                    for ranking in ("reranked", "fused", "dense", "sparse")
                ),
                Panel(
                    "nDCG@10, mean of each ranking",
                    "Over the chosen collections.",
                    "none",
                    (Query(f"avg by (ranking) (rag_retrieval_ndcg_at_10{{{CHOSEN}}})", "{{ranking}}"),),
                ),
            ),
        ),
        Row(
            "What may have moved it",
            (
                Panel(
                    "Rows of chunks",
                    "A fall without deletions in the corpus is a loss.",
                    "short",
                    (Query(f'rag_table_rows{{table="chunks",{CHOSEN}}}', "{{collection}}"),),
                ),
                Panel(
                    "Sparse coverage",
                    "Chunks without a vector are not found by the sparse ranking.",
                    "percentunit",
                    (COVERAGE,),
                    warn=1,
                    less_is_worse=True,
                ),
                Panel(
                    "Rerank fallbacks",
                    "Runs in the last hour in which the fused order stood in.",
                    "short",
                    (FALLBACKS,),
                ),
                Panel(
                    "Chunks computed in the last hour",
                    "A model, tokenizer or chunking rule that has changed computes everything again.",
                    "short",
                    (Query('rag:stage_items:increase1h{outcome="computed",stage=~"chunk|dense|sparse"}', "{{stage}}"),),
                ),
            ),
        ),
    ),
)

DASHBOARDS = (PIPELINE, TRITON, RETRIEVAL)
