"""Warnings about texts that a model cannot read."""

from __future__ import annotations

import pytest

from embedder_assets.checks.data import RULES
from embedder_assets.checks.tokenization import models_read_queries
from embedder_assets.serving.client.session import TritonSession
from tests.support.factories import DENSE, SECOND, SPARSE, make_chunks, make_pipeline, make_queries

(DENSE_RULE,) = (rule for rule in RULES["dense_embeddings"] if rule.__name__ == "model_reads_text")
(SPARSE_RULE,) = (rule for rule in RULES["sparse_embeddings"] if rule.__name__ == "model_reads_text")


@pytest.fixture
def pipeline(tmp_path):
    return make_pipeline(tmp_path, dense_models=[DENSE, SECOND])


def fill(pipeline, *texts: str) -> None:
    pipeline.store.replace("chunks", "kb", make_chunks(*texts))


@pytest.mark.parametrize("rule", [DENSE_RULE, SPARSE_RULE, models_read_queries])
def test_what_is_read_is_not_mentioned(pipeline, rule):
    assert rule(pipeline, "kb") is None
    fill(pipeline, "a b c d e f g h i j k", "?size a b c d e f g h i j")
    pipeline.store.replace("queries", "kb", make_queries("a b", "c"))
    assert rule(pipeline, "kb") is None


def test_unknown_tokens_are_a_warning(pipeline):
    fill(pipeline, "?日 ?größer ?✓", "a b")
    finding = DENSE_RULE(pipeline, "kb")
    assert finding.level == "warning"
    of_model = (
        "60 % of the tokens of the chunks are unknown to model '{}', or single letters of words that are; it cannot "
        "read 50 % of the chunks: it was not made for this script"
    )
    assert finding.text == "; ".join(of_model.format(model) for model in (DENSE, SECOND))
    assert f"model '{SPARSE}'" in SPARSE_RULE(pipeline, "kb").text


def test_cut_texts_are_a_warning(pipeline):
    pipeline.triton.token_budgets[SECOND] = 3
    fill(pipeline, "a b c d", "a b")
    finding = DENSE_RULE(pipeline, "kb")
    assert finding == ("warning", f"50 % of the chunks are longer than model '{SECOND}' reads, and are cut there")


def test_unknown_queries_are_a_warning(pipeline):
    pipeline.store.replace("queries", "kb", make_queries("?日", "a b"))
    finding = models_read_queries(pipeline, "kb")
    assert finding.level == "warning"
    assert all(
        f"33 % of the tokens of the queries are unknown to model '{model}'" in finding.text for model in (DENSE, SPARSE)
    )
    pipeline.settings = pipeline.settings.model_copy(update={"enable_sparse": False})
    assert SPARSE not in models_read_queries(pipeline, "kb").text


def test_model_without_tokenizer_is_a_note(pipeline, tmp_path):
    fill(pipeline, "a b")
    pipeline.triton = TritonSession(pipeline.settings.model_copy(update={"model_repository": tmp_path / "models"}))
    finding = SPARSE_RULE(pipeline, "kb")
    assert finding == ("note", f"model '{SPARSE}': not known, the model repository has no tokenizer of it")
