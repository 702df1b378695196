"""``dense_embeddings``: one unit vector per chunk and dense model, computed in Triton only where one is missing."""

import time

import dagster as dg

from embedder_assets.assets.chunks import chunks
from embedder_assets.assets.support.embedding_metadata import embedding_metadata, record_tokenization
from embedder_assets.assets.support.materialize import Events, Metadata, collection_asset, materialize_stage
from embedder_assets.embedding.dense import DenseEncoder
from embedder_assets.embedding.stage import EmbeddingStage
from embedder_assets.embedding.tokenization import tokenization_by_model
from embedder_assets.evaluation.model_gate import ModelGate
from embedder_assets.run_context import Pipeline
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import StageMeter


@collection_asset(deps=[chunks], group_name="vectors", kinds={"triton", "delta"}, tags={"stage": "dense"})
def dense_embeddings(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> Events:
    """One unit vector per chunk and dense model, by the dense models in Triton."""
    models = pipeline.settings.dense_models

    def work(tables: TableStore, collection: str, meter: StageMeter) -> Metadata:
        encoders = [DenseEncoder(model, pipeline.triton.fingerprint(model, "dense")) for model in models]
        gate = ModelGate(tables, pipeline.triton, pipeline.settings, meter)
        started = time.monotonic()
        outcomes = EmbeddingStage(tables, pipeline.triton, pipeline.settings, encoders, gate).run(collection, meter)
        meter.attributes |= {"models_executed": list(models), "chunks_per_second": meter.rate}
        metadata = embedding_metadata(tables, collection, encoders, outcomes, time.monotonic() - started)
        read = tokenization_by_model(tables, pipeline.triton, collection, models)
        return {**metadata, **record_tokenization(meter, collection, read)}

    yield from materialize_stage(context, pipeline, "dense", work)
