"""Reranking: a cross-encoder reads query and passage together; its logit is one piece of evidence beside the rank.

A small cross-encoder that replaces the fused order harms topical queries, and helps every kind when its logit is
combined with the first stage's evidence (``stages/evidence.py``).
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from embedder_assets.serving.session import TritonSession
from embedder_assets.settings import Settings
from embedder_assets.stages.dense import as_matrix
from embedder_assets.stages.digest import input_digest
from embedder_assets.stages.evidence import combine
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.record import StageMeter


class RerankStage:
    """Reorders the best fused candidates of each query."""

    def __init__(self, store: TableStore, triton: TritonSession, settings: Settings, model: tuple[str, str]) -> None:
        self._store = store
        self._triton = triton
        self._model, self._fingerprint = model
        self._depth = settings.rerank_depth
        self._evidence = triton.evidence(self._model)
        self._dense_model = settings.dense_models[0]
        self._batch_size = settings.request_batch_size

    def run(self, collection: str, meter: StageMeter) -> pl.DataFrame:
        """Brings ``reranked_candidates`` of a collection up to date and returns its rows."""
        best = pl.col("rank") <= self._depth
        fused = self._store.read("fused_candidates", collection, where=best)
        digest = self._input_digest(fused)
        current = self._store.read("reranked_candidates", collection)
        if current.height and current["input_digest"].unique().to_list() == [digest]:
            meter.count("reused", current.height)
            return current
        pairs = self._pairs(collection, fused)
        rows = self.rerank(pairs, self._vectors(collection, pairs), collection, meter).with_columns(
            collection=pl.lit(collection), fallback_used=pl.lit(value=False), input_digest=pl.lit(digest)
        )
        self._store.replace("reranked_candidates", collection, rows)
        return rows

    def rerank(
        self, pairs: pl.DataFrame, vectors: NDArray[np.float32], collection: str, meter: StageMeter
    ) -> pl.DataFrame:
        """Adds the columns ``cross_encoder_score`` (float64 logit), ``score`` and ``rank``.

        Args:
            pairs: Columns query_id, query_text, text, token_count, fused_rank, and any others.
            vectors: Unit vectors of the passages by the first dense model, float32 [rows of ``pairs``, dimension].
            collection: For the progress display.
            meter: Takes the batches.
        """
        order = pairs["token_count"].arg_sort(descending=True)
        scored = self._score(pairs[order], collection, meter)
        return combine(scored, vectors[order.to_numpy()], self._evidence)

    def _score(self, pairs: pl.DataFrame, collection: str, meter: StageMeter) -> pl.DataFrame:
        if not pairs.height:
            return pairs.with_columns(cross_encoder_score=pl.lit(None, pl.Float64))
        frames = list(pairs.iter_slices(self._batch_size))
        requests = (list(frame.select("query_text", "text").iter_rows()) for frame in frames)
        scores = []
        answers = self._triton.infer_many(self._model, requests, observer=meter)
        for frame, answer in zip(frames, answers, strict=True):
            scores.append(answer.outputs["score"].ravel())
            meter.count("computed", frame.height)
            meter.progress(collection, sum(map(len, scores)), pairs.height)
        return pairs.with_columns(cross_encoder_score=pl.Series(np.concatenate(scores).astype(np.float64)))

    def _pairs(self, collection: str, fused: pl.DataFrame) -> pl.DataFrame:
        chunks = self._store.read("chunks", collection, ["chunk_id", "text", "token_count"])
        queries = self._store.read("queries", collection, ["query_id", "text"]).rename({"text": "query_text"})
        best = fused.select("query_id", "chunk_id", "doc_id", fused_rank="rank")
        return best.join(queries, on="query_id").join(chunks, on="chunk_id")

    def _vectors(self, collection: str, pairs: pl.DataFrame) -> NDArray[np.float32]:
        wanted = (pl.col("model") == self._dense_model) & pl.col("chunk_id").is_in(pairs["chunk_id"].unique().implode())
        rows = self._store.read("dense_embeddings", collection, ["chunk_id", "embedding"], where=wanted)
        return as_matrix(pairs.select("chunk_id").join(rows, on="chunk_id", maintain_order="left")["embedding"])

    def _input_digest(self, fused: pl.DataFrame) -> str:
        parts = [*sorted(fused["input_digest"].unique()), self._fingerprint, str(self._depth)]
        return input_digest(parts)
