"""Which texts of a collection are looked at, and what is said of them."""

from __future__ import annotations

import polars as pl
import pytest

from embedder_assets.embedding.tokenization import (
    SAMPLE_TEXTS,
    chunk_sample,
    query_sample,
    tokenization,
    tokenization_by_model,
)
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import Tokenization
from tests.support.factories import DENSE, SPARSE, FakeTriton, make_chunks, make_queries, make_settings, sha256


@pytest.fixture
def store(tmp_path):
    return TableStore(tmp_path)


def test_small_collection_is_looked_at_whole(store):
    store.replace("chunks", "kb", make_chunks("b", "a", "b", "c"))
    assert chunk_sample(store, "kb")["text"].to_list() == sorted("abc", key=sha256)


def test_sample_does_not_depend_on_the_order(store):
    texts = [f"text {number}" for number in range(20 * SAMPLE_TEXTS)]
    store.replace("chunks", "kb", make_chunks(*texts))
    store.replace("chunks", "other", make_chunks(*reversed(texts), collection="other"))
    sample = chunk_sample(store, "kb")["text"].to_list()
    assert sample == chunk_sample(store, "other")["text"].to_list()
    assert sample == sorted(texts, key=sha256)[: len(sample)]
    assert SAMPLE_TEXTS * 0.7 < len(sample) <= SAMPLE_TEXTS


def test_query_sample_is_bounded(store):
    store.replace("queries", "kb", make_queries(*(f"query {number}" for number in range(SAMPLE_TEXTS + 1))))
    assert len(query_sample(store, "kb")) == SAMPLE_TEXTS


def test_shares_of_tokens_and_texts():
    triton = FakeTriton()
    triton.token_budgets[DENSE] = 4
    read = tokenization(triton, DENSE, [(text,) for text in ("red ?size", "?", "a b c d e", "f g")])
    assert read == Tokenization(texts=4, unknown=0.2, spelled_out=0.0, unreadable=0.25, truncated=0.25)


def test_no_text_has_no_share(store):
    read = tokenization_by_model(store, FakeTriton(), "kb", [DENSE])
    assert read == {DENSE: Tokenization(texts=0, unknown=0.0, spelled_out=0.0, unreadable=0.0, truncated=0.0)}


def test_context_counts_where_it_is_read(store):
    store.replace("chunks", "kb", make_chunks("a b").with_columns(context=pl.lit("?x ?y")))
    triton = FakeTriton()
    triton.with_context.add(DENSE)
    read = tokenization_by_model(store, triton, "kb", [DENSE, SPARSE])
    assert [read[DENSE].unknown, read[SPARSE].unknown] == [0.5, 0.0]


def test_model_without_tokenizer_is_left_out(store, tmp_path):
    settings = make_settings(tmp_path, model_repository=tmp_path / "models")
    assert tokenization_by_model(store, TritonSession(settings), "kb", [DENSE]) == {}
