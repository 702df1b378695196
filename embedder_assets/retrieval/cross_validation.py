"""What the judged queries of a collection say about the weights of its ranking, and the rankings out of fold.

Out of fold means: a query is ranked by weights that were fitted on the queries of the other folds, so that its figures
say how the ranking does on queries that nobody has judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from embedder_assets.retrieval.fusion_score import DENSE_WEIGHT, convex_combination, in_tie_order, score_parts
from embedder_assets.retrieval.judgements import Qrels
from embedder_assets.retrieval.ranking_weights import LearnedWeights, Weights, fold_of
from embedder_assets.retrieval.rerank_score import combine, final_scores, mean_filled
from embedder_assets.retrieval.weight_fitting import fit, judged_queries
from embedder_assets.serving.models.description import ScoreFormula

# Vectors of some candidates by the first dense model, [rows, dimension]; NaN where none is.
VectorsOf = Callable[[pl.DataFrame], NDArray[np.float32]]
_DENSE_OPTIONS = [
    {"dense": weight} for weight in sorted({DENSE_WEIGHT, *(round(step * 0.05, 2) for step in range(21))})
]
# Multiples of a model's own weights.
_CROSS_ENCODER_OPTIONS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_AGREEMENT_OPTIONS = (0.0, 0.5, 1.0)


def learn_dense_weight(candidates: pl.DataFrame, qrels: Qrels, depth: int) -> LearnedWeights | None:
    """Learns the weight of the dense part of the fused score, ``dense``.

    Args:
        candidates: As ``merge_rankings`` returns them, with query_id and doc_id.
        qrels: The judgements.
        depth: Chunks that a first-stage ranking may hold.
    """
    dense, sparse = score_parts(candidates, depth, "query_id")
    parts = in_tie_order(candidates.with_columns(dense=dense, sparse=sparse), "query_id")
    judged = judged_queries(parts, qrels)
    values = [each.rows.select("dense", "sparse").to_numpy() for each in judged]

    def score(row: int, weights: Weights) -> float:
        return judged[row].ndcg(values[row] @ np.array([weights["dense"], 1 - weights["dense"]]))

    return fit([each.query_id for each in judged], _DENSE_OPTIONS, {"dense": DENSE_WEIGHT}, score)


def out_of_fold_fused(fused: pl.DataFrame, learned: LearnedWeights | None, depth: int) -> pl.DataFrame:
    """Rows of ``fused_candidates`` with ``score`` and ``rank`` by the weight of each query's fold."""
    if learned is None or not learned.gain or not fused.height:
        return fused
    parts = [
        convex_combination(rows.drop("score", "rank"), depth, learned.folds[fold]["dense"], "query_id")
        for fold, rows in _by_fold(fused)
    ]
    return pl.concat(parts).select(fused.columns)


def out_of_fold_pairs(fused: pl.DataFrame, scored: pl.DataFrame, depth: int) -> pl.DataFrame:
    """The pairs that are reranked if each query is fused by the weights of its fold.

    Args:
        fused: As ``out_of_fold_fused`` returns it.
        scored: Columns query_id, chunk_id, cross_encoder_score, of the pairs that the model was asked about.
        depth: Candidates of a query that are reranked.

    Returns:
        Columns query_id, chunk_id, doc_id, fused_rank, fused_score, cross_encoder_score, sorted by query and rank.
    """
    best = fused.filter(pl.col("rank") <= depth).sort("query_id", "rank")
    pairs = best.select("query_id", "chunk_id", "doc_id", fused_rank="rank", fused_score="score")
    logits = scored.select("query_id", "chunk_id", "cross_encoder_score")
    return pairs.join(logits, on=["query_id", "chunk_id"], how="left", maintain_order="left")


def learn_rerank_weights(
    candidates: pl.DataFrame, vectors_of: VectorsOf, qrels: Qrels, formula: ScoreFormula
) -> LearnedWeights | None:
    """Learns the weights of the cross-encoder and of the agreement.

    Args:
        candidates: Columns query_id, doc_id, fused_rank, fused_score, both out of fold, and cross_encoder_score, null
            where the model was not asked.
        vectors_of: Asked about those that are learned from.
        qrels: The judgements.
        formula: The model's own; what is not learned is kept.

    Returns:
        The weights of the whole formula, by the names of its fields.
    """
    judged = judged_queries(candidates.sort("query_id", "fused_rank"), qrels)
    if not judged:
        return None
    fused = [each.rows["fused_score"].to_numpy() for each in judged]
    logits = [mean_filled(each.rows["cross_encoder_score"].to_numpy()) for each in judged]
    ends = np.cumsum([each.rows.height for each in judged])
    vectors = np.split(vectors_of(pl.concat([each.rows for each in judged])), ends[:-1])

    def score(row: int, weights: Weights) -> float:
        return judged[row].ndcg(final_scores(fused[row], logits[row], vectors[row], formula_of(weights)))

    default = weights_of(formula)
    options = [
        {**default, "cross_encoder": formula.cross_encoder * first, "agreement": formula.agreement * second}
        for first in _CROSS_ENCODER_OPTIONS
        for second in _AGREEMENT_OPTIONS
    ]
    return fit([each.query_id for each in judged], options, default, score)


def out_of_fold_reranked(scored: pl.DataFrame, vectors_of: VectorsOf, learned: LearnedWeights) -> pl.DataFrame:
    """Candidates, as ``combine`` takes them, with ``score`` and ``rank`` by the weights of each query's fold."""
    if not scored.height:
        return combine(scored, vectors_of(scored), formula_of(learned.weights))
    # A fold at a time: the vectors of all candidates may be many.
    return pl.concat(
        [combine(rows, vectors_of(rows), formula_of(learned.folds[fold])) for fold, rows in _by_fold(scored)]
    )


def weights_of(formula: ScoreFormula) -> dict[str, float]:
    """A formula as named numbers."""
    return {name: float(value) for name, value in formula.model_dump().items()}


def formula_of(weights: Weights) -> ScoreFormula:
    """The formula that ``weights_of`` made numbers of."""
    return ScoreFormula(**{**weights, "standardize": bool(weights["standardize"])})


def _by_fold(rows: pl.DataFrame) -> Iterable[tuple[int, pl.DataFrame]]:
    names = rows["query_id"].unique()
    folds = pl.col("query_id").replace_strict(names, [fold_of(name) for name in names], return_dtype=pl.Int64)
    for (fold,), some in rows.with_columns(_fold=folds).partition_by("_fold", as_dict=True, include_key=False).items():
        yield int(fold), some
