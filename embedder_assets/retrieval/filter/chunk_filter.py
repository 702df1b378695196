"""The index of a search, restricted to what a condition and permissions keep."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from embedder_assets.retrieval.exact_index import ChunkIndex
from embedder_assets.retrieval.filter.conditions import Condition
from embedder_assets.retrieval.filter.documents import DOCUMENTS, ChunkDocuments, FieldColumns
from embedder_assets.retrieval.filter.filtered_index import all_blocks, filtered_index
from embedder_assets.tables.store import TableStore

# Filters whose chunks are remembered: an application asks by the same few again and again.
FILTERS_KEPT = 8


class ChunkFilter:
    """Restricts the index of a search. Documents are read at the first filter, and again when their table has changed.

    Args:
        store: The tables as they are.
        collections: What is searched: the name of a collection, the tables that its chunks were read from, and how
            many there are.
        chunks: All chunks, in the order of the collections.
        position: Chunk id to its row.
        index: Of these chunks, in memory.
    """

    def __init__(
        self,
        store: TableStore,
        collections: Sequence[tuple[str, TableStore, int]],
        chunks: pl.DataFrame,
        position: Mapping[str, int],
        index: ChunkIndex,
    ) -> None:
        self._store = store
        self._collections = collections
        self._chunks = chunks
        self._position = position
        self._index = index
        self._version: int | None = None
        self._documents: list[ChunkDocuments] = []
        self._fields = functools.lru_cache(FILTERS_KEPT)(self._fields_of)
        self._cached = functools.lru_cache(FILTERS_KEPT)(self._filtered)

    def index(self, where: str | None, groups: frozenset[str] | None) -> ChunkIndex:
        """The index of the chunks that meet a condition and that a reader may see.

        Args:
            where: The condition; None keeps every chunk.
            groups: Of the reader; None for one who may see everything.

        Raises:
            FilterError: The condition cannot be read, or does not fit the fields.
            TableError: The documents cannot be read.
        """
        if where is not None:
            _parse(where)  # what cannot be read is refused before the documents are read
        self._refresh()
        return self._cached(where, groups)

    def metadata(self, chunk_ids: Collection[str]) -> list[Mapping[str, object]]:
        """The metadata of the documents of some chunks."""
        self._refresh()
        ends = np.cumsum([count for *_, count in self._collections])
        found = []
        for row in (self._position[chunk] for chunk in chunk_ids):
            at = int(np.searchsorted(ends, row, "right"))
            found.append(self._documents[at].metadata_of_chunk(row - int(ends[at]) + self._collections[at][2]))
        return found

    def _refresh(self) -> None:
        """Reads the documents where they are not the newest."""
        version = self._store.version(DOCUMENTS)
        if version == self._version:
            return
        self._cached.cache_clear()
        self._fields.cache_clear()
        self._documents, start = [], 0
        for name, tables, count in self._collections:
            chunks = self._chunks.slice(start, count)
            self._documents.append(ChunkDocuments.read(self._store, tables, name, chunks))
            start += count
        self._version = version

    def _filtered(self, where: str | None, groups: frozenset[str] | None) -> ChunkIndex:
        kept = np.concatenate(self._masks(where, groups))
        return filtered_index(self._index, [[np.flatnonzero(kept[rows]) for rows in each] for each in self._block_rows])

    def _masks(self, where: str | None, groups: frozenset[str] | None) -> list[NDArray[np.bool_]]:
        """Of each collection which of its chunks are kept."""
        masks = [each.mask(groups) for each in self._documents]
        if where is not None:
            condition, fields = _parse(where), self._fields(groups)
            # A collection of which nothing may be seen says nothing, not even that a field is of another type.
            masks = [
                mask & condition.evaluate(each).fill_null(value=False) if mask.any() else mask
                for mask, each in zip(masks, fields, strict=True)
            ]
        return [mask.to_numpy() for mask in masks]

    def _fields_of(self, groups: frozenset[str] | None) -> list[FieldColumns]:
        known: set[str] = set()
        return [FieldColumns(each, groups, known) for each in self._documents]

    @functools.cached_property
    def _block_rows(self) -> list[list[NDArray[np.int64]]]:
        """The rows of the chunks that each block of the index has."""
        return [
            [np.fromiter(map(self._position.__getitem__, block.chunks["chunk_id"]), np.int64) for block in blocks]
            for blocks in all_blocks(self._index)
        ]


def _parse(where: str) -> Condition:
    # Its parser takes a tenth of a second to load, which a search without a condition does not need.
    from embedder_assets.retrieval.filter.grammar import parse

    return parse(where)
