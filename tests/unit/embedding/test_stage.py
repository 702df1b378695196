"""An embedding table follows the chunks: what is missing is computed, and the rest reused."""

import polars as pl
import pytest

from embedder_assets.embedding import stage as embed
from embedder_assets.embedding.sparse import SparseEncoder
from embedder_assets.embedding.stage import EmbeddingOutcome
from embedder_assets.errors import InferenceError
from tests.support.embedding_rows import key, keys, version
from tests.support.factories import DENSE, SPARSE, FakeTriton, dense_vector, make_chunks, make_meter, sha256, term


def test_every_chunk_gets_the_vector_of_its_text(store, embed_chunks):
    outcome = embed_chunks(make_chunks("one", "two"))
    assert outcome == EmbeddingOutcome(rows=2, computed=2, reused=0, deleted=0, coverage=1.0)
    vectors = dict(store.read("dense_embeddings", "kb", ["content_sha256", "embedding"]).iter_rows())
    assert vectors == {sha256(text): pytest.approx(dense_vector(text).tolist()) for text in ("one", "two")}
    assert keys(store) == {key(0, "one"), key(1, "two")}
    assert store.read("dense_embeddings", "kb")["model"].unique().to_list() == [DENSE]


def test_nothing_missing_computes_and_commits_nothing(store, embed_chunks):
    embed_chunks(make_chunks("one", "two"))
    triton, meter = FakeTriton(), make_meter()
    files = sorted(store.path("dense_embeddings").rglob("*"))
    outcome = embed_chunks(make_chunks("one", "two"), triton, meter=meter)
    assert outcome == EmbeddingOutcome(rows=2, computed=0, reused=2, deleted=0, coverage=1.0)
    assert (triton.requests, meter.record().batch_latencies_s) == ([], [])
    assert sorted(store.path("dense_embeddings").rglob("*")) == files


def test_equal_texts_are_computed_once(store, embed_chunks):
    triton, meter = FakeTriton(), make_meter()
    outcome = embed_chunks(make_chunks("same", "other", "same"), triton, meter=meter)
    assert sorted(triton.texts) == ["other", "same"]
    assert (outcome.rows, outcome.computed, outcome.reused) == (3, 2, 1)
    assert meter.record().items == {"computed": 2, "reused": 1}
    assert keys(store) == {key(0, "same"), key(1, "other"), key(2, "same")}


def test_only_the_edited_chunk_is_computed(store, embed_chunks):
    embed_chunks(make_chunks("one", "two", "three"))
    triton = FakeTriton()
    outcome = embed_chunks(make_chunks("one", "two edited", "three"), triton)
    assert triton.texts == ["two edited"]
    assert outcome == EmbeddingOutcome(rows=3, computed=1, reused=2, deleted=1, coverage=1.0)
    assert keys(store) == {key(0, "one"), key(1, "two edited"), key(2, "three")}


def test_renamed_document_costs_no_inference(store, embed_chunks):
    embed_chunks(make_chunks("one", "two"))
    before = dict(store.read("dense_embeddings", "kb", ["content_sha256", "embedding"]).iter_rows())
    triton = FakeTriton()
    outcome = embed_chunks(make_chunks("one", "two", doc_id="b.md"), triton)
    assert (triton.requests, outcome.deleted, outcome.coverage) == ([], 2, 1.0)
    assert keys(store) == {key(0, "one", "b.md"), key(1, "two", "b.md")}
    assert dict(store.read("dense_embeddings", "kb", ["content_sha256", "embedding"]).iter_rows()) == before


def test_swapped_chunks_cost_no_inference(store, embed_chunks):
    embed_chunks(make_chunks("one", "two"))
    triton = FakeTriton()
    embed_chunks(make_chunks("two", "one"), triton)
    assert triton.requests == []
    assert keys(store) == {key(0, "two"), key(1, "one")}


def test_removed_document_leaves_no_row(store, embed_chunks):
    embed_chunks(make_chunks("one", "two"))
    outcome = embed_chunks(make_chunks())
    assert outcome == EmbeddingOutcome(rows=0, computed=0, reused=0, deleted=2, coverage=1.0)
    assert keys(store) == set()


def test_another_fingerprint_recomputes_everything(store, embed_chunks):
    embed_chunks(make_chunks("one", "two"))
    triton = FakeTriton()
    outcome = embed_chunks(make_chunks("one", "two"), triton, fingerprint="dense-2")
    assert sorted(triton.texts) == ["one", "two"]
    assert (outcome.computed, outcome.deleted) == (2, 2)
    assert keys(store) == {key(0, "one", fingerprint="dense-2"), key(1, "two", fingerprint="dense-2")}


def test_swap_and_update_are_one_commit_each(store, embed_chunks):
    embed_chunks(make_chunks("one", "two"))
    before = version(store)
    embed_chunks(make_chunks("one", "two edited"))
    assert version(store) == before + 1
    embed_chunks(make_chunks("one", "three edited"), fingerprint="dense-2")
    assert version(store) == before + 2


def test_other_collections_keep_their_rows(store, embed_chunks):
    embed_chunks(make_chunks("one"))
    row = store.read("dense_embeddings", "kb").with_columns(collection=pl.lit("other"))
    store.append("dense_embeddings", row)
    embed_chunks(make_chunks("changed"))
    assert store.read("dense_embeddings", "other").equals(row)


def test_failure_costs_only_unstaged_answers(store, embed_chunks, monkeypatch):
    monkeypatch.setattr(embed, "REQUESTS_PER_STAGED_FILE", 2)
    embed_chunks(make_chunks("old"))
    texts = [f"text {number}" for number in range(7)]
    failing = FakeTriton(fail_at=5)
    with pytest.raises(InferenceError):
        embed_chunks(make_chunks(*texts), failing, request_batch_size=1)
    assert keys(store) == {key(0, "old")}
    triton = FakeTriton()
    outcome = embed_chunks(make_chunks(*texts), triton, request_batch_size=1)
    # Of five answers, four were kept: two commits of two.
    assert sorted(triton.texts) == sorted(set(texts) - set(failing.texts[:4]))
    assert (len(triton.texts), outcome.computed, outcome.coverage) == (3, 3, 1.0)
    assert keys(store) == {key(number, text) for number, text in enumerate(texts)}


def test_nothing_stays_staged_after_success(embed_chunks, tmp_path):
    embed_chunks(make_chunks("one", "two"))
    assert list((tmp_path / "staging").rglob("*.parquet")) == []


def test_staged_vectors_of_another_model_are_unused(embed_chunks, store, monkeypatch):
    monkeypatch.setattr(embed, "REQUESTS_PER_STAGED_FILE", 1)
    with pytest.raises(InferenceError):
        embed_chunks(make_chunks("one", "two"), FakeTriton(fail_at=1), request_batch_size=1)
    triton = FakeTriton()
    embed_chunks(make_chunks("one", "two"), triton, fingerprint="dense-2")
    assert sorted(triton.texts) == ["one", "two"]


def test_requests_are_bounded_longest_texts_first(embed_chunks):
    triton, meter = FakeTriton(), make_meter()
    texts = ["a", "a b c d", "a b", "a b c", "a b c d e"]
    embed_chunks(make_chunks(*texts), triton, meter=meter, request_batch_size=2)
    assert [len(rows) for rows in triton.requests] == [2, 2, 1]
    assert triton.texts == sorted(texts, key=len, reverse=True)
    assert (meter.record().batch_size, meter.record().batch_latencies_s) == (2, [0.01] * 3)


def test_progress_ends_at_all_texts(embed_chunks):
    seen = []
    meter = embed.StageMeter("dense", ["kb"], report=lambda *step: seen.append(step))
    embed_chunks(make_chunks("one", "two", "three"), meter=meter, request_batch_size=2)
    assert sorted(set(seen)) == seen[:2] == [("dense", "kb", 2, 3), ("dense", "kb", 3, 3)]


def test_refused_answer_writes_nothing(store, embed_chunks, monkeypatch):
    monkeypatch.setattr("tests.support.factories.dense_vector", lambda text: 2 * dense_vector(text))
    with pytest.raises(InferenceError, match="vectors of length 1"):
        embed_chunks(make_chunks("one"))
    assert not store.exists("dense_embeddings")


def test_sparse_rows_go_the_same_way(store, embed_chunks):
    encoder = SparseEncoder(SPARSE, "sparse-1")
    embed_chunks(make_chunks("red apple"), encoder=encoder)
    row = store.read("sparse_embeddings", "kb").row(0, named=True)
    assert set(row["indices"]) == {term("red"), term("apple")}
    assert (row["values"], row["source"], row["model_fingerprint"]) == ([1.0, 1.0], "model", "sparse-1")
    triton = FakeTriton()
    embed_chunks(make_chunks("red apple", "red apple"), triton, encoder=encoder)
    assert (triton.requests, len(keys(store, "sparse_embeddings"))) == ([], 2)


def with_context(*contexts: str | None) -> pl.DataFrame:
    """Chunks of one and the same text, each with the digest of its context and the text."""
    digests = [sha256(f"{context}\x1fone" if context else "one") for context in contexts]
    chunks = make_chunks(*["one"] * len(contexts))
    return chunks.with_columns(pl.Series("context", contexts, pl.String), pl.Series("content_sha256", digests))


def test_a_context_is_embedded_with_its_text(store, embed_chunks):
    triton = FakeTriton()
    triton.with_context.add(DENSE)
    embed_chunks(with_context("Whales", "Ships", "Whales", None), triton)
    assert sorted(triton.texts) == ["Ships\none", "Whales\none", "one"]
    again = FakeTriton()
    again.with_context.add(DENSE)
    outcome = embed_chunks(with_context("Whales", "Boats", "Whales", None), again)
    assert again.texts == ["Boats\none"]
    assert (outcome.rows, outcome.reused, outcome.deleted) == (4, 3, 1)


def test_a_model_without_context_reads_the_text(store, embed_chunks):
    triton = FakeTriton()
    embed_chunks(with_context("Whales", None), triton)
    assert set(triton.texts) == {"one"}


def below_header(*texts: str) -> pl.DataFrame:
    """Chunks of which the last continues a table."""
    headers = [*[None] * (len(texts) - 1), "| Bolt | Torque |"]
    return make_chunks(*texts).with_columns(pl.Series("table_header", headers, pl.String))


@pytest.mark.parametrize("encoder", [None, SparseEncoder(SPARSE, "sparse-1")])
def test_every_model_reads_the_table_header(embed_chunks, encoder):
    triton = FakeTriton()
    embed_chunks(below_header("words", "| M8 | 25 |"), triton, encoder=encoder)
    assert sorted(triton.texts) == ["words", "| Bolt | Torque |\n| M8 | 25 |"]


def test_context_stands_above_the_table_header(embed_chunks):
    triton = FakeTriton()
    triton.with_context.add(DENSE)
    embed_chunks(below_header("| M8 | 25 |").with_columns(context=pl.lit("Bolts")), triton)
    assert triton.texts == ["Bolts\n| Bolt | Torque |\n| M8 | 25 |"]
