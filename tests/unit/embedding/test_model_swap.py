"""Rows of several models side by side, replaced in one commit."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from embedder_assets.embedding.dense import DenseEncoder
from embedder_assets.embedding.keys import ModelVersion
from embedder_assets.embedding.stage import EmbeddingOutcome, EmbeddingStage
from embedder_assets.errors import InferenceError, TableError
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.staging import StagedFiles
from embedder_assets.tables.store import TableStore
from tests.support.embedding_rows import version
from tests.support.factories import (
    DENSE,
    SECOND,
    FakeTriton,
    chunk_id,
    dense_vector,
    make_chunks,
    make_meter,
    make_settings,
    second_vector,
    sha256,
)

A1, A2 = ModelVersion(DENSE, "a-1"), ModelVersion(DENSE, "a-2")
B1, B2 = ModelVersion(SECOND, "b-1"), ModelVersion(SECOND, "b-2")


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


def test_each_model_has_a_row_per_chunk(store, embed_all):
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


def test_only_a_joining_model_is_computed(store, embed_all):
    store.replace("chunks", "kb", make_chunks("one", "two"))
    embed_all([A1])
    triton = FakeTriton()
    outcomes = embed_all([A1, B1], triton=triton)
    assert ([outcome.computed for outcome in outcomes], len(triton.texts)) == ([0, 2], 2)
    leaving = FakeTriton()
    (outcome,) = embed_all([B1], triton=leaving)
    assert (leaving.requests, outcome.deleted, labels(store)) == ([], 2, {B1: 2})


def test_replaced_model_goes_in_the_same_commit(store, embed_all):
    store.replace("chunks", "kb", make_chunks("one", "two"))
    embed_all([A1])
    before = version(store)
    embed_all([B1, A2])
    assert (version(store), labels(store)) == (before + 1, {B1: 2, A2: 2})


def test_renamed_model_keeps_its_vectors(store, embed_all):
    store.replace("chunks", "kb", make_chunks("one", "two"))
    embed_all([A1])
    triton, asked = FakeTriton(), []
    embed_all([("renamed", "a-1")], triton=triton, allow_swap=lambda *_: asked.append("asked"))
    assert (triton.requests, labels(store), asked) == ([], {("renamed", "a-1"): 2}, [])


def test_each_model_has_its_coverage(store, embed_all, monkeypatch):
    store.replace("chunks", "kb", make_chunks("one", "two"))
    real = store.delete_and_insert

    def lossy(table, name, added, removed):
        return real(table, name, pl.concat(added)[:3], removed)

    monkeypatch.setattr(store, "delete_and_insert", lossy)
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
def test_only_a_replacing_model_is_gated(store, embed_all, old, new, asked):
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


def test_refused_model_stays_staged(store, embed_all):
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


def test_kill_before_the_commit_keeps_old_rows(store, embed_all, monkeypatch):
    store.replace("chunks", "kb", make_chunks("one", "two"))
    embed_all([A1])

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(store, "delete_and_insert", kill)
        with pytest.raises(Killed):
            embed_all([A2, B1])
    assert labels(store) == {A1: 2}
    triton = FakeTriton()
    embed_all([A2, B1], triton=triton)
    assert (triton.requests, labels(store)) == ([], {A2: 2, B1: 2})


def test_kill_after_the_commit_leaves_nothing_to_do(store, embed_all, monkeypatch):
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


def test_vanished_staged_values_publish_nothing(store, embed_all, tmp_path):
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


def test_rows_published_by_another_host_are_found(store, embed_all, tmp_path, monkeypatch):
    """It clears what is staged, so who looks into the table first finds them in neither place."""
    store.replace("chunks", "kb", make_chunks("one", "two"))
    stage = EmbeddingStage(store, FakeTriton(), make_settings(tmp_path), [DenseEncoder(*A1)])
    (pending,) = stage.prepare("kb", make_meter())
    read_table, read_staged = store.read, StagedFiles.read
    others = [lambda: embed_all([A1])]

    def then_the_other_publishes(found: pl.DataFrame) -> pl.DataFrame:
        if "embedding" in found.columns and others:
            others.pop()()
        return found

    monkeypatch.setattr(store, "read", lambda *a, **k: then_the_other_publishes(read_table(*a, **k)))
    monkeypatch.setattr(StagedFiles, "read", lambda *a, **k: then_the_other_publishes(read_staged(*a, **k)))
    rows = pl.concat(stage.missing_rows("kb", pending))
    assert (rows.height, others) == (2, [])


def test_publishing_keeps_a_candidates_staged_rows(store, embed_all, tmp_path):
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


def test_candidate_rows_publish_nothing(store, embed_all, tmp_path):
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
def test_no_version_mixes_fingerprints(steps):
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
                    patched.setattr(store, "delete_and_insert", _killed)
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


@pytest.mark.parametrize("earlier", ["dense-int8", "another"])
def test_changed_precision_is_said_once(embed_all, store, earlier):
    """Of two collections, before anything is computed, and not of rows that another model has made."""
    for name in ("kb", "docs"):
        store.replace("chunks", name, make_chunks("a", "b", collection=name))
    embed_all([ModelVersion(DENSE, earlier)], collections=("kb", "docs"))
    said: list[str] = []
    triton, meter = FakeTriton(), make_meter()
    meter.log_note = lambda sentence: said.append(f"{sentence} after {len(triton.requests)}")
    for _ in range(2):
        embed_all([ModelVersion(DENSE, "dense-1")], triton=triton, meter=meter, collections=("kb", "docs"))
    expected = [f"'{DENSE}' was dense-int8"] if earlier == "dense-int8" else []
    assert said == [f"{sentence} after 0" for sentence in expected]
    assert meter.record().notes == expected
