"""The job ``shard_vectors``: the vectors of a large collection, computed shard by shard by as many runs as there are.

A shard holds the texts whose digests are in one of some equal ranges, so equal texts are in one shard and none is
computed twice. What a shard computes is staged: the run over the whole collection finds it there, as after a kill, and
publishes all of it in one commit. So this is a job of ops and not an asset, which would have to be there once it was
materialized.
"""

from collections.abc import Iterator, Sequence

import dagster as dg

from embedder_assets.assets.processing_summary import summarize
from embedder_assets.assets.support.materialize import Metadata, run_for_collection, run_stage
from embedder_assets.automation.jobs import INTERVAL_S, RETRY_ALL_STEPS, SENSORS, main_assets, rag_tables
from embedder_assets.embedding.dense import DenseEncoder
from embedder_assets.embedding.sparse import SparseEncoder
from embedder_assets.embedding.stage import EmbeddingStage, Encoder, PendingRows
from embedder_assets.errors import TableError
from embedder_assets.instance.dagster_private import BACKFILL_ID_TAG
from embedder_assets.partitions import COLLECTION_TAG, SHARD, SHARD_TAG, SHARDS, collections_of_run, shards
from embedder_assets.run_context import Pipeline
from embedder_assets.sanitize import plain
from embedder_assets.tables.digest_ranges import equal_ranges
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import StageMeter, StageName

# Of the newest backfills: more than end between two looks.
COLLECTIONS_LOOKED_AT = 128

Events = Iterator[dg.AssetObservation | dg.Output[None]]


@dg.op(out=dg.Out(dg.Nothing))
def dense_shard(context: dg.OpExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> Events:
    """Stages the dense vectors that the shard lacks."""
    triton = pipeline.triton
    models = pipeline.settings.dense_models
    yield from _staged(
        context, pipeline, "dense", [DenseEncoder(each, triton.fingerprint(each, "dense")) for each in models]
    )


@dg.op(ins={"after": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing))
def sparse_shard(context: dg.OpExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> Events:
    """Stages the sparse vectors that the shard lacks."""
    model = pipeline.settings.sparse_model
    encoder = SparseEncoder(model, pipeline.triton.fingerprint(model, "sparse"))
    yield from _staged(context, pipeline, "sparse", [encoder], toggle="enable_sparse")


@dg.op(ins={"after": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing))
def shard_summary(context: dg.OpExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> Events:
    """The proof of the run: metrics scraped, spans written, the manifest, the footer."""
    yield dg.Output(None, metadata=summarize(pipeline, context.instance, context.run))


@dg.job(
    partitions_def=shards,
    tags=RETRY_ALL_STEPS,
    description="Embeds one shard of a collection whose chunks are up to date; the next run over the collection finds "
    "the vectors computed. A backfill of all shards of a collection takes as many workers as there are.",
)
def shard_vectors() -> None:
    """Stages the dense and sparse vectors of one shard of a collection."""
    shard_summary(sparse_shard(dense_shard()))


def _staged(
    context: dg.OpExecutionContext,
    pipeline: Pipeline,
    stage: StageName,
    encoders: Sequence[Encoder],
    *,
    toggle: str | None = None,
) -> Events:
    """Embeds the run's shard with some models of one table."""
    (collection,) = collections_of_run(context.instance, context.run)
    key = context.partition_key.keys_by_dimension[SHARD]  # type: ignore[attr-defined]
    part = equal_ranges(len(SHARDS))[SHARDS.index(key)]

    def embed(tables: TableStore, meter: StageMeter) -> Metadata:
        _require_chunks(tables, collection)
        meter.models.update({encoder.model: encoder.fingerprint for encoder in encoders})
        embedding = EmbeddingStage(tables, pipeline.triton, pipeline.settings, encoders)
        models = {each.encoder.model: _counts(each) for each in embedding.prepare(collection, meter, part)}
        if stage == "dense":
            meter.attributes |= {"models_executed": list(models), "chunks_per_second": meter.rate}
        return models

    def work(meter: StageMeter) -> Metadata:
        return run_for_collection(context, pipeline, collection, lambda tables, _: embed(tables, meter), shard=key)

    models = yield from run_stage(context, pipeline, stage, work, toggle=toggle)
    yield dg.Output(None, metadata={"models": dg.MetadataValue.json(models or {})})


def _counts(pending: PendingRows) -> dict[str, int]:
    counts = {"computed": pending.computed, "reused": pending.reused, "failed": pending.failed.height}
    return {"chunks": pending.wanted, **counts}


def _require_chunks(store: TableStore, collection: str) -> None:
    if not store.count("chunks", collection):
        raise TableError(
            f"the shards of collection '{collection}'",
            expected="chunks to embed",
            got="none",
            remedy="Materialize `documents` and `chunks` of it first; docs/how-to/shards.md has the commands.",
        )


@dg.sensor(
    job=rag_tables,
    minimum_interval_seconds=INTERVAL_S,
    default_status=SENSORS,
    description="A run over a collection once a backfill has embedded all of its shards.",
)
def sharded_collections(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """A run over a collection once a backfill has embedded all of its shards.

    It looks at the runs themselves, of the last backfills, and Dagster takes a run key once. A run status sensor would
    go on from the last event that it has seen, and miss runs after some were deleted or a clock was set.
    """
    embedded = _embedded_shards(context.instance)
    waiting = []
    for (backfill, collection), done in embedded.items():
        if left := len(set(SHARDS) - done):
            waiting.append(f"collection '{collection}': {left} of {len(SHARDS)} shards are not embedded yet")
            continue
        yield dg.RunRequest(
            run_key=f"{backfill}/{collection}",
            partition_key=collection,
            asset_selection=main_assets(context.repository_def),
        )
    if len(waiting) == len(embedded):
        yield dg.SkipReason(plain("; ".join(waiting)) or "no backfill has embedded a shard")


def _embedded_shards(instance: dg.DagsterInstance) -> dict[tuple[str, str], set[str]]:
    """(backfill, collection) to the shards that are embedded, of the runs that went well."""
    wanted = dg.RunsFilter(job_name=shard_vectors.name, statuses=[dg.DagsterRunStatus.SUCCESS])
    embedded: dict[tuple[str, str], set[str]] = {}
    for run in instance.get_runs(wanted, limit=COLLECTIONS_LOOKED_AT * len(SHARDS)):
        if (backfill := run.tags.get(BACKFILL_ID_TAG)) is not None:
            embedded.setdefault((backfill, run.tags[COLLECTION_TAG]), set()).add(run.tags[SHARD_TAG])
    return embedded
