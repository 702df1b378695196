"""The schedules: a nightly pass over all collections, and nightly maintenance after it."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from embedder_assets.automation.jobs import SCHEDULES, maintenance, rag_tables
from embedder_assets.corpus.collections import discover_collections
from embedder_assets.corpus.s3_sync import sync_corpus
from embedder_assets.partitions import register
from embedder_assets.settings import load_settings


@dg.schedule(
    job=rag_tables,
    cron_schedule="17 1 * * *",
    default_status=SCHEDULES,
    description="A run per collection at 01:17 every night, whether its files changed or not.",
)
def nightly_refresh(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
    """A run per collection at 01:17: what no sensor sees, such as a new model or setting, and runs that have failed."""
    names = [collection.name for collection in discover_collections(sync_corpus(load_settings()))]
    register(context.instance, names)
    for name in names:
        yield dg.RunRequest(run_key=f"{context.scheduled_execution_time:%Y-%m-%d}/{name}", partition_key=name)


nightly_maintenance = dg.ScheduleDefinition(
    name="nightly_maintenance",
    job=maintenance,
    cron_schedule="17 3 * * *",
    default_status=SCHEDULES,
    description="Maintenance at 03:17 every night.",
)
