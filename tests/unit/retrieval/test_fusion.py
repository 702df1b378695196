import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from embedder_assets.errors import InferenceError, TableError
from embedder_assets.retrieval import exact_index as index_module
from embedder_assets.retrieval.exact_index import (
    EMPTY_RANKING,
    RANKING_SCHEMA,
    ChunkIndex,
    ExactBlock,
    SparseBlock,
    sparse_matrix,
)
from embedder_assets.retrieval.fusion import FuseStage, RetrievalModels, fuse
from embedder_assets.retrieval.search import Search
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from tests.support.factories import (
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
    rows = [
        (query, name(chunk), name(chunk), rank, 1.0)
        for query, best in enumerate(queries)
        for rank, chunk in enumerate(best, 1)
    ]
    return pl.DataFrame(rows, schema=RANKING_SCHEMA, orient="row")


def name(chunk: int) -> str:
    """An id whose order is that of the numbers."""
    return f"{chunk:03}"


def numbered(rows: pl.DataFrame) -> pl.DataFrame:
    """The same with the numbers of the chunks in the place of their ids."""
    return rows.with_columns(pl.col("chunk_id").cast(pl.Int64)).drop("content_sha256")


def order(fused: pl.DataFrame) -> list[int]:
    return numbered(fused)["chunk_id"].to_list()


def blocks_of(matrix, sizes):
    """The rows of a matrix as chunks 0, 1, 2 …, in blocks of some sizes."""
    starts = [0, *np.cumsum(sizes)]
    slices = [slice(start, end) for start, end in itertools.pairwise(starts)]
    names = [[name(number) for number in range(part.start, part.stop)] for part in slices]
    chunks = [pl.DataFrame({"chunk_id": each, "content_sha256": each}) for each in names]
    kind = SparseBlock if isinstance(matrix, csr_array) else ExactBlock
    return [kind(each, matrix[part]) for each, part in zip(chunks, slices, strict=True)]


def index_of(dense, sparse=None, sizes=None) -> ChunkIndex:
    sizes = sizes or [len(dense)]
    vectors = np.asarray(dense, np.float32)
    return ChunkIndex([blocks_of(vectors, sizes)], None if sparse is None else blocks_of(sparse, sizes))


# Fusion


def test_a_score_is_the_sum_of_the_reciprocal_ranks():
    fused = fuse([ranking([10, 20])], ranking([20, 30]))
    assert numbered(fused).drop("score", "dense_ranks").rows() == [
        (0, 20, 1, 2, 1),
        (0, 10, 2, 1, None),
        (0, 30, 3, None, 2),
    ]
    assert fused["score"].to_list() == pytest.approx([1 / 61 + 1 / 62, 1 / 61, 1 / 62])


def test_all_dense_rankings_count_and_the_best_of_their_ranks_is_shown():
    fused = fuse([ranking([10, 20]), ranking([30, 20])], ranking([20]))
    ranks = numbered(fused).select("chunk_id", "dense_rank", "dense_ranks", "sparse_rank").rows()
    assert ranks == [(20, 2, [2, 2], 1), (10, 1, [1, None], None), (30, 1, [None, 1], None)]
    assert fused["score"].to_list() == pytest.approx([2 / 62 + 1 / 61, 1 / 61, 1 / 61])


def test_what_any_ranking_holds_is_kept():
    fused = fuse([ranking([1, 2]), ranking([3, 4])], ranking([5, 6]))
    assert sorted(order(fused)) == [1, 2, 3, 4, 5, 6]


def test_equal_scores_go_by_the_dense_rank_then_by_id():
    assert order(fuse([ranking([7, 3])], ranking([3, 7]))) == [7, 3]
    assert order(fuse([ranking([9])], ranking([2]))) == [9, 2]


def test_a_tie_goes_by_the_text_and_not_by_the_name_of_its_file():
    digests = pl.col("chunk_id").replace({name(5): "a", name(3): "b"})
    first, second = (ranking([chunk]).with_columns(content_sha256=digests) for chunk in (3, 5))
    assert fuse([first, second], EMPTY_RANKING)["chunk_id"].to_list() == [name(5), name(3)]
    eye = np.eye(2, dtype=np.float32)[[0, 0]]
    block = ExactBlock(pl.DataFrame({"chunk_id": ["c1", "c2"], "content_sha256": ["b", "a"]}), eye)
    assert ChunkIndex([[block]], None).rank_dense(0, eye[:1], 1)["chunk_id"].to_list() == ["c2"]


def test_without_a_sparse_ranking_the_dense_order_stays():
    fused = fuse([ranking([5, 1, 3])], EMPTY_RANKING)
    assert order(fused) == [5, 1, 3]
    assert fused["sparse_rank"].null_count() == 3


def test_each_query_has_its_own_ranks():
    fused = fuse([ranking([1, 2], [2, 1])], ranking([], [2]))
    assert numbered(fused).select("query", "chunk_id", "rank").rows() == [(0, 1, 1), (0, 2, 2), (1, 2, 1), (1, 1, 2)]


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
        for row in numbered(rows).iter_rows(named=True):
            *dense, last = (best.index(row["chunk_id"]) + 1 if row["chunk_id"] in best else None for best in held)
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


def in_memory(index: ChunkIndex) -> ChunkIndex:
    sparse = None if index.sparse is None else list(index.sparse)
    return ChunkIndex.in_memory([list(blocks) for blocks in index.dense], sparse)


def cut(rows: int, size: int) -> list[int]:
    """Sizes of blocks that hold some rows."""
    return [min(size, rows - start) for start in range(0, rows, size)]


@given(small_matrix, st.integers(1, 15), st.integers(1, 12))
def test_rank_dense_equals_a_sort_of_everything_whatever_the_blocks(rows, depth, size):
    vectors = np.array(rows, np.float32)
    index = index_of(vectors, sizes=cut(len(rows), size))
    found = index.rank_dense(0, vectors, depth)
    assert numbered(found).rows() == brute_force(vectors @ vectors.T, depth, drop_zero=False)
    assert in_memory(index).rank_dense(0, vectors, depth).equals(found)


@given(small_matrix, st.integers(1, 15), st.integers(1, 12))
def test_rank_sparse_equals_a_sort_of_everything_that_matches_whatever_the_blocks(rows, depth, size):
    vectors = np.array(rows, np.float32)
    matrix = csr_array(vectors)
    index = index_of(vectors, matrix, cut(len(rows), size))
    found = index.rank_sparse(matrix, depth)
    assert numbered(found).rows() == brute_force(vectors @ vectors.T, depth, drop_zero=True)
    assert in_memory(index).rank_sparse(matrix, depth).equals(found)


def test_a_score_does_not_depend_on_the_block_and_equal_vectors_stay_equal():
    """A matrix product rounds by where a row lies; a rebuild must rank as the table that has grown does."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((400, 384)).astype(np.float32)
    vectors[200:] = vectors[:200]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = random.standard_normal((5, 384)).astype(np.float32)
    whole = index_of(vectors).rank_dense(0, queries, 150)
    for size in (1, 7, 199, 256):
        index = index_of(vectors, sizes=cut(400, size))
        assert index.rank_dense(0, queries, 150).equals(whole)
        assert in_memory(index).rank_dense(0, queries, 150).equals(whole)
    by_rank = numbered(whole).filter(query=0)["chunk_id"].to_list()
    assert [chunk + 200 for chunk in by_rank[::2]] == by_rank[1::2]


def test_what_is_dropped_on_the_way_could_not_be_among_the_best(monkeypatch):
    vectors = np.random.default_rng(2).integers(0, 3, (60, 3)).astype(np.float32)
    whole = index_of(vectors, sizes=cut(60, 7)).rank_dense(0, vectors, 4)
    monkeypatch.setattr(index_module, "PAIRS_IN_MEMORY", 5)
    assert index_of(vectors, sizes=cut(60, 7)).rank_dense(0, vectors, 4).equals(whole)


def test_more_queries_than_a_block_are_all_ranked():
    vectors = np.random.default_rng(1).integers(0, 9, (300, 3)).astype(np.float32)
    found = index_of(vectors).rank_dense(0, vectors, 2)
    assert numbered(found).rows() == brute_force(vectors @ vectors.T, 2, drop_zero=False)


def test_the_vectors_of_some_chunks_come_in_their_order_with_nan_for_a_stranger():
    index = index_of(np.eye(4), sizes=[3, 1])
    for each in (index, in_memory(index)):
        found = each.vectors(0, pl.Series([name(3), name(9), name(0), name(3)]))
        assert found[[0, 2, 3]].tolist() == [[0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 1]]
        assert np.isnan(found[1]).all()


def test_a_chunk_without_a_common_term_is_not_ranked():
    chunks, queries = csr_array(np.eye(3, dtype=np.float32)), csr_array(np.array([[0, 1, 0], [0, 0, 0]], np.float32))
    found = index_of(np.eye(3), chunks).rank_sparse(queries, 10)
    assert numbered(found).select("query", "chunk_id", "rank").rows() == [(0, 1, 1)]


def test_an_index_without_sparse_vectors_ranks_nothing_sparse():
    assert index_of(np.eye(2)).rank_sparse(csr_array((1, 2), dtype=np.float32), 5).height == 0


def test_every_chunk_is_ranked_also_where_all_are_unlike_the_query():
    index = index_of([[-1.0, 0.0], [0.0, 1.0]])
    found = index.rank_dense(0, np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), 3)
    assert numbered(found).select("query", "chunk_id", "rank").rows() == [(0, 1, 1), (0, 0, 2), (1, 1, 1), (1, 0, 2)]


def test_a_query_without_a_dense_vector_has_no_ranking():
    queries = np.array([[np.nan, np.nan], [0.0, 1.0]], np.float32)
    found = index_of(np.eye(2)).rank_dense(0, queries, 1)
    assert numbered(found).select("query", "chunk_id", "rank").rows() == [(1, 1, 1)]


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


def walk(index: ChunkIndex) -> None:
    for blocks in [*index.dense, index.sparse or []]:
        list(blocks)


def test_the_index_puts_vectors_beside_their_chunks(store):
    index = ChunkIndex.of_tables(store, ["kb"], BOTH.dense, BOTH.sparse_sources)
    names = [chunk_id("a.md", number) for number in range(3)]
    for each in (index, in_memory(index)):
        (first,), (second,), (sparse,) = each.dense[0], each.dense[1], each.sparse
        for text, chunk in zip(TEXTS, names, strict=True):
            at = [block.chunks["chunk_id"].to_list().index(chunk) for block in (first, second, sparse)]
            assert first.vectors[at[0]] == pytest.approx(dense_vector(text))
            assert second.vectors[at[1]] == pytest.approx(second_vector(text))
            assert set(sparse.vectors[[at[2]]].indices) == {term(word) for word in text.split()}


def test_a_chunk_without_a_vector_of_the_model_is_refused(store):
    with pytest.raises(TableError, match=f"'{DENSE}' with fingerprint other for each chunk, got none for 3 of them"):
        walk(ChunkIndex.of_tables(store, ["kb"], [(DENSE, "other")], []))
    with pytest.raises(TableError, match="'other' with fingerprint dense-1 for each chunk, got none for 3 of them"):
        walk(ChunkIndex.of_tables(store, ["kb"], [MODELS.dense[0], ("other", "dense-1")], []))
    none = pl.DataFrame(schema=SCHEMAS["sparse_embeddings"])
    store.exchange("sparse_embeddings", "kb", none, pl.DataFrame({"chunk_id": [chunk_id("a.md", 1)]}))
    with pytest.raises(TableError, match=r"sparse_embeddings.*got none for 1 of them"):
        walk(ChunkIndex.of_tables(store, ["kb"], MODELS.dense, MODELS.sparse_sources))


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
    with pytest.raises(TableError, match="got none for 1 of them"):
        walk(ChunkIndex.of_tables(store, ["kb"], MODELS.dense, []))


def test_a_chunk_that_is_mended_changes_the_candidates_of_the_same_chunks_and_queries(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("blue sky"))
    rows = store.read("dense_embeddings", "kb")
    fail_on(store, 2, DENSE, "dense-1", "dense_embeddings")
    run(store, triton, tmp_path)
    store.replace("dense_embeddings", "kb", rows)
    store.replace("inference_issues", "kb", pl.DataFrame(schema=SCHEMAS["inference_issues"]))
    mended = run(store, triton, tmp_path)
    assert mended.row(0, named=True)["chunk_id"] == chunk_id("a.md", 2)
    assert len(triton.requests) == 2  # the query's vectors are known


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
    assert len(triton.requests) == sent  # the query's vectors are known
    store.replace("queries", "kb", make_queries("pear"))
    assert run(store, triton, tmp_path)["input_digest"].unique().to_list() != first["input_digest"].unique().to_list()
    assert len(triton.requests) == 2 * sent


def test_each_query_is_computed_once_however_often_chunks_and_ids_change(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("apple", "sky", "apple"))
    run(store, triton, tmp_path, models=BOTH)
    assert triton.texts == ["apple", "sky"] * 3
    known = store.read("query_embeddings", "kb")
    assert sorted(known["query_id"].to_list()) == sorted(["q0", "q1", "q2"] * 3)
    by_model = {model: rows for (model,), rows in known.group_by("model")}
    assert by_model[DENSE]["indices"].null_count() == by_model[SPARSE]["embedding"].null_count() == 3
    dense = dict(by_model[DENSE].select("content_sha256", "embedding").iter_rows())
    assert dense[sha256("sky")] == pytest.approx(dense_vector("sky").tolist())
    store.replace("queries", "kb", make_queries("pear", "apple"))
    rows = run(store, triton, tmp_path, models=BOTH)
    assert triton.texts == [*["apple", "sky"] * 3, *["pear"] * 3]
    known = store.read("query_embeddings", "kb")
    assert set(known.select("query_id", "content_sha256").iter_rows()) == {
        ("q0", sha256("pear")),
        ("q1", sha256("apple")),
    }
    fresh = TableStore(tmp_path / "fresh")
    for table in ("chunks", "dense_embeddings", "sparse_embeddings", "queries"):
        fresh.replace(table, "kb", store.read(table, "kb"))
    rebuilt = FuseStage(fresh, FakeTriton(), make_settings(tmp_path), BOTH).run("kb", make_meter("fuse"))
    assert rebuilt.sort("query_id", "rank").select(sorted(rows.columns)).equals(rows.select(sorted(rows.columns)))


def test_query_vectors_that_a_restore_has_taken_come_back_and_no_other_is_computed(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("apple", "sky"))
    first = run(store, triton, tmp_path)
    whole = store.read("query_embeddings", "kb")
    store.replace("query_embeddings", "kb", whole.filter((pl.col("model") == DENSE) | (pl.col("query_id") == "q0")))
    again = run(store, triton, tmp_path)
    key = ["query_id", "model"]
    assert store.read("query_embeddings", "kb").sort(key).equals(whole.sort(key))
    assert triton.texts == [*["apple", "sky"] * 2, "sky"]
    assert again.equals(first.select(again.columns))


def test_a_new_query_with_a_known_text_has_its_own_row(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("apple"))
    run(store, triton, tmp_path)
    store.replace("queries", "kb", make_queries("apple", "apple"))
    run(store, triton, tmp_path)
    assert sorted(store.read("query_embeddings", "kb")["query_id"]) == ["q0", "q0", "q1", "q1"]
    assert triton.texts == ["apple"] * 2


def test_a_model_that_leaves_takes_its_query_vectors_along(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("apple"))
    run(store, triton, tmp_path, models=BOTH)
    run(store, triton, tmp_path, models=MODELS)
    assert set(store.read("query_embeddings", "kb")["model"]) == {DENSE, SPARSE}


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
    fused = fuse([], ranking([7, 3]))
    assert numbered(fused).select("chunk_id", "rank", "dense_rank", "sparse_rank").rows() == [
        (7, 1, None, 1),
        (3, 2, None, 2),
    ]
