"""``sparse_embeddings``: weighted vocabulary entries per chunk, computed in Triton only where they are missing."""

import time

import dagster as dg

from embedder_assets.assets.chunks import chunks
from embedder_assets.assets.support.embedding_metadata import embedding_metadata, record_tokenization
from embedder_assets.assets.support.materialize import Events, Metadata, collection_asset, materialize_stage
from embedder_assets.assets.support.preview import PREVIEW_ROWS, table_preview
from embedder_assets.embedding.fallback import Fallback
from embedder_assets.embedding.keys import ModelVersion
from embedder_assets.embedding.lexical import TABLE, write_lexical_rows
from embedder_assets.embedding.sparse import SparseEncoder
from embedder_assets.embedding.stage import EmbeddingStage
from embedder_assets.embedding.tokenization import tokenization_by_model
from embedder_assets.evaluation.model_gate import ModelGate
from embedder_assets.run_context import Pipeline
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import StageMeter


@collection_asset(deps=[chunks], group_name="vectors", kinds={"triton", "delta"}, tags={"stage": "sparse"})
def sparse_embeddings(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> Events:
    """Weighted vocabulary entries of each chunk, by the SPLADE model in Triton, or lexical ones while that fails."""
    model = pipeline.settings.sparse_model

    def embed(tables: TableStore, encoder: SparseEncoder, collection: str, meter: StageMeter) -> Metadata:
        gate = ModelGate(tables, pipeline.triton, pipeline.settings, meter)
        started = time.monotonic()
        outcomes = EmbeddingStage(tables, pipeline.triton, pipeline.settings, [encoder], gate).run(collection, meter)
        metadata = embedding_metadata(tables, collection, [encoder], outcomes, time.monotonic() - started)
        read = tokenization_by_model(tables, pipeline.triton, collection, [model])
        return {**metadata, **record_tokenization(meter, collection, read)}

    def work(tables: TableStore, collection: str, meter: StageMeter) -> Metadata:
        encoder = SparseEncoder(model, pipeline.triton.fingerprint(model, "sparse"))
        fallback = Fallback("sparse" in pipeline.settings.fallback, meter.fell_back, collection)
        return fallback.run_or_fall_back(
            lambda: embed(tables, encoder, collection, meter),
            lambda: _write_lexical_rows(pipeline, tables, ModelVersion(model, encoder.fingerprint), collection, meter),
        )

    yield from materialize_stage(context, pipeline, "sparse", work, toggle="enable_sparse")


def _write_lexical_rows(
    pipeline: Pipeline, tables: TableStore, model: ModelVersion, collection: str, meter: StageMeter
) -> Metadata:
    """Lexical rows where the model's are missing, and what Dagster shows of them."""
    outcome = write_lexical_rows(tables, pipeline.settings, model, collection)
    meter.count("fallback", outcome.lexical)
    meter.cover(collection, outcome.coverage)
    meter.models.update(outcome.models)
    rows = tables.read(TABLE, collection, limit=PREVIEW_ROWS)
    return {
        "dagster/row_count": outcome.rows,
        "lexical_rows": outcome.lexical,
        "coverage_ratio": outcome.coverage,
        "preview": table_preview(rows, [name for name in rows.columns if name != "collection"]),
    }
