"""The rules of the quality gate, free of Dagster: what rankings have to reach on the judged queries."""

from __future__ import annotations

from embedder_assets.checks.finding import Finding, error_or_none
from embedder_assets.errors import EmbedderError
from embedder_assets.evaluation.evaluate import EvaluateStage
from embedder_assets.evaluation.quality_gate import (
    Reference,
    accept_command,
    baseline_models,
    export_problem,
    regression,
)
from embedder_assets.evaluation.results import EvaluationResult, latest_result
from embedder_assets.run_context import Pipeline

# By the part that is better alone: what to change.
_REMEDIES = {
    "dense": "The other rankings cost more than they give here: do without the sparse model "
    "(EMBEDDER_ENABLE_SPARSE=false) or the rerank model (EMBEDDER_ENABLE_RERANK=false), or compare with others "
    "(`embedder models compare`). `embedder weights show` says what the weights were learned from.",
    "sparse": "The dense model does not suit these texts: compare with others (`embedder models compare`) and set "
    "EMBEDDER_DENSE_MODELS. `embedder weights show` says what the weights were learned from.",
    "fused": "Compare with other rerank models (`embedder models compare`), lower the weights under [score] in the "
    "model's model.toml, or do without it: EMBEDDER_ENABLE_RERANK=false.",
}


def final_not_below_best_part(pipeline: Pipeline, collection: str) -> Finding | None:
    """On the judged queries, nDCG@10 of the final order is not below the best of dense, sparse and fused alone."""
    now = _evaluated(pipeline, collection)
    if isinstance(now, Finding):
        return now
    *parts, final = now.rankings
    if not parts:
        return Finding("note", f"{final} is the only ranking, so nothing to compare")
    best = max(parts, key=now.ndcg)
    strict = pipeline.settings.quality_strict
    baseline = latest_result(pipeline.store, "quality_baselines", collection)
    models = f"Models now: {now.model_list}" + (baseline_models(now, baseline) if baseline else "")
    remedy = ("The exports stay as they were. " if strict else "") + _REMEDIES[best]
    reference = Reference(now, best, f"the {best} ranking alone has", models, remedy)
    problem = regression(pipeline.store, pipeline.settings, now, reference)
    return Finding("error" if strict else "warning", problem) if problem else None


def quality_not_below_baseline(pipeline: Pipeline, collection: str) -> Finding | None:
    """On the judged queries, nDCG@10 of the final order is not below the accepted baseline, within a tolerance."""
    baseline = latest_result(pipeline.store, "quality_baselines", collection)
    if baseline is not None:
        problem = export_problem(pipeline.store, pipeline.settings, collection)
        return error_or_none(problem) or _fewer_queries(_evaluated(pipeline, collection), baseline)
    now = _evaluated(pipeline, collection)
    if isinstance(now, Finding):
        return now
    accept = accept_command(collection)
    return Finding("note", f"no baseline is accepted, so nothing to compare with; {accept} accepts this evaluation")


def _fewer_queries(now: EvaluationResult | Finding, baseline: EvaluationResult) -> Finding | None:
    """A gate that measures less than it did lets more through, and should not do so in silence."""
    if isinstance(now, Finding) or now.queries >= baseline.queries:
        return None
    return Finding(
        "warning",
        f"{now.queries} judged queries are left of the {baseline.queries} of the baseline accepted on "
        f"{baseline.at:%Y-%m-%d}, so it says less than it did. Restore the others (queries.jsonl, qrels.tsv), or "
        f"accept the smaller set on purpose: {accept_command(baseline.collection)}.",
    )


def _evaluated(pipeline: Pipeline, collection: str) -> EvaluationResult | Finding:
    """The evaluation of the tables as they are, or why there is none."""
    try:
        result = EvaluateStage(pipeline.store, pipeline.settings).current(collection)
    except EmbedderError as error:
        return Finding("error", str(error))
    return result or Finding("note", "no judged queries, so nothing to compare")
