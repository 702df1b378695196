"""``evaluation``: how good the rankings are, where a collection has judged queries."""

import dagster as dg
import polars as pl

from embedder_assets.assets.fused_candidates import fused_candidates
from embedder_assets.assets.queries import queries
from embedder_assets.assets.reranked_candidates import reranked_candidates
from embedder_assets.assets.support.materialize import Events, Metadata, collection_asset, materialize_each
from embedder_assets.assets.support.preview import table_preview
from embedder_assets.embedding.keys import is_of
from embedder_assets.evaluation.evaluate import EvaluateStage
from embedder_assets.evaluation.results import EvaluationResult, Models, changes_by_query, latest_result
from embedder_assets.retrieval.fusion import RetrievalModels
from embedder_assets.run_context import Pipeline
from embedder_assets.sanitize import one_line
from embedder_assets.tables.store import TableStore

# Dagster draws a line of a number with the same key over all materializations.
KEYS = {"nDCG@10": "ndcg_at_10", "R@100": "recall_at_100", "RR@10": "mrr_at_10"}
NO_JUDGEMENTS = "no judged query: put queries.jsonl and qrels.tsv at the top of the collection to have it evaluated"


@collection_asset(
    deps=[queries, fused_candidates, reranked_candidates],
    group_name="retrieval",
    kinds={"delta"},
    tags={"stage": "evaluate"},
)
def evaluation(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> Events:
    """nDCG@10, recall@100 and reciprocal rank of each ranking on the collection's judged queries."""

    def work(tables: TableStore, collection: str) -> Metadata:
        stage = EvaluateStage(tables, pipeline.settings)
        now = stage.run(collection, _models(pipeline, tables, collection), context.run.run_id)
        idle = stage.unmatched_judgements(collection)
        for sentence in idle:
            context.log.warning(one_line(f"{collection}: {sentence}"))
        if now is None:
            return {"judged_queries": 0, "note": NO_JUDGEMENTS}
        return {
            **_metadata(tables, now),
            **({"unmatched_judgements": "\n".join(map(one_line, idle))} if idle else {}),
        }

    yield from materialize_each(context, pipeline, work)


def _models(pipeline: Pipeline, tables: TableStore, collection: str) -> Models:
    """The models that the candidate tables were computed with: stage to name to fingerprint."""
    settings, triton = pipeline.settings, pipeline.triton
    first_stage = RetrievalModels.of(settings, triton)
    models = {"dense": dict(first_stage.dense)}
    if first_stage.sparse:
        # A lexical row lies next to the model's rows only where it counts.
        models["sparse"] = dict(
            source
            for source in first_stage.sparse_sources
            if tables.read("sparse_embeddings", collection, ["model"], where=is_of(source), limit=1).height
        )
    stood_in = tables.read("reranked_candidates", collection, ["fallback_used"])["fallback_used"].any()
    if settings.enable_rerank and not stood_in:
        models["rerank"] = {settings.rerank_model: triton.fingerprint(settings.rerank_model, "rerank")}
    return models


def _metadata(tables: TableStore, now: EvaluationResult) -> Metadata:
    baseline = latest_result(tables, "quality_baselines", now.collection)
    compared = {}
    if now.final != "fused":
        compared["worst_against_fused"] = (now.input_digest, "fused")
    if baseline is not None:
        compared["worst_against_baseline"] = (baseline.input_digest, baseline.matching_ranking(now.final))
    return {
        "judged_queries": now.queries,
        **{f"{KEYS[measure]}_{ranking}": round(value, 6) for (ranking, measure), value in now.values.items()},
        **({"ndcg_at_10_baseline": round(baseline.ndcg(baseline.final), 6)} if baseline else {}),
        "models": dg.MetadataValue.json(now.models),
        **{title: _worst(tables, now, before) for title, before in compared.items()},
    }


def _worst(tables: TableStore, now: EvaluationResult, before: tuple[str, str]) -> dg.TableMetadataValue:
    changes = changes_by_query(tables, now.collection, (now.input_digest, now.final), before)
    texts = tables.read("queries", now.collection, ["query_id", "text"])
    lost = changes.filter(pl.col("change") < 0).join(texts, on="query_id", how="left", maintain_order="left")
    return table_preview(lost, ["query_id", "before", "now", "change", "text"])
