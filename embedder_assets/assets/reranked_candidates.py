"""``reranked_candidates``: the best fused candidates, reordered by the rerank score."""

import dagster as dg

from embedder_assets.assets.fused_candidates import fused_candidates
from embedder_assets.assets.support.embedding_metadata import record_tokenization
from embedder_assets.assets.support.materialize import Events, Metadata, collection_asset, materialize_stage
from embedder_assets.assets.support.preview import table_preview
from embedder_assets.embedding.keys import ModelVersion
from embedder_assets.embedding.tokenization import SAMPLE_TEXTS, tokenization
from embedder_assets.retrieval.rerank import RerankStage, pair_sample
from embedder_assets.retrieval.weights_in_use import stage_weights
from embedder_assets.run_context import Pipeline
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import StageMeter


@collection_asset(deps=[fused_candidates], group_name="retrieval", kinds={"triton", "delta"}, tags={"stage": "rerank"})
def reranked_candidates(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> Events:
    """The fused candidates in their final order, fused score and cross-encoder score combined."""
    name = pipeline.settings.rerank_model

    def work(tables: TableStore, collection: str, meter: StageMeter) -> Metadata:
        model = ModelVersion(name, pipeline.triton.fingerprint(name, "rerank"))
        rows = RerankStage(tables, pipeline.triton, pipeline.settings, model).run(collection, meter)
        meter.add("candidate_count", rows.height)
        pairs = pair_sample(tables, collection, rows, SAMPLE_TEXTS)
        read = tokenization(pipeline.triton, name, pairs) if pairs else None
        shown = ["query_id", "rank", "doc_id", "score", "cross_encoder_score", "fused_rank"]
        fallback_used = bool(rows["fallback_used"].any())
        used = stage_weights(tables, pipeline.settings, collection, "rerank")
        weights = {} if fallback_used else used.weights
        return {
            "dagster/row_count": rows.height,
            "fallback_used": fallback_used,
            "moved": rows.filter(rows["rank"] != rows["fused_rank"]).height,
            **{f"{name}_weight": round(value, 6) for name, value in weights.items()},
            "weights_source": "not used: the fused order stands" if fallback_used else used.source,
            **record_tokenization(meter, collection, {name: read} if read else {}),
            "model": model.name,
            "model_fingerprint": model.fingerprint,
            "preview": table_preview(rows.sort("query_id", "rank"), shown),
        }

    yield from materialize_stage(context, pipeline, "rerank", work, toggle="enable_rerank")
