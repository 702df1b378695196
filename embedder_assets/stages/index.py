"""Exact search over the tables: every chunk is scored, nothing is approximated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from embedder_assets.errors import TableError
from embedder_assets.stages.dense import as_matrix
from embedder_assets.stages.issues import ROW_KEY, known_failures
from embedder_assets.stages.vectors import Model, vectors_of
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# Queries scored at a time: bounds the score matrix to this many rows of one float32 a chunk.
QUERY_BLOCK = 128
RANKING_SCHEMA = {"query": pl.Int64(), "chunk": pl.Int64(), "rank": pl.Int64(), "score": pl.Float64()}
EMPTY_RANKING = pl.DataFrame(schema=RANKING_SCHEMA)


@dataclass(frozen=True)
class ChunkIndex:
    """The vectors of some chunks, in one order.

    Attributes:
        chunks: collection, chunk_id, doc_id, heading, text, start, end, token_count of each chunk.
        dense: For each dense model float32 [chunks, dimension], unit rows; NaN where the model failed on the chunk.
        sparse: float32 [chunks, vocabulary], or None when the sparse stage is off; no entry where the model failed.
    """

    chunks: pl.DataFrame
    dense: tuple[NDArray[np.float32], ...]
    sparse: csr_array | None

    @classmethod
    def load(
        cls,
        store: TableStore,
        collections: Sequence[str],
        dense: Sequence[Model],
        sparse: Model | None,
        lexical: Model | None = None,
    ) -> ChunkIndex:
        """Reads the chunks of some collections with their vectors of the given models.

        A chunk on which a model is known to fail is in no ranking of that model.

        Args:
            store: The tables.
            collections: Their names.
            dense: The dense models.
            sparse: The sparse model, or None when that stage is off.
            lexical: Whose sparse rows count where a chunk has none of the sparse model; None where none may.

        Raises:
            TableError: A chunk has no vector of these models, and none of them is known to fail on it.
        """
        chunks = pl.concat([store.read("chunks", name) for name in collections])
        return cls.of(
            chunks,
            [_rows_of(store, "dense_embeddings", chunks, collections, [model]) for model in dense],
            None
            if sparse is None
            else _rows_of(store, "sparse_embeddings", chunks, collections, [sparse, *([lexical] if lexical else [])]),
        )

    @classmethod
    def of(cls, chunks: pl.DataFrame, dense: Sequence[pl.DataFrame], sparse: pl.DataFrame | None) -> ChunkIndex:
        """An index of rows that are at hand.

        Args:
            chunks: Rows of ``chunks``.
            dense: For each dense model a row of ``dense_embeddings`` for every chunk that has one, in any order.
            sparse: The same of ``sparse_embeddings``.
        """
        vectors = tuple(as_matrix(_aligned(chunks, rows)["embedding"]) for rows in dense)
        return cls(chunks, vectors, None if sparse is None else sparse_matrix(_aligned(chunks, sparse)))

    def rank_dense(self, model: int, queries: NDArray[np.float32], depth: int) -> pl.DataFrame:
        """Chunks by cosine, those without a vector left out.

        Args:
            model: Position of the dense model.
            queries: Its unit vectors of the queries, [queries, dimension]; NaN for a query without one.
            depth: Chunks a query.

        Returns:
            Columns query, chunk (positions), rank (from 1), score.
        """
        vectors = self.dense[model]
        if not vectors.size:
            return EMPTY_RANKING
        incomplete = bool(np.isnan(vectors[:, 0]).any() or np.isnan(queries[:, 0]).any())

        def scores_of(block: slice) -> NDArray[np.float32]:
            scores: NDArray[np.float32] = queries[block] @ vectors.T
            # No cosine is as low, so it comes last, and is left out.
            return np.where(np.isnan(scores), np.float32(-np.inf), scores) if incomplete else scores

        return _rank(scores_of, len(queries), depth, above=-np.inf)

    def rank_sparse(self, queries: csr_array, depth: int) -> pl.DataFrame:
        """Chunks by dot product, those without a common term left out. Columns as ``rank_dense``."""
        if self.sparse is None:
            return EMPTY_RANKING
        transposed = self.sparse.T.tocsr()
        return _rank(lambda block: (queries[block] @ transposed).toarray(), queries.shape[0], depth, above=0)


def sparse_matrix(rows: pl.DataFrame, vocabulary: int | None = None) -> csr_array:
    """Rows with list columns ``indices`` and ``values`` as a matrix of shape [rows, vocabulary]; null is no entry."""
    from scipy.sparse import csr_array

    lengths = rows["indices"].list.len().fill_null(0).to_numpy()
    indices = rows["indices"].drop_nulls().explode(empty_as_null=False).to_numpy()
    values = rows["values"].drop_nulls().explode(empty_as_null=False).to_numpy().astype(np.float32)
    width = vocabulary or (int(indices.max()) + 1 if len(indices) else 1)
    return csr_array((values, indices, np.concatenate([[0], np.cumsum(lengths)])), shape=(rows.height, width))


def _rows_of(
    store: TableStore, table: str, chunks: pl.DataFrame, collections: Sequence[str], models: Sequence[Model]
) -> pl.DataFrame:
    name, fingerprint = models[0]
    rows = pl.concat([vectors_of(store, table, each, models, list(SCHEMAS[table])) for each in collections])
    lacking = chunks.join(rows, on=ROW_KEY, how="anti")
    found = chunks.height - lacking.height
    for collection in lacking["collection"].unique():
        lacking = lacking.join(known_failures(store, collection, models[0]), on=ROW_KEY, how="anti")
    if lacking.height:
        raise TableError(
            f"table '{table}', collections {', '.join(collections)}",
            expected=f"a row of model '{name}' with fingerprint {fingerprint} for each of {chunks.height} chunks",
            got=f"{found} rows",
            remedy="Run `embedder run` for these collections with these models"
            + (", or set EMBEDDER_ENABLE_SPARSE=false." if table == "sparse_embeddings" else "."),
        )
    return rows


def _aligned(chunks: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows in the order of the chunks, with nulls for a chunk that has none."""
    return chunks.select(ROW_KEY).join(rows, on=ROW_KEY, how="left", maintain_order="left")


def _rank(scores_of: Any, query_count: int, depth: int, *, above: float) -> pl.DataFrame:
    parts = [EMPTY_RANKING]
    for start in range(0, query_count, QUERY_BLOCK):
        block = slice(start, min(start + QUERY_BLOCK, query_count))
        scores = scores_of(block)
        top = _top(scores, depth)
        taken = np.take_along_axis(scores, top, axis=1)
        frame = pl.DataFrame(
            {
                "query": np.repeat(np.arange(block.start, block.stop), top.shape[1]),
                "chunk": top.ravel(),
                "rank": np.tile(np.arange(1, top.shape[1] + 1), len(top)),
                "score": taken.ravel().astype(np.float64),
            },
            schema=RANKING_SCHEMA,
        )
        parts.append(frame.filter(pl.col("score") > above))
    return pl.concat(parts)


def _top(scores: NDArray[np.float32], depth: int) -> NDArray[np.int64]:
    """Positions of the largest scores of each row, largest first; equal scores in the order of position."""
    depth = min(depth, scores.shape[1])
    if not depth:
        return np.empty((len(scores), 0), np.int64)
    # A partition takes any of the scores equal to the last one that counts: the first positions are wanted.
    last = -np.partition(-scores, depth - 1, axis=1)[:, depth - 1 : depth]
    above, equal = scores > last, scores == last
    wanted = above | (equal & (np.cumsum(equal, axis=1) <= depth - above.sum(axis=1, keepdims=True)))
    candidates = np.nonzero(wanted)[1].reshape(len(scores), depth)
    order = np.argsort(-np.take_along_axis(scores, candidates, axis=1), axis=1, kind="stable")
    ranked: NDArray[np.int64] = np.take_along_axis(candidates, order, axis=1)
    return ranked
