"""The final score of a candidate: fused score, cross-encoder, and the agreement of the candidates with each other.

The weights of the terms are part of a rerank model's description (``[score]`` in its ``model.toml``), because they were
fitted together with it (docs/adr/0032); a collection with judged queries has its own (``ranking_weights``). The third
term follows the cluster hypothesis (van Rijsbergen, "Information Retrieval", 1979; as score regularization: Diaz,
"Regularizing ad hoc retrieval scores", CIKM 2005): passages that answer a query resemble each other, so a candidate
gains where it is close to those that score best so far.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from embedder_assets.serving.models.description import ScoreFormula

Floats = NDArray[np.float64]
# Raise it when the formula changes: candidates then get a new score from the logits that are there.
FORMULA = "2"


def combine(scored: pl.DataFrame, vectors: NDArray[np.float32], weights: ScoreFormula) -> pl.DataFrame:
    """Final score and rank of each candidate.

    Args:
        scored: Columns query_id, fused_rank, fused_score, cross_encoder_score, and any others. A cross-encoder score
            that is null counts as the mean of the query's others: that changes nothing.
        vectors: Unit vectors of the candidates by the first dense model, float32 [rows of ``scored``, dimension];
            NaN for one without a vector, which agrees with the others as much as they do on average.
        weights: Of the terms.

    Returns:
        The rows with the columns ``score`` and ``rank`` (from 1), sorted by query and rank. Scores compare within a
        query only; equal ones are ordered by the fused rank.
    """
    fused = scored["fused_score"].to_numpy()
    logit = scored["cross_encoder_score"].to_numpy()
    score = np.zeros(scored.height)
    for rows in scored.with_row_index("row").group_by("query_id").agg("row")["row"]:
        group = rows.to_numpy()
        score[group] = final_scores(fused[group], mean_filled(logit[group]), vectors[group], weights)
    ranked = scored.with_columns(score=pl.Series(score, dtype=pl.Float64)).sort(
        ["query_id", "score", "fused_rank"], descending=[False, True, False]
    )
    return ranked.with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("query_id"))


def mean_filled(logit: Floats) -> Floats:
    """With the mean of the others for each that is NaN; all 0 where all are."""
    missing = np.isnan(logit)
    return np.where(missing, 0.0 if missing.all() else logit[~missing].mean(), logit)


def final_scores(fused: Floats, logit: Floats, vectors: NDArray[np.float32], weights: ScoreFormula) -> Floats:
    """The final scores of one query's candidates, float64 [n].

    Args:
        fused: The fused scores, [n]; they count by how far they are from each other.
        logit: Of the cross-encoder, [n].
        vectors: Unit vectors, [n, dimension].
        weights: Of the terms.
    """
    own = standardized(fused) + weights.cross_encoder * (standardized(logit) if weights.standardize else logit)
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
