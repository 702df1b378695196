"""An index restricted to some of its chunks before anything is ranked: rankings are as if it held no others."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from embedder_assets.retrieval.exact_index import (
    ROUNDING,
    ChunkIndex,
    DenseBlock,
    ExactBlock,
    SparseVectors,
    highest,
    row_by_id,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# More neighbours are asked of an approximate index than are needed if the chunks that are kept lie at random.
OVERSAMPLING = 1.5
# What a neighbour costs that an approximate index is asked for, in vectors that are compared one by one (measured over
# 20,000 vectors of 384 dimensions: 3 to 5).
NEIGHBOUR_COST = 8
# Vectors that are taken out of an approximate index at a time.
VECTORS_AT_ONCE = 16_384


def filtered_index(index: ChunkIndex, kept: Sequence[Sequence[NDArray[np.int64]]]) -> ChunkIndex:
    """The index with some of its chunks.

    Args:
        index: In memory.
        kept: The rows that stay, ascending, of each block of each dense model, and of each sparse block at the end.
    """
    *dense, sparse = kept
    return ChunkIndex(
        [
            [FilteredDenseBlock(block, rows) for block, rows in zip(blocks, of_model, strict=True) if len(rows)]
            for blocks, of_model in zip(index.dense, dense, strict=True)
        ],
        None
        if index.sparse is None
        else [FilteredSparseBlock(block, rows) for block, rows in zip(index.sparse, sparse, strict=True) if len(rows)],
    )


def all_blocks(index: ChunkIndex) -> list[Iterable[DenseBlock] | Iterable[SparseVectors]]:
    """The blocks in the order in which ``filtered_index`` takes their rows."""
    return [*index.dense, index.sparse or []]


class FilteredDenseBlock:
    """Some rows of a dense block.

    Args:
        block: All rows.
        rows: Those that are searched, ascending, at least one.
    """

    def __init__(self, block: DenseBlock, rows: NDArray[np.int64]) -> None:
        self._block = block
        self._rows = rows

    @functools.cached_property
    def chunks(self) -> pl.DataFrame:
        """Columns chunk_id and content_sha256."""
        return self._block.chunks[self._rows]

    @functools.cached_property
    def position(self) -> dict[str, int]:
        """The row of each chunk, by its id."""
        return row_by_id(self.chunks["chunk_id"])

    def vectors_at(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """The vectors of some rows, float32 [rows, dimension]."""
        return self._block.vectors_at(self._rows[rows])

    def search(self, queries: NDArray[np.float32], depth: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """As ``DenseBlock``; exact, unless so many rows are searched that an approximate index is faster."""
        if isinstance(self._block, ExactBlock):
            # The product with all of them takes less time than to gather a few percent of the vectors.
            return highest((queries @ self._block.vectors.T)[:, self._rows], depth, ROUNDING)
        found = self._search_approximately(queries, depth)
        return self._search_exactly(queries, depth) if found is None else found

    def _search_approximately(
        self, queries: NDArray[np.float32], depth: int
    ) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """The rows among so many neighbours that enough are there; None where comparing all rows is faster."""
        asked = math.ceil(OVERSAMPLING * depth * self._block.chunks.height / len(self._rows))
        while asked * NEIGHBOUR_COST < len(self._rows):
            query, neighbour = self._block.search(queries, asked)
            row = np.minimum(np.searchsorted(self._rows, neighbour), len(self._rows) - 1)
            kept = self._rows[row] == neighbour
            if np.bincount(query[kept], minlength=len(queries)).min() >= depth:
                return query[kept], row[kept]
            asked *= 2
        return None

    def _search_exactly(self, queries: NDArray[np.float32], depth: int) -> tuple[NDArray[Any], NDArray[Any]]:
        found = []
        for start in range(0, len(self._rows), VECTORS_AT_ONCE):
            vectors = self._block.vectors_at(self._rows[start : start + VECTORS_AT_ONCE])
            query, row = highest(queries @ vectors.T, depth, ROUNDING)
            found.append((query, row + start))
        query, row = (np.concatenate(part) for part in zip(*found, strict=True))
        return query, row


class FilteredSparseBlock:
    """Some rows of a sparse block; arguments as of ``FilteredDenseBlock``."""

    def __init__(self, block: SparseVectors, rows: NDArray[np.int64]) -> None:
        self._block = block
        self._rows = rows

    @functools.cached_property
    def chunks(self) -> pl.DataFrame:
        """Columns chunk_id and content_sha256."""
        return self._block.chunks[self._rows]

    @property
    def vectors(self) -> csr_array:
        """[chunks, vocabulary]; made anew each time: only lexical queries ask for them."""
        return self._block.vectors[self._rows]

    def scores(self, queries: csr_array) -> NDArray[np.float32]:
        """As ``SparseVectors``."""
        return self._block.scores(queries)[:, self._rows]
