"""How every asset runs its stage: one collection after the other, with a record of whatever happened."""

import functools
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import dagster as dg

from embedder_assets.assets.support.lease import acquire_lease
from embedder_assets.assets.support.superseded import VERSIONS_KEY, leave_to_others, version_tracker
from embedder_assets.errors import (
    CorpusError,
    EmbedderError,
    QualityError,
    StorageError,
    TableError,
    TritonUnavailableError,
)
from embedder_assets.instance.dagster_private import (
    RETRY_ON_ASSET_OR_OP_FAILURE_TAG,
    SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION,
)
from embedder_assets.partitions import backfill_policy, collections, collections_of_run
from embedder_assets.run_context import Pipeline
from embedder_assets.sanitize import one_line, redact
from embedder_assets.tables.store import TableStore
from embedder_assets.tables.transaction import run_exclusively
from embedder_assets.telemetry.event_log import as_observation
from embedder_assets.telemetry.progress import LoggedProgress
from embedder_assets.telemetry.stage_record import StageMeter, StageName

Events = Iterator[dg.AssetObservation | dg.MaterializeResult[None]]
Metadata = Mapping[str, Any]
Result = TypeVar("Result")

warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)

# Off until the sensor ``downstream_tables`` is on. A missing input does not hold a table back: a stage that is off
# leaves its table missing for good.
FOLLOWS_ITS_INPUTS = (
    dg.AutomationCondition.any_deps_updated().since_last_handled()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
).with_label("an input was materialized")
# What says nothing of the next collection; a server or a store that is away does.
_OF_ONE_COLLECTION = (CorpusError, QualityError, TableError)
# Dagster's search and filters know them; a fork names its own team here.
OWNERS = ["team:rag"]
# Share of the requests to Triton that get a span, inside Triton too: a run sends thousands.
REQUEST_TRACE_RATIO = 0.05
collection_asset = functools.partial(
    dg.asset,
    owners=OWNERS,
    partitions_def=collections,
    backfill_policy=backfill_policy(),
    automation_condition=FOLLOWS_ITS_INPUTS,
)


def materialize_each(
    context: dg.AssetExecutionContext, pipeline: Pipeline, work: Callable[[TableStore, str], Metadata]
) -> Events:
    """Does the work for each collection of the run in a transaction, for an asset without telemetry of its own."""
    names = collections_of_run(context.instance, context.run)
    yield _materialized(context, _work_on_each(context, pipeline, names, work))


def materialize_stage(
    context: dg.AssetExecutionContext,
    pipeline: Pipeline,
    stage: StageName,
    work: Callable[[TableStore, str, StageMeter], Metadata],
    *,
    toggle: str | None = None,
) -> Events:
    """Runs a stage for each collection of the run and leaves its record in the event log, also when it fails.

    Args:
        context: Of the asset.
        pipeline: The run's working set.
        stage: Name of the stage, as in its span.
        work: Updates one collection in the tables that it is given, and returns its metadata.
        toggle: The setting that switches the stage off, if there is one.
    """

    def work_on_all(meter: StageMeter) -> Mapping[str, Metadata]:
        metadata = _work_on_each(context, pipeline, meter.collections, lambda tables, name: work(tables, name, meter))
        # A collection that is left to another run is none that this stage has worked on.
        meter.collections = list(metadata)
        return metadata

    metadata = yield from run_stage(context.op_execution_context, pipeline, stage, work_on_all, toggle=toggle)
    yield _materialized(context, metadata or {})


def _work_on_each(
    context: dg.AssetExecutionContext,
    pipeline: Pipeline,
    names: Sequence[str],
    work: Callable[[TableStore, str], Metadata],
) -> dict[str, Metadata]:
    """The metadata of each collection, without those that another run has changed meanwhile: they are left to it.

    Raises:
        Failure: What is wrong with some collections, when the work of the others is done.
    """
    instance, run_id = context.instance, context.run.run_id
    inputs = context.assets_def.asset_deps[context.asset_key]
    used = [key.path[-1] for key in (*inputs, context.asset_key)]

    def unless_superseded(tables: TableStore, name: str) -> Metadata | str:
        tracker = version_tracker(pipeline, instance, run_id)
        if (words := tracker.change_by_others(tables, name)) is not None:
            return words
        values = work(tables, name)
        versions = tracker.record(tables, name, used)
        return {**values, VERSIONS_KEY: dg.MetadataValue.json(versions)}

    metadata: dict[str, Metadata] = {}
    failures: list[dg.Failure] = []
    for name in names:
        try:
            done = run_for_collection(context.op_execution_context, pipeline, name, unless_superseded)
        except dg.Failure as failure:
            if not isinstance(failure.__cause__, _OF_ONE_COLLECTION) or isinstance(failure.__cause__, StorageError):
                raise
            failures.append(failure)
            continue
        if isinstance(done, str):
            leave_to_others(context, pipeline, name, done)
        else:
            metadata[name] = done
    if failures:
        description = "; ".join(str(failure.description) for failure in failures)
        raise dg.Failure(description, allow_retries=False) from failures[0].__cause__
    return metadata


def run_stage(
    context: dg.OpExecutionContext,
    pipeline: Pipeline,
    stage: StageName,
    work: Callable[[StageMeter], Result],
    *,
    toggle: str | None = None,
) -> Generator[dg.AssetObservation, None, Result | None]:
    """Does the work of a stage with its lease, and yields its record, also when it fails.

    Args:
        context: Of the asset or op.
        pipeline: The run's working set.
        stage: Name of the stage, as in its span.
        work: The work.
        toggle: The setting that switches the stage off, if there is one.

    Returns:
        What the work returns; None where the stage is off.
    """
    meter = StageMeter(
        stage,
        collections_of_run(context.instance, context.run),
        report=LoggedProgress(pipeline.report, context.log.info),
        run_id=context.run.run_id,
        request_ratio=REQUEST_TRACE_RATIO,
    )
    meter.log_note = lambda sentence: context.log.info(one_line(sentence))
    if toggle and not getattr(pipeline.settings, toggle):
        yield as_observation(meter.record("off", f"disabled via {pipeline.settings.provenance(toggle)}"))
        return None
    try:
        with acquire_lease(context, pipeline, meter):
            result = work(meter)
    except (Exception, dg.DagsterExecutionInterruptedError) as error:
        cause = error.__cause__ or error
        yield as_observation(meter.record("failed", one_line(redact(f"{type(cause).__name__}: {cause}"))))
        raise
    yield as_observation(meter.record())
    return result


def run_for_collection(
    context: dg.OpExecutionContext,
    pipeline: Pipeline,
    collection: str,
    work: Callable[[TableStore, str], Result],
    shard: str | None = None,
) -> Result:
    """Works on a collection while no other run of this machine does: a second run waits, then finds the work done.

    Work on a shard waits for work on the same shard only.

    Our own errors come out as failures that Dagster shows without a wall of frames. Only a server that does not answer
    is worth a retry of the run, which the run's tag asks for: any other error would come again.
    """
    pipeline.report(context.op.name, collection, 0, 0)
    try:
        alone = collection if shard is None else f"{collection}|{shard}"
        return run_exclusively(pipeline.store, [alone], lambda tables: work(tables, collection))
    except EmbedderError as error:
        passing = isinstance(error, TritonUnavailableError)
        if passing:
            context.instance.add_run_tags(context.run.run_id, {RETRY_ON_ASSET_OR_OP_FAILURE_TAG: "true"})
        raise dg.Failure(one_line(f"collection '{collection}': {error}"), allow_retries=passing) from error


def _materialized(context: dg.AssetExecutionContext, metadata: Mapping[str, Metadata]) -> dg.MaterializeResult[None]:
    """The collections with their metadata; where there is none, the stage is off, or all are left to another run."""
    if not metadata:
        return _nothing_materialized()
    for name, values in metadata.items():
        context.add_asset_metadata(values, partition_key=name)
    return dg.MaterializeResult()


def _nothing_materialized() -> dg.MaterializeResult[None]:
    """Lets downstream assets go on although this one was not materialized.

    Dagster has no public word for it: an asset that yields no output has its whole downstream skipped, and any output
    is logged as a materialization. The marker is the one of Dagster's own observable assets.
    """
    return dg.MaterializeResult(metadata={SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True})
