"""Texts on which a model fails though they are alone."""

import polars as pl
import pytest

from embedder_assets.embedding.dense import DenseEncoder
from embedder_assets.embedding.sparse import SparseEncoder
from embedder_assets.embedding.stage import EmbeddingOutcome, EmbeddingStage
from embedder_assets.errors import InferenceError
from embedder_assets.tables.store import TableStore
from tests.support.embedding_rows import key, keys
from tests.support.factories import (
    DENSE,
    SPARSE,
    FakeTriton,
    chunk_id,
    dense_vector,
    make_chunks,
    make_meter,
    make_settings,
    sha256,
)


def listed(store: TableStore) -> list[tuple[str, str, str]]:
    return store.read("inference_issues", "kb", ["stage", "chunk_id", "model"]).sort("stage", "chunk_id").rows()


def test_failing_text_is_left_out_and_listed(store, embed_chunks):
    meter = make_meter()
    outcome = embed_chunks(
        make_chunks("one", "poison", "three"), FakeTriton(poison=["poison"]), meter=meter, request_batch_size=2
    )
    assert keys(store) == {key(0, "one"), key(2, "three")}
    assert outcome == EmbeddingOutcome(rows=2, computed=2, reused=0, deleted=0, coverage=pytest.approx(2 / 3), failed=1)
    row = store.read("inference_issues", "kb").row(0, named=True)
    assert row == {
        "collection": "kb",
        "stage": "dense",
        "chunk_id": chunk_id("a.md", 1),
        "content_sha256": sha256("poison"),
        "query_id": None,
        "model": DENSE,
        "model_fingerprint": "dense-1",
        "message": "a failure",
    }
    record = meter.record()
    assert record.items == {"computed": 2, "reused": 0, "failed": 1}
    (event,) = record.mitigations
    assert (event.kind, event.reason, event.items) == ("item_failed", "inference_failed", [chunk_id("a.md", 1)])


def test_other_texts_keep_their_own_vectors(store, embed_chunks):
    embed_chunks(make_chunks("a b c", "poison", "a"), FakeTriton(poison=["poison"]))
    vectors = dict(store.read("dense_embeddings", "kb", ["content_sha256", "embedding"]).iter_rows())
    assert vectors == {sha256(text): pytest.approx(dense_vector(text).tolist()) for text in ("a b c", "a")}


def test_every_chunk_of_a_failing_text_is_listed(store, embed_chunks):
    meter = make_meter()
    outcome = embed_chunks(make_chunks("poison", "one", "poison"), FakeTriton(poison=["poison"]), meter=meter)
    assert {chunk for _, chunk, _ in listed(store)} == {chunk_id("a.md", 0), chunk_id("a.md", 2)}
    assert (outcome.computed, outcome.reused, outcome.failed) == (1, 0, 2)
    assert meter.record().items == {"computed": 1, "reused": 0, "failed": 2}


def test_next_run_retries_only_what_failed(store, embed_chunks):
    chunks = make_chunks("one", "poison")
    embed_chunks(chunks, FakeTriton(poison=["poison"]))
    still = FakeTriton(poison=["poison"])
    embed_chunks(chunks, still)
    assert (still.texts, len(listed(store))) == (["poison"], 1)
    mended = FakeTriton()
    outcome = embed_chunks(chunks, mended)
    assert (mended.texts, listed(store)) == (["poison"], [])
    assert outcome == EmbeddingOutcome(rows=2, computed=1, reused=1, deleted=0, coverage=1.0)


def test_failing_text_edited_away_is_unlisted(store, embed_chunks):
    embed_chunks(make_chunks("one", "poison"), FakeTriton(poison=["poison"]))
    embed_chunks(make_chunks("one", "harmless"), FakeTriton(poison=["poison"]))
    assert listed(store) == []


def test_no_failures_make_no_table(store, embed_chunks):
    embed_chunks(make_chunks("one"))
    assert not store.exists("inference_issues")


def test_stage_keeps_what_another_has_listed(store, embed_chunks):
    chunks, triton = make_chunks("one", "poison"), FakeTriton(poison=["poison"])
    embed_chunks(chunks, triton)
    embed_chunks(chunks, triton, encoder=SparseEncoder(SPARSE, "sparse-1"))
    failed = chunk_id("a.md", 1)
    assert listed(store) == [("dense", failed, DENSE), ("sparse", failed, SPARSE)]
    assert len(keys(store, "sparse_embeddings")) == 1
    embed_chunks(chunks, FakeTriton())
    assert listed(store) == [("sparse", failed, SPARSE)]


def test_failure_of_every_chunk_is_an_error(store, embed_chunks):
    embed_chunks(make_chunks("one"))
    with pytest.raises(InferenceError, match=r"each of 2, for example: a failure"):
        embed_chunks(make_chunks("two", "three"), FakeTriton(poison=["two", "three"]))
    assert keys(store) == {key(0, "one")}
    assert not store.exists("inference_issues")


def test_swap_publishes_without_failing_texts(store, embed_chunks):
    embed_chunks(make_chunks("one", "poison"))
    embed_chunks(make_chunks("one", "poison"), FakeTriton(poison=["poison"]), fingerprint="dense-2")
    assert keys(store) == {key(0, "one", fingerprint="dense-2")}
    assert len(listed(store)) == 1


def test_candidate_rows_leave_out_failing_texts(store, tmp_path):
    store.replace("chunks", "kb", make_chunks("one", "poison"))
    triton = FakeTriton(poison=["poison"])
    stage = EmbeddingStage(store, triton, make_settings(tmp_path), [DenseEncoder(DENSE, "dense-1")])
    assert pl.concat(stage.candidate_rows("kb", make_meter()))["chunk_id"].to_list() == [chunk_id("a.md", 0)]
    assert not store.exists("inference_issues")
