"""The score of a chunk in the fused ranking: from its scores, or from its ranks, in the first-stage rankings.

``convex_combination`` weighs the scores (Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval",
TOIS 2023): each score is shifted by the least that it can be and divided by the query's best, so that it lies between 0
and 1. ``reciprocal_rank_fusion`` looks at ranks only (Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms
Condorcet and individual Rank Learning Methods", SIGIR 2009): the sum of 1 / (k + rank) over the rankings, with k = 60.
docs/adr/0032 has the measurements.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

# Of the dense models in the fused score, where nothing better is known; chosen on the judged collections of
# benchmarks/retrieval_quality.
DENSE_WEIGHT = 0.78
RRF_K = 60
# Raise it when a score changes, or the way that weights are learned: candidates are then ranked anew.
FUSION = "2"
LEAST_COSINE = -1.0
LEAST_PRODUCT = 0.0
_KEYS = ["query", "chunk_id", "content_sha256"]


def merge_rankings(dense: Sequence[pl.DataFrame], sparse: pl.DataFrame) -> pl.DataFrame:
    """The candidates of each query: every chunk that one of the rankings holds.

    Args:
        dense: One ranking per dense model: columns query, chunk_id, content_sha256, rank (from 1), score (cosine).
        sparse: The same of the sparse ranking, its scores dot products; may be empty.

    Returns:
        Columns query, chunk_id, content_sha256; dense_rank (the best of the ranks), dense_ranks (list, one per dense
        model), dense_score (the mean of the scores), dense_scores (list); sparse_rank, sparse_score. Null where a
        ranking lacks the chunk.
    """
    merged = sparse.lazy().select(*_KEYS, sparse_rank="rank", sparse_score="score")
    for position, ranking in enumerate(dense):
        own = {f"rank_{position}": "rank", f"score_{position}": "score"}
        merged = merged.join(ranking.lazy().select(*_KEYS, **own), on=_KEYS, how="full", coalesce=True)
    ranks = [pl.col(f"rank_{position}") for position in range(len(dense))] or [pl.lit(None, pl.Int64)]
    scores = [pl.col(f"score_{position}") for position in range(len(dense))] or [pl.lit(None, pl.Float64)]
    return merged.select(
        *_KEYS,
        dense_rank=pl.min_horizontal(ranks),
        dense_ranks=pl.concat_list(ranks),
        dense_score=pl.mean_horizontal(scores),
        dense_scores=pl.concat_list(scores),
        sparse_rank="sparse_rank",
        sparse_score="sparse_score",
    ).collect()


def convex_combination(candidates: pl.DataFrame, depth: int, dense_weight: float, query: str = "query") -> pl.DataFrame:
    """Ranks candidates by a convex combination of their scores.

    Args:
        candidates: As ``merge_rankings`` returns them.
        depth: Chunks that a ranking may hold.
        dense_weight: Of the dense part, 0 to 1; the sparse part has the rest.
        query: The column that tells the queries apart.

    Returns:
        The rows with ``score`` (0 to 1) and ``rank``, in the order of query and rank.
    """
    dense, sparse = score_parts(candidates, depth, query)
    return _ranked(candidates, dense_weight * dense + (1 - dense_weight) * sparse, query)


def score_parts(candidates: pl.DataFrame, depth: int, query: str = "query") -> tuple[pl.Expr, pl.Expr]:
    """The dense and the sparse part of the convex combination, each 0 to 1.

    The dense part is the mean over the dense models. The score of a chunk that a ranking lacks is no higher than that
    of its last one, and counts as that. Only where a sparse ranking has fewer than ``depth`` chunks, it has all with a
    common term: the product of another one is 0.
    """
    dense = [
        _normalized(pl.col("dense_scores").list.get(model), LEAST_COSINE, query)
        for model in range(_dense_models(candidates))
    ]
    sparse = pl.col("sparse_score")
    is_full = sparse.count().over(query) >= depth
    sparse = sparse.fill_null(pl.when(is_full).then(sparse.min().over(query)).otherwise(LEAST_PRODUCT))
    return (pl.mean_horizontal(dense) if dense else pl.lit(0.0)), _normalized(sparse, LEAST_PRODUCT, query)


def reciprocal_rank_fusion(candidates: pl.DataFrame, query: str = "query") -> pl.DataFrame:
    """Ranks candidates by the sum of their reciprocal ranks. Arguments and result as ``convex_combination``."""
    dense = [pl.col("dense_ranks").list.get(model) for model in range(_dense_models(candidates))]
    score = pl.sum_horizontal([(1.0 / (RRF_K + rank)).fill_null(0.0) for rank in (*dense, pl.col("sparse_rank"))])
    return _ranked(candidates, score, query)


def in_tie_order(candidates: pl.DataFrame, query: str) -> pl.DataFrame:
    """Candidates by query, and within it in the order that equal scores keep."""
    return candidates.sort([query, *_ties(candidates)], nulls_last=True)


def _dense_models(candidates: pl.DataFrame) -> int:
    """How many dense models have ranked the candidates."""
    return candidates["dense_ranks"].list.len().max() or 0  # type: ignore[return-value]


def _normalized(score: pl.Expr, least: float, query: str) -> pl.Expr:
    """0 for the least that a score can be, 1 for the query's best; what is missing counts as the query's last."""
    shifted = score.fill_null(score.min().over(query)) - least
    best = shifted.max().over(query)
    return pl.when(best > 0).then(shifted / best).otherwise(0.0)


def _ranked(candidates: pl.DataFrame, score: pl.Expr, query: str) -> pl.DataFrame:
    """With ``score`` and ``rank``; equal scores are ordered by dense rank, digest of the text, and id."""
    ties = _ties(candidates)
    ranked = candidates.with_columns(score=score).sort(
        [query, "score", *ties], descending=[False, True, *[False] * len(ties)], nulls_last=True
    )
    return ranked.with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over(query))


def _ties(candidates: pl.DataFrame) -> list[str]:
    # The table of candidates has no digests.
    return [name for name in ("dense_rank", "content_sha256", "chunk_id") if name in candidates.columns]
