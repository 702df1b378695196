"""The quality gate: decides whether the rankings of a collection are good enough to be exported.

``enforce_quality_gate`` refuses an export; the asset checks (``checks.quality_gate``) report the same decision earlier.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from embedder_assets.errors import EmbedderError, QualityError
from embedder_assets.evaluation.evaluate import EvaluateStage
from embedder_assets.evaluation.results import NDCG, EvaluationResult, changes_by_query, latest_result
from embedder_assets.settings import Settings
from embedder_assets.tables.store import TableStore

QUERIES_NAMED = 3
ROUNDING = 1e-9  # 0.83 - 0.81 is a little more than 0.02


@dataclass(frozen=True)
class Reference:
    """What the final ranking of an evaluation is compared with, and the words for it.

    Attributes:
        result: The evaluation or baseline whose ``ranking`` has to be reached.
        label: Says whose value it is.
        models: Names the models, now and then.
        remedy: What follows from a regression, and what to do about it.
    """

    result: EvaluationResult
    ranking: str
    label: str
    models: str
    remedy: str


def export_problem(store: TableStore, settings: Settings, collection: str) -> str | None:
    """Why a collection must not be exported as it is; None if it may be, and if no baseline is accepted.

    While a baseline counts, what cannot be measured is not exported: judgements that got lost would open the gate.
    """
    baseline = latest_result(store, "quality_baselines", collection)
    if baseline is None:
        return None
    try:
        now = EvaluateStage(store, settings).current(collection)
    except EmbedderError as error:
        return str(error)
    return _unmeasured(baseline) if now is None else _below(store, settings, now, baseline)


def enforce_quality_gate(store: TableStore, settings: Settings, collection: str) -> None:
    """Refuses the export of a collection for which ``export_problem`` has a reason, whether checks ran before or not.

    Raises:
        QualityError: The collection must not be exported as it is.
    """
    problem = export_problem(store, settings, collection)
    if problem is not None:
        raise QualityError(
            f"the exports of collection '{collection}'",
            expected="rankings that are measured, and not below the accepted baseline",
            got=f"this: {problem.rstrip('.')}",
            remedy="The export folder is as it was.",
        )


def regression(store: TableStore, settings: Settings, now: EvaluationResult, reference: Reference) -> str | None:
    """By how much an evaluation is below what it is compared with, or None within the tolerance."""
    reached, required = now.ndcg(now.final), reference.result.ndcg(reference.ranking)
    tolerance = settings.quality_tolerance
    if required - reached <= tolerance + ROUNDING:
        return None
    changes = changes_by_query(
        store, now.collection, (now.input_digest, now.final), (reference.result.input_digest, reference.ranking)
    )
    lost = [
        f"{query} ({before:.3f} to {value:.3f})"
        for query, before, value, change in changes.head(QUERIES_NAMED).iter_rows()
        if change < 0
    ]
    return " ".join(
        [
            f"{now.final} {NDCG} is {reached:.4f} over {now.queries} judged queries, {reference.label} {required:.4f},",
            f"and EMBEDDER_QUALITY_TOLERANCE allows {tolerance:g} less.",
            *([f"Queries that lost most: {', '.join(lost)}."] if lost else []),
            *(["The judgements have changed since."] if now.qrels_digest != reference.result.qrels_digest else []),
            reference.models + ".",
            reference.remedy,
        ]
    )


def baseline_models(now: EvaluationResult, baseline: EvaluationResult) -> str:
    """The models of a baseline, next to those of an evaluation."""
    if now.models == baseline.models:
        return "; of the baseline: the same, so a setting, the documents or the judgements differ"
    return f"; of the baseline: {baseline.model_list}"


def accept_command(collection: str) -> str:
    """The command that makes the newest evaluation the baseline."""
    return f"`embedder baseline accept --collection {shlex.quote(collection)}`"


def unmeasured_remedy(collection: str) -> str:
    """What to do where a baseline counts and nothing is left to measure with."""
    return (
        "Restore queries.jsonl and qrels.tsv at the top of the collection, or give up the baseline on purpose: "
        f"`embedder baseline drop --collection {shlex.quote(collection)}`."
    )


def _unmeasured(baseline: EvaluationResult) -> str:
    return (
        f"a baseline counts, accepted on {baseline.at:%Y-%m-%d} over {baseline.queries} judged queries, and now no "
        "judged query is left, so the ranking cannot be compared with it. The exports stay as they were. "
        + unmeasured_remedy(baseline.collection)
    )


def _below(store: TableStore, settings: Settings, now: EvaluationResult, baseline: EvaluationResult) -> str | None:
    ranking = baseline.matching_ranking(now.final)
    label = f"the baseline accepted on {baseline.at:%Y-%m-%d} has {'' if ranking == now.final else f'({ranking}) '}"
    remedy = (
        "The exports stay as they were. Compare the models (`embedder models compare`), go back to the earlier model, "
        "setting or documents, or accept "
        f"the fall on purpose: {accept_command(now.collection)}."
    )
    models = f"Models now: {now.model_list}" + baseline_models(now, baseline)
    return regression(store, settings, now, Reference(baseline, ranking, label.strip(), models, remedy))
