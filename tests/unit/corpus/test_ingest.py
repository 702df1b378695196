"""Documents follow the files of a folder: what changed is extracted, and the rest stays."""

from __future__ import annotations

import json
import os
from pathlib import Path

import polars as pl
import pytest

from embedder_assets.corpus import ingest_scan
from embedder_assets.corpus.collections import Collection
from embedder_assets.corpus.deletion_guard import FEW
from embedder_assets.corpus.ingest import Ingest
from embedder_assets.errors import TableError
from embedder_assets.tables.store import TableStore
from tests.support.corpora.deep import nest
from tests.support.corpora.folder import STAGING_FAULTS, after_call, doc_ids, kill, row, rows_of, write
from tests.support.factories import make_settings


@pytest.fixture
def extracted(monkeypatch) -> list[str]:
    """The texts that were extracted, in their order."""
    seen: list[str] = []
    real = ingest_scan.IngestScan.document

    def document(self, source, document):
        seen.append(document.text)
        real(self, source, document)

    monkeypatch.setattr(ingest_scan.IngestScan, "document", document)
    return seen


# Progress


def test_every_source_is_counted(folder, store, tmp_path):
    write(folder, a="one", b="two", c="three")
    seen: list[tuple[int, int, int]] = []
    settings, collection = make_settings(tmp_path / "home"), Collection("kb", folder, True)
    for _ in range(2):  # what has not changed is counted too
        Ingest(store, settings, collection, lambda *counts: seen.append(counts)).run()
    assert seen == [(1, 3, 0), (2, 3, 0), (3, 3, 0)] * 2


def test_rows_of_one_file_have_no_total(folder, store, tmp_path):
    (folder / "corpus.jsonl").write_text('{"_id": "1", "text": "one"}\n{"_id": "2", "text": "two"}', "utf-8")
    seen: list[tuple[int, int, int]] = []
    Ingest(store, make_settings(tmp_path), Collection("kb", folder, True), lambda *counts: seen.append(counts)).run()
    assert seen == [(1, 0, 0), (2, 0, 0)]


# What changed


def test_only_what_changed_is_extracted(read, folder, store, extracted):
    write(folder, a="one", b="two")
    assert read().extracted == 2
    del extracted[:]
    assert (read().extracted, extracted) == (0, [])
    write(folder, a="one more", c="three")
    outcome = read()
    assert (outcome.extracted, outcome.rows, sorted(extracted)) == (2, 3, ["one more", "three"])
    assert dict(store.read("documents", "kb").select("doc_id", "text").iter_rows()) == {
        "a.md": "one more",
        "b.md": "two",
        "c.md": "three",
    }


def test_new_extraction_rules_extract_everything(read, folder, store, monkeypatch):
    write(folder, a="one", b="two")
    read()
    monkeypatch.setattr("embedder_assets.corpus.extract.source.EXTRACTION_VERSION", "other")
    assert read().extracted == 2
    assert (store.count("documents", "kb"), set(store.read("documents", "kb")["extraction"])) == (2, {"other"})


def test_moved_documents_are_no_deletions(read, folder, store):
    write(folder, **{f"d{number}": f"text {number}" for number in range(FEW + 5)})
    read()
    (folder / "deep").mkdir()
    for file in folder.glob("*.md"):
        file.rename(folder / "deep" / file.name)
    outcome = read()
    assert (outcome.moved, outcome.deleted, outcome.rows) == (FEW + 5, 0, FEW + 5)
    assert doc_ids(store)[0] == "deep/d0.md"


def test_deleted_document_loses_its_row(read, folder, store):
    write(folder, a="one", b="two")
    read()
    (folder / "a.md").unlink()
    assert (read().deleted, doc_ids(store)) == (1, ["b.md"])


def test_only_an_edit_is_committed(read, folder, store):
    from deltalake import DeltaTable

    write(folder, a="one", b="two")
    read()
    write(folder, a="edited")
    (folder / "b.md").unlink()
    read()
    assert DeltaTable(str(store.path("documents"))).version() == 1
    read()
    assert DeltaTable(str(store.path("documents"))).version() == 1


def test_run_after_a_kill_resumes(read, folder, store, extracted, monkeypatch):
    monkeypatch.setattr(ingest_scan, "ROWS_PER_STAGED_FILE", 1)
    write(folder, a="one", b="two", c="three")
    with monkeypatch.context() as killed:
        killed.setattr(TableStore, "delete_and_insert", kill)
        with pytest.raises(KeyboardInterrupt):
            read()
    assert not store.exists("documents")
    del extracted[:]
    write(folder, b="two edited")
    assert read().rows == 3
    assert extracted == ["two edited"]
    assert sorted(store.read("documents", "kb")["text"]) == ["one", "three", "two edited"]


def test_move_below_the_longest_path_counts(read, folder, store):
    write(folder, a="one", plan="the plan")
    read()
    inner = nest(folder, 30, ["new.md"], "new")
    os.rename(folder / "plan.md", "plan.md", dst_dir_fd=inner)
    os.close(inner)
    outcome = read()
    assert (outcome.moved, outcome.deleted, outcome.issues.height) == (1, 0, 0)
    assert [Path(doc_id).name for doc_id in doc_ids(store)] == ["new.md", "plan.md", "a.md"]
    assert read().extracted == 0


# A row is that of its line as it is


@pytest.mark.parametrize(
    "change", [{"metadata": {"url": "http://example.org"}}, {"title": "Whale\x1fa", "text": "mammal"}]
)
def test_row_changed_anywhere_is_reread(read, folder, store, change):
    before, after = row(title="Whale", text="a\x1fmammal"), row(**change)
    (folder / "corpus.jsonl").write_text(before + row("b"), "utf-8")
    read()
    (folder / "corpus.jsonl").write_text(after + row("b"), "utf-8")
    assert read().extracted == 1
    (found,) = store.read("documents", "kb", where=pl.col("doc_id") == "a").rows(named=True)
    assert found["size_bytes"] == len(after)
    assert found["title"] == json.loads(after)["title"]
    assert read().extracted == 0


def test_row_with_another_id_is_moved(read, folder, store):
    had = 2 * FEW
    (folder / "corpus.jsonl").write_text("".join(row(f"{n}", text=f"text {n}") for n in range(had)), "utf-8")
    read()
    (folder / "corpus.jsonl").write_text("".join(row(f"id-{n}", text=f"text {n}") for n in range(had)), "utf-8")
    assert (read().moved, store.count("documents", "kb")) == (had, had)


# What is published is what was staged


@pytest.mark.parametrize("break_staging", STAGING_FAULTS)
@pytest.mark.parametrize("earlier", ["some rows", "no rows"])
def test_lost_staged_documents_publish_nothing(read, folder, store, monkeypatch, tmp_path, break_staging, earlier):
    monkeypatch.setattr(ingest_scan, "ROWS_PER_STAGED_FILE", 2)
    texts = {f"d{number}": f"text {number}" for number in range(6)}
    if earlier == "some rows":
        write(folder, **texts)
        read()
    write(folder, **{name: f"{text} edited" for name, text in texts.items()})
    before = rows_of(tmp_path / "home", "documents")
    with monkeypatch.context() as patched:
        patched.setattr(
            ingest_scan.IngestScan,
            "finish",
            after_call(ingest_scan.IngestScan.finish, lambda: break_staging(tmp_path / "home", "documents"), 4),
        )
        with pytest.raises(
            TableError, match=r"staged documents of collection 'kb'.*6 rows.*staging/documents/kb.*Run again"
        ):
            read()
    assert rows_of(tmp_path / "home", "documents").equals(before)
    assert (read().rows, all(text.endswith("edited") for text in store.read("documents", "kb")["text"])) == (6, True)


# Formats that are not read


def test_unknown_formats_are_notices_only(read, folder, store):
    write(folder, a="one")
    read()
    (folder / "old").mkdir()
    for number in range(40):
        (folder / "old" / f"{number}.dwg").touch()
    (folder / "a.md").unlink()
    write(folder, b="two")
    outcome = read()
    assert outcome.issues.select("path", "kind", "part", "count").rows() == [("old", "unknown_format", ".dwg", 40)]
    assert (outcome.deleted, doc_ids(store), outcome.new_issues.height) == (1, ["b.md"], 1)
    first_seen = outcome.issues["first_seen"][0]
    again = read()
    assert (again.new_issues.height, again.issues["first_seen"][0]) == (0, first_seen)
