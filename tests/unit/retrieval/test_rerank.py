import polars as pl
import pytest

from embedder_assets.embedding.keys import ModelVersion
from embedder_assets.errors import EmbedderError, InferenceError, TritonUnavailableError
from embedder_assets.retrieval.rerank import RerankStage, pair_sample
from embedder_assets.serving.models.description import ScoreFormula
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from tests.support.factories import (
    DENSE,
    RERANK,
    FakeTriton,
    chunk_id,
    dense_vector,
    make_chunks,
    make_error,
    make_meter,
    make_queries,
    make_settings,
)

TEXTS = ("nothing", "reset the password", "a password and more words")


@pytest.fixture
def store(tmp_path) -> TableStore:
    """One query with its three chunks as fused candidates in their order."""
    store = TableStore(tmp_path)
    store.replace("chunks", "kb", make_chunks(*TEXTS))
    store.replace("queries", "kb", make_queries("reset password"))
    store.replace("fused_candidates", "kb", fused_rows([chunk_id("a.md", number) for number in range(3)]))
    vectors = [
        ("kb", chunk_id("a.md", number), "sha", DENSE, "dense-1", dense_vector(text).tolist())
        for number, text in enumerate(TEXTS)
    ]
    store.replace("dense_embeddings", "kb", pl.DataFrame(vectors, schema=SCHEMAS["dense_embeddings"], orient="row"))
    return store


def fused_rows(chunks: list[str]) -> pl.DataFrame:
    """Candidates of one query in this order, as both models rank them."""
    rows = [
        {
            "collection": "kb",
            "query_id": "q0",
            "chunk_id": chunk,
            "doc_id": "a.md",
            "rank": rank,
            "score": 1 - 0.1 * rank,
            "dense_rank": rank,
            "dense_ranks": [rank],
            "dense_score": 1 - 0.1 * rank,
            "dense_scores": [1 - 0.1 * rank],
            "input_digest": "d1",
        }
        for rank, chunk in enumerate(chunks, 1)
    ]
    return pl.DataFrame(rows, schema=SCHEMAS["fused_candidates"])


def run(store, triton, tmp_path, meter=None, fingerprint="rerank-1", **settings) -> pl.DataFrame:
    stage = RerankStage(store, triton, make_settings(tmp_path, **settings), ModelVersion(RERANK, fingerprint))
    return stage.run("kb", meter or make_meter("rerank")).sort("query_id", "rank")


def test_candidates_get_their_own_scores(store, tmp_path):
    rows = run(store, FakeTriton(ScoreFormula(cross_encoder=100, agreement=0)), tmp_path)
    assert rows.select("fused_rank", "cross_encoder_score", "rank").rows() == [(2, 2.0, 1), (3, 1.0, 2), (1, 0.0, 3)]
    assert store.count("reranked_candidates", "kb") == 3
    assert rows["fallback_used"].to_list() == [False] * 3


def test_best_candidates_sent_longest_first(store, tmp_path):
    triton = FakeTriton()
    assert run(store, triton, tmp_path, rerank_depth=2, request_batch_size=1)["fused_rank"].to_list() == [1, 2]
    assert triton.requests == [[("reset password", "reset the password")], [("reset password", "nothing")]]


def test_failed_pair_counts_as_query_mean(store, tmp_path):
    meter = make_meter("rerank")
    triton = FakeTriton(ScoreFormula(cross_encoder=100, agreement=0), poison=[TEXTS[0]])
    rows = run(store, triton, tmp_path, meter)
    # Between 2 and 1 shared words is the mean of them.
    assert rows.select("fused_rank", "cross_encoder_score", "rank").rows() == [(2, 2.0, 1), (1, None, 2), (3, 1.0, 3)]
    record = meter.record()
    assert record.items == {"computed": 2, "failed": 1}
    (event,) = record.mitigations
    assert (event.model, event.items) == (RERANK, [f"q0 {chunk_id('a.md', 0)}"])


def test_next_run_retries_only_failed_pairs(store, tmp_path):
    formula = ScoreFormula(cross_encoder=100, agreement=1)
    before = run(store, FakeTriton(formula, poison=[TEXTS[0]]), tmp_path)
    triton, meter = FakeTriton(formula), make_meter("rerank")
    rows = run(store, triton, tmp_path, meter)
    # Or evaluation and exports would stay as they were.
    assert set(before["input_digest"]).isdisjoint(rows["input_digest"])
    assert (triton.texts, meter.record().items) == ([TEXTS[0]], {"reused": 2, "computed": 1})
    store.replace("reranked_candidates", "kb", pl.DataFrame(schema=SCHEMAS["reranked_candidates"]))
    anew = run(store, FakeTriton(formula), tmp_path)
    assert rows.select(sorted(rows.columns)).equals(anew.select(sorted(anew.columns)))


def test_known_pairs_are_not_recomputed(store, tmp_path):
    formula = ScoreFormula(cross_encoder=100, agreement=1)
    run(store, FakeTriton(formula), tmp_path)
    # The document is renamed: other chunk ids, the same texts; and one of them is edited.
    moved = make_chunks(*TEXTS[:2], "reset it", doc_id="moved.md")
    fused = store.read("fused_candidates", "kb")
    names = {chunk_id("a.md", number): chunk_id("moved.md", number) for number in range(3)}
    ids = pl.col("chunk_id").replace(names)
    store.replace("fused_candidates", "kb", fused.with_columns(ids, input_digest=pl.lit("moved")))
    vectors = store.read("dense_embeddings", "kb").with_columns(ids)
    store.replace("dense_embeddings", "kb", vectors)
    store.replace("chunks", "kb", moved)
    triton, meter = FakeTriton(formula), make_meter("rerank")
    rows = run(store, triton, tmp_path, meter)
    assert (triton.texts, meter.record().items) == (["reset it"], {"reused": 2, "computed": 1})
    store.remove("reranked_candidates", "kb")
    anew = run(store, FakeTriton(formula), tmp_path)
    assert rows.select(sorted(rows.columns)).equals(anew.select(sorted(anew.columns)))


def test_failure_of_all_pairs_is_an_error(store, tmp_path):
    with pytest.raises(InferenceError, match="a failure"):
        run(store, FakeTriton(poison=TEXTS), tmp_path, fallback=("sparse",))
    assert store.count("reranked_candidates", "kb") == 0


def test_missing_dense_vector_is_reranked_anyway(store, tmp_path):
    rows = store.read("dense_embeddings", "kb").filter(pl.col("chunk_id") != chunk_id("a.md", 1))
    store.replace("dense_embeddings", "kb", rows)
    ranked = run(store, FakeTriton(ScoreFormula(cross_encoder=100, agreement=1)), tmp_path)
    assert ranked["fused_rank"].to_list() == [2, 3, 1]
    assert ranked["score"].is_finite().all()


def test_candidates_like_the_best_rise(store, tmp_path):
    rows = store.read("dense_embeddings", "kb").sort("chunk_id")
    unit = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    store.replace("dense_embeddings", "kb", rows.with_columns(embedding=pl.Series(unit, dtype=pl.List(pl.Float32))))
    ranked = run(store, FakeTriton(ScoreFormula(cross_encoder=0, agreement=5)), tmp_path)
    assert ranked["fused_rank"].to_list() == [1, 3, 2]


def test_unchanged_inputs_compute_nothing(store, tmp_path):
    triton, meter = FakeTriton(), make_meter("rerank")
    first = run(store, triton, tmp_path)
    again = run(store, triton, tmp_path, meter)
    assert again.equals(first.select(again.columns))
    assert (len(triton.requests), meter.record().items) == (1, {"reused": 3})
    run(store, triton, tmp_path, fingerprint="rerank-2")
    fused = store.read("fused_candidates", "kb").with_columns(input_digest=pl.lit("d2"))
    store.replace("fused_candidates", "kb", fused)
    run(store, triton, tmp_path)
    assert len(triton.requests) == 3


def test_renamed_model_is_not_asked_again(store, tmp_path):
    triton = FakeTriton()
    first = run(store, triton, tmp_path)
    renamed = RerankStage(store, triton, make_settings(tmp_path), ModelVersion("renamed", "rerank-1"))
    rows = renamed.run("kb", make_meter("rerank")).sort("query_id", "rank")
    assert set(rows["model"]) == {"renamed"}
    assert rows["score"].equals(first["score"])
    assert len(triton.requests) == 1


def test_no_candidates_no_inference(tmp_path):
    triton = FakeTriton()
    assert run(TableStore(tmp_path), triton, tmp_path).height == 0
    assert triton.requests == []


# When the model fails


def test_fused_order_is_the_fallback(store, tmp_path):
    triton, meter = FakeTriton(broken={RERANK: make_error(TritonUnavailableError)}), make_meter("rerank")
    rows = run(store, triton, tmp_path, meter, rerank_depth=2)
    expected = [(1, 1, 0.9, None, True), (2, 2, 0.8, None, True)]
    assert rows.select("rank", "fused_rank", "score", "cross_encoder_score", "fallback_used").rows() == expected
    assert store.count("reranked_candidates", "kb") == 2
    record = meter.record()
    assert (record.fallback_used, record.fallback_reason) == (True, "triton_unavailable")
    assert record.reason == f"kb: {make_error(TritonUnavailableError)}"
    assert record.items == {"fallback": 2}


def test_recovered_model_replaces_the_fallback(store, tmp_path):
    undisturbed = run(store, FakeTriton(), tmp_path)
    store.replace("reranked_candidates", "kb", undisturbed.clear())
    run(store, FakeTriton(broken={RERANK: make_error()}), tmp_path)
    meter = make_meter("rerank")
    rows = run(store, FakeTriton(), tmp_path, meter)
    assert rows.equals(undisturbed.select(rows.columns))
    assert not meter.record().fallback_used


def test_repeated_failure_leaves_the_table(store, tmp_path):
    triton, meter = FakeTriton(broken={RERANK: make_error()}), make_meter("rerank")
    first = run(store, triton, tmp_path)
    before = sorted(store.path("reranked_candidates").rglob("*"))
    again = run(store, triton, tmp_path, meter)
    assert again.equals(first)
    assert sorted(store.path("reranked_candidates").rglob("*")) == before
    assert meter.record().fallback_reason == "inference_failed"


def test_failure_midway_leaves_no_mixture(store, tmp_path):
    rows = run(store, FakeTriton(fail_at=1), tmp_path, request_batch_size=1)
    assert rows["rank"].to_list() == rows["fused_rank"].to_list() == [1, 2, 3]
    assert rows["cross_encoder_score"].null_count() == 3


def test_current_rows_need_no_model(store, tmp_path):
    run(store, FakeTriton(), tmp_path)
    meter = make_meter("rerank")
    rows = run(store, FakeTriton(broken={RERANK: make_error()}), tmp_path, meter)
    assert rows["fallback_used"].to_list() == [False] * 3
    assert not meter.record().fallback_used


def test_without_fallback_the_error_is_raised(store, tmp_path):
    run(store, FakeTriton(), tmp_path)
    before = store.read("reranked_candidates", "kb")
    broken = FakeTriton(broken={RERANK: make_error()})
    with pytest.raises(InferenceError, match="the model: expected an answer"):
        run(store, broken, tmp_path, fingerprint="rerank-2", fallback=("sparse",))
    assert store.read("reranked_candidates", "kb").equals(before)


def test_other_errors_do_not_fall_back(store, tmp_path):
    with pytest.raises(EmbedderError, match="the disk"):
        run(store, FakeTriton(broken={RERANK: make_error(EmbedderError, "the disk")}), tmp_path)


def test_new_formula_rescores_stored_logits(store, tmp_path, monkeypatch):
    triton, meter = FakeTriton(), make_meter("rerank")
    before = run(store, triton, tmp_path)
    monkeypatch.setattr("embedder_assets.retrieval.rerank.FORMULA", "another")
    after = run(store, triton, tmp_path, meter)
    assert (len(triton.requests), meter.record().items) == (1, {"reused": 3})
    assert before["input_digest"].unique().to_list() != after["input_digest"].unique().to_list()


def test_sample_of_pairs_has_their_texts(store, tmp_path):
    rows = run(store, FakeTriton(), tmp_path)
    pairs = pair_sample(store, "kb", rows, 10)
    assert sorted(pairs) == sorted(("reset password", text) for text in TEXTS)
    assert pair_sample(store, "kb", rows.sample(fraction=1, shuffle=True, seed=1), 2) == pair_sample(
        store, "kb", rows, 2
    )
    assert len(pair_sample(store, "kb", rows, 2)) == 2


def test_the_model_reads_the_table_header(store, tmp_path):
    header = pl.when(pl.col("text") == "nothing").then(pl.lit("| reset | password |"))
    store.replace("chunks", "kb", make_chunks(*TEXTS).with_columns(table_header=header))
    triton = FakeTriton(ScoreFormula(cross_encoder=100, agreement=0))
    rows = run(store, triton, tmp_path)
    assert ("reset password", "| reset | password |\nnothing") in triton.requests[0]
    assert rows.filter(chunk_id=chunk_id("a.md", 0))["cross_encoder_score"].to_list() == [2.0]
    read = dict(pair_sample(store, "kb", rows, 10))
    assert set(read) == {"reset password"}
