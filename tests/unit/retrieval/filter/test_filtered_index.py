"""An index with some of its chunks ranks as if it held no others."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from embedder_assets.embedding.lexical import inverse_document_frequency
from embedder_assets.retrieval.exact_index import ChunkIndex, sparse_matrix
from embedder_assets.retrieval.filter.filtered_index import all_blocks, filtered_index
from embedder_assets.retrieval.hnsw_index import HnswIndex, usearch_installed

DIMENSION = 16
CHUNKS = 5000


def rows_of(count: int, seed: int = 0) -> pl.DataFrame:
    """Chunks in clusters, as those of texts lie, with a few terms each."""
    chance = np.random.default_rng(seed)
    centres = chance.standard_normal((20, DIMENSION))
    vectors = centres[chance.integers(0, 20, count)] + 0.5 * chance.standard_normal((count, DIMENSION))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    terms = [np.unique(chance.integers(0, 50, 4)) for _ in range(count)]
    return pl.DataFrame(
        {
            "chunk_id": [f"c{seed}-{number:05}" for number in range(count)],
            "content_sha256": [f"s{number:05}" for number in range(count)],
            "embedding": pl.Series(vectors.tolist(), dtype=pl.List(pl.Float32)),
            "indices": pl.Series([each.tolist() for each in terms], dtype=pl.List(pl.Int32)),
            "values": pl.Series([chance.random(len(each)).tolist() for each in terms], dtype=pl.List(pl.Float32)),
        }
    )


def in_memory(*frames: pl.DataFrame) -> ChunkIndex:
    index = ChunkIndex.of_rows([list(frames)], list(frames))
    return ChunkIndex.in_memory([list(index.dense[0])], list(index.sparse))


def approximate(rows: pl.DataFrame) -> ChunkIndex:
    if not usearch_installed():
        pytest.skip("needs the extra 'approximate'")
    graph = HnswIndex.empty(DIMENSION)
    graph.add(rows)
    graph.expansion = 64
    return ChunkIndex([[graph]], None)


def kept_share(count: int, share: float, seed: int = 1) -> np.ndarray:
    return np.flatnonzero(np.random.default_rng(seed).random(count) < share)


def restricted(index: ChunkIndex, rows: np.ndarray) -> ChunkIndex:
    """With the same rows of every block."""
    return filtered_index(index, [[rows for _ in blocks] for blocks in all_blocks(index)])


def queries(count: int = 20) -> np.ndarray:
    return np.array(rows_of(count, seed=9)["embedding"].to_list(), np.float32)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.3, 1.0])
def test_rankings_are_those_of_the_kept_chunks(share):
    rows = rows_of(CHUNKS)
    kept = kept_share(CHUNKS, share)
    filtered, alone = restricted(in_memory(rows), kept), in_memory(rows[kept])
    assert filtered.rank_dense(0, queries(), 50).equals(alone.rank_dense(0, queries(), 50))
    words = sparse_matrix(rows_of(20, seed=9), 60)
    assert filtered.rank_sparse(words, 50).equals(alone.rank_sparse(words, 50))
    (frequencies, expected) = (
        inverse_document_frequency(block.vectors for block in index.sparse) for index in (filtered, alone)
    )
    assert np.array_equal(frequencies[: len(expected)], expected)


def test_index_without_kept_chunks_is_empty():
    nothing = restricted(in_memory(rows_of(10)), np.empty(0, np.int64))
    assert nothing.empty
    assert nothing.rank_dense(0, queries(), 5).is_empty()
    assert nothing.rank_sparse(sparse_matrix(rows_of(2), 60), 5).is_empty()


def recall(found: pl.DataFrame, exact: pl.DataFrame) -> float:
    return found.join(exact, on=["query", "chunk_id"]).height / exact.height


def test_one_percent_of_a_graph_is_searched_exactly():
    rows = rows_of(CHUNKS)
    for seed in range(5):
        kept = kept_share(CHUNKS, 0.01, seed)
        found = restricted(approximate(rows), kept).rank_dense(0, queries(), 10)
        assert found.equals(in_memory(rows[kept]).rank_dense(0, queries(), 10))


def test_large_share_of_a_graph_is_searched_in_the_graph(monkeypatch):
    rows = rows_of(CHUNKS)
    index = approximate(rows)
    asked: list[int] = []
    search = HnswIndex.search
    monkeypatch.setattr(HnswIndex, "search", lambda *given: asked.append(given[2]) or search(*given))
    kept = kept_share(CHUNKS, 0.5)
    found, exact = (each.rank_dense(0, queries(), 50) for each in (restricted(index, kept), in_memory(rows[kept])))
    # How the graph was built differs from time to time: a query may need a second try.
    assert asked in ([149], [149, 298])
    assert found.height == exact.height
    # At least what the graph finds of all chunks.
    assert recall(found, exact.filter(pl.col("rank") <= 10)) >= 0.95


def test_chunks_far_from_the_query_are_found_too(monkeypatch):
    rows = rows_of(CHUNKS)
    query = queries(1)
    # Half of the chunks, and none of them near the query: more and more neighbours are asked for, then all compared.
    order = np.argsort(np.array(rows["embedding"].to_list()) @ query[0])
    kept = np.sort(order[: CHUNKS // 2])
    asked: list[int] = []
    search = HnswIndex.search
    monkeypatch.setattr(HnswIndex, "search", lambda *given: asked.append(given[2]) or search(*given))
    found = restricted(approximate(rows), kept).rank_dense(0, query, 10)
    assert asked == [30, 60, 120, 240]
    assert found.equals(in_memory(rows[kept]).rank_dense(0, query, 10))


def test_fewer_kept_than_asked_for_are_all_found():
    rows = rows_of(CHUNKS)
    kept = np.array([3, 77, 4999])
    found = restricted(approximate(rows), kept).rank_dense(0, queries(3), 10)
    assert found["chunk_id"].unique().sort().to_list() == rows["chunk_id"][kept.tolist()].sort().to_list()
    assert found.height == 9


def test_graph_and_exact_block_are_searched_together():
    here, there = rows_of(500), rows_of(400, seed=2)
    (graph,) = approximate(here).dense[0]
    (exact,) = in_memory(there).dense[0]
    index = ChunkIndex([[exact, graph]], None)
    kept = [[[np.arange(0, 400, 3), np.arange(0, 500, 7)]], []]
    found = filtered_index(index, [kept[0][0], kept[1]]).rank_dense(0, queries(), 10)
    assert found.equals(in_memory(there[::3], here[::7]).rank_dense(0, queries(), 10))
