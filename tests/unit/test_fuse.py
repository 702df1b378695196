import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from embedder_assets.errors import TableError
from embedder_assets.stages.fuse import FuseStage, RetrievalModels, fuse
from embedder_assets.stages.index import EMPTY_RANKING, RANKING_SCHEMA, ChunkIndex, sparse_matrix
from embedder_assets.tables.store import TableStore
from tests.unit.factories import (
    DENSE,
    SPARSE,
    FakeTriton,
    chunk_id,
    dense_vector,
    make_chunks,
    make_meter,
    make_queries,
    make_settings,
    term,
)

MODELS = RetrievalModels((DENSE, "dense-1"), (SPARSE, "sparse-1"))


def ranking(*queries: list[int]) -> pl.DataFrame:
    """A ranking of each query, given as its chunks, best first."""
    rows = [(query, chunk, rank, 1.0) for query, best in enumerate(queries) for rank, chunk in enumerate(best, 1)]
    return pl.DataFrame(rows, schema=RANKING_SCHEMA, orient="row")


def order(fused: pl.DataFrame) -> list[int]:
    return fused["chunk"].to_list()


def index_of(dense, sparse=None) -> ChunkIndex:
    return ChunkIndex(make_chunks(*["x"] * len(dense)), np.asarray(dense, np.float32), sparse)


# Fusion


def test_a_score_is_the_sum_of_the_reciprocal_ranks():
    fused = fuse(ranking([10, 20]), ranking([20, 30]), 10)
    assert fused.drop("score").rows() == [(0, 20, 1, 2, 1), (0, 10, 2, 1, None), (0, 30, 3, None, 2)]
    assert fused["score"].to_list() == pytest.approx([1 / 61 + 1 / 62, 1 / 61, 1 / 62])


def test_equal_scores_go_by_the_dense_rank_then_by_position():
    assert order(fuse(ranking([7, 3]), ranking([3, 7]), 10)) == [7, 3]
    assert order(fuse(ranking([9]), ranking([2]), 10)) == [9, 2]


def test_without_a_sparse_ranking_the_dense_order_stays():
    fused = fuse(ranking([5, 1, 3]), EMPTY_RANKING, 10)
    assert order(fused) == [5, 1, 3]
    assert fused["sparse_rank"].null_count() == 3


def test_each_query_has_its_own_ranks():
    fused = fuse(ranking([1, 2], [2, 1]), ranking([], [2]), 1)
    assert fused.select("query", "chunk", "rank").rows() == [(0, 1, 1), (1, 2, 1)]


def test_no_rankings_fuse_to_nothing():
    assert fuse(EMPTY_RANKING, EMPTY_RANKING, 10).height == 0


best_first = st.lists(st.integers(0, 30), unique=True, max_size=20)
rankings = st.lists(st.tuples(best_first, best_first), min_size=1, max_size=3)


@given(rankings, st.integers(1, 25))
def test_ranks_count_up_scores_never_rise_and_the_depth_is_kept(queries, depth):
    fused = fuse(ranking(*(dense for dense, _ in queries)), ranking(*(sparse for _, sparse in queries)), depth)
    for query, (dense, sparse) in enumerate(queries):
        rows = fused.filter(pl.col("query") == query)
        assert rows["rank"].to_list() == list(range(1, min(depth, len({*dense, *sparse})) + 1))
        assert rows["score"].is_sorted(descending=True)
        for chunk, dense_rank, sparse_rank in rows.select("chunk", "dense_rank", "sparse_rank").iter_rows():
            assert dense_rank == (dense.index(chunk) + 1 if chunk in dense else None)
            assert sparse_rank == (sparse.index(chunk) + 1 if chunk in sparse else None)


# Exact search


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


@given(small_matrix, st.integers(1, 15))
def test_rank_dense_equals_a_sort_of_everything(rows, depth):
    vectors = np.array(rows, np.float32)
    found = index_of(vectors).rank_dense(vectors, depth)
    assert found.rows() == brute_force(vectors @ vectors.T, depth, drop_zero=False)


@given(small_matrix, st.integers(1, 15))
def test_rank_sparse_equals_a_sort_of_everything_that_matches(rows, depth):
    vectors = np.array(rows, np.float32)
    matrix = csr_array(vectors)
    found = index_of(vectors, matrix).rank_sparse(matrix, depth)
    assert found.rows() == brute_force(vectors @ vectors.T, depth, drop_zero=True)


def test_more_queries_than_a_block_are_all_ranked():
    vectors = np.random.default_rng(1).integers(0, 9, (300, 3)).astype(np.float32)
    found = index_of(vectors).rank_dense(vectors, 2)
    assert found.rows() == brute_force(vectors @ vectors.T, 2, drop_zero=False)


def test_a_chunk_without_a_common_term_is_not_ranked():
    chunks, queries = csr_array(np.eye(3, dtype=np.float32)), csr_array(np.array([[0, 1, 0], [0, 0, 0]], np.float32))
    found = index_of(np.eye(3), chunks).rank_sparse(queries, 10)
    assert found.select("query", "chunk", "rank").rows() == [(0, 1, 1)]


def test_an_index_without_sparse_vectors_ranks_nothing_sparse():
    assert index_of(np.eye(2)).rank_sparse(csr_array((1, 2), dtype=np.float32), 5).height == 0


def test_sparse_rows_become_a_matrix_also_when_some_or_all_are_empty():
    rows = pl.DataFrame(
        {"indices": [[3, 0], []], "values": [[0.5, 2.0], []]},
        schema={"indices": pl.List(pl.Int32), "values": pl.List(pl.Float32)},
    )
    assert sparse_matrix(rows).toarray().tolist() == [[2.0, 0.0, 0.0, 0.5], [0.0] * 4]
    assert sparse_matrix(rows, 10).shape == (2, 10)
    assert sparse_matrix(rows[1:]).toarray().tolist() == [[0.0]]
    assert sparse_matrix(rows.clear(), 7).shape == (0, 7)


# The index and the stage over tables

TEXTS = ["red apple", "green apple", "blue sky"]


@pytest.fixture
def store(tmp_path) -> TableStore:
    """A collection whose chunks have dense and sparse vectors."""
    store = TableStore(tmp_path)
    chunks = make_chunks(*TEXTS)
    store.replace("chunks", "kb", chunks)
    key = chunks.select("collection", "chunk_id", "content_sha256").with_columns(model=pl.lit("m"))
    dense = [dense_vector(text).tolist() for text in TEXTS]
    # Reversed: the order of the rows in a table means nothing.
    store.append(
        "dense_embeddings",
        key.with_columns(pl.Series("embedding", dense), model_fingerprint=pl.lit("dense-1")).reverse(),
    )
    sparse = key.with_columns(
        pl.Series("indices", [[term(word) for word in text.split()] for text in TEXTS]),
        pl.Series("values", [[1.0, 1.0]] * 3),
        source=pl.lit("model"),
        model_fingerprint=pl.lit("sparse-1"),
    )
    store.append("sparse_embeddings", sparse)
    return store


@pytest.fixture
def triton() -> FakeTriton:
    return FakeTriton()


def run(store, triton, tmp_path, meter=None, models=MODELS, **settings) -> pl.DataFrame:
    stage = FuseStage(store, triton, make_settings(tmp_path, **settings), models)
    return stage.run("kb", meter or make_meter("fuse")).sort("query_id", "rank")


def test_the_index_puts_vectors_beside_their_chunks(store):
    index = ChunkIndex.load(store, ["kb"], "dense-1", "sparse-1")
    for position, text in enumerate(index.chunks["text"]):
        assert index.dense[position] == pytest.approx(dense_vector(text))
        assert set(index.sparse[[position]].indices) == {term(word) for word in text.split()}


def test_a_chunk_without_a_vector_of_the_model_is_refused(store):
    with pytest.raises(TableError, match="fingerprint other for each of 3 chunks, got 0 rows"):
        ChunkIndex.load(store, ["kb"], "other", None)
    store.delete_rows("sparse_embeddings", "kb", pl.DataFrame({"chunk_id": [chunk_id("a.md", 1)]}))
    with pytest.raises(TableError, match=r"sparse_embeddings.*got 2 rows"):
        ChunkIndex.load(store, ["kb"], "dense-1", "sparse-1")


def test_candidates_carry_names_and_the_ranks_they_come_from(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("blue sky", "apple"))
    rows = run(store, triton, tmp_path)
    best = rows.filter(pl.col("rank") == 1).select("query_id", "chunk_id", "doc_id", "dense_rank", "sparse_rank").row(0)
    assert best == ("q0", chunk_id("a.md", 2), "a.md", 1, 1)
    apples = rows.filter(pl.col("query_id") == "q1", pl.col("sparse_rank").is_not_null())["chunk_id"]
    assert set(apples) == {chunk_id("a.md", 0), chunk_id("a.md", 1)}
    assert store.count("fused_candidates", "kb") == rows.height == 6


def test_without_the_sparse_model_only_the_dense_one_is_asked(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("apple"))
    rows = run(store, triton, tmp_path, models=RetrievalModels(MODELS.dense, None))
    assert (len(triton.requests), rows["sparse_rank"].null_count()) == (1, 3)


def test_the_candidate_depth_bounds_each_query(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("blue sky", "apple"))
    assert run(store, triton, tmp_path, candidate_depth=2).group_by("query_id").len()["len"].to_list() == [2, 2]


def test_a_second_run_computes_nothing_until_an_input_changes(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("apple"))
    first = run(store, triton, tmp_path)
    sent, meter = len(triton.requests), make_meter("fuse")
    again = run(store, triton, tmp_path, meter)
    assert again.equals(first.select(again.columns))
    assert (len(triton.requests), meter.record().items) == (sent, {"reused": 1})
    run(store, triton, tmp_path, candidate_depth=2)
    store.replace("queries", "kb", make_queries("pear"))
    assert run(store, triton, tmp_path)["input_digest"].unique().to_list() != first["input_digest"].unique().to_list()
    assert len(triton.requests) == 3 * sent


def test_requests_hold_no_more_queries_than_allowed(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("one", "two", "three"))
    meter = make_meter("fuse")
    run(store, triton, tmp_path, meter, request_batch_size=2)
    assert [len(rows) for rows in triton.requests] == [2, 1, 2, 1]
    assert (meter.record().batch_size, len(meter.record().batch_latencies_s)) == (2, 4)


def test_both_models_get_the_texts_as_queries(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("apple"))
    run(store, triton, tmp_path)
    assert triton.roles == ["query", "query"]


@pytest.mark.parametrize("missing", ["queries", "chunks"])
def test_without_queries_or_chunks_there_are_no_candidates_and_no_inference(tmp_path, triton, missing):
    empty, meter = TableStore(tmp_path), make_meter("fuse")
    if missing == "chunks":
        empty.replace("queries", "kb", make_queries("apple"))
    assert run(empty, triton, tmp_path, meter).height == 0
    assert (triton.requests, meter.record().batch_latencies_s) == ([], [])
