"""The rules of the quality gate, free of Dagster: what rankings have to reach on the judged queries."""

from __future__ import annotations

from embedder_assets.checks.verdict import Note, Worry
from embedder_assets.errors import EmbedderError
from embedder_assets.evaluation.evaluate import EvaluateStage
from embedder_assets.evaluation.export_gate import (
    Comparison,
    accept_command,
    fall,
    models_then,
    problem_with_baseline,
)
from embedder_assets.evaluation.results import Figures, newest_figures
from embedder_assets.run_context import Pipeline


def reranked_not_below_fused(pipeline: Pipeline, collection: str) -> str | None:
    """On the judged queries, nDCG@10 of the reranked order is not below that of the fused order, within a tolerance."""
    now = _evaluated(pipeline, collection)
    if isinstance(now, str):
        return now
    if now.final != "reranked":
        if pipeline.settings.enable_rerank:
            return Note("the rerank model failed and the fused order stands in its place, so nothing is said about it")
        return Note("the rerank stage is off")
    remedy = (
        "Compare with other rerank models (`embedder models compare`), lower the weights under [score] in the "
        "model's model.toml, or do without it: EMBEDDER_ENABLE_RERANK=false."
    )
    baseline = newest_figures(pipeline.store, "quality_baselines", collection)
    models = f"Models now: {now.models_named}" + (models_then(now, baseline) if baseline else "")
    return fall(
        pipeline.store, pipeline.settings, now, Comparison(now, "fused", "the fused ranking has", models, remedy)
    )


def quality_not_below_baseline(pipeline: Pipeline, collection: str) -> str | None:
    """On the judged queries, nDCG@10 of the final order is not below the accepted baseline, within a tolerance."""
    baseline = newest_figures(pipeline.store, "quality_baselines", collection)
    if baseline is not None:
        problem = problem_with_baseline(pipeline.store, pipeline.settings, collection)
        return problem or _fewer_queries(_evaluated(pipeline, collection), baseline)
    now = _evaluated(pipeline, collection)
    if isinstance(now, str):
        return now
    accept = accept_command(collection)
    return Note(f"no baseline is accepted, so nothing to compare with; {accept} accepts this evaluation")


def _fewer_queries(now: Figures | str, baseline: Figures) -> Worry | None:
    """A gate that measures less than it did lets more through, and should not do so in silence."""
    if isinstance(now, str) or now.queries >= baseline.queries:
        return None
    return Worry(
        f"{now.queries} judged queries are left of the {baseline.queries} of the baseline accepted on "
        f"{baseline.at:%Y-%m-%d}, so it says less than it did. Bring the others back (queries.jsonl, qrels.tsv), or "
        f"accept the smaller set on purpose: {accept_command(baseline.collection)}."
    )


def _evaluated(pipeline: Pipeline, collection: str) -> Figures | str:
    """The figures of the tables as they are, or why there are none."""
    try:
        figures = EvaluateStage(pipeline.store, pipeline.settings).current(collection)
    except EmbedderError as error:
        return str(error)
    return figures or Note("no judged queries, so nothing to compare")
