"""``fused_candidates``: the dense and the sparse rankings of each query, fused."""

import dagster as dg

from embedder_assets.assets.chunks import chunks
from embedder_assets.assets.dense_embeddings import dense_embeddings
from embedder_assets.assets.queries import queries
from embedder_assets.assets.sparse_embeddings import sparse_embeddings
from embedder_assets.assets.support.materialize import Events, Metadata, collection_asset, materialize_stage
from embedder_assets.assets.support.preview import table_preview
from embedder_assets.retrieval.fusion import FuseStage, RetrievalModels
from embedder_assets.retrieval.weights_in_use import stage_weights
from embedder_assets.run_context import Pipeline
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import StageMeter


@collection_asset(
    deps=[chunks, dense_embeddings, sparse_embeddings, queries],
    group_name="retrieval",
    kinds={"triton", "delta"},
    tags={"stage": "fuse"},
)
def fused_candidates(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> Events:
    """The best chunks of each query: exact dense and sparse search, fused by a convex combination of the scores."""

    def work(tables: TableStore, collection: str, meter: StageMeter) -> Metadata:
        models = RetrievalModels.of(pipeline.settings, pipeline.triton)
        rows = FuseStage(tables, pipeline.triton, pipeline.settings, models).run(collection, meter)
        shown = ["query_id", "rank", "doc_id", "score", "dense_rank", "dense_score", "sparse_rank", "sparse_score"]
        used = stage_weights(tables, pipeline.settings, collection, "fuse")
        return {
            "dagster/row_count": rows.height,
            "queries": rows["query_id"].n_unique(),
            **{f"{name}_weight": round(value, 6) for name, value in used.weights.items()},
            "dense_weight_source": used.source,
            "preview": table_preview(rows.sort("query_id", "rank"), shown),
        }

    yield from materialize_stage(context, pipeline, "fuse", work)
