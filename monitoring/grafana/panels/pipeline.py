"""The dashboard 'Pipeline overview'."""

from monitoring.grafana.panels.panel import CHOSEN, COVERAGE, FALLBACKS, INFERENCES, Dashboard, Panel, Query, Row

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
