"""The stage ``fuse``: ranks the chunks of a collection for its queries, by the dense and the sparse models together.

How the rankings become one is in ``fusion_score``; how much the dense part counts is learned where queries are judged.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import polars as pl

from embedder_assets.embedding.failures import known_failures, list_failures
from embedder_assets.embedding.fallback import Fallback
from embedder_assets.embedding.keys import KEY, ModelVersion, is_of
from embedder_assets.embedding.lexical import LexicalEncoder, lexical_model
from embedder_assets.errors import EmbedderError
from embedder_assets.retrieval.cross_validation import learn_dense_weight
from embedder_assets.retrieval.exact_index import EMPTY_RANKING, ChunkIndex
from embedder_assets.retrieval.fusion_score import (
    DENSE_WEIGHT,
    FUSION,
    convex_combination,
    merge_rankings,
    reciprocal_rank_fusion,
)
from embedder_assets.retrieval.judgements import Qrels, digest_of_judgements, judgements_to_learn_from
from embedder_assets.retrieval.query_embeddings import QueryEmbeddingCache, QueryEncoder, is_complete, with_digest
from embedder_assets.retrieval.ranking_weights import LearnedWeights, write_weights
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.settings import Settings
from embedder_assets.tables.digest_ranges import digest_ranges, input_digest
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import StageMeter

if TYPE_CHECKING:
    from scipy.sparse import csr_array

FALLBACK = "lexical queries"


@dataclass(frozen=True)
class RetrievalModels:
    """The first-stage models of a run; ``sparse`` is None when that stage is off.

    Attributes:
        dense: The dense models, the primary first.
        sparse: The sparse model, or None.
        lexical: Of the lexical rows that count where a chunk has no row of the sparse model; None where none may. It is
            no part of the identity: which chunks have one is.
    """

    dense: tuple[ModelVersion, ...]
    sparse: ModelVersion | None
    lexical: ModelVersion | None = field(default=None, repr=False)

    @property
    def all(self) -> list[ModelVersion]:
        """All of them but the lexical one."""
        return [*self.dense, *([self.sparse] if self.sparse else [])]

    @property
    def sparse_sources(self) -> list[ModelVersion]:
        """Whose sparse rows count, the model first; none when the stage is off."""
        return [model for model in (self.sparse, self.lexical) if model] if self.sparse else []

    @classmethod
    def of(cls, settings: Settings, triton: TritonSession) -> RetrievalModels:
        """The models that the settings name, with the fingerprints of what would serve them now."""
        sparse = settings.sparse_model
        return cls(
            tuple(ModelVersion(name, triton.fingerprint(name, "dense")) for name in settings.dense_models),
            ModelVersion(sparse, triton.fingerprint(sparse, "sparse")) if settings.enable_sparse else None,
            lexical_model(settings),
        )


class FuseStage:
    """Ranks the chunks of a collection for its queries."""

    def __init__(self, store: TableStore, triton: TritonSession, settings: Settings, models: RetrievalModels) -> None:
        self._store = store
        self._triton = triton
        self._models = models
        self._settings = settings
        self._depth = settings.candidate_depth

    def run(self, collection: str, meter: StageMeter) -> pl.DataFrame:
        """Updates ``fused_candidates`` and ``query_embeddings`` of a collection; returns the candidates.

        Where the sparse model fails and the settings allow it, the queries are lexical. Such rows, and those where a
        model fails on a query, which is listed, have a digest of their own, so the next run asks the model again.

        Raises:
            EmbedderError: A dense model fails; or the sparse one does, and nothing may stand in (``fallback``).
        """
        queries = self._store.read("queries", collection).sort("query_id")
        qrels = judgements_to_learn_from(self._store, self._settings, collection)
        digest = self._input_digest(collection, queries, qrels)
        current = self._store.read("fused_candidates", collection, ["input_digest"])
        is_current = current.height and current["input_digest"].unique().to_list() == [digest]
        if is_current and is_complete(self._store, collection, with_digest(queries), self._models.all):
            meter.count("reused", queries.height)
            return self._store.read("fused_candidates", collection)
        cache = QueryEmbeddingCache(self._store, collection)
        encoder = self.encoder(meter, cache)
        fallback = Fallback("sparse" in self._settings.fallback, meter.fell_back, collection)
        index = ChunkIndex.of_tables(self._store, [collection], self._models.dense, self._models.sparse_sources)
        try:
            candidates = self.candidates(index, queries, encoder, fallback)
        except EmbedderError:
            # What was computed before a model failed is not computed again.
            with suppress(EmbedderError):
                cache.commit()
            raise
        cache.evict_others(with_digest(queries), self._models.all)
        cache.commit()
        if fallback.used or encoder.failed:
            failed = sorted(f"{query} {model}" for query, model, _ in encoder.failed)
            digest = input_digest([digest, *([FALLBACK] if fallback.used else []), *failed])
        meter.count("computed", queries.height)
        chunks = documents_of(self._store, collection, candidates)
        candidates = with_query_and_doc_ids(candidates, chunks, queries)
        learned = self.learn(candidates, qrels)
        write_weights(self._store, collection, "fuse", learned)
        rows = self.fuse(candidates, learned.weights["dense"] if learned else DENSE_WEIGHT).with_columns(
            collection=pl.lit(collection), input_digest=pl.lit(digest)
        )
        list_failures(self._store, collection, "fuse", self._failures(encoder))
        self._store.replace("fused_candidates", collection, rows)
        return rows

    def at_depth(self, depth: int) -> FuseStage:
        """The same with another number of chunks from each ranking."""
        twin = copy.copy(self)
        twin._depth = depth
        return twin

    def encoder(self, meter: StageMeter, cache: QueryEmbeddingCache | None = None) -> QueryEncoder:
        """What asks the models about queries for ``rank``."""
        return QueryEncoder(self._triton, self._settings.request_batch_size, meter, cache)

    def candidates(
        self,
        index: ChunkIndex,
        queries: pl.DataFrame,
        encoder: QueryEncoder,
        fallback: Fallback | None = None,
        executor: Executor | None = None,
    ) -> pl.DataFrame:
        """The best chunks of an index by each model, for ``fuse``: columns as ``merge_rankings`` returns them.

        A model that fails on a query, though it is alone, has no ranking for it.

        Args:
            index: The chunks.
            queries: Columns query_id, text.
            encoder: Asks the models, and notes on which queries they failed.
            fallback: Lets lexical queries stand in where the sparse model fails; without it the failure comes out.
            executor: Ranks the chunks of a dense model while the next model computes. The index has to be in memory:
                the tables are read by one thread at a time.

        Raises:
            InferenceError: A model fails for any text.
        """
        if not queries.height or index.empty:
            return merge_rankings([EMPTY_RANKING] * len(self._models.dense), EMPTY_RANKING)
        submit = executor.submit if executor else _run_now
        ranked = [
            submit(index.rank_dense, position, encoder.dense(model, queries), self._depth)
            for position, model in enumerate(self._models.dense)
        ]
        terms = self._query_terms(index, queries, encoder, fallback)
        dense = [each.result() for each in ranked]
        return merge_rankings(dense, EMPTY_RANKING if terms is None else index.rank_sparse(terms, self._depth))

    def fuse(self, candidates: pl.DataFrame, dense_weight: float) -> pl.DataFrame:
        """Ranks candidates by the fusion that the settings name: adds ``score`` and ``rank``."""
        if self._settings.fusion == "rrf":
            return reciprocal_rank_fusion(candidates)
        return convex_combination(candidates, self._depth, dense_weight)

    def learn(self, candidates: pl.DataFrame, qrels: Qrels) -> LearnedWeights | None:
        """The weight of the dense part that the judged queries speak for; None where there is nothing to learn.

        Args:
            candidates: As ``candidates`` returns them, with query_id and doc_id.
            qrels: The judgements.
        """
        if self._settings.fusion == "rrf" or self._models.sparse is None:
            return None
        return learn_dense_weight(candidates, qrels, self._depth)

    def _query_terms(
        self, index: ChunkIndex, queries: pl.DataFrame, encoder: QueryEncoder, fallback: Fallback | None
    ) -> csr_array | None:
        """The sparse vectors of the queries, [queries, vocabulary]; None where the stage is off."""
        blocks, model = index.sparse, self._models.sparse
        if blocks is None or model is None:
            return None
        by_model = functools.partial(encoder.sparse, model, queries)
        lexical = lambda: LexicalEncoder(self._settings).queries(  # noqa: E731
            queries["text"].to_list(), (block.vectors for block in blocks)
        )
        return fallback.run_or_fall_back(by_model, lexical) if fallback else by_model()

    def _input_digest(self, collection: str, queries: pl.DataFrame, qrels: Qrels) -> str:
        return input_digest(
            chain(
                [str(self._models), str(self._depth), self._settings.fusion, FUSION, str(DENSE_WEIGHT)],
                [digest_of_judgements(qrels)],
                self._chunk_parts(collection),
                ("\x1f".join(row) for row in queries.select("query_id", "text").iter_rows()),
                self._lexical_parts(collection),
                self._failed_chunks(collection),
            )
        )

    def _chunk_parts(self, collection: str) -> Iterator[str]:
        """The keys of all chunks, one text per range of digests."""
        for part in digest_ranges(self._store.count("chunks", collection)):
            keys = self._store.read("chunks", collection, KEY, where=part.rows).sort(KEY)
            yield "\n".join(keys.select(pl.concat_str(KEY, separator="\x1f")).to_series())

    def _lexical_parts(self, collection: str) -> list[str]:
        """Which chunks have a lexical row; nothing where none has."""
        lexical = self._models.lexical
        if lexical is None:
            return []
        rows = self._store.read("sparse_embeddings", collection, ["chunk_id"], where=is_of(lexical))
        return [str(lexical), *rows["chunk_id"].sort()] if rows.height else []

    def _failures(self, encoder: QueryEncoder) -> pl.DataFrame:
        """The queries that failed, as ``list_failures`` takes them."""
        fingerprints = dict(self._models.all)
        rows = [(query, model, fingerprints[model], message) for query, model, message in encoder.failed]
        names = ["query_id", "model", "model_fingerprint", "message"]
        return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")

    def _failed_chunks(self, collection: str) -> list[str]:
        """The chunks that a model has no vector of: once it has, the rankings are others."""
        failed = {model: known_failures(self._store, collection, model)["chunk_id"] for model in self._models.all}
        return [f"{model} {chunk}" for model, chunks in failed.items() for chunk in chunks]


def _run_now(work: Callable[..., pl.DataFrame], *arguments: object) -> Future[pl.DataFrame]:
    """The result of some work that is done at once."""
    future: Future[pl.DataFrame] = Future()
    future.set_result(work(*arguments))
    return future


def with_query_and_doc_ids(ranking: pl.DataFrame, chunks: pl.DataFrame, queries: pl.DataFrame) -> pl.DataFrame:
    """Adds query_id and doc_id to a ranking.

    Args:
        ranking: Columns query (position), chunk_id, and any others.
        chunks: Columns chunk_id, doc_id.
        queries: Column query_id, in the order of the positions.
    """
    names = queries.select("query_id").with_row_index("query").cast({"query": pl.Int64})
    documents = chunks.select("chunk_id", "doc_id")
    return ranking.join(names, on="query", maintain_order="left").join(documents, on="chunk_id", maintain_order="left")


def documents_of(store: TableStore, collection: str, ranking: pl.DataFrame) -> pl.DataFrame:
    """The document of each chunk of a ranking of a collection: columns chunk_id, doc_id."""
    ranked = pl.col("chunk_id").is_in(ranking["chunk_id"].unique().implode())
    return store.read("chunks", collection, ["chunk_id", "doc_id"], where=ranked)
