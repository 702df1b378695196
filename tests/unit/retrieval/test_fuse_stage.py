import numpy as np
import polars as pl
import pytest

from embedder_assets.embedding.keys import ModelVersion
from embedder_assets.errors import InferenceError, TableError
from embedder_assets.retrieval.exact_index import ChunkIndex
from embedder_assets.retrieval.fusion import FuseStage, RetrievalModels
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
    make_error,
    make_meter,
    make_queries,
    make_settings,
    second_vector,
    sha256,
    term,
)
from tests.support.rankings import in_memory

MODELS = RetrievalModels((ModelVersion(DENSE, "dense-1"),), ModelVersion(SPARSE, "sparse-1"))
BOTH = RetrievalModels((*MODELS.dense, ModelVersion(SECOND, "second-1")), MODELS.sparse)

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


def test_index_pairs_vectors_with_their_chunks(store):
    index = ChunkIndex.of_tables(store, ["kb"], BOTH.dense, BOTH.sparse_sources)
    names = [chunk_id("a.md", number) for number in range(3)]
    for each in (index, in_memory(index)):
        (first,), (second,), (sparse,) = each.dense[0], each.dense[1], each.sparse
        for text, chunk in zip(TEXTS, names, strict=True):
            at = [block.chunks["chunk_id"].to_list().index(chunk) for block in (first, second, sparse)]
            assert first.vectors[at[0]] == pytest.approx(dense_vector(text))
            assert second.vectors[at[1]] == pytest.approx(second_vector(text))
            assert set(sparse.vectors[[at[2]]].indices) == {term(word) for word in text.split()}


def test_missing_vector_is_refused(store):
    with pytest.raises(TableError, match=f"'{DENSE}' with fingerprint other for each chunk, got none for 3 of them"):
        walk(ChunkIndex.of_tables(store, ["kb"], [ModelVersion(DENSE, "other")], []))
    with pytest.raises(TableError, match="'other' with fingerprint dense-1 for each chunk, got none for 3 of them"):
        walk(ChunkIndex.of_tables(store, ["kb"], [MODELS.dense[0], ModelVersion("other", "dense-1")], []))
    none = pl.DataFrame(schema=SCHEMAS["sparse_embeddings"])
    store.delete_and_insert("sparse_embeddings", "kb", none, pl.DataFrame({"chunk_id": [chunk_id("a.md", 1)]}))
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
    store.delete_and_insert(table, "kb", none, gone.filter(pl.col("chunk_id") == name))


def test_known_failure_is_not_in_that_ranking(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("blue sky"))
    fail_on(store, 2, DENSE, "dense-1", "dense_embeddings")
    rows = run(store, triton, tmp_path, models=BOTH)
    ranks = {row["chunk_id"]: row for row in rows.iter_rows(named=True)}
    found = ranks[chunk_id("a.md", 2)]
    assert (found["dense_ranks"], found["sparse_rank"]) == ([None, 1], 1)
    assert sorted(rows["dense_ranks"].list.get(0).drop_nulls()) == [1, 2]


def test_failure_of_all_models_is_no_candidate(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("blue sky"))
    fail_on(store, 2, DENSE, "dense-1", "dense_embeddings")
    fail_on(store, 2, SPARSE, "sparse-1", "sparse_embeddings")
    rows = run(store, triton, tmp_path)
    assert sorted(rows["chunk_id"]) == sorted(chunk_id("a.md", number) for number in (0, 1))


def test_missing_vector_is_refused_despite_known_failures(store):
    fail_on(store, 2, DENSE, "dense-1", "dense_embeddings")
    none = pl.DataFrame(schema=SCHEMAS["dense_embeddings"])
    gone = pl.DataFrame({"chunk_id": [chunk_id("a.md", 1)], "model": [DENSE]})
    store.delete_and_insert("dense_embeddings", "kb", none, gone)
    with pytest.raises(TableError, match="got none for 1 of them"):
        walk(ChunkIndex.of_tables(store, ["kb"], MODELS.dense, []))


def test_repaired_chunk_changes_the_candidates(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("blue sky"))
    rows = store.read("dense_embeddings", "kb")
    fail_on(store, 2, DENSE, "dense-1", "dense_embeddings")
    run(store, triton, tmp_path)
    store.replace("dense_embeddings", "kb", rows)
    store.replace("inference_issues", "kb", pl.DataFrame(schema=SCHEMAS["inference_issues"]))
    mended = run(store, triton, tmp_path)
    assert mended.row(0, named=True)["chunk_id"] == chunk_id("a.md", 2)
    assert len(triton.requests) == 2  # the query's vectors are known


def test_failed_query_has_no_ranking(store, tmp_path):
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


def test_search_reports_failure_of_all_models(store, tmp_path):
    settings = make_settings(tmp_path, enable_rerank=False)
    search = Search(store, FakeTriton(poison=["poison"]), settings, ["kb"])
    with pytest.raises(InferenceError, match="the query: expected an answer of one model at least, got a failure"):
        search.search("poison", 3)
    assert search.search("blue sky", 1)[0].chunk_id == chunk_id("a.md", 2)


def test_repeated_query_failure_changes_nothing(store, tmp_path):
    store.replace("queries", "kb", make_queries("red", "poison"))
    rows = run(store, FakeTriton(poison=["poison"]), tmp_path)
    again = run(store, FakeTriton(poison=["poison"]), tmp_path)
    assert again.select(rows.columns).equals(rows)


def test_candidates_have_ids_and_source_ranks(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("blue sky", "apple"))
    rows = run(store, triton, tmp_path)
    best = rows.filter(pl.col("rank") == 1).select("query_id", "chunk_id", "doc_id", "dense_rank", "sparse_rank").row(0)
    assert best == ("q0", chunk_id("a.md", 2), "a.md", 1, 1)
    apples = rows.filter(pl.col("query_id") == "q1", pl.col("sparse_rank").is_not_null())["chunk_id"]
    assert set(apples) == {chunk_id("a.md", 0), chunk_id("a.md", 1)}
    assert store.count("fused_candidates", "kb") == rows.height == 6


def test_disabled_sparse_stage_asks_dense_only(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("apple"))
    rows = run(store, triton, tmp_path, models=RetrievalModels(MODELS.dense, None))
    assert (len(triton.requests), rows["sparse_rank"].null_count()) == (1, 3)


def test_two_dense_models_both_count(store, triton, tmp_path):
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
    assert best["score"] == pytest.approx(1.0)
    assert (len(best["dense_scores"]), best["dense_score"]) == (2, pytest.approx(np.mean(best["dense_scores"])))
    assert run(store, triton, tmp_path, models=BOTH, fusion="rrf").row(0, named=True)["score"] == pytest.approx(3 / 61)


def test_new_dense_model_invalidates_candidates(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("apple"))
    run(store, triton, tmp_path)
    assert run(store, triton, tmp_path, models=BOTH)["dense_ranks"].list.len().unique().to_list() == [2]
    assert run(store, triton, tmp_path)["dense_ranks"].list.len().unique().to_list() == [1]


def test_candidate_depth_bounds_each_ranking(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("blue sky", "apple"))
    rows = run(store, triton, tmp_path, candidate_depth=1)
    for name in ("dense_rank", "sparse_rank"):
        assert rows[name].drop_nulls().to_list() == [1, 1]
    both_best = rows.filter(pl.col("query_id") == "q0")
    assert both_best.height == 1
    kept = rows.filter(pl.col("dense_rank").is_not_null() | pl.col("sparse_rank").is_not_null())
    assert kept.height == rows.height


def test_unchanged_inputs_compute_nothing(store, triton, tmp_path):
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


def test_each_query_is_computed_once(store, triton, tmp_path):
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


def test_query_vectors_lost_by_restore_are_recomputed(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("apple", "sky"))
    first = run(store, triton, tmp_path)
    whole = store.read("query_embeddings", "kb")
    store.replace("query_embeddings", "kb", whole.filter((pl.col("model") == DENSE) | (pl.col("query_id") == "q0")))
    again = run(store, triton, tmp_path)
    key = ["query_id", "model"]
    assert store.read("query_embeddings", "kb").sort(key).equals(whole.sort(key))
    assert triton.texts == [*["apple", "sky"] * 2, "sky"]
    assert again.equals(first.select(again.columns))


def test_query_vectors_of_all_models_are_one_commit(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("apple"))
    run(store, triton, tmp_path, models=BOTH)
    first = store.newest("query_embeddings").version()
    store.replace("queries", "kb", make_queries("pear", "apple"))
    run(store, triton, tmp_path, models=BOTH)
    assert store.newest("query_embeddings").version() == first + 1


def test_vectors_before_a_failure_are_kept(store, tmp_path):
    store.replace("queries", "kb", make_queries("apple"))
    broken = FakeTriton(broken={SPARSE: make_error()})
    with pytest.raises(InferenceError):
        run(store, broken, tmp_path, fallback=("rerank",))
    assert store.read("query_embeddings", "kb")["model"].to_list() == [DENSE]
    mended = FakeTriton()
    run(store, mended, tmp_path)
    assert len(mended.requests) == 1


def test_duplicate_query_text_has_its_own_row(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("apple"))
    run(store, triton, tmp_path)
    store.replace("queries", "kb", make_queries("apple", "apple"))
    run(store, triton, tmp_path)
    assert sorted(store.read("query_embeddings", "kb")["query_id"]) == ["q0", "q0", "q1", "q1"]
    assert triton.texts == ["apple"] * 2


def test_removed_model_loses_its_query_vectors(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("apple"))
    run(store, triton, tmp_path, models=BOTH)
    run(store, triton, tmp_path, models=MODELS)
    assert set(store.read("query_embeddings", "kb")["model"]) == {DENSE, SPARSE}


def test_requests_respect_the_batch_size(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("one", "two", "three"))
    meter = make_meter("fuse")
    run(store, triton, tmp_path, meter, request_batch_size=2)
    assert [len(rows) for rows in triton.requests] == [2, 1, 2, 1]
    assert (meter.record().batch_size, len(meter.record().batch_latencies_s)) == (2, 4)


def test_both_models_get_query_texts(store, triton, tmp_path):
    store.replace("queries", "kb", make_queries("apple"))
    run(store, triton, tmp_path)
    assert triton.roles == ["query", "query"]


@pytest.mark.parametrize("missing", ["queries", "chunks"])
def test_no_queries_or_chunks_no_inference(tmp_path, triton, missing):
    empty, meter = TableStore(tmp_path), make_meter("fuse")
    if missing == "chunks":
        empty.replace("queries", "kb", make_queries("apple"))
    assert run(empty, triton, tmp_path, meter).height == 0
    assert (triton.requests, meter.record().batch_latencies_s) == ([], [])
