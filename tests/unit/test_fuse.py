import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from embedder_assets.errors import InferenceError, TableError
from embedder_assets.stages.fuse import FuseStage, RetrievalModels, fuse
from embedder_assets.stages.index import EMPTY_RANKING, RANKING_SCHEMA, ChunkIndex, sparse_matrix
from embedder_assets.stages.search import Search
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from tests.unit.factories import (
    DENSE,
    SECOND,
    SPARSE,
    FakeTriton,
    chunk_id,
    dense_vector,
    make_chunks,
    make_meter,
    make_queries,
    make_settings,
    second_vector,
    sha256,
    term,
)

MODELS = RetrievalModels(((DENSE, "dense-1"),), (SPARSE, "sparse-1"))
BOTH = RetrievalModels(((DENSE, "dense-1"), (SECOND, "second-1")), (SPARSE, "sparse-1"))


def ranking(*queries: list[int]) -> pl.DataFrame:
    """A ranking of each query, given as its chunks, best first."""
    rows = [(query, chunk, rank, 1.0) for query, best in enumerate(queries) for rank, chunk in enumerate(best, 1)]
    return pl.DataFrame(rows, schema=RANKING_SCHEMA, orient="row")


def order(fused: pl.DataFrame) -> list[int]:
    return fused["chunk"].to_list()


def index_of(dense, sparse=None) -> ChunkIndex:
    return ChunkIndex(make_chunks(*["x"] * len(dense)), (np.asarray(dense, np.float32),), sparse)


# Fusion


def test_a_score_is_the_sum_of_the_reciprocal_ranks():
    fused = fuse([ranking([10, 20])], ranking([20, 30]))
    assert fused.drop("score", "dense_ranks").rows() == [(0, 20, 1, 2, 1), (0, 10, 2, 1, None), (0, 30, 3, None, 2)]
    assert fused["score"].to_list() == pytest.approx([1 / 61 + 1 / 62, 1 / 61, 1 / 62])


def test_all_dense_rankings_count_and_the_best_of_their_ranks_is_shown():
    fused = fuse([ranking([10, 20]), ranking([30, 20])], ranking([20]))
    ranks = fused.select("chunk", "dense_rank", "dense_ranks", "sparse_rank").rows()
    assert ranks == [(20, 2, [2, 2], 1), (10, 1, [1, None], None), (30, 1, [None, 1], None)]
    assert fused["score"].to_list() == pytest.approx([2 / 62 + 1 / 61, 1 / 61, 1 / 61])


def test_what_any_ranking_holds_is_kept():
    fused = fuse([ranking([1, 2]), ranking([3, 4])], ranking([5, 6]))
    assert sorted(order(fused)) == [1, 2, 3, 4, 5, 6]


def test_equal_scores_go_by_the_dense_rank_then_by_position():
    assert order(fuse([ranking([7, 3])], ranking([3, 7]))) == [7, 3]
    assert order(fuse([ranking([9])], ranking([2]))) == [9, 2]


def test_without_a_sparse_ranking_the_dense_order_stays():
    fused = fuse([ranking([5, 1, 3])], EMPTY_RANKING)
    assert order(fused) == [5, 1, 3]
    assert fused["sparse_rank"].null_count() == 3


def test_each_query_has_its_own_ranks():
    fused = fuse([ranking([1, 2], [2, 1])], ranking([], [2]))
    assert fused.select("query", "chunk", "rank").rows() == [(0, 1, 1), (0, 2, 2), (1, 2, 1), (1, 1, 2)]


def test_no_rankings_fuse_to_nothing():
    assert fuse([EMPTY_RANKING, EMPTY_RANKING], EMPTY_RANKING).height == 0


best_first = st.lists(st.integers(0, 30), unique=True, max_size=20)
rankings = st.lists(st.tuples(best_first, best_first, best_first), min_size=1, max_size=3)


@given(rankings)
def test_ranks_count_up_scores_never_rise_and_every_chunk_is_kept_with_its_ranks(queries):
    first, second, sparse = (ranking(*each) for each in zip(*queries, strict=True))
    fused = fuse([first, second], sparse)
    for query, held in enumerate(queries):
        rows = fused.filter(pl.col("query") == query)
        assert rows["rank"].to_list() == list(range(1, len(set().union(*held)) + 1))
        assert rows["score"].is_sorted(descending=True)
        for row in rows.iter_rows(named=True):
            *dense, last = (best.index(row["chunk"]) + 1 if row["chunk"] in best else None for best in held)
            assert (row["dense_ranks"], row["sparse_rank"]) == (dense, last)
            assert row["dense_rank"] == min((rank for rank in dense if rank), default=None)
            assert row["score"] == pytest.approx(sum(1 / (60 + rank) for rank in (*dense, last) if rank))


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
    found = index_of(vectors).rank_dense(0, vectors, depth)
    assert found.rows() == brute_force(vectors @ vectors.T, depth, drop_zero=False)


@given(small_matrix, st.integers(1, 15))
def test_rank_sparse_equals_a_sort_of_everything_that_matches(rows, depth):
    vectors = np.array(rows, np.float32)
    matrix = csr_array(vectors)
    found = index_of(vectors, matrix).rank_sparse(matrix, depth)
    assert found.rows() == brute_force(vectors @ vectors.T, depth, drop_zero=True)


def test_more_queries_than_a_block_are_all_ranked():
    vectors = np.random.default_rng(1).integers(0, 9, (300, 3)).astype(np.float32)
    found = index_of(vectors).rank_dense(0, vectors, 2)
    assert found.rows() == brute_force(vectors @ vectors.T, 2, drop_zero=False)


def test_a_chunk_without_a_common_term_is_not_ranked():
    chunks, queries = csr_array(np.eye(3, dtype=np.float32)), csr_array(np.array([[0, 1, 0], [0, 0, 0]], np.float32))
    found = index_of(np.eye(3), chunks).rank_sparse(queries, 10)
    assert found.select("query", "chunk", "rank").rows() == [(0, 1, 1)]


def test_an_index_without_sparse_vectors_ranks_nothing_sparse():
    assert index_of(np.eye(2)).rank_sparse(csr_array((1, 2), dtype=np.float32), 5).height == 0


def test_a_chunk_without_a_dense_vector_is_in_no_ranking_also_where_all_others_are_unlike_the_query():
    index = index_of([[np.nan, np.nan], [-1.0, 0.0], [0.0, 1.0]])
    found = index.rank_dense(0, np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), 3)
    assert found.select("query", "chunk", "rank").rows() == [(0, 2, 1), (0, 1, 2), (1, 2, 1), (1, 1, 2)]


def test_a_query_without_a_dense_vector_has_no_ranking():
    queries = np.array([[np.nan, np.nan], [0.0, 1.0]], np.float32)
    found = index_of(np.eye(2)).rank_dense(0, queries, 1)
    assert found.select("query", "chunk", "rank").rows() == [(1, 1, 1)]


def test_a_missing_sparse_row_is_one_without_entries():
    rows = pl.DataFrame(
        {"indices": [[1], None], "values": [[0.5], None]},
        schema={"indices": pl.List(pl.Int32), "values": pl.List(pl.Float32)},
    )
    assert sparse_matrix(rows).toarray().tolist() == [[0.0, 0.5], [0.0, 0.0]]


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
    key = chunks.select("collection", "chunk_id", "content_sha256")
    for model, vector_of, fingerprint in [(DENSE, dense_vector, "dense-1"), (SECOND, second_vector, "second-1")]:
        vectors = pl.Series("embedding", [vector_of(text).tolist() for text in TEXTS])
        labels = {"model": pl.lit(model), "model_fingerprint": pl.lit(fingerprint)}
        # Reversed: the order of the rows in a table means nothing.
        store.append("dense_embeddings", key.with_columns(vectors, **labels).reverse())
    sparse = key.with_columns(
        pl.Series("indices", [[term(word) for word in text.split()] for text in TEXTS]),
        pl.Series("values", [[1.0, 1.0]] * 3),
        source=pl.lit("model"),
        model=pl.lit(SPARSE),
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
    index = ChunkIndex.load(store, ["kb"], BOTH.dense, BOTH.sparse)
    for position, text in enumerate(index.chunks["text"]):
        assert index.dense[0][position] == pytest.approx(dense_vector(text))
        assert index.dense[1][position] == pytest.approx(second_vector(text))
        assert set(index.sparse[[position]].indices) == {term(word) for word in text.split()}


def test_a_chunk_without_a_vector_of_the_model_is_refused(store):
    with pytest.raises(TableError, match=f"'{DENSE}' with fingerprint other for each of 3 chunks, got 0 rows"):
        ChunkIndex.load(store, ["kb"], [(DENSE, "other")], None)
    with pytest.raises(TableError, match="'other' with fingerprint dense-1 for each of 3 chunks, got 0 rows"):
        ChunkIndex.load(store, ["kb"], [MODELS.dense[0], ("other", "dense-1")], None)
    none = pl.DataFrame(schema=SCHEMAS["sparse_embeddings"])
    store.exchange("sparse_embeddings", "kb", none, pl.DataFrame({"chunk_id": [chunk_id("a.md", 1)]}))
    with pytest.raises(TableError, match=r"sparse_embeddings.*got 2 rows"):
        ChunkIndex.load(store, ["kb"], MODELS.dense, MODELS.sparse)


def fail_on(store, chunk: int, model: str, fingerprint: str, table: str) -> None:
    """Removes a model's row of a chunk and lists it as one that the model fails on."""
    name = chunk_id("a.md", chunk)
    stage = table.removesuffix("_embeddings")
    row = ("kb", stage, name, sha256(TEXTS[chunk]), None, model, fingerprint, "a failure")
    store.append("inference_issues", pl.DataFrame([row], schema=SCHEMAS["inference_issues"], orient="row"))
    gone = store.read(table, "kb", ["chunk_id", "model"], where=pl.col("model") == model)
    none = pl.DataFrame(schema=SCHEMAS[table])
    store.exchange(table, "kb", none, gone.filter(pl.col("chunk_id") == name))


def test_a_chunk_that_a_model_is_known_to_fail_on_is_left_out_of_that_models_ranking(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("blue sky"))
    fail_on(store, 2, DENSE, "dense-1", "dense_embeddings")
    rows = run(store, triton, tmp_path, models=BOTH)
    ranks = {row["chunk_id"]: row for row in rows.iter_rows(named=True)}
    found = ranks[chunk_id("a.md", 2)]
    assert (found["dense_ranks"], found["sparse_rank"]) == ([None, 1], 1)
    assert sorted(rows["dense_ranks"].list.get(0).drop_nulls()) == [1, 2]


def test_a_chunk_that_all_models_are_known_to_fail_on_is_no_candidate(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("blue sky"))
    fail_on(store, 2, DENSE, "dense-1", "dense_embeddings")
    fail_on(store, 2, SPARSE, "sparse-1", "sparse_embeddings")
    rows = run(store, triton, tmp_path)
    assert sorted(rows["chunk_id"]) == sorted(chunk_id("a.md", number) for number in (0, 1))


def test_a_chunk_without_a_vector_is_refused_also_beside_one_that_is_listed(store):
    fail_on(store, 2, DENSE, "dense-1", "dense_embeddings")
    none = pl.DataFrame(schema=SCHEMAS["dense_embeddings"])
    gone = pl.DataFrame({"chunk_id": [chunk_id("a.md", 1)], "model": [DENSE]})
    store.exchange("dense_embeddings", "kb", none, gone)
    with pytest.raises(TableError, match="for each of 3 chunks, got 1 rows"):
        ChunkIndex.load(store, ["kb"], MODELS.dense, None)


def test_a_chunk_that_is_mended_changes_the_candidates_of_the_same_chunks_and_queries(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("blue sky"))
    rows = store.read("dense_embeddings", "kb")
    fail_on(store, 2, DENSE, "dense-1", "dense_embeddings")
    run(store, triton, tmp_path)
    store.replace("dense_embeddings", "kb", rows)
    store.replace("inference_issues", "kb", pl.DataFrame(schema=SCHEMAS["inference_issues"]))
    mended = run(store, triton, tmp_path)
    assert mended.row(0, named=True)["chunk_id"] == chunk_id("a.md", 2)
    assert len(triton.requests) == 4


def test_a_query_that_fails_has_no_ranking_and_the_others_keep_theirs(store, tmp_path):
    store.replace("queries", "kb", make_queries("red", "poison", "blue sky"))
    meter = make_meter("fuse")
    rows = run(store, FakeTriton(poison=["poison"]), tmp_path, meter)
    assert set(rows["query_id"]) == {"q0", "q2"}
    assert [event.items for event in meter.record().mitigations] == [["q1"], ["q1"]]
    assert {event.model for event in meter.record().mitigations} == {DENSE, SPARSE}
    listed = store.read("inference_issues", "kb").sort("model")
    names = ["stage", "chunk_id", "query_id", "model", "model_fingerprint", "message"]
    assert listed.select(names).rows() == [
        ("fuse", None, "q1", DENSE, "dense-1", "a failure"),
        ("fuse", None, "q1", SPARSE, "sparse-1", "a failure"),
    ]
    # The next run tries again; once nothing fails, one after it does not.
    mended = run(store, FakeTriton(), tmp_path)
    columns = ["query_id", "chunk_id", "rank", "score", "dense_rank", "sparse_rank"]
    assert mended.filter(pl.col("query_id") != "q1").select(columns).equals(rows.select(columns))
    assert set(mended["query_id"]) == {"q0", "q1", "q2"}
    assert store.count("inference_issues", "kb") == 0
    after = FakeTriton()
    run(store, after, tmp_path)
    assert after.requests == []


def test_a_search_for_a_query_on_which_all_models_fail_says_so(store, tmp_path):
    settings = make_settings(tmp_path, enable_rerank=False)
    search = Search(store, FakeTriton(poison=["poison"]), settings, ["kb"])
    with pytest.raises(InferenceError, match="the query: expected an answer of one model at least, got a failure"):
        search.search("poison", 3)
    assert search.search("blue sky", 1)[0].chunk_id == chunk_id("a.md", 2)


def test_a_query_that_still_fails_changes_nothing(store, tmp_path):
    store.replace("queries", "kb", make_queries("red", "poison"))
    rows = run(store, FakeTriton(poison=["poison"]), tmp_path)
    again = run(store, FakeTriton(poison=["poison"]), tmp_path)
    assert again.select(rows.columns).equals(rows)


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


def test_two_dense_models_are_both_asked_and_both_rankings_count(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("blue sky"))
    rows = run(store, triton, tmp_path, models=BOTH)
    assert [len(requests) for requests in triton.requests] == [1, 1, 1]
    vectors = [[vector_of(text) for text in TEXTS] for vector_of in (dense_vector, second_vector)]
    for ranks, own, query in zip(
        zip(*rows.sort("chunk_id")["dense_ranks"], strict=True),
        vectors,
        (dense_vector("blue sky"), second_vector("blue sky")),
        strict=True,
    ):
        order = np.argsort([-float(vector @ query) for vector in own])
        expected = {chunk_id("a.md", int(chunk)): rank for rank, chunk in enumerate(order, 1)}
        assert list(ranks) == [expected[name] for name in sorted(expected)]
    best = rows.row(0, named=True)
    assert (best["chunk_id"], best["dense_ranks"], best["dense_rank"]) == (chunk_id("a.md", 2), [1, 1], 1)
    assert best["score"] == pytest.approx(3 / 61)


def test_another_dense_model_makes_the_candidates_stale(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("apple"))
    run(store, triton, tmp_path)
    assert run(store, triton, tmp_path, models=BOTH)["dense_ranks"].list.len().unique().to_list() == [2]
    assert run(store, triton, tmp_path)["dense_ranks"].list.len().unique().to_list() == [1]


def test_the_candidate_depth_bounds_each_ranking_and_the_union_is_kept(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("blue sky", "apple"))
    rows = run(store, triton, tmp_path, candidate_depth=1)
    for name in ("dense_rank", "sparse_rank"):
        assert rows[name].drop_nulls().to_list() == [1, 1]
    both_best = rows.filter(pl.col("query_id") == "q0")
    assert both_best.height == 1
    kept = rows.filter(pl.col("dense_rank").is_not_null() | pl.col("sparse_rank").is_not_null())
    assert kept.height == rows.height


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


def test_without_a_dense_ranking_the_sparse_one_is_the_order():
    sparse = pl.DataFrame({"query": [0, 0], "chunk": [7, 3], "rank": [1, 2]})
    fused = fuse([], sparse)
    assert fused.select("chunk", "rank", "dense_rank", "sparse_rank").rows() == [(7, 1, None, 1), (3, 2, None, 2)]
