import contextlib
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from embedder_assets.embedding import stage as embed
from embedder_assets.embedding.dense import DenseEncoder
from embedder_assets.embedding.sparse import SparseEncoder
from embedder_assets.embedding.stage import EmbeddingOutcome, EmbeddingStage
from embedder_assets.errors import InferenceError, TableError
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.staging import StagedFiles
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
    make_settings,
    second_vector,
    sha256,
    term,
)


@pytest.fixture
def store(tmp_path) -> TableStore:
    return TableStore(tmp_path)


@pytest.fixture
def update(store, tmp_path):
    """Makes some chunks the collection's, embeds what is missing, and returns the outcome."""

    def run(chunks, triton=None, *, meter=None, fingerprint="dense-1", encoder=None, **settings) -> EmbeddingOutcome:
        store.replace("chunks", "kb", chunks)
        encoder = encoder or DenseEncoder(DENSE, fingerprint)
        stage = EmbeddingStage(store, triton or FakeTriton(), make_settings(tmp_path, **settings), [encoder])
        return stage.run("kb", meter or make_meter())[0]

    return run


def version(store: TableStore) -> int:
    return DeltaTable(str(store.path("dense_embeddings"))).version()


def keys(store: TableStore, table: str = "dense_embeddings") -> set[tuple[str, str, str]]:
    rows = store.read(table, "kb", ["chunk_id", "content_sha256", "model_fingerprint"])
    assert not rows.is_duplicated().any()
    return set(rows.iter_rows())


def key(index: int, text: str, doc_id: str = "a.md", fingerprint: str = "dense-1") -> tuple[str, str, str]:
    return chunk_id(doc_id, index), sha256(text), fingerprint


def test_every_chunk_gets_the_vector_of_its_text(store, update):
    outcome = update(make_chunks("one", "two"))
    assert outcome == EmbeddingOutcome(rows=2, computed=2, reused=0, deleted=0, coverage=1.0)
    vectors = dict(store.read("dense_embeddings", "kb", ["content_sha256", "embedding"]).iter_rows())
    assert vectors == {sha256(text): pytest.approx(dense_vector(text).tolist()) for text in ("one", "two")}
    assert keys(store) == {key(0, "one"), key(1, "two")}
    assert store.read("dense_embeddings", "kb")["model"].unique().to_list() == [DENSE]


def test_nothing_missing_needs_no_inference_and_no_commit(store, update):
    update(make_chunks("one", "two"))
    triton, meter = FakeTriton(), make_meter()
    files = sorted(store.path("dense_embeddings").rglob("*"))
    outcome = update(make_chunks("one", "two"), triton, meter=meter)
    assert outcome == EmbeddingOutcome(rows=2, computed=0, reused=2, deleted=0, coverage=1.0)
    assert (triton.requests, meter.record().batch_latencies_s) == ([], [])
    assert sorted(store.path("dense_embeddings").rglob("*")) == files


def test_equal_texts_are_computed_once(store, update):
    triton, meter = FakeTriton(), make_meter()
    outcome = update(make_chunks("same", "other", "same"), triton, meter=meter)
    assert sorted(triton.texts) == ["other", "same"]
    assert (outcome.rows, outcome.computed, outcome.reused) == (3, 2, 1)
    assert meter.record().items == {"computed": 2, "reused": 1}
    assert keys(store) == {key(0, "same"), key(1, "other"), key(2, "same")}


def test_an_edited_chunk_alone_is_computed_and_its_old_row_deleted(store, update):
    update(make_chunks("one", "two", "three"))
    triton = FakeTriton()
    outcome = update(make_chunks("one", "two edited", "three"), triton)
    assert triton.texts == ["two edited"]
    assert outcome == EmbeddingOutcome(rows=3, computed=1, reused=2, deleted=1, coverage=1.0)
    assert keys(store) == {key(0, "one"), key(1, "two edited"), key(2, "three")}


def test_a_renamed_document_costs_no_inference(store, update):
    update(make_chunks("one", "two"))
    before = dict(store.read("dense_embeddings", "kb", ["content_sha256", "embedding"]).iter_rows())
    triton = FakeTriton()
    outcome = update(make_chunks("one", "two", doc_id="b.md"), triton)
    assert (triton.requests, outcome.deleted, outcome.coverage) == ([], 2, 1.0)
    assert keys(store) == {key(0, "one", "b.md"), key(1, "two", "b.md")}
    assert dict(store.read("dense_embeddings", "kb", ["content_sha256", "embedding"]).iter_rows()) == before


def test_swapped_chunks_swap_their_vectors_without_inference(store, update):
    update(make_chunks("one", "two"))
    triton = FakeTriton()
    update(make_chunks("two", "one"), triton)
    assert triton.requests == []
    assert keys(store) == {key(0, "two"), key(1, "one")}


def test_a_removed_document_leaves_no_row(store, update):
    update(make_chunks("one", "two"))
    outcome = update(make_chunks())
    assert outcome == EmbeddingOutcome(rows=0, computed=0, reused=0, deleted=2, coverage=1.0)
    assert keys(store) == set()


def test_another_fingerprint_computes_all_anew_and_drops_the_old_rows(store, update):
    update(make_chunks("one", "two"))
    triton = FakeTriton()
    outcome = update(make_chunks("one", "two"), triton, fingerprint="dense-2")
    assert sorted(triton.texts) == ["one", "two"]
    assert (outcome.computed, outcome.deleted) == (2, 2)
    assert keys(store) == {key(0, "one", fingerprint="dense-2"), key(1, "two", fingerprint="dense-2")}


def test_a_swap_takes_one_commit_and_an_update_too(store, update):
    update(make_chunks("one", "two"))
    before = version(store)
    update(make_chunks("one", "two edited"))
    assert version(store) == before + 1
    update(make_chunks("one", "three edited"), fingerprint="dense-2")
    assert version(store) == before + 2


def test_other_collections_keep_their_rows(store, update):
    update(make_chunks("one"))
    row = store.read("dense_embeddings", "kb").with_columns(collection=pl.lit("other"))
    store.append("dense_embeddings", row)
    update(make_chunks("changed"))
    assert store.read("dense_embeddings", "other").equals(row)


def test_a_failure_leaves_the_table_untouched_and_the_next_run_computes_only_the_rest(store, update, monkeypatch):
    monkeypatch.setattr(embed, "REQUESTS_A_COMMIT", 2)
    update(make_chunks("old"))
    texts = [f"text {number}" for number in range(7)]
    failing = FakeTriton(fail_at=5)
    with pytest.raises(InferenceError):
        update(make_chunks(*texts), failing, request_batch_size=1)
    assert keys(store) == {key(0, "old")}
    triton = FakeTriton()
    outcome = update(make_chunks(*texts), triton, request_batch_size=1)
    # Of five answers, four were kept: two commits of two.
    assert sorted(triton.texts) == sorted(set(texts) - set(failing.texts[:4]))
    assert (len(triton.texts), outcome.computed, outcome.coverage) == (3, 3, 1.0)
    assert keys(store) == {key(number, text) for number, text in enumerate(texts)}


def test_nothing_stays_staged_after_a_run_that_ended_well(update, tmp_path):
    update(make_chunks("one", "two"))
    assert list((tmp_path / "staging").rglob("*.parquet")) == []


def test_staged_vectors_of_another_model_are_not_used(update, store, monkeypatch):
    monkeypatch.setattr(embed, "REQUESTS_A_COMMIT", 1)
    with pytest.raises(InferenceError):
        update(make_chunks("one", "two"), FakeTriton(fail_at=1), request_batch_size=1)
    triton = FakeTriton()
    update(make_chunks("one", "two"), triton, fingerprint="dense-2")
    assert sorted(triton.texts) == ["one", "two"]


def test_requests_are_no_larger_than_allowed_and_the_longest_texts_come_first(update):
    triton, meter = FakeTriton(), make_meter()
    texts = ["a", "a b c d", "a b", "a b c", "a b c d e"]
    update(make_chunks(*texts), triton, meter=meter, request_batch_size=2)
    assert [len(rows) for rows in triton.requests] == [2, 2, 1]
    assert triton.texts == sorted(texts, key=len, reverse=True)
    assert (meter.record().batch_size, meter.record().batch_latencies_s) == (2, [0.01] * 3)


def test_progress_ends_at_all_texts(update):
    seen = []
    meter = embed.StageMeter("dense", ["kb"], report=lambda *step: seen.append(step))
    update(make_chunks("one", "two", "three"), meter=meter, request_batch_size=2)
    assert sorted(set(seen)) == seen[:2] == [("dense", "kb", 2, 3), ("dense", "kb", 3, 3)]


def test_an_answer_that_the_encoder_refuses_writes_nothing(store, update, monkeypatch):
    monkeypatch.setattr("tests.support.factories.dense_vector", lambda text: 2 * dense_vector(text))
    with pytest.raises(InferenceError, match="vectors of length 1"):
        update(make_chunks("one"))
    assert not store.exists("dense_embeddings")


def test_sparse_rows_go_the_same_way(store, update):
    encoder = SparseEncoder(SPARSE, "sparse-1")
    update(make_chunks("red apple"), encoder=encoder)
    row = store.read("sparse_embeddings", "kb").row(0, named=True)
    assert set(row["indices"]) == {term("red"), term("apple")}
    assert (row["values"], row["source"], row["model_fingerprint"]) == ([1.0, 1.0], "model", "sparse-1")
    triton = FakeTriton()
    update(make_chunks("red apple", "red apple"), triton, encoder=encoder)
    assert (triton.requests, len(keys(store, "sparse_embeddings"))) == ([], 2)


# Texts on which a model fails though they are alone


def listed(store: TableStore) -> list[tuple[str, str, str]]:
    return store.read("inference_issues", "kb", ["stage", "chunk_id", "model"]).sort("stage", "chunk_id").rows()


def test_a_text_that_fails_is_left_out_and_listed_and_the_rest_is_there(store, update):
    meter = make_meter()
    outcome = update(
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


def test_the_vectors_of_the_other_texts_are_their_own(store, update):
    update(make_chunks("a b c", "poison", "a"), FakeTriton(poison=["poison"]))
    vectors = dict(store.read("dense_embeddings", "kb", ["content_sha256", "embedding"]).iter_rows())
    assert vectors == {sha256(text): pytest.approx(dense_vector(text).tolist()) for text in ("a b c", "a")}


def test_every_chunk_of_a_text_that_fails_is_listed(store, update):
    meter = make_meter()
    outcome = update(make_chunks("poison", "one", "poison"), FakeTriton(poison=["poison"]), meter=meter)
    assert {chunk for _, chunk, _ in listed(store)} == {chunk_id("a.md", 0), chunk_id("a.md", 2)}
    assert (outcome.computed, outcome.reused, outcome.failed) == (1, 0, 2)
    assert meter.record().items == {"computed": 1, "reused": 0, "failed": 2}


def test_the_next_run_tries_what_failed_again_and_only_that(store, update):
    chunks = make_chunks("one", "poison")
    update(chunks, FakeTriton(poison=["poison"]))
    still = FakeTriton(poison=["poison"])
    update(chunks, still)
    assert (still.texts, len(listed(store))) == (["poison"], 1)
    mended = FakeTriton()
    outcome = update(chunks, mended)
    assert (mended.texts, listed(store)) == (["poison"], [])
    assert outcome == EmbeddingOutcome(rows=2, computed=1, reused=1, deleted=0, coverage=1.0)


def test_a_text_that_fails_and_is_edited_away_is_not_listed_any_more(store, update):
    update(make_chunks("one", "poison"), FakeTriton(poison=["poison"]))
    update(make_chunks("one", "harmless"), FakeTriton(poison=["poison"]))
    assert listed(store) == []


def test_a_run_without_failures_makes_no_table_of_them(store, update):
    update(make_chunks("one"))
    assert not store.exists("inference_issues")


def test_a_stage_keeps_what_another_has_listed(store, update):
    chunks, triton = make_chunks("one", "poison"), FakeTriton(poison=["poison"])
    update(chunks, triton)
    update(chunks, triton, encoder=SparseEncoder(SPARSE, "sparse-1"))
    failed = chunk_id("a.md", 1)
    assert listed(store) == [("dense", failed, DENSE), ("sparse", failed, SPARSE)]
    assert len(keys(store, "sparse_embeddings")) == 1
    update(chunks, FakeTriton())
    assert listed(store) == [("sparse", failed, SPARSE)]


def test_where_every_chunk_fails_it_is_not_the_texts(store, update):
    update(make_chunks("one"))
    with pytest.raises(InferenceError, match=r"each of 2, for example: a failure"):
        update(make_chunks("two", "three"), FakeTriton(poison=["two", "three"]))
    assert keys(store) == {key(0, "one")}
    assert not store.exists("inference_issues")


def test_a_model_that_is_swapped_in_publishes_without_what_it_fails_on(store, update):
    update(make_chunks("one", "poison"))
    update(make_chunks("one", "poison"), FakeTriton(poison=["poison"]), fingerprint="dense-2")
    assert keys(store) == {key(0, "one", fingerprint="dense-2")}
    assert len(listed(store)) == 1


def test_candidate_rows_leave_out_what_the_model_fails_on(store, tmp_path):
    store.replace("chunks", "kb", make_chunks("one", "poison"))
    triton = FakeTriton(poison=["poison"])
    stage = EmbeddingStage(store, triton, make_settings(tmp_path), [DenseEncoder(DENSE, "dense-1")])
    assert pl.concat(stage.candidate_rows("kb", make_meter()))["chunk_id"].to_list() == [chunk_id("a.md", 0)]
    assert not store.exists("inference_issues")


# Model swaps: rows of several models side by side, replaced in one commit


class Killed(BaseException):
    """Ends a run at once, as a signal does."""


@pytest.fixture
def embed_all(store, tmp_path):
    """Makes some models' rows the only ones of some collections, as a run of these settings does."""

    def embed_all(models, *, triton=None, allow_swap=None, collections=("kb",), meter=None) -> list[EmbeddingOutcome]:
        settings = make_settings(tmp_path, request_batch_size=1)
        encoders = [DenseEncoder(*model) for model in models]
        stage = EmbeddingStage(store, triton or FakeTriton(), settings, encoders, allow_swap)
        return [outcome for name in collections for outcome in stage.run(name, meter or make_meter())]

    return embed_all


def labels(store: TableStore, collection: str = "kb") -> dict[tuple[str, str], int]:
    """Rows by model name and fingerprint."""
    rows = store.read("dense_embeddings", collection)
    assert not rows.select("chunk_id", "model", "model_fingerprint").is_duplicated().any()
    return {
        (model, print_): count for model, print_, count in rows.group_by("model", "model_fingerprint").len().iter_rows()
    }


A1, A2, B1, B2 = (DENSE, "a-1"), (DENSE, "a-2"), (SECOND, "b-1"), (SECOND, "b-2")


def test_several_models_have_a_row_of_every_chunk_each(store, embed_all):
    store.replace("chunks", "kb", make_chunks("one", "two", "one"))
    meter = make_meter()
    outcomes = embed_all([A1, B1], meter=meter)
    assert labels(store) == {A1: 3, B1: 3}
    assert outcomes == [EmbeddingOutcome(rows=3, computed=2, reused=1, deleted=0, coverage=1.0)] * 2
    assert meter.record().items == {"computed": 4, "reused": 2}
    vectors = {
        (model, text): vector
        for model, text, vector in store.read("dense_embeddings", "kb", ["model", "content_sha256", "embedding"]).rows()
    }
    assert vectors[DENSE, sha256("two")] == pytest.approx(dense_vector("two").tolist())
    assert vectors[SECOND, sha256("two")] == pytest.approx(second_vector("two").tolist())


def test_a_model_that_joins_costs_its_own_inference_only_and_one_that_leaves_none(store, embed_all):
    store.replace("chunks", "kb", make_chunks("one", "two"))
    embed_all([A1])
    triton = FakeTriton()
    outcomes = embed_all([A1, B1], triton=triton)
    assert ([outcome.computed for outcome in outcomes], len(triton.texts)) == ([0, 2], 2)
    leaving = FakeTriton()
    (outcome,) = embed_all([B1], triton=leaving)
    assert (leaving.requests, outcome.deleted, labels(store)) == ([], 2, {B1: 2})


def test_a_replaced_model_goes_in_the_commit_that_completes_the_new_set(store, embed_all):
    store.replace("chunks", "kb", make_chunks("one", "two"))
    embed_all([A1])
    before = version(store)
    embed_all([B1, A2])
    assert (version(store), labels(store)) == (before + 1, {B1: 2, A2: 2})


def test_a_model_under_a_new_name_keeps_its_vectors_without_inference(store, embed_all):
    store.replace("chunks", "kb", make_chunks("one", "two"))
    embed_all([A1])
    triton, asked = FakeTriton(), []
    embed_all([("renamed", "a-1")], triton=triton, allow_swap=lambda *_: asked.append("asked"))
    assert (triton.requests, labels(store), asked) == ([], {("renamed", "a-1"): 2}, [])


def test_each_model_has_its_coverage(store, embed_all, monkeypatch):
    store.replace("chunks", "kb", make_chunks("one", "two"))
    real = store.exchange

    def lossy(table, name, added, removed):
        return real(table, name, pl.concat(added)[:3], removed)

    monkeypatch.setattr(store, "exchange", lossy)
    outcomes = embed_all([A1, B1])
    assert [outcome.coverage for outcome in outcomes] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("old", "new", "asked"),
    [
        ([], [A1], []),
        ([A1], [A1], []),
        ([A1], [A2], [A2]),
        ([A1], [B1], [B1]),
        ([A1], [A1, B1], []),
        ([A1, B1], [A1], []),
        ([A1, B1], [A1, B2], [B2]),
        ([A1, B1], [A2, B2], [A2, B2]),
        ([A1], [B1, A2], [B1, A2]),
    ],
)
def test_the_gate_is_asked_only_about_a_replaced_model(store, embed_all, old, new, asked):
    store.replace("chunks", "kb", make_chunks("one", "two"))
    if old:
        embed_all(old)
    store.replace("chunks", "kb", make_chunks("one", "two edited", "three"))
    seen = []

    def allow_swap(encoder: DenseEncoder, collection: str, frames: Iterable[pl.DataFrame]) -> None:
        rows = pl.concat(frames)
        assert labels(store) == dict.fromkeys(old, 2)
        assert (collection, rows.columns) == ("kb", list(SCHEMAS["dense_embeddings"]))
        assert set(rows["content_sha256"]) == {sha256(text) for text in ("one", "two edited", "three")}
        seen.extend(rows.select("model", "model_fingerprint").unique().rows())

    embed_all(new, allow_swap=allow_swap)
    assert seen == asked
    assert labels(store) == dict.fromkeys(new, 3)


def test_a_refused_model_publishes_nothing(store, embed_all):
    store.replace("chunks", "kb", make_chunks("one", "two"))
    embed_all([A1, B1])
    before = version(store)

    def refuse(encoder: DenseEncoder, collection: str, rows: pl.DataFrame) -> None:
        raise InferenceError("the model", expected="a better one", got="a worse one", remedy="Keep the old one.")

    with pytest.raises(InferenceError, match="a worse one"):
        embed_all([A1, B2], allow_swap=refuse)
    assert (version(store), labels(store)) == (before, {A1: 2, B1: 2})
    triton = FakeTriton()
    embed_all([A1, B2], triton=triton)
    assert (triton.requests, labels(store)) == ([], {A1: 2, B2: 2})


def test_a_kill_before_the_commit_leaves_the_old_rows_and_the_next_run_computes_nothing(store, embed_all, monkeypatch):
    store.replace("chunks", "kb", make_chunks("one", "two"))
    embed_all([A1])

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(store, "exchange", kill)
        with pytest.raises(Killed):
            embed_all([A2, B1])
    assert labels(store) == {A1: 2}
    triton = FakeTriton()
    embed_all([A2, B1], triton=triton)
    assert (triton.requests, labels(store)) == ([], {A2: 2, B1: 2})


def test_a_kill_after_the_commit_leaves_nothing_to_do(store, embed_all, monkeypatch):
    store.replace("chunks", "kb", make_chunks("one", "two"))
    embed_all([A1])

    def kill(_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(StagedFiles, "clear", kill)
        with pytest.raises(Killed):
            embed_all([A2])
    before, triton = version(store), FakeTriton()
    assert labels(store) == {A2: 2}
    embed_all([A2], triton=triton)
    assert (triton.requests, version(store)) == ([], before)


def test_staged_values_that_vanish_before_the_commit_publish_nothing(store, embed_all, tmp_path):
    store.replace("chunks", "kb", make_chunks("one", "two"))
    embed_all([A1])

    class Careless(FakeTriton):
        def infer_many(self, model, requests, **options):
            yield from super().infer_many(model, requests, **options)
            if model == SECOND:
                shutil.rmtree(tmp_path / "staging" / "dense_embeddings" / "kb" / "a-2")

    with pytest.raises(TableError, match=r"a value for each of 2 chunks, got 0.*Run again"):
        embed_all([A2, B1], triton=Careless())
    assert labels(store) == {A1: 2}
    embed_all([A2, B1])
    assert labels(store) == {A2: 2, B1: 2}


def test_rows_that_another_host_publishes_between_two_looks_are_found(store, embed_all, tmp_path, monkeypatch):
    """It clears what is staged, so who looks into the table first finds them in neither place."""
    store.replace("chunks", "kb", make_chunks("one", "two"))
    stage = EmbeddingStage(store, FakeTriton(), make_settings(tmp_path), [DenseEncoder(*A1)])
    (prepared,) = stage.prepare("kb", make_meter())
    read_table, read_staged = store.read, StagedFiles.read
    others = [lambda: embed_all([A1])]

    def then_the_other_publishes(found: pl.DataFrame) -> pl.DataFrame:
        if "embedding" in found.columns and others:
            others.pop()()
        return found

    monkeypatch.setattr(store, "read", lambda *a, **k: then_the_other_publishes(read_table(*a, **k)))
    monkeypatch.setattr(StagedFiles, "read", lambda *a, **k: then_the_other_publishes(read_staged(*a, **k)))
    rows = pl.concat(stage.missing_rows("kb", prepared))
    assert (rows.height, others) == (2, [])


def test_publishing_one_model_leaves_what_is_staged_of_a_candidate(store, embed_all, tmp_path):
    store.replace("chunks", "kb", make_chunks("one", "two"))
    settings, triton = make_settings(tmp_path), FakeTriton()
    candidate = EmbeddingStage(store, triton, settings, [DenseEncoder(*B1)])
    rows = pl.concat(candidate.candidate_rows("kb", make_meter()))
    assert not store.exists("dense_embeddings")
    embed_all([A1])
    again = FakeTriton()
    embed_all([B1], triton=again)
    assert (again.requests, labels(store)) == ([], {B1: 2})
    published = store.read("dense_embeddings", "kb")
    assert_frame_equal(published, rows, check_row_order=False)


def test_candidate_rows_come_from_table_staging_and_model_and_nothing_is_published(store, embed_all, tmp_path):
    store.replace("chunks", "kb", make_chunks("published"))
    embed_all([A1])
    store.replace("chunks", "kb", make_chunks("published", "staged"))
    EmbeddingStage(store, FakeTriton(), make_settings(tmp_path), [DenseEncoder(*A1)]).prepare("kb", make_meter())
    store.replace("chunks", "kb", make_chunks("published", "staged", "computed", "staged"))
    before, triton = version(store), FakeTriton()
    stage = EmbeddingStage(store, triton, make_settings(tmp_path), [DenseEncoder(*A1)])
    rows = pl.concat(stage.candidate_rows("kb", make_meter()))
    assert (triton.texts, version(store)) == (["computed"], before)
    assert rows.schema == SCHEMAS["dense_embeddings"]
    assert rows.height == rows["chunk_id"].n_unique() == 4
    by_chunk = dict(rows.select("chunk_id", "embedding").iter_rows())
    for index, text in enumerate(("published", "staged", "computed", "staged")):
        assert by_chunk[chunk_id("a.md", index)] == pytest.approx(dense_vector(text).tolist())


words = st.sampled_from(["one", "two", "three", "four"])
a_set = st.sampled_from([[A1], [A2], [B1], [A1, B1], [B2, A1], [A2, B2]])
steps = st.lists(st.tuples(a_set, st.lists(words, max_size=4), st.sampled_from(["ok", "killed", "failed"])), max_size=6)


@settings(max_examples=25, deadline=None)
@given(steps)
def test_no_version_of_the_table_ever_mixes_fingerprints_or_holds_half_a_set(steps):
    """Any sequence of swaps, edits, kills and failures: each version is the whole set of one step that ended well."""
    with tempfile.TemporaryDirectory() as folder:
        store, home = TableStore(Path(folder)), Path(folder)
        whole = [{}]
        for models, texts, fate in steps:
            store.replace("chunks", "kb", make_chunks(*texts))
            triton = FakeTriton(fail_at=1 if fate == "failed" else None)
            chosen = make_settings(home, request_batch_size=1)
            stage = EmbeddingStage(store, triton, chosen, [DenseEncoder(*model) for model in models])
            with pytest.MonkeyPatch.context() as patched, contextlib.suppress(Killed, InferenceError):
                if fate == "killed":
                    patched.setattr(store, "exchange", _killed)
                stage.run("kb", make_meter())
                whole.append(
                    {(*model, chunk_id("a.md", n), sha256(text)) for model in models for n, text in enumerate(texts)}
                )
        if store.exists("dense_embeddings"):
            for number in range(version(store) + 1):
                rows = pl.read_delta(store.path("dense_embeddings"), version=number)
                found = rows.select("model", "model_fingerprint", "chunk_id", "content_sha256").rows()
                assert len(found) == len(set(found))
                assert set(found) in [set(each) for each in whole]
                assert rows.group_by("model").agg(pl.col("model_fingerprint").n_unique())[
                    "model_fingerprint"
                ].to_list() in ([], [1], [1, 1])


def _killed(*_: object) -> None:
    raise Killed
