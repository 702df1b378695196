"""The rules of the quality gate, free of Dagster: what rankings have to reach on the judged queries."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from embedder_assets.checks.verdict import Note
from embedder_assets.errors import EmbedderError
from embedder_assets.pipeline import Pipeline
from embedder_assets.stages.evaluate import EvaluateStage
from embedder_assets.stages.quality import NDCG, Figures, changes_by_query, newest_figures

QUERIES_NAMED = 3
ROUNDING = 1e-9  # 0.83 - 0.81 is a little more than 0.02


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
        "Compare with other rerank models (`embedder models compare`), lower the weights under [evidence] in the "
        "model's model.toml, or do without it: EMBEDDER_ENABLE_RERANK=false."
    )
    baseline = newest_figures(pipeline.store, "quality_baselines", collection)
    models = f"Models now: {now.models_named}" + (_models_then(now, baseline) if baseline else "")
    return _problem(pipeline, now, Comparison(now, "fused", "the fused ranking has", models, remedy))


def quality_not_below_baseline(pipeline: Pipeline, collection: str) -> str | None:
    """On the judged queries, nDCG@10 of the final order is not below the accepted baseline, within a tolerance."""
    now = _evaluated(pipeline, collection)
    if isinstance(now, str):
        return now
    accept = f"`embedder baseline accept --collection {shlex.quote(collection)}`"
    baseline = newest_figures(pipeline.store, "quality_baselines", collection)
    if baseline is None:
        return Note(f"no baseline is accepted, so nothing to compare with; {accept} accepts this evaluation")
    ranking = baseline.comparable(now.final)
    former = f"the baseline accepted on {baseline.at:%Y-%m-%d} has {'' if ranking == now.final else f'({ranking}) '}"
    remedy = (
        "Compare the models (`embedder models compare`), go back to the former model, setting or documents, or accept "
        f"the fall on purpose: {accept}."
    )
    models = f"Models now: {now.models_named}" + _models_then(now, baseline)
    return _problem(pipeline, now, Comparison(baseline, ranking, former.strip(), models, remedy))


@dataclass(frozen=True)
class Comparison:
    """What the final ranking of an evaluation is held against, and the words for it.

    Attributes:
        former: The figures of which ``ranking`` is what has to be reached.
        has: Says whose figure it is.
        models: Names the models, now and then.
        remedy: What to do about a fall.
    """

    former: Figures
    ranking: str
    has: str
    models: str
    remedy: str


def _evaluated(pipeline: Pipeline, collection: str) -> Figures | str:
    """The figures of the tables as they are, or why there are none."""
    try:
        figures = EvaluateStage(pipeline.store, pipeline.settings).current(collection)
    except EmbedderError as error:
        return str(error)
    return figures or Note("no judged queries, so nothing to compare")


def _problem(pipeline: Pipeline, now: Figures, held: Comparison) -> str | None:
    reached, demanded = now.ndcg(now.final), held.former.ndcg(held.ranking)
    tolerance = pipeline.settings.quality_tolerance
    if demanded - reached <= tolerance + ROUNDING:
        return None
    changes = changes_by_query(
        pipeline.store, now.collection, (now.input_digest, now.final), (held.former.input_digest, held.ranking)
    )
    lost = [
        f"{query} ({former:.3f} to {value:.3f})"
        for query, former, value, change in changes.head(QUERIES_NAMED).iter_rows()
        if change < 0
    ]
    return " ".join(
        [
            f"{now.final} {NDCG} is {reached:.4f} over {now.queries} judged queries, {held.has} {demanded:.4f},",
            f"and EMBEDDER_QUALITY_TOLERANCE allows {tolerance:g} less.",
            *([f"Queries that lost most: {', '.join(lost)}."] if lost else []),
            *(["The judgements are not those of then."] if now.qrels_digest != held.former.qrels_digest else []),
            held.models + ".",
            f"The exports stay as they were. {held.remedy}",
        ]
    )


def _models_then(now: Figures, baseline: Figures) -> str:
    if now.models == baseline.models:
        return "; of the baseline: the same, so a setting, the documents or the judgements differ"
    return f"; of the baseline: {baseline.models_named}"
