"""Reranking: a cross-encoder reads query and passage together; its score is one piece of evidence beside the rank.

A small cross-encoder that replaces the fused order harms topical queries, and helps every kind when the two are
combined (docs/adr/0003-rerank-combines-evidence.md). So the final score of a candidate is, both terms standardized
over the candidates of its query,  z(-log(fused rank)) + weight * z(cross-encoder logit).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from embedder_assets.serving.session import TritonSession
from embedder_assets.settings import Settings
from embedder_assets.stages.digest import input_digest
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.record import StageMeter


class RerankStage:
    """Reorders the best fused candidates of each query."""

    def __init__(self, store: TableStore, triton: TritonSession, settings: Settings, model: tuple[str, str]) -> None:
        self._store = store
        self._triton = triton
        self._model, self._fingerprint = model
        self._depth = settings.rerank_depth
        self._weight = settings.rerank_weight
        self._batch_size = settings.request_batch_size

    def run(self, collection: str, meter: StageMeter) -> pl.DataFrame:
        """Brings ``reranked_candidates`` of a collection up to date and returns its rows."""
        fused = self._store.read("fused_candidates", collection)
        digest = self._input_digest(fused)
        current = self._store.read("reranked_candidates", collection)
        if current.height and current["input_digest"].unique().to_list() == [digest]:
            meter.count("reused", current.height)
            return current
        pairs = self._pairs(collection, fused)
        scored = self.score(pairs, collection, meter)
        rows = combine(scored, self._weight).with_columns(
            collection=pl.lit(collection), fallback_used=pl.lit(value=False), input_digest=pl.lit(digest)
        )
        self._store.replace("reranked_candidates", collection, rows)
        return rows

    def score(self, pairs: pl.DataFrame, collection: str, meter: StageMeter) -> pl.DataFrame:
        """Adds the column ``cross_encoder_score`` (float64 logit).

        Args:
            pairs: Columns query_text, text, token_count, and any others.
            collection: For the progress display.
            meter: Takes the batches.
        """
        if not pairs.height:
            return pairs.with_columns(cross_encoder_score=pl.lit(None, pl.Float64))
        pairs = pairs.sort("token_count", descending=True)
        frames = list(pairs.iter_slices(self._batch_size))
        requests = (list(frame.select("query_text", "text").iter_rows()) for frame in frames)
        scores = []
        for frame, answer in zip(frames, self._triton.infer_many(self._model, requests), strict=True):
            scores.append(answer.outputs["score"].ravel())
            meter.batch(answer.latency_s, frame.height)
            meter.count("computed", frame.height)
            meter.progress(collection, sum(map(len, scores)), pairs.height)
        meter.sample_gpu()
        return pairs.with_columns(cross_encoder_score=pl.Series(np.concatenate(scores).astype(np.float64)))

    def _pairs(self, collection: str, fused: pl.DataFrame) -> pl.DataFrame:
        chunks = self._store.read("chunks", collection, ["chunk_id", "text", "token_count"])
        queries = self._store.read("queries", collection, ["query_id", "text"]).rename({"text": "query_text"})
        best = fused.filter(pl.col("rank") <= self._depth)
        best = best.select("query_id", "chunk_id", "doc_id", fused_rank="rank")
        return best.join(queries, on="query_id").join(chunks, on="chunk_id")

    def _input_digest(self, fused: pl.DataFrame) -> str:
        parts = [*sorted(fused["input_digest"].unique()), self._fingerprint, str(self._depth), str(self._weight)]
        return input_digest(parts)


def combine(scored: pl.DataFrame, weight: float) -> pl.DataFrame:
    """Final score and rank of each candidate.

    Args:
        scored: Columns query_id, fused_rank, cross_encoder_score, and any others.
        weight: Of the cross-encoder's standardized score.

    Returns:
        The rows with the columns ``score`` and ``rank`` (from 1), sorted by query and rank.
    """
    evidence = _standardized(-pl.col("fused_rank").log()) + weight * _standardized(pl.col("cross_encoder_score"))
    ranked = scored.with_columns(score=evidence).sort(
        ["query_id", "score", "fused_rank"], descending=[False, True, False]
    )
    return ranked.with_columns(rank=pl.int_range(1, pl.len() + 1).over("query_id"))


def _standardized(value: pl.Expr) -> pl.Expr:
    """Mean 0 and deviation 1 over the candidates of a query; 0 where all are equal."""
    deviation = value.std(ddof=0).over("query_id")
    centred = value - value.mean().over("query_id")
    return pl.when(deviation > 0).then(centred / deviation).otherwise(0.0)
