"""Reranking: a cross-encoder reads query and passage together; its logit is one term of the final score.

A small cross-encoder that replaces the fused order harms topical queries, and helps every kind when its logit is
combined with the fused score (``retrieval/rerank_score.py``). How much it counts is learned where queries are judged.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from embedder_assets.embedding.dense import as_matrix
from embedder_assets.embedding.fallback import Fallback
from embedder_assets.embedding.keys import ModelVersion
from embedder_assets.embedding.passage import PASSAGE, passages
from embedder_assets.errors import InferenceError
from embedder_assets.retrieval.cross_validation import (
    formula_of,
    learn_rerank_weights,
    out_of_fold_fused,
    out_of_fold_pairs,
)
from embedder_assets.retrieval.judgements import Qrels, judgements_to_learn_from
from embedder_assets.retrieval.query_embeddings import with_digest
from embedder_assets.retrieval.ranking_weights import read_weights, write_weights
from embedder_assets.retrieval.rerank_score import FORMULA, combine
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.serving.models.description import ScoreFormula
from embedder_assets.settings import Settings
from embedder_assets.tables.digest_ranges import input_digest
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import StageMeter

FALLBACK = "fused order"
# The two texts of a pair, by their digests.
PAIR = ["query_sha256", "content_sha256"]
# How a pair is named in the record.
_NAMED = pl.format("{} {}", "query_id", "chunk_id")


class RerankStage:
    """Reorders the best fused candidates of each query."""

    def __init__(self, store: TableStore, triton: TritonSession, settings: Settings, model: ModelVersion) -> None:
        self._store = store
        self._triton = triton
        self._model, self._fingerprint = model
        self._depth = settings.rerank_depth
        self._settings = settings
        self.formula = triton.score_formula(self._model)
        self._batch_size = settings.request_batch_size
        self._may_fall_back = "rerank" in settings.fallback

    def run(self, collection: str, meter: StageMeter) -> pl.DataFrame:
        """Updates ``reranked_candidates`` of a collection and returns its rows.

        Where the model fails and the settings allow it, the fused order stands. Such rows have a digest of their own,
        so the next run asks the model again. Single pairs on which it failed in the last run are retried too, and
        none is computed that the model has seen before.

        Raises:
            EmbedderError: The model fails, and nothing may stand in (``fallback``).
        """
        best = pl.col("rank") <= self._depth
        fused = self._store.read("fused_candidates", collection, where=best)
        digest = self._input_digest(fused)
        current = self._store.read("reranked_candidates", collection)
        known = current.filter(model_fingerprint=self._fingerprint).drop_nulls("cross_encoder_score")
        if current.height and current.height == known.filter(input_digest=digest).height:
            meter.count("reused", current.height)
            return current
        pairs = self.pairs(collection, fused)
        # What the model said of two texts stays true wherever they lie and whatever else is there.
        logits = known.select(*PAIR, "cross_encoder_score").unique(PAIR, keep="any")
        pairs = pairs.join(logits, on=PAIR, how="left", maintain_order="left")
        if reused := pairs["cross_encoder_score"].count():
            meter.count("reused", reused)
        fallback = Fallback(self._may_fall_back, meter.fell_back, collection)
        rows = fallback.run_or_fall_back(
            lambda: self._learn_and_rerank(self.score(pairs, meter, collection), collection),
            lambda: in_fused_order(pairs),
        )
        if fallback.used:
            digest = input_digest([digest, FALLBACK])
            meter.count("fallback", rows.height)
        elif failed := rows.filter(pl.col("cross_encoder_score").is_null()).select(_NAMED).to_series().to_list():
            # Once the model has judged them, the order is another, and what was made from this one is old.
            digest = input_digest([digest, *sorted(failed)])
        rows = rows.with_columns(
            collection=pl.lit(collection),
            fallback_used=pl.lit(fallback.used),
            model=pl.lit(self._model),
            model_fingerprint=pl.lit(self._fingerprint),
            input_digest=pl.lit(digest),
        )
        self._store.replace("reranked_candidates", collection, rows)
        return rows

    def _learn_and_rerank(self, scored: pl.DataFrame, collection: str) -> pl.DataFrame:
        """The final order of scored pairs, by weights that are learned from those with a judged query."""
        vectors_of = partial(candidate_vectors, self._store, self._settings, collection)
        learned = None
        if qrels := judgements_to_learn_from(self._store, self._settings, collection):
            fused = out_of_fold_candidates(self._store, self._settings, collection, qrels)
            held_out = out_of_fold_pairs(fused, scored, self._depth)
            learned = learn_rerank_weights(held_out, vectors_of, qrels, self.formula)
        write_weights(self._store, collection, "rerank", learned)
        return combine(scored, vectors_of(scored), formula_of(learned.weights) if learned else self.formula)

    def rerank(
        self,
        pairs: pl.DataFrame,
        vectors: NDArray[np.float32],
        formula: ScoreFormula,
        meter: StageMeter,
        collection: str = "",
    ) -> pl.DataFrame:
        """Adds the columns ``cross_encoder_score`` (float64 logit), ``score`` and ``rank``.

        A pair on which the model fails, though it is alone, has no logit, and is scored by the other terms.

        Args:
            pairs: Columns query_id, chunk_id, query_text, table_header, text, token_count, fused_rank, and any others.
                Where there is a cross_encoder_score already, the model is not asked.
            vectors: Unit vectors of the passages by the first dense model, float32 [rows of ``pairs``, dimension]; NaN
                where that model failed on a passage.
            formula: Of the final score.
            meter: Takes the batches, and the pairs that failed.
            collection: For the progress display.

        Raises:
            InferenceError: The model fails for any pair, or for all of these.
        """
        return combine(self.score(pairs, meter, collection), vectors, formula)

    def score(self, pairs: pl.DataFrame, meter: StageMeter, collection: str = "") -> pl.DataFrame:
        """Adds the column ``cross_encoder_score`` only; arguments and errors as ``rerank``."""
        if "cross_encoder_score" not in pairs.columns:
            pairs = pairs.with_columns(cross_encoder_score=pl.lit(None, pl.Float64))
        logits = pairs["cross_encoder_score"].to_numpy(writable=True)
        unscored = pairs.with_row_index("row").filter(pl.col("cross_encoder_score").is_null())
        if not unscored.height:
            return pairs
        # The longest first: what remains at the end is short, so no core waits long for another.
        unscored = unscored.sort("token_count", descending=True, maintain_order=True)
        frames = list(unscored.iter_slices(self._batch_size))
        requests = (list(zip(frame["query_text"], passages(frame, context=False), strict=True)) for frame in frames)
        errors: list[InferenceError] = []
        done = 0
        answers = self._triton.infer_many(self._model, requests, observer=meter)
        for frame, answer in zip(frames, answers, strict=True):
            logits[frame["row"].to_numpy()] = answer.aligned("score", np.nan).ravel()
            errors += [failure.error for failure in answer.failures]
            for kind, positions in answer.failed_by_kind().items():
                meter.items_failed(self._model, frame[positions].select(_NAMED).to_series().to_list(), kind)
            meter.count("computed", answer.rows)
            done += frame.height
            meter.progress(collection, done, unscored.height)
        if len(errors) == pairs.height:
            raise errors[0]
        return pairs.with_columns(cross_encoder_score=pl.Series(logits).fill_nan(None))

    def pairs(self, collection: str, fused: pl.DataFrame) -> pl.DataFrame:
        """Fused candidates with their texts, as ``rerank`` takes them, in the order of query and rank."""
        wanted = pl.col("chunk_id").is_in(fused["chunk_id"].unique().implode())
        columns = ["chunk_id", "table_header", "text", "token_count", "content_sha256"]
        chunks = self._store.read("chunks", collection, columns, where=wanted)
        queries = with_digest(self._store.read("queries", collection, ["query_id", "text"]))
        queries = queries.rename({"text": "query_text", "content_sha256": "query_sha256"})
        best = fused.select("query_id", "chunk_id", "doc_id", fused_rank="rank", fused_score="score")
        return best.join(queries, on="query_id").join(chunks, on="chunk_id").sort("query_id", "fused_rank")

    def _input_digest(self, fused: pl.DataFrame) -> str:
        parts = [*sorted(fused["input_digest"].unique()), self._model, self._fingerprint, str(self._depth)]
        return input_digest([*parts, FORMULA, str(self.formula)])


def in_fused_order(pairs: pl.DataFrame) -> pl.DataFrame:
    """The columns that ``RerankStage.rerank`` adds, where no model has looked at the candidates.

    Args:
        pairs: Columns fused_rank (from 1), fused_score, and any others.

    Returns:
        The rows with ``rank`` and ``score`` of the fused ranking and without a ``cross_encoder_score``.
    """
    return pairs.with_columns(rank="fused_rank", score="fused_score", cross_encoder_score=pl.lit(None, pl.Float64))


def out_of_fold_candidates(store: TableStore, settings: Settings, collection: str, qrels: Qrels) -> pl.DataFrame:
    """The fused candidates of the judged queries, each ranked by the weights of its fold."""
    fused = store.read("fused_candidates", collection, where=pl.col("query_id").is_in(list(qrels)))
    return out_of_fold_fused(fused, read_weights(store, collection, "fuse"), settings.candidate_depth)


def candidate_vectors(
    store: TableStore, settings: Settings, collection: str, pairs: pl.DataFrame
) -> NDArray[np.float32]:
    """Vectors of the passages by the first dense model, [rows of ``pairs``, dimension]; NaN where there is none."""
    of_model = pl.col("model") == settings.dense_models[0]
    wanted = of_model & pl.col("chunk_id").is_in(pairs["chunk_id"].unique().implode())
    rows = store.read("dense_embeddings", collection, ["chunk_id", "embedding"], where=wanted)
    aligned = pairs.select("chunk_id").join(rows, on="chunk_id", how="left", maintain_order="left")
    return as_matrix(aligned["embedding"])


def pair_sample(store: TableStore, collection: str, reranked: pl.DataFrame, size: int) -> list[tuple[str, str]]:
    """Query and passage of some pairs, as if drawn by chance, but always the same: the first by their digests.

    Args:
        store: The tables.
        collection: The collection.
        reranked: Its rows of ``reranked_candidates``.
        size: How many pairs at most.
    """
    some = reranked.sort("content_sha256", "query_sha256").unique(PAIR, keep="first", maintain_order=True).head(size)
    wanted = pl.col("chunk_id").is_in(some["chunk_id"].unique().implode())
    chunks = store.read("chunks", collection, ["chunk_id", *PASSAGE], where=wanted)
    queries = store.read("queries", collection, ["query_id", "text"]).rename({"text": "query_text"})
    pairs = some.select("query_id", "chunk_id").join(queries, on="query_id").join(chunks, on="chunk_id")
    return list(zip(pairs["query_text"], passages(pairs, context=False), strict=True))
