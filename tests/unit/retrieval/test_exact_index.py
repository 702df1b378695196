"""Exact search: every ranking equals a sort of all scores, however the chunks lie in blocks."""

import itertools

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from embedder_assets.retrieval import exact_index
from embedder_assets.retrieval.exact_index import ChunkIndex, ExactBlock, SparseBlock, sparse_matrix
from tests.support.rankings import chunk_name, in_memory, numbered


def blocks_of(matrix, sizes):
    """The rows of a matrix as chunks 0, 1, 2 …, in blocks of some sizes."""
    starts = [0, *np.cumsum(sizes)]
    slices = [slice(start, end) for start, end in itertools.pairwise(starts)]
    names = [[chunk_name(number) for number in range(part.start, part.stop)] for part in slices]
    chunks = [pl.DataFrame({"chunk_id": each, "content_sha256": each}) for each in names]
    kind = SparseBlock if isinstance(matrix, csr_array) else ExactBlock
    return [kind(each, matrix[part]) for each, part in zip(chunks, slices, strict=True)]


def index_of(dense, sparse=None, sizes=None) -> ChunkIndex:
    sizes = sizes or [len(dense)]
    vectors = np.asarray(dense, np.float32)
    return ChunkIndex([blocks_of(vectors, sizes)], None if sparse is None else blocks_of(sparse, sizes))


def brute_force(scores: np.ndarray, depth: int, *, drop_zero: bool) -> list[tuple[int, int, int, float]]:
    """Every score sorted, equal ones in the order of position."""
    rows = []
    for query, row in enumerate(scores):
        best = [chunk for chunk in np.argsort(-row, kind="stable") if row[chunk] > 0 or not drop_zero][:depth]
        rows += [(query, int(chunk), rank, float(row[chunk])) for rank, chunk in enumerate(best, 1)]
    return rows


# Few distinct values make many ties, and whole numbers make every sum exact.
small_matrix = st.tuples(st.integers(1, 12), st.integers(1, 4)).flatmap(
    lambda shape: st.lists(
        st.lists(st.integers(0, 2), min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0]
    )
)


def block_sizes(rows: int, size: int) -> list[int]:
    """Sizes of blocks that hold some rows."""
    return [min(size, rows - start) for start in range(0, rows, size)]


@given(small_matrix, st.integers(1, 15), st.integers(1, 12))
def test_rank_dense_equals_brute_force(rows, depth, size):
    vectors = np.array(rows, np.float32)
    index = index_of(vectors, sizes=block_sizes(len(rows), size))
    found = index.rank_dense(0, vectors, depth)
    assert numbered(found).rows() == brute_force(vectors @ vectors.T, depth, drop_zero=False)
    assert in_memory(index).rank_dense(0, vectors, depth).equals(found)


@given(small_matrix, st.integers(1, 15), st.integers(1, 12))
def test_rank_sparse_equals_brute_force(rows, depth, size):
    vectors = np.array(rows, np.float32)
    matrix = csr_array(vectors)
    index = index_of(vectors, matrix, block_sizes(len(rows), size))
    found = index.rank_sparse(matrix, depth)
    assert numbered(found).rows() == brute_force(vectors @ vectors.T, depth, drop_zero=True)
    assert in_memory(index).rank_sparse(matrix, depth).equals(found)


def test_scores_do_not_depend_on_blocks():
    """A matrix product rounds by where a row lies; a rebuild must rank as the table that has grown does."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((400, 384)).astype(np.float32)
    vectors[200:] = vectors[:200]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = random.standard_normal((5, 384)).astype(np.float32)
    whole = index_of(vectors).rank_dense(0, queries, 150)
    for size in (1, 7, 199, 256):
        index = index_of(vectors, sizes=block_sizes(400, size))
        assert index.rank_dense(0, queries, 150).equals(whole)
        assert in_memory(index).rank_dense(0, queries, 150).equals(whole)
    by_rank = numbered(whole).filter(query=0)["chunk_id"].to_list()
    assert [chunk + 200 for chunk in by_rank[::2]] == by_rank[1::2]


def test_pruning_drops_none_of_the_best(monkeypatch):
    vectors = np.random.default_rng(2).integers(0, 3, (60, 3)).astype(np.float32)
    whole = index_of(vectors, sizes=block_sizes(60, 7)).rank_dense(0, vectors, 4)
    monkeypatch.setattr(exact_index, "PAIRS_IN_MEMORY", 5)
    assert index_of(vectors, sizes=block_sizes(60, 7)).rank_dense(0, vectors, 4).equals(whole)


def test_more_queries_than_a_block():
    vectors = np.random.default_rng(1).integers(0, 9, (300, 3)).astype(np.float32)
    found = index_of(vectors).rank_dense(0, vectors, 2)
    assert numbered(found).rows() == brute_force(vectors @ vectors.T, 2, drop_zero=False)


def test_unknown_chunks_have_nan_vectors():
    index = index_of(np.eye(4), sizes=[3, 1])
    for each in (index, in_memory(index)):
        found = each.vectors(0, pl.Series([chunk_name(3), chunk_name(9), chunk_name(0), chunk_name(3)]))
        assert found[[0, 2, 3]].tolist() == [[0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 1]]
        assert np.isnan(found[1]).all()


def test_no_common_term_no_rank():
    chunks, queries = csr_array(np.eye(3, dtype=np.float32)), csr_array(np.array([[0, 1, 0], [0, 0, 0]], np.float32))
    found = index_of(np.eye(3), chunks).rank_sparse(queries, 10)
    assert numbered(found).select("query", "chunk_id", "rank").rows() == [(0, 1, 1)]


def test_no_sparse_vectors_no_sparse_ranking():
    assert index_of(np.eye(2)).rank_sparse(csr_array((1, 2), dtype=np.float32), 5).height == 0


def test_negative_cosines_are_ranked_too():
    index = index_of([[-1.0, 0.0], [0.0, 1.0]])
    found = index.rank_dense(0, np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), 3)
    assert numbered(found).select("query", "chunk_id", "rank").rows() == [(0, 1, 1), (0, 0, 2), (1, 1, 1), (1, 0, 2)]


def test_no_dense_vector_no_ranking():
    queries = np.array([[np.nan, np.nan], [0.0, 1.0]], np.float32)
    found = index_of(np.eye(2)).rank_dense(0, queries, 1)
    assert numbered(found).select("query", "chunk_id", "rank").rows() == [(1, 1, 1)]


def test_missing_sparse_row_has_no_entries():
    rows = pl.DataFrame(
        {"indices": [[1], None], "values": [[0.5], None]},
        schema={"indices": pl.List(pl.Int32), "values": pl.List(pl.Float32)},
    )
    assert sparse_matrix(rows).toarray().tolist() == [[0.0, 0.5], [0.0, 0.0]]


def test_empty_sparse_rows_become_a_matrix():
    rows = pl.DataFrame(
        {"indices": [[3, 0], []], "values": [[0.5, 2.0], []]},
        schema={"indices": pl.List(pl.Int32), "values": pl.List(pl.Float32)},
    )
    assert sparse_matrix(rows).toarray().tolist() == [[2.0, 0.0, 0.0, 0.5], [0.0] * 4]
    assert sparse_matrix(rows, 10).shape == (2, 10)
    assert sparse_matrix(rows[1:]).toarray().tolist() == [[0.0]]
    assert sparse_matrix(rows.clear(), 7).shape == (0, 7)
