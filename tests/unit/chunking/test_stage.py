"""Chunks follow the documents: whatever happens to the files, the tables equal a rebuild."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder_assets.chunking import stage as chunk_stage
from embedder_assets.chunking.stage import ChunkOutcome, ChunkStage
from embedder_assets.corpus import deletion_guard, ingest_scan
from embedder_assets.corpus.collections import Collection
from embedder_assets.corpus.ingest import Ingest
from embedder_assets.errors import TableError
from embedder_assets.tables.store import TableStore
from tests.support.checkpoints import write_tokenizer
from tests.support.corpora.folder import STAGING_FAULTS, after_call, chunk, kill, row, rows_of, write
from tests.support.factories import make_settings


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    write_tokenizer(file)
    return file


def test_only_changes_or_a_new_budget_are_chunked(read, folder, store, tokenizer, tmp_path):
    home = tmp_path / "home"
    write(folder, a="# One\n\nsome words\n", b="# Two\n\nother words\n")
    read()
    assert chunk(home, tokenizer).documents_cut == 2
    assert chunk(home, tokenizer) == ChunkOutcome(rows=2, documents_cut=0, computed=0, deleted=0)
    write(folder, a="# One\n\nsome other words\n")
    read()
    assert chunk(home, tokenizer) == ChunkOutcome(rows=2, documents_cut=1, computed=1, deleted=1)
    assert chunk(home, tokenizer, max_tokens=40) == ChunkOutcome(rows=2, documents_cut=2, computed=2, deleted=2)
    (folder / "b.md").unlink()
    read()
    assert chunk(home, tokenizer, max_tokens=40) == ChunkOutcome(rows=1, documents_cut=0, computed=0, deleted=1)


def test_staged_chunks_of_a_killed_run_are_reused(read, folder, store, tokenizer, tmp_path, monkeypatch):
    write(folder, a="some words", b="other words")
    read()
    monkeypatch.setattr(chunk_stage, "ROWS_PER_STAGED_FILE", 1)
    with monkeypatch.context() as killed:
        killed.setattr(TableStore, "delete_and_insert", kill)
        with pytest.raises(KeyboardInterrupt):
            chunk(tmp_path / "home", tokenizer)
    outcome = chunk(tmp_path / "home", tokenizer)
    assert (outcome.rows, outcome.documents_cut, outcome.computed) == (2, 2, 0)


@pytest.mark.parametrize("break_staging", STAGING_FAULTS)
@pytest.mark.parametrize("earlier", ["some rows", "no rows"])
def test_lost_staged_chunks_publish_nothing(read, folder, tokenizer, monkeypatch, tmp_path, break_staging, earlier):
    monkeypatch.setattr(chunk_stage, "ROWS_PER_STAGED_FILE", 2)
    home = tmp_path / "home"
    texts = {f"d{number}": f"text {number}" for number in range(6)}
    if earlier == "some rows":
        write(folder, **texts)
        read()
        chunk(home, tokenizer)
    write(folder, **{name: f"{text} edited" for name, text in texts.items()})
    read()
    before = rows_of(home, "chunks")
    with monkeypatch.context() as patched:
        patched.setattr(ChunkStage, "_cut", after_call(ChunkStage._cut, lambda: break_staging(home, "chunks")))
        with pytest.raises(TableError, match=r"staged chunks of collection 'kb'.*6 rows.*staging/chunks/kb.*Run again"):
            chunk(home, tokenizer)
    assert rows_of(home, "chunks").equals(before)
    assert chunk(home, tokenizer).rows == 6


def test_deletion_during_chunking_costs_no_document(read, folder, store, tokenizer, tmp_path):
    write(folder, a="one", b="two", c="three")
    read()
    with pytest.MonkeyPatch.context() as patched:
        real = ChunkStage._cut

        def goes(self, *args):
            store.delete_and_insert(
                "documents", "kb", [], store.read("documents", "kb", where=pl.col("doc_id") == "b.md").select("doc_id")
            )
            return real(self, *args)

        patched.setattr(ChunkStage, "_cut", goes)
        assert chunk(tmp_path / "home", tokenizer).rows == 2


def test_text_renamed_to_markdown_is_chunked_as_markdown(read, folder, store, tokenizer, tmp_path):
    text = "# One\n\nsome words\n"
    (folder / "corpus.jsonl").write_text(json.dumps({"_id": "a.md", "text": text}) + "\n" + row("b"), "utf-8")
    read()
    chunk(tmp_path / "home", tokenizer)
    (folder / "corpus.jsonl").unlink()
    write(folder, a=text)
    read()
    assert chunk(tmp_path / "home", tokenizer) == ChunkOutcome(rows=1, documents_cut=1, computed=1, deleted=2)
    assert store.read("chunks", "kb")["heading"].to_list() == ["One"]


def test_moved_pages_cut_anew_without_new_texts(read, folder, store, tokenizer, tmp_path):
    write(folder, a="# One\n\nsome words\n", b="# Two\n\nother words\n")
    read()
    chunk(tmp_path / "home", tokenizer)
    before = store.read("chunks", "kb").sort("doc_id")
    assert before["page"].null_count() == 2
    paged = pl.when(pl.col("doc_id") == "a.md").then(pl.lit([0, 7])).otherwise(pl.col("pages"))
    store.replace("documents", "kb", store.read("documents", "kb").with_columns(pages=paged))
    assert chunk(tmp_path / "home", tokenizer) == ChunkOutcome(rows=2, documents_cut=1, computed=1, deleted=1)
    after = store.read("chunks", "kb").sort("doc_id")
    assert after.select("page", "last_page").rows() == [(1, 2), (None, None)]
    assert after.select("chunk_id", "content_sha256").equals(before.select("chunk_id", "content_sha256"))
    assert chunk(tmp_path / "home", tokenizer).documents_cut == 0


# Any sequence of changes
names = st.sampled_from(["a.md", "b.md", "deep/c.md", "d.txt"])
texts = st.sampled_from(["# One\n\nwords\n", "# Two\n\nmany more words here\n\n## Part\n\nand again\n", "plain", ""])
operation = st.one_of(
    st.tuples(st.just("write"), names, texts),
    st.tuples(st.just("delete"), names, st.just("")),
    st.tuples(st.just("move"), names, names),
)
step = st.tuples(st.lists(operation, min_size=1, max_size=4), st.sampled_from(["ok", "ok", "killed"]))


@settings(max_examples=30, deadline=None)
@given(st.lists(step, min_size=1, max_size=6))
def test_any_sequence_of_changes_equals_a_rebuild(tokenizer, steps):
    """Edits, additions, renames, deletions, runs between them, some killed: the tables are those of the last files."""
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as small:
        small.setattr("embedder_assets.tables.store.MERGE_ROWS", 2)
        small.setattr(ingest_scan, "ROWS_PER_STAGED_FILE", 2)
        folder, home = Path(place) / "corpus" / "kb", Path(place) / "home"
        folder.mkdir(parents=True)
        for operations, fate in [*steps, ([], "ok")]:
            for what, name, other in operations:
                _apply(folder, what, name, other)
            with pytest.MonkeyPatch.context() as patched:
                if fate == "killed":
                    patched.setattr(TableStore, "delete_and_insert", kill)
                try:
                    _update(folder, home, tokenizer)
                except KeyboardInterrupt:
                    continue
        for file in [file for file in folder.rglob("*") if file.is_file() and not file.read_text().strip()]:
            # A document that turned empty keeps its earlier version, which no rebuild can know.
            file.unlink()
        _update(folder, home, tokenizer)
        _update(folder, Path(place) / "fresh", tokenizer)
        for table in ("documents", "chunks"):
            grown, fresh = (rows_of(Path(place) / name, table) for name in ("home", "fresh"))
            assert grown.equals(fresh), table


def _apply(folder: Path, what: str, name: str, other: str) -> None:
    file = folder / name
    if what == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(other, "utf-8")
    elif file.exists() and what == "delete":
        file.unlink()
    elif file.exists() and what == "move":
        (folder / other).parent.mkdir(exist_ok=True)
        shutil.move(file, folder / other)


def _update(folder: Path, home: Path, tokenizer: Path) -> None:
    chosen = make_settings(home, max_lost_share=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deletion_guard, "MAX_UNUSABLE_SHARE", 1)
        Ingest(TableStore(home), chosen, Collection("kb", folder, True)).run()
    chunk(home, tokenizer)
