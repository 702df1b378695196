"""The sensors: changed collections, tables that follow one another, and runs whose process is gone."""

from __future__ import annotations

import time

import dagster as dg

from embedder_assets.automation import changes
from embedder_assets.automation.jobs import (
    INTERVAL_S,
    LONGEST_INTERVAL_S,
    MAIN,
    SENSORS,
    main_assets,
    maintenance,
    rag_tables,
)
from embedder_assets.corpus.collections import Collection, discover_collections, refused_names
from embedder_assets.corpus.file_digest import files_digest
from embedder_assets.corpus.s3_sync import sync_corpus
from embedder_assets.errors import CorpusError
from embedder_assets.instance.dagster_private import NOT_FINISHED_STATUSES
from embedder_assets.instance.lost_runs import fail_lost_runs
from embedder_assets.partitions import collections, collections_of_run
from embedder_assets.permissions import restrict_permissions
from embedder_assets.sanitize import one_line
from embedder_assets.settings import load_settings


@dg.sensor(
    job=rag_tables,
    minimum_interval_seconds=INTERVAL_S,
    default_status=SENSORS,
    description="A run for each collection that is new or whose files changed, once they have settled.",
)
def collection_changes(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """A run for each collection that is new or whose files changed, once they have settled (EMBEDDER_SETTLE_S)."""
    settings = load_settings()
    restrict_permissions(settings.home)
    folder = sync_corpus(settings)
    found = {each.name: _digest(context, each) for each in discover_collections(folder)}
    for error in refused_names(folder):
        context.log.error(one_line(str(error)))
    now = changes.Observation(found, _in_flight(context.instance), time.time(), settings.settle_s)
    decision = changes.decide(now, changes.SensorCursor.parse(context.cursor))
    for name, reason in decision.waiting.items():
        context.log.info(one_line(f"collection '{name}' waits: {reason}"))
    known = set(context.instance.get_dynamic_partitions(collections.name or ""))
    unknown = [name for name in decision.run_keys if name not in known]
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(key, partition_key=name, asset_selection=main_assets(context.repository_def))
            for name, key in decision.run_keys.items()
        ],
        dynamic_partitions_requests=[collections.build_add_request(unknown)] if unknown else [],
        cursor=decision.cursor.model_dump_json(),
    )


@dg.sensor(
    minimum_interval_seconds=LONGEST_INTERVAL_S,
    default_status=SENSORS,
    description="Marks runs as failed whose process has died unreported.",
)
def lost_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Marks runs as failed whose process has died unreported: killed, out of memory, a power failure."""
    lost = fail_lost_runs(context.instance, load_settings().home)
    return dg.SkipReason(f"marked as failed: {', '.join(lost)}" if lost else "no run was lost")


downstream_tables = dg.AutomationConditionSensorDefinition(
    "downstream_tables",
    target=MAIN,
    minimum_interval_seconds=INTERVAL_S,
    default_status=SENSORS,
    description="A table that was materialized alone takes the tables that are made from it along.",
)


def _digest(context: dg.SensorEvaluationContext, collection: Collection) -> str | None:
    try:
        return files_digest(collection)
    except CorpusError as error:
        context.log.error(one_line(str(error)))
        return None


def _in_flight(instance: dg.DagsterInstance) -> set[str]:
    """The collections of all runs that are queued or in progress."""
    runs = instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
    return {name for run in runs if run.job_name != maintenance.name for name in collections_of_run(instance, run)}
