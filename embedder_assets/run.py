"""Launches the main job in this process, the way ``embedder run`` does, on a Dagster instance under the home."""

from __future__ import annotations

import functools
import os
import shlex
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import dagster as dg
from filelock import FileLock

from embedder_assets import partitions
from embedder_assets.assets.processing_summary import write_summary
from embedder_assets.assets.support.superseded import version_tracker
from embedder_assets.automation.jobs import rag_tables
from embedder_assets.corpus.collections import discover_collections, find_collection, refused_names
from embedder_assets.corpus.s3_sync import sync_corpus
from embedder_assets.definitions import defs
from embedder_assets.environment import dagster_home
from embedder_assets.errors import SettingsError
from embedder_assets.instance.job_origin import NOT_RETRIED, set_job_origin
from embedder_assets.instance.lost_runs import fail_lost_runs
from embedder_assets.instance.sqlite_event_log import open_instance
from embedder_assets.instance.storage_errors import translate_storage_errors
from embedder_assets.run_context import Pipeline
from embedder_assets.serving.models.configured import require_models
from embedder_assets.settings import Settings
from embedder_assets.tables.object_store import check_bucket_access
from embedder_assets.telemetry.event_log import records_of_run
from embedder_assets.telemetry.exporter.collector import RecordCollector, event_log_collector
from embedder_assets.telemetry.exporter.live_state import StateCollector
from embedder_assets.telemetry.footer import render_footer
from embedder_assets.telemetry.manifest.summarize import stage_warnings
from embedder_assets.telemetry.run_failures import INTERRUPTED, failed_checks, problems

DAGSTER_CONFIG = """\
# Written by embedder-assets; yours to change.
telemetry:
  enabled: false
nux:
  enabled: false
# A run whose process is killed is marked as failed and retried. A run with a failed step would fail again, so it is
# not, unless it asks for it itself, which it does where Triton did not answer.
run_monitoring:
  enabled: true
run_retries:
  enabled: true
  max_retries: 2
  retry_on_asset_or_op_failure: false
# Of the runs that are launched in the UI and by sensors: one per collection at a time.
concurrency:
  runs:
    max_concurrent_runs: 4
    tag_concurrency_limits:
      - key: dagster/partition
        value:
          applyLimitPerUniqueValue: true
        limit: 1
"""
# What happened is reported from the events afterwards; Dagster's own log of it is in the event log.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class RunOutcome:
    """What one launch led to.

    Attributes:
        success: Whether all stages and blocking checks ended well.
        interrupted: Whether somebody has ended it.
        collections: What was run.
        run_ids: One per range of collections, usually one.
        problems: A sentence for each failed step and each failed check.
        warnings: A sentence for each stage in which something stood in for a model, and each check that only warns.
        footers: One per run.
    """

    success: bool = True
    interrupted: bool = False
    collections: list[str] = field(default_factory=list)
    run_ids: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    footers: list[str] = field(default_factory=list)


@contextmanager
def dagster_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The instance at ``DAGSTER_HOME``; by default one under the home, made when it is missing."""
    folder = dagster_home(settings)
    os.environ["DAGSTER_HOME"] = str(folder)
    config, first_look = folder / "dagster.yaml", folder / ".first_look.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        first_look.touch()
        if not config.exists():
            config.write_text(DAGSTER_CONFIG, "utf-8")
    except OSError as error:
        raise SettingsError(
            f"the state folder {settings.home} ({settings.provenance('home')})",
            expected="a folder that can be made and written",
            got=str(error),
            remedy="Set EMBEDDER_HOME to a folder that you may write.",
        ) from error
    # Dagster makes its SQLite files at the first look, and two processes that both make them collide.
    with FileLock(first_look), translate_storage_errors(folder, opening=True):
        instance = open_instance(folder)
        instance.get_runs(limit=1)
        instance.get_dynamic_partitions(partitions.PARTITIONS_NAME)
    with translate_storage_errors(folder), instance:
        yield instance


def launch(pipeline: Pipeline, names: Sequence[str] = ()) -> RunOutcome:
    """Updates the tables of some collections, or of all.

    Raises:
        ModelBuildError: A setting names a model that is not in the repository, or is for another stage.
        CorpusError: The corpus folder, or a named collection, is not there.
        StorageError: Tables, exports or corpus are in an object store that cannot be reached.
    """
    settings = pipeline.settings
    require_models(settings)
    pipeline.store.check_access()
    if settings.exports_url:
        check_bucket_access("the exports", settings.exports_url)
    found = [collection.name for collection in discover_collections(sync_corpus(settings))]
    chosen = [find_collection(settings.corpus_dir, name).name for name in dict.fromkeys(names)] or found
    refused = [] if names else refused_names(settings.corpus_dir)
    outcome = RunOutcome(success=not refused, collections=chosen, problems=list(map(str, refused)))
    with dagster_instance(settings) as instance:
        partitions.register(instance, found)
        fail_lost_runs(instance, settings.home)
        set_job_origin(instance, defs.get_repository_def().name, rag_tables.name)
        for first, last in partitions.contiguous_ranges(instance, chosen):
            if not outcome.interrupted:
                _run_range(pipeline, instance, first, last, outcome)
    if not names:
        outcome.warnings += _left_over(pipeline, found)
    return outcome


def metrics_of(instance: dg.DagsterInstance) -> tuple[RecordCollector, StateCollector]:
    """What the exporter serves: the records of all runs, and the present state of the code location."""
    checks = [key for check in defs.asset_checks or () for key in check.check_keys]
    known = functools.partial(partitions.known_collections, instance)
    return event_log_collector(instance, known), StateCollector(instance, checks, known)


def forget_collection(settings: Settings, name: str) -> None:
    """Takes a collection from those that Dagster knows; harmless where it does not know it."""
    with dagster_instance(settings) as instance:
        instance.delete_dynamic_partition(partitions.PARTITIONS_NAME, name)


def _left_over(pipeline: Pipeline, found: Sequence[str]) -> list[str]:
    """A sentence for each collection that has rows and no folder."""
    gone = [name for name in pipeline.store.collections("documents") if name not in found]
    return [
        f"collection '{name}' has rows and no folder in {pipeline.settings.corpus_dir}: they stay; "
        f"`embedder tables drop {shlex.quote(name)}` removes them"
        for name in gone
    ]


def _run_range(pipeline: Pipeline, instance: dg.DagsterInstance, first: str, last: str, outcome: RunOutcome) -> None:
    footers: list[str] = []
    pipeline.show_footer = footers.append
    run_id = str(uuid.uuid4())
    pipeline.run_lock.hold(run_id)
    result = defs.resolve_job_def(rag_tables.name).execute_in_process(
        instance=instance,
        run_id=run_id,
        resources={"pipeline": pipeline},
        tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last, **NOT_RETRIED},
        run_config=QUIET,
        raise_on_error=False,
    )
    outcome.run_ids.append(result.run_id)
    outcome.problems += problems(result.all_events)
    outcome.interrupted = INTERRUPTED in outcome.problems
    left = version_tracker(pipeline, instance, result.run_id).left_to_others
    outcome.warnings += [f"collection '{name}': {words}" for name, words in left.items()]
    outcome.warnings += failed_checks(result.all_events, dg.AssetCheckSeverity.WARN)
    outcome.warnings += stage_warnings(records_of_run(instance, result.run_id))
    if not footers:
        names = instance.get_dynamic_partitions(partitions.PARTITIONS_NAME)
        covered = names[names.index(first) : names.index(last) + 1]
        manifest = write_summary(pipeline, instance, result.run_id, covered, succeeded=False)
        footers.append(render_footer(manifest))
    outcome.footers += footers
    outcome.success = outcome.success and result.success
