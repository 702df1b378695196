import polars as pl
import pytest

from embedder_assets.errors import InferenceError
from embedder_assets.stages import embed
from embedder_assets.stages.dense import DenseEncoder
from embedder_assets.stages.embed import EmbeddingStage, EmbedOutcome
from embedder_assets.stages.sparse import SparseEncoder
from embedder_assets.tables.store import TableStore
from tests.unit.factories import (
    DENSE,
    SPARSE,
    FakeTriton,
    chunk_id,
    dense_vector,
    make_chunks,
    make_meter,
    make_settings,
    sha256,
    term,
)


@pytest.fixture
def store(tmp_path) -> TableStore:
    return TableStore(tmp_path)


@pytest.fixture
def bring_up_to_date(store, tmp_path):
    """Makes some chunks the collection's, embeds what is missing, and returns the outcome."""

    def bring(chunks, triton=None, *, meter=None, fingerprint="dense-1", encoder=None, **settings) -> EmbedOutcome:
        store.replace("chunks", "kb", chunks)
        encoder = encoder or DenseEncoder(DENSE, fingerprint)
        stage = EmbeddingStage(store, triton or FakeTriton(), make_settings(tmp_path, **settings), encoder)
        return stage.run("kb", meter or make_meter())

    return bring


def keys(store: TableStore, table: str = "dense_embeddings") -> set[tuple[str, str, str]]:
    rows = store.read(table, "kb", ["chunk_id", "content_sha256", "model_fingerprint"])
    assert not rows.is_duplicated().any()
    return set(rows.iter_rows())


def key(index: int, text: str, doc_id: str = "a.md", fingerprint: str = "dense-1") -> tuple[str, str, str]:
    return chunk_id(doc_id, index), sha256(text), fingerprint


def test_every_chunk_gets_the_vector_of_its_text(store, bring_up_to_date):
    outcome = bring_up_to_date(make_chunks("one", "two"))
    assert outcome == EmbedOutcome(rows=2, computed=2, reused=0, deleted=0, coverage=1.0)
    vectors = dict(store.read("dense_embeddings", "kb", ["content_sha256", "embedding"]).iter_rows())
    assert vectors == {sha256(text): pytest.approx(dense_vector(text).tolist()) for text in ("one", "two")}
    assert keys(store) == {key(0, "one"), key(1, "two")}
    assert store.read("dense_embeddings", "kb")["model"].unique().to_list() == [DENSE]


def test_nothing_missing_needs_no_inference_and_no_commit(store, bring_up_to_date):
    bring_up_to_date(make_chunks("one", "two"))
    triton, meter = FakeTriton(), make_meter()
    files = sorted(store.path("dense_embeddings").rglob("*"))
    outcome = bring_up_to_date(make_chunks("one", "two"), triton, meter=meter)
    assert outcome == EmbedOutcome(rows=2, computed=0, reused=2, deleted=0, coverage=1.0)
    assert (triton.requests, meter.record().batch_latencies_s) == ([], [])
    assert sorted(store.path("dense_embeddings").rglob("*")) == files


def test_equal_texts_are_computed_once(store, bring_up_to_date):
    triton, meter = FakeTriton(), make_meter()
    outcome = bring_up_to_date(make_chunks("same", "other", "same"), triton, meter=meter)
    assert sorted(triton.texts) == ["other", "same"]
    assert (outcome.rows, outcome.computed, outcome.reused) == (3, 2, 1)
    assert meter.record().items == {"computed": 2, "reused": 1}
    assert keys(store) == {key(0, "same"), key(1, "other"), key(2, "same")}


def test_an_edited_chunk_alone_is_computed_and_its_old_row_deleted(store, bring_up_to_date):
    bring_up_to_date(make_chunks("one", "two", "three"))
    triton = FakeTriton()
    outcome = bring_up_to_date(make_chunks("one", "two edited", "three"), triton)
    assert triton.texts == ["two edited"]
    assert outcome == EmbedOutcome(rows=3, computed=1, reused=2, deleted=1, coverage=1.0)
    assert keys(store) == {key(0, "one"), key(1, "two edited"), key(2, "three")}


def test_a_renamed_document_costs_no_inference(store, bring_up_to_date):
    bring_up_to_date(make_chunks("one", "two"))
    before = dict(store.read("dense_embeddings", "kb", ["content_sha256", "embedding"]).iter_rows())
    triton = FakeTriton()
    outcome = bring_up_to_date(make_chunks("one", "two", doc_id="b.md"), triton)
    assert (triton.requests, outcome.deleted, outcome.coverage) == ([], 2, 1.0)
    assert keys(store) == {key(0, "one", "b.md"), key(1, "two", "b.md")}
    assert dict(store.read("dense_embeddings", "kb", ["content_sha256", "embedding"]).iter_rows()) == before


def test_swapped_chunks_swap_their_vectors_without_inference(store, bring_up_to_date):
    bring_up_to_date(make_chunks("one", "two"))
    triton = FakeTriton()
    bring_up_to_date(make_chunks("two", "one"), triton)
    assert triton.requests == []
    assert keys(store) == {key(0, "two"), key(1, "one")}


def test_a_removed_document_leaves_no_row(store, bring_up_to_date):
    bring_up_to_date(make_chunks("one", "two"))
    outcome = bring_up_to_date(make_chunks())
    assert outcome == EmbedOutcome(rows=0, computed=0, reused=0, deleted=2, coverage=1.0)
    assert keys(store) == set()


def test_another_fingerprint_computes_all_anew_and_drops_the_old_rows(store, bring_up_to_date):
    bring_up_to_date(make_chunks("one", "two"))
    triton = FakeTriton()
    outcome = bring_up_to_date(make_chunks("one", "two"), triton, fingerprint="dense-2")
    assert sorted(triton.texts) == ["one", "two"]
    assert (outcome.computed, outcome.deleted) == (2, 2)
    assert keys(store) == {key(0, "one", fingerprint="dense-2"), key(1, "two", fingerprint="dense-2")}


def test_other_collections_keep_their_rows(store, bring_up_to_date):
    bring_up_to_date(make_chunks("one"))
    row = store.read("dense_embeddings", "kb").with_columns(collection=pl.lit("other"))
    store.append("dense_embeddings", row)
    bring_up_to_date(make_chunks("changed"))
    assert store.read("dense_embeddings", "other").equals(row)


def test_a_failure_leaves_the_table_untouched_and_the_next_run_computes_only_the_rest(
    store, bring_up_to_date, monkeypatch
):
    monkeypatch.setattr(embed, "REQUESTS_A_COMMIT", 2)
    bring_up_to_date(make_chunks("old"))
    texts = [f"text {number}" for number in range(7)]
    failing = FakeTriton(fail_at=5)
    with pytest.raises(InferenceError):
        bring_up_to_date(make_chunks(*texts), failing, request_batch_size=1)
    assert keys(store) == {key(0, "old")}
    triton = FakeTriton()
    outcome = bring_up_to_date(make_chunks(*texts), triton, request_batch_size=1)
    # Of five answers, four were kept: two commits of two.
    assert sorted(triton.texts) == sorted(set(texts) - set(failing.texts[:4]))
    assert (len(triton.texts), outcome.computed, outcome.coverage) == (3, 3, 1.0)
    assert keys(store) == {key(number, text) for number, text in enumerate(texts)}


def test_nothing_stays_staged_after_a_run_that_ended_well(bring_up_to_date, tmp_path):
    bring_up_to_date(make_chunks("one", "two"))
    assert list((tmp_path / "staging").rglob("*.parquet")) == []


def test_staged_vectors_of_another_model_are_not_used(bring_up_to_date, store, monkeypatch):
    monkeypatch.setattr(embed, "REQUESTS_A_COMMIT", 1)
    with pytest.raises(InferenceError):
        bring_up_to_date(make_chunks("one", "two"), FakeTriton(fail_at=1), request_batch_size=1)
    triton = FakeTriton()
    bring_up_to_date(make_chunks("one", "two"), triton, fingerprint="dense-2")
    assert sorted(triton.texts) == ["one", "two"]


def test_requests_are_no_larger_than_allowed_and_the_longest_texts_come_first(bring_up_to_date):
    triton, meter = FakeTriton(), make_meter()
    texts = ["a", "a b c d", "a b", "a b c", "a b c d e"]
    bring_up_to_date(make_chunks(*texts), triton, meter=meter, request_batch_size=2)
    assert [len(rows) for rows in triton.requests] == [2, 2, 1]
    assert triton.texts == sorted(texts, key=len, reverse=True)
    assert (meter.record().batch_size, meter.record().batch_latencies_s) == (2, [0.01] * 3)


def test_progress_ends_at_all_texts(bring_up_to_date):
    seen = []
    meter = embed.StageMeter("dense", ["kb"], report=lambda *step: seen.append(step))
    bring_up_to_date(make_chunks("one", "two", "three"), meter=meter, request_batch_size=2)
    assert seen == [("dense", "kb", 2, 3), ("dense", "kb", 3, 3)]


def test_the_meter_says_the_coverage_of_the_collection(bring_up_to_date):
    meter = make_meter()
    bring_up_to_date(make_chunks("one"), meter=meter)
    assert meter.record().coverage == {"kb": 1.0}


def test_an_answer_that_the_encoder_refuses_writes_nothing(store, bring_up_to_date, monkeypatch):
    monkeypatch.setattr("tests.unit.factories.dense_vector", lambda text: 2 * dense_vector(text))
    with pytest.raises(InferenceError, match="vectors of length 1"):
        bring_up_to_date(make_chunks("one"))
    assert not store.exists("dense_embeddings")


def test_sparse_rows_go_the_same_way(store, bring_up_to_date):
    encoder = SparseEncoder(SPARSE, "sparse-1")
    bring_up_to_date(make_chunks("red apple"), encoder=encoder)
    row = store.read("sparse_embeddings", "kb").row(0, named=True)
    assert set(row["indices"]) == {term("red"), term("apple")}
    assert (row["values"], row["source"], row["model_fingerprint"]) == ([1.0, 1.0], "model", "sparse-1")
    triton = FakeTriton()
    bring_up_to_date(make_chunks("red apple", "red apple"), triton, encoder=encoder)
    assert (triton.requests, len(keys(store, "sparse_embeddings"))) == ([], 2)
