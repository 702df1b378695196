"""Exact search over chunks: every chunk is scored, nothing is approximated.

The vectors come in blocks, from memory or from the tables, and only the best chunks of each query are kept, so a search
over the tables needs memory for one block and not for the collection. A chunk's score does not depend on the block that
it is in, and equal scores go by the chunk's id: the same chunks give the same ranking however the table lies on disk.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from embedder_assets.embedding.dense import as_matrix
from embedder_assets.embedding.failures import known_failures
from embedder_assets.embedding.keys import KEY, ModelVersion, vectors_of
from embedder_assets.errors import IncompleteTableError
from embedder_assets.tables.digest_ranges import digest_ranges
from embedder_assets.tables.store import TableStore

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# Queries scored at a time: bounds the score matrix to this many rows of one float32 per chunk of a block.
QUERY_BLOCK = 128
# Pairs of query and chunk scored exactly at a time.
PAIR_BLOCK = 16_384
# Pairs that are added before those that cannot be among the best are dropped: about 30 MB.
PAIRS_IN_MEMORY = 200_000
# More than a product of unit vectors in float32 can be wrong by.
ROUNDING = 1e-5
RANKING_SCHEMA = {
    "query": pl.Int64(),
    "chunk_id": pl.String(),
    "content_sha256": pl.String(),
    "rank": pl.Int64(),
    "score": pl.Float64(),
}
EMPTY_RANKING = pl.DataFrame(schema=RANKING_SCHEMA)

Item = TypeVar("Item")
Matrix = TypeVar("Matrix")


@dataclass(frozen=True)
class Block(Generic[Matrix]):
    """Some chunks with a vector each.

    Attributes:
        chunks: Columns chunk_id and content_sha256.
        vectors: float32 [chunks, dimension] with unit rows, or a sparse matrix of float32 [chunks, vocabulary].
    """

    chunks: pl.DataFrame
    vectors: Matrix

    @functools.cached_property
    def position(self) -> dict[str, int]:
        """The row of each chunk, by its id."""
        return row_by_id(self.chunks["chunk_id"])


def row_by_id(chunk_ids: pl.Series) -> dict[str, int]:
    """Where each chunk is, by its id."""
    return {chunk: row for row, chunk in enumerate(chunk_ids)}


class Reiterable(Generic[Item]):
    """What a function yields, once more each time it is walked."""

    def __init__(self, source: Callable[[], Iterator[Item]]) -> None:
        self._source = source

    def __iter__(self) -> Iterator[Item]:
        return self._source()


class DenseBlock(Protocol):
    """Some chunks with a dense vector each, and a way to those that are close to a query."""

    @property
    def chunks(self) -> pl.DataFrame:
        """Columns chunk_id and content_sha256."""

    @property
    def position(self) -> dict[str, int]:
        """The row of each chunk, by its id."""

    def search(self, queries: NDArray[np.float32], depth: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Row of the query and row of the chunk for all that may be among the ``depth`` nearest, in any order."""

    def vectors_at(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """The vectors of some rows, float32 [rows, dimension]."""


class ExactBlock(Block[NDArray[np.float32]]):
    """A dense block that looks at every vector."""

    def search(self, queries: NDArray[np.float32], depth: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """As ``DenseBlock``."""
        return highest(queries @ self.vectors.T, depth, ROUNDING)

    def vectors_at(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """As ``DenseBlock``."""
        vectors: NDArray[np.float32] = self.vectors[rows]
        return vectors


class SparseVectors(Protocol):
    """Some chunks with a sparse vector each."""

    @property
    def chunks(self) -> pl.DataFrame:
        """Columns chunk_id and content_sha256."""

    @property
    def vectors(self) -> csr_array:
        """float32 [chunks, vocabulary]."""

    def scores(self, queries: csr_array) -> NDArray[np.float32]:
        """Products with queries of [queries, any vocabulary]: [queries, chunks]."""


@dataclass(frozen=True)
class SparseBlock(Block["csr_array"]):
    """The same with all of its vectors in memory."""

    @functools.cached_property
    def inverted_index(self) -> csr_array:
        """The same entries by vocabulary entry, [vocabulary, chunks]: a query looks only at the terms that it has."""
        return self.vectors.T.tocsr()

    def scores(self, queries: csr_array) -> NDArray[np.float32]:
        """As ``SparseVectors``."""
        # Terms that no chunk has cannot match. A slice is a copy, so none is taken of all rows.
        known = queries[:, : self.vectors.shape[1]]
        width = known.shape[1]
        index = self.inverted_index if width == self.vectors.shape[1] else self.inverted_index[:width]
        scores: NDArray[np.float32] = (known @ index).toarray()
        return scores


@dataclass(frozen=True)
class ChunkIndex:
    """The vectors of some chunks, in blocks.

    Attributes:
        dense: The blocks of each dense model, without the chunks that it failed on.
        sparse: The same of the sparse rows, or None when that stage is off.
    """

    dense: Sequence[Iterable[DenseBlock]]
    sparse: Iterable[SparseVectors] | None

    @classmethod
    def of_tables(
        cls,
        store: TableStore,
        collections: Sequence[str],
        dense: Sequence[ModelVersion],
        sparse_sources: Sequence[ModelVersion],
        excluded: pl.DataFrame | None = None,
    ) -> ChunkIndex:
        """The chunks of some collections with their vectors of the given models, read anew in every search.

        A chunk on which a model is known to fail is in no ranking of that model. Walking the blocks raises an
        ``IncompleteTableError`` where a chunk has no vector and its model is not known to fail on it.

        Args:
            store: The tables.
            collections: Their names.
            dense: The dense models.
            sparse_sources: The sparse model, then those whose rows count where a chunk has none of it; empty when the
                stage is off.
            excluded: Chunks that are in no ranking: columns chunk_id, content_sha256.
        """

        def rows(table: str, models: Sequence[ModelVersion]) -> Reiterable[pl.DataFrame]:
            return Reiterable(lambda: _rows(store, table, collections, models, excluded))

        sparse = rows("sparse_embeddings", sparse_sources) if sparse_sources else None
        return cls.of_rows([rows("dense_embeddings", [model]) for model in dense], sparse)

    @classmethod
    def of_rows(
        cls, dense: Sequence[Iterable[pl.DataFrame]], sparse: Iterable[pl.DataFrame] | None = None
    ) -> ChunkIndex:
        """An index of rows that are at hand.

        Args:
            dense: For each dense model frames of ``dense_embeddings``: chunk_id, content_sha256, embedding.
            sparse: The same of ``sparse_embeddings``: chunk_id, indices, values.
        """
        blocks = [Reiterable(functools.partial(map, _dense_block, frames)) for frames in dense]
        return cls(blocks, None if sparse is None else Reiterable(functools.partial(map, _sparse_block, sparse)))

    @property
    def empty(self) -> bool:
        """Whether no chunk has a vector."""
        dense = any(block.chunks.height for blocks in self.dense for block in blocks)
        return not dense and not any(block.chunks.height for block in self.sparse or [])

    @classmethod
    def in_memory(cls, dense: Sequence[list[DenseBlock]], sparse: list[SparseVectors] | None) -> ChunkIndex:
        """An index for many searches: every model's exact blocks as one, and none of them is left in its list."""
        return cls([_joined_dense(blocks) for blocks in dense], None if sparse is None else _joined_sparse(sparse))

    def vectors(self, model: int, chunk_ids: pl.Series) -> NDArray[np.float32]:
        """Vectors of some chunks by a dense model, given by its position: [chunks, dimension]; NaN where none is."""
        found = np.empty((len(chunk_ids), 0), np.float32)
        for block in self.dense[model]:
            rows = np.array([block.position.get(chunk, -1) for chunk in chunk_ids], np.int64)
            present = rows >= 0
            if present.any():
                vectors = block.vectors_at(rows[present])
                found = found if found.size else np.full((len(rows), vectors.shape[1]), np.nan, np.float32)
                found[present] = vectors
        return found

    def rank_dense(self, model: int, queries: NDArray[np.float32], depth: int) -> pl.DataFrame:
        """Chunks by cosine.

        Args:
            model: Position of the dense model.
            queries: Its unit vectors of the queries, [queries, dimension]; NaN for a query without one.
            depth: Chunks per query.

        Returns:
            Columns query (position), chunk_id, content_sha256, rank (from 1), score.
        """
        answerable = np.flatnonzero(~np.isnan(queries).any(axis=1)) if queries.size else np.empty(0, np.int64)
        best = TopK(depth)
        for block in self.dense[model] if len(answerable) else []:
            for start in range(0, len(answerable), QUERY_BLOCK):
                some = answerable[start : start + QUERY_BLOCK]
                row, chunk = block.search(queries[some], depth)
                best.add(some[row], block.chunks[chunk], _cosines(queries, some[row], block, chunk))
        return best.ranking()

    def rank_sparse(self, queries: csr_array, depth: int) -> pl.DataFrame:
        """Chunks by dot product, those without a common term left out. Columns as ``rank_dense``."""
        best = TopK(depth)
        for block in self.sparse or []:
            for start in range(0, queries.shape[0], QUERY_BLOCK):
                scores = block.scores(queries[start : start + QUERY_BLOCK])
                row, chunk = highest(scores, depth, 0.0)
                matches = scores[row, chunk] > 0
                row, chunk = row[matches], chunk[matches]
                best.add(start + row, block.chunks[chunk], scores[row, chunk].astype(np.float64))
        return best.ranking()


def sparse_matrix(rows: pl.DataFrame, vocabulary: int | None = None) -> csr_array:
    """Rows with list columns ``indices`` and ``values`` as a matrix of shape [rows, vocabulary]; null is no entry."""
    from scipy.sparse import csr_array

    lengths = rows["indices"].list.len().fill_null(0).to_numpy()
    indices = rows["indices"].drop_nulls().explode(empty_as_null=False).to_numpy()
    values = rows["values"].drop_nulls().explode(empty_as_null=False).to_numpy().astype(np.float32)
    width = vocabulary or (int(indices.max()) + 1 if len(indices) else 1)
    return csr_array((values, indices, np.concatenate([[0], np.cumsum(lengths)])), shape=(rows.height, width))


class TopK:
    """The best chunks of each query, while the blocks go by."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._found = [EMPTY_RANKING.select("chunk_id", "content_sha256", "query", "score")]

    def add(self, queries: NDArray[np.int64], chunks: pl.DataFrame, scores: NDArray[np.float64]) -> None:
        """Pairs of query and chunk, with their scores."""
        # Neither an expression nor a query plan: this is done for each block, for a single query too.
        columns = {"query": queries, "score": scores}
        self._found.append(chunks.hstack([pl.Series(name, values) for name, values in columns.items()]))
        kept, *added = (frame.height for frame in self._found)
        # As many as are kept, or sorting them again and again would cost more than they.
        if sum(added) > max(PAIRS_IN_MEMORY, kept):
            self._prune()

    def _prune(self) -> None:
        """Keeps as many chunks per query as are wanted, sorted by query and rank."""
        order = ["query", "score", "content_sha256", "chunk_id"]
        found = pl.concat(self._found).sort(order, descending=[False, True, False, False])
        self._found = [found.filter(_ranks(found) <= self._depth)]

    def ranking(self) -> pl.DataFrame:
        """The columns of ``RANKING_SCHEMA``, sorted by query and rank."""
        self._prune()
        (found,) = self._found
        return found.hstack([_ranks(found)]).select(list(RANKING_SCHEMA))


def _ranks(found: pl.DataFrame) -> pl.Series:
    """From 1 within each query, of rows that are sorted by query and rank; no query plan, as in ``TopK.add``."""
    query = found["query"].to_numpy()
    return pl.Series("rank", np.arange(1, len(query) + 1) - np.searchsorted(query, query))


def _rows(
    store: TableStore,
    table: str,
    collections: Sequence[str],
    models: Sequence[ModelVersion],
    excluded: pl.DataFrame | None,
) -> Iterator[pl.DataFrame]:
    """The rows by some models in an embedding table: for each chunk not excluded, that of the first model with one."""
    for collection in collections:
        failures = known_failures(store, collection, models[0])
        for part in digest_ranges(store.count("chunks", collection)):
            chunks = store.read("chunks", collection, KEY, where=part.rows)
            chunks = chunks if excluded is None else chunks.join(excluded, on=KEY, how="anti")
            rows = vectors_of(store, table, collection, models, where=part.rows).join(chunks, on=KEY, how="semi")
            missing = chunks.join(rows, on=KEY, how="anti").join(failures, on=KEY, how="anti")
            if missing.height:
                raise _incomplete(table, collection, models[0], missing)
            if rows.height:
                yield rows


def _incomplete(table: str, collection: str, model: ModelVersion, missing: pl.DataFrame) -> IncompleteTableError:
    return IncompleteTableError(
        f"table '{table}', collection '{collection}'",
        expected=f"a row of model '{model.name}' with fingerprint {model.fingerprint} for each chunk",
        got=f"none for {missing.height} of them at least",
        remedy="Run `embedder run` for this collection with this model"
        + (", or set EMBEDDER_ENABLE_SPARSE=false." if table == "sparse_embeddings" else "."),
    )


def _dense_block(rows: pl.DataFrame) -> ExactBlock:
    return ExactBlock(rows.select("chunk_id", "content_sha256"), as_matrix(rows["embedding"]))


def _sparse_block(rows: pl.DataFrame) -> SparseBlock:
    return SparseBlock(rows.select("chunk_id", "content_sha256"), sparse_matrix(rows))


def _joined_dense(blocks: list[DenseBlock]) -> list[DenseBlock]:
    """One block of all exact ones, if there is any; graphs stay as they are.

    Its vectors lie dimension by dimension: the product with one query then reads them as they lie, which takes half of
    the time. The list is emptied, so that not all of it is there twice.
    """
    exact = [block for block in blocks if isinstance(block, ExactBlock)]
    graphs = [block for block in blocks if not isinstance(block, ExactBlock)]
    blocks.clear()
    if not exact:
        return graphs
    chunks = pl.concat([block.chunks for block in exact])
    dimension = exact[0].vectors_at(np.arange(1)).shape[1]
    vectors = np.empty((chunks.height, dimension), np.float32, order="F")
    end = chunks.height
    while exact:
        block = exact.pop()
        start = end - block.chunks.height
        vectors[start:end] = block.vectors_at(np.arange(block.chunks.height))
        end = start
    return [ExactBlock(chunks, vectors), *graphs]


def _joined_sparse(blocks: list[SparseVectors]) -> list[SparseBlock]:
    """One block of all, if there is any."""
    from scipy.sparse import csr_array, vstack

    if not blocks:
        return []
    parts = [block.vectors for block in blocks]
    width = max(part.shape[1] for part in parts)
    parts = [csr_array((part.data, part.indices, part.indptr), shape=(part.shape[0], width)) for part in parts]
    return [SparseBlock(pl.concat([block.chunks for block in blocks]), vstack(parts, "csr"))]


def highest(scores: NDArray[np.float32], depth: int, rounding: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Row and column of the scores of each row that may be among the ``depth`` largest, any order, with all ties."""
    depth = min(depth, scores.shape[1])
    if not depth:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    lowest = scores.shape[1] - depth
    last = np.partition(scores, lowest, axis=1)[:, lowest : lowest + 1]
    row, column = np.nonzero(scores >= last - np.float32(rounding))
    return row, column


def _cosines(
    queries: NDArray[np.float32], query: NDArray[Any], block: DenseBlock, chunk: NDArray[Any]
) -> NDArray[np.float64]:
    """Products of pairs of rows. A matrix product rounds by where a row lies; this one is the same everywhere."""
    products = [np.empty(0)]
    for start in range(0, len(query), PAIR_BLOCK):
        some = slice(start, start + PAIR_BLOCK)
        pair = queries[query[some]].astype(np.float64), block.vectors_at(chunk[some]).astype(np.float64)
        products.append(np.einsum("ij,ij->i", *pair))
    return np.concatenate(products)
