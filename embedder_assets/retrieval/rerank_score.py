"""The final score of a candidate: fused rank, cross-encoder, and the agreement of the candidates with each other.

The terms and their weights are part of a rerank model's description (``[score]`` in its ``model.toml``), because
they were fitted together with it; docs/adr/0006 has the measurements. The third term follows the cluster hypothesis
(van Rijsbergen, "Information Retrieval", 1979; as score regularization: Diaz, "Regularizing ad hoc retrieval scores",
CIKM 2005): passages that answer a query resemble each other, so a candidate gains where it is close to those that
score best so far.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from embedder_assets.serving.models.description import ScoreFormula

Floats = NDArray[np.float64]
# Raise it when the formula changes: candidates then get a new score from the logits that are there.
FORMULA = "1"


def combine(scored: pl.DataFrame, vectors: NDArray[np.float32], weights: ScoreFormula) -> pl.DataFrame:
    """Final score and rank of each candidate.

    Args:
        scored: Columns query_id, fused_rank, cross_encoder_score, and any others. A score that is null counts as the
            mean of the query's others: that changes nothing.
        vectors: Unit vectors of the candidates by the first dense model, float32 [rows of ``scored``, dimension];
            NaN for one without a vector, which agrees with the others as much as they do on average.
        weights: Of the terms.

    Returns:
        The rows with the columns ``score`` and ``rank`` (from 1), sorted by query and rank. Scores compare within a
        query only; equal ones are ordered by the fused rank.
    """
    fused_rank = scored["fused_rank"].to_numpy()
    logit = scored["cross_encoder_score"].to_numpy(writable=True)
    score = np.zeros(scored.height)
    for rows in scored.with_row_index("row").group_by("query_id").agg("row")["row"]:
        group = rows.to_numpy()
        missing = np.isnan(logit[group])
        # Where no candidate has a score, any one for all says the same.
        logit[group[missing]] = 0.0 if missing.all() else logit[group[~missing]].mean()
        score[group] = final_scores(fused_rank[group], logit[group], vectors[group], weights)
    ranked = scored.with_columns(score=pl.Series(score, dtype=pl.Float64)).sort(
        ["query_id", "score", "fused_rank"], descending=[False, True, False]
    )
    return ranked.with_columns(rank=pl.int_range(1, pl.len() + 1).over("query_id"))


def final_scores(
    fused_rank: NDArray[np.int64], logit: Floats, vectors: NDArray[np.float32], weights: ScoreFormula
) -> Floats:
    """The final scores of one query's candidates, float64 [n].

    Args:
        fused_rank: From 1, [n].
        logit: Of the cross-encoder, [n].
        vectors: Unit vectors, [n, dimension].
        weights: Of the terms.
    """
    rank: Floats = -np.log(fused_rank)
    # The scale of a logit means something only where it was learnt together with the rank; else only the order counts.
    if weights.standardize:
        rank, logit = standardized(rank), standardized(logit)
    own = rank + weights.cross_encoder * logit
    softmax_weights = np.exp((own - own.max()) / weights.temperature)
    scores: Floats = own + weights.agreement * standardized(
        _agreement(softmax_weights / softmax_weights.sum(), vectors)
    )
    return scores


def _agreement(softmax_weights: Floats, vectors: NDArray[np.float32]) -> Floats:
    """How close each candidate is to the candidates with a high weight, [n]."""
    missing = np.isnan(vectors).any(axis=1)
    if not missing.any():
        close: Floats = vectors @ (softmax_weights @ vectors)
        return close
    close = np.zeros(len(vectors))
    if not missing.all():
        known = vectors[~missing]
        close[~missing] = known @ (softmax_weights[~missing] @ known)
        close[missing] = close[~missing].mean()
    return close


def standardized(values: NDArray[np.float64]) -> Floats:
    """Mean 0 and deviation 1; all 0 where the values do not differ."""
    centred = values - values.mean()
    deviation = centred.std()
    return centred / deviation if deviation > 1e-9 else np.zeros(len(values))
