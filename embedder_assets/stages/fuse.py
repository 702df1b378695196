"""Reciprocal rank fusion of the rankings by the dense models and by the sparse one.

Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods"
(SIGIR 2009): the score of a chunk is the sum of 1 / (k + rank) over the rankings that hold it, with k = 60.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from embedder_assets.serving.client import Answer
from embedder_assets.serving.session import TritonSession
from embedder_assets.settings import Settings
from embedder_assets.stages.digest import input_digest
from embedder_assets.stages.fallback import Fallback
from embedder_assets.stages.index import EMPTY_RANKING, ChunkIndex, sparse_matrix
from embedder_assets.stages.issues import known_failures, list_failures
from embedder_assets.stages.lexical import LexicalEncoder, lexical_model
from embedder_assets.stages.sparse import SparseEncoder
from embedder_assets.stages.vectors import Model, is_of
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.record import StageMeter

if TYPE_CHECKING:
    from scipy.sparse import csr_array

RRF_K = 60
LARGEST_VOCABULARY = 2**20
FALLBACK = "lexical queries"


@dataclass(frozen=True)
class RetrievalModels:
    """The first-stage models of a run; ``sparse`` is None when that stage is off.

    Attributes:
        dense: (model name, fingerprint) of each dense model, the primary first.
        sparse: (model name, fingerprint) or None.
        lexical: The same of the lexical rows that count where a chunk has no row of the sparse model; None where none
            may. It is no part of the identity: which chunks have one is.
    """

    dense: tuple[Model, ...]
    sparse: Model | None
    lexical: Model | None = field(default=None, repr=False)

    @property
    def sparse_sources(self) -> list[Model]:
        """Whose sparse rows count, the model first; none when the stage is off."""
        return [model for model in (self.sparse, self.lexical) if model] if self.sparse else []

    @classmethod
    def of(cls, settings: Settings, triton: TritonSession) -> RetrievalModels:
        """The models that the settings name, with the fingerprints of what would serve them now."""
        sparse = settings.sparse_model
        return cls(
            tuple((name, triton.fingerprint(name, "dense")) for name in settings.dense_models),
            (sparse, triton.fingerprint(sparse, "sparse")) if settings.enable_sparse else None,
            lexical_model(settings),
        )


class FuseStage:
    """Ranks the chunks of a collection for its queries.

    Attributes:
        failed: The queries on which a model failed though each was alone, since the last ``run`` began: query id, model
            and what the server said.
    """

    def __init__(self, store: TableStore, triton: TritonSession, settings: Settings, models: RetrievalModels) -> None:
        self._store = store
        self._triton = triton
        self._models = models
        self._settings = settings
        self._depth = settings.candidate_depth
        self._batch_size = settings.request_batch_size
        self.failed: list[tuple[str, str, str]] = []

    def run(self, collection: str, meter: StageMeter) -> pl.DataFrame:
        """Brings ``fused_candidates`` of a collection up to date and returns its rows.

        Where the sparse model fails and the settings allow it, the queries are lexical. Such rows, and those where a
        model fails on a query, which is listed, have a digest of their own, so the next run asks the model again.

        Raises:
            EmbedderError: A dense model fails; or the sparse one does, and ``sparse_fallback`` is off.
        """
        queries = self._store.read("queries", collection).sort("query_id")
        digest = self._input_digest(collection, queries)
        current = self._store.read("fused_candidates", collection, ["input_digest"])
        if current.height and current["input_digest"].unique().to_list() == [digest]:
            meter.count("reused", queries.height)
            return self._store.read("fused_candidates", collection)
        models = self._models
        index = ChunkIndex.load(self._store, [collection], models.dense, models.sparse, models.lexical)
        fallback = Fallback(self._settings.sparse_fallback, meter.fell_back, collection)
        self.failed.clear()
        fused = self.rank(index, queries["text"].to_list(), meter, fallback, queries["query_id"].to_list())
        if fallback.used or self.failed:
            failed = sorted(f"{query} {model}" for query, model, _ in self.failed)
            digest = input_digest([digest, *([FALLBACK] if fallback.used else []), *failed])
        meter.count("computed", queries.height)
        rows = named_candidates(fused, index, queries).with_columns(
            collection=pl.lit(collection), input_digest=pl.lit(digest)
        )
        list_failures(self._store, collection, "fuse", self._failures())
        self._store.replace("fused_candidates", collection, rows)
        return rows

    def rank(
        self,
        index: ChunkIndex,
        texts: Sequence[str],
        meter: StageMeter,
        fallback: Fallback | None = None,
        ids: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Fused ranking of an index for query texts: columns query, chunk (positions), rank, score, … .

        A model that fails on a query, though it is alone, has no ranking for it.

        Args:
            index: The chunks.
            texts: The queries.
            meter: Takes the batches, and the queries that failed.
            fallback: Lets lexical queries stand in where the sparse model fails; without it the failure comes out.
            ids: Of the queries, to name those that failed; their positions by default.

        Raises:
            InferenceError: A model fails for any text.
        """
        ids = ids or [str(position) for position in range(len(texts))]
        if not texts or not index.chunks.height:
            return fuse([EMPTY_RANKING] * len(self._models.dense), EMPTY_RANKING)
        dense = [
            index.rank_dense(position, self._embed_dense(model, texts, meter, ids), self._depth)
            for position, (model, _) in enumerate(self._models.dense)
        ]
        sparse = EMPTY_RANKING
        if index.sparse is not None:
            passages = index.sparse
            by_model = functools.partial(self._embed_sparse, texts, passages.shape[1], meter, ids)
            lexical = lambda: LexicalEncoder(self._settings).queries(texts, passages)  # noqa: E731
            sparse = index.rank_sparse(fallback.instead(by_model, lexical) if fallback else by_model(), self._depth)
        return fuse(dense, sparse)

    def _embed_dense(
        self, model: str, texts: Sequence[str], meter: StageMeter, ids: Sequence[str]
    ) -> NDArray[np.float32]:
        """Unit vectors, float32 [texts, dimension]; NaN for a text on which the model fails."""
        return np.concatenate([answer.placed("embedding", np.nan) for answer in self._infer(model, texts, meter, ids)])

    def _embed_sparse(self, texts: Sequence[str], vocabulary: int, meter: StageMeter, ids: Sequence[str]) -> csr_array:
        assert self._models.sparse is not None
        encoder = SparseEncoder(*self._models.sparse)
        # A text on which the model fails has only weights of 0, so it has no term.
        answers = self._infer(encoder.model, texts, meter, ids)
        outputs = ({name: answer.placed(name, 0) for name in answer.outputs} for answer in answers)
        rows = pl.concat([encoder.values(each) for each in outputs])
        # Terms that no chunk has cannot match.
        return sparse_matrix(rows, LARGEST_VOCABULARY)[:, :vocabulary]

    def _infer(self, model: str, texts: Sequence[str], meter: StageMeter, ids: Sequence[str]) -> Iterator[Answer]:
        starts = range(0, len(texts), self._batch_size)
        requests = [[(text,) for text in texts[start : start + self._batch_size]] for start in starts]
        answers = self._triton.infer_many(model, requests, role="query", observer=meter)
        for start, answer in zip(starts, answers, strict=True):
            for kind, positions in answer.failed_by_kind().items():
                meter.items_failed(model, [ids[start + position] for position in positions], kind)
            self.failed += [(ids[start + each.position], model, each.error.got) for each in answer.failures]
            yield answer

    def _input_digest(self, collection: str, queries: pl.DataFrame) -> str:
        chunks = self._store.read("chunks", collection, ["chunk_id", "content_sha256"]).sort("chunk_id")
        parts = [str(self._models), str(self._depth), str(RRF_K)]
        parts += ["\x1f".join(row) for row in chunks.iter_rows()]
        parts += ["\x1f".join(row) for row in queries.select("query_id", "text").iter_rows()]
        return input_digest([*parts, *self._lexical_parts(collection), *self._failed_chunks(collection)])

    def _lexical_parts(self, collection: str) -> list[str]:
        """Which chunks have a lexical row; nothing where none has."""
        lexical = self._models.lexical
        if lexical is None:
            return []
        rows = self._store.read("sparse_embeddings", collection, ["chunk_id"], where=is_of(lexical))
        return [str(lexical), *rows["chunk_id"].sort()] if rows.height else []

    def _failures(self) -> pl.DataFrame:
        """The queries that failed, as ``list_failures`` takes them."""
        fingerprints = dict([*self._models.dense, *([self._models.sparse] if self._models.sparse else [])])
        rows = [(query, model, fingerprints[model], message) for query, model, message in self.failed]
        names = ["query_id", "model", "model_fingerprint", "message"]
        return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")

    def _failed_chunks(self, collection: str) -> list[str]:
        """The chunks that a model has no vector of: once it has, the rankings are others."""
        models = [*self._models.dense, *([self._models.sparse] if self._models.sparse else [])]
        failed = {model: known_failures(self._store, collection, model)["chunk_id"] for model in models}
        return [f"{model} {chunk}" for model, chunks in failed.items() for chunk in chunks]


def fuse(dense: Sequence[pl.DataFrame], sparse: pl.DataFrame) -> pl.DataFrame:
    """Reciprocal rank fusion of any number of rankings; keeps every chunk that one of them holds.

    Args:
        dense: One ranking a dense model: columns query, chunk, rank (from 1).
        sparse: The same of the sparse ranking; may be empty.

    Returns:
        Columns query, chunk, rank, score, dense_rank (the best of the dense ranks), dense_ranks (list, one a dense
        model), sparse_rank, null where a ranking lacks the chunk; sorted by query and rank. Equal scores are ordered
        by the dense rank, then by the chunk's position.
    """
    keys = ["query", "chunk"]
    names = [f"dense_{position}" for position in range(len(dense))]
    ranked = sparse.select(*keys, sparse_rank="rank")
    for name, ranking in zip(names, dense, strict=True):
        ranked = ranked.join(ranking.select(*keys, pl.col("rank").alias(name)), on=keys, how="full", coalesce=True)
    reciprocals = [(1.0 / (RRF_K + pl.col(name))).fill_null(0.0) for name in (*names, "sparse_rank")]
    no_rank = pl.lit(None, pl.Int64)
    ranked = ranked.with_columns(
        score=pl.sum_horizontal(reciprocals),
        dense_rank=pl.min_horizontal(names) if names else no_rank,
        dense_ranks=pl.concat_list(names or [no_rank]),
    ).sort(["query", "score", "dense_rank", "chunk"], descending=[False, True, False, False], nulls_last=True)
    ranked = ranked.with_columns(rank=pl.int_range(1, pl.len() + 1).over("query"))
    return ranked.select(*keys, "rank", "score", "dense_rank", "dense_ranks", "sparse_rank")


def named_candidates(ranking: pl.DataFrame, index: ChunkIndex, queries: pl.DataFrame) -> pl.DataFrame:
    """A ranking of positions with the names of its queries and chunks beside them."""
    chunks = index.chunks.select("chunk_id", "doc_id").with_row_index("chunk").cast({"chunk": pl.Int64})
    names = queries.select("query_id").with_row_index("query").cast({"query": pl.Int64})
    return ranking.join(names, on="query", maintain_order="left").join(chunks, on="chunk", maintain_order="left")
