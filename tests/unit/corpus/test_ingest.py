"""Documents and chunks follow the files of a folder: whatever happens to these, the tables equal a rebuild."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder_assets.chunking import stage as chunk_stage
from embedder_assets.chunking.stage import ChunkOutcome, ChunkStage
from embedder_assets.corpus import deletion_guard, ingest
from embedder_assets.corpus.collections import Collection
from embedder_assets.corpus.deletion_guard import FEW
from embedder_assets.corpus.extract import formats
from embedder_assets.corpus.ingest import Ingest, IngestOutcome
from embedder_assets.errors import CorpusError, TableError
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from tests.support.checkpoints import write_tokenizer
from tests.support.corpora.deep import nest
from tests.support.factories import make_meter, make_settings
from tests.support.permissions import permissions_count


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "corpus" / "kb").mkdir(parents=True)
    return tmp_path / "corpus" / "kb"


@pytest.fixture
def store(tmp_path) -> TableStore:
    return TableStore(tmp_path / "home")


@pytest.fixture
def read(store, folder, tmp_path):
    """Updates documents and returns what happened."""

    def read(**values) -> IngestOutcome:
        return Ingest(store, make_settings(tmp_path / "home", **values), Collection("kb", folder, True)).run()

    return read


def ids(store) -> list[str]:
    return sorted(store.read("documents", "kb")["doc_id"])


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        (folder / f"{name}.md").write_text(text, "utf-8")


@pytest.fixture
def extracted(monkeypatch) -> list[str]:
    """The texts that were extracted, in their order."""
    seen: list[str] = []
    real = ingest._Walk.document

    def document(self, source, document):
        seen.append(document.text)
        real(self, source, document)

    monkeypatch.setattr(ingest._Walk, "document", document)
    return seen


# Progress


def test_every_source_is_counted(folder, store, tmp_path):
    write(folder, a="one", b="two", c="three")
    seen: list[tuple[int, int]] = []
    settings, collection = make_settings(tmp_path / "home"), Collection("kb", folder, True)
    for _ in range(2):  # what has not changed is counted too
        Ingest(store, settings, collection, lambda *counts: seen.append(counts)).run()
    assert seen == [(1, 3), (2, 3), (3, 3)] * 2


def test_rows_of_one_file_have_no_total(folder, store, tmp_path):
    (folder / "corpus.jsonl").write_text('{"_id": "1", "text": "one"}\n{"_id": "2", "text": "two"}', "utf-8")
    seen: list[tuple[int, int]] = []
    Ingest(store, make_settings(tmp_path), Collection("kb", folder, True), lambda *counts: seen.append(counts)).run()
    assert seen == [(1, 0), (2, 0)]


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


def test_new_rules_of_extraction_extract_everything_anew(read, folder, store, monkeypatch):
    write(folder, a="one", b="two")
    read()
    monkeypatch.setattr("embedder_assets.corpus.extract.documents._RULES", "2")
    assert read().extracted == 2
    assert (store.count("documents", "kb"), set(store.read("documents", "kb")["extraction"])) == (2, {"2"})


def test_a_moved_document_is_no_loss(read, folder, store):
    write(folder, **{f"d{number}": f"text {number}" for number in range(FEW + 5)})
    read()
    (folder / "deep").mkdir()
    for file in folder.glob("*.md"):
        file.rename(folder / "deep" / file.name)
    outcome = read()
    assert (outcome.moved, outcome.deleted, outcome.rows) == (FEW + 5, 0, FEW + 5)
    assert ids(store)[0] == "deep/d0.md"


def test_a_deleted_document_goes(read, folder, store):
    write(folder, a="one", b="two")
    read()
    (folder / "a.md").unlink()
    assert (read().deleted, ids(store)) == (1, ["b.md"])


def test_an_edit_is_one_commit_and_an_unchanged_collection_none(read, folder, store):
    from deltalake import DeltaTable

    write(folder, a="one", b="two")
    read()
    write(folder, a="edited")
    (folder / "b.md").unlink()
    read()
    assert DeltaTable(str(store.path("documents"))).version() == 1
    read()
    assert DeltaTable(str(store.path("documents"))).version() == 1


def test_a_killed_run_goes_on_where_it_was(read, folder, store, extracted, monkeypatch):
    monkeypatch.setattr(ingest, "ROWS_A_FILE", 1)
    write(folder, a="one", b="two", c="three")
    with monkeypatch.context() as killed:
        killed.setattr(TableStore, "exchange", _killed)
        with pytest.raises(KeyboardInterrupt):
            read()
    assert not store.exists("documents")
    del extracted[:]
    write(folder, b="two edited")
    assert read().rows == 3
    assert extracted == ["two edited"]
    assert sorted(store.read("documents", "kb")["text"]) == ["one", "three", "two edited"]


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


# An error is no deletion


BAD = {
    "empty": lambda file: file.write_bytes(b""),
    "not_utf8": lambda file: file.write_bytes(b"caf\xe9 and more words"),
    "binary": lambda file: file.write_bytes(bytes(range(256)) * 20),
    "too_large": lambda file: file.write_bytes(b"x" * 3_000_000),
    "unreadable": lambda file: (file.unlink(), file.symlink_to("nowhere.md")),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_document_keeps_its_earlier_version(read, folder, store, kind):
    write(folder, a="one", b="two")
    read()
    BAD[kind](folder / "a.md")
    outcome = read(max_document_mb=2)
    assert (outcome.kept, outcome.deleted, ids(store)) == (1, 0, ["a.md", "b.md"])
    (row,) = store.read("document_issues", "kb").rows(named=True)
    assert (row["path"], row["kind"]) == ("a.md", kind)
    assert row["message"].endswith(ingest.STILL_THERE)
    (folder / "a.md").unlink()
    write(folder, a="mended")
    assert read().rows == 2
    assert (store.count("document_issues", "kb"), "mended" in set(store.read("documents", "kb")["text"])) == (0, True)


def test_unchanged_bad_document_is_not_reread(read, folder, store):
    write(folder, a="one")
    (folder / "bad.md").write_bytes(b"caf\xe9 and more words")
    assert read().new_issues.height == 1
    before = store.read("document_issues", "kb")
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(formats.EXTRACTORS, ".md", _refused)
        outcome = read()
    assert (outcome.issues.height, outcome.new_issues.height) == (1, 0)
    assert store.read("document_issues", "kb").equals(before)
    (folder / "bad.md").write_bytes(b"caf\xe9 and still more words")
    read()
    assert store.read("document_issues", "kb")["first_seen"].equals(before["first_seen"])


def _refused(*_: object) -> None:
    raise AssertionError("a source was read that nobody needs")


def test_documents_below_a_locked_folder_stay(read, folder, store, tmp_path):
    write(folder, a="one")
    (folder / "deep").mkdir()
    write(folder / "deep", b="two")
    read()
    (folder / "deep").rename(tmp_path / "elsewhere")
    (folder / "deep").symlink_to(tmp_path / "elsewhere")
    assert (read().deleted, ids(store)) == (0, ["a.md", "deep/b.md"])
    assert store.read("document_issues", "kb")["path"].to_list() == ["deep"]


@pytest.mark.parametrize("recursive", [True, False])
@pytest.mark.parametrize("as_link", [False, True])
def test_a_folder_in_the_place_of_a_document_deletes_nothing(folder, store, tmp_path, recursive, as_link):
    settings, collection = make_settings(tmp_path / "home"), Collection("kb", folder, recursive)
    read = Ingest(store, settings, collection).run
    write(folder, a="one", b="two")
    (folder / "never.md").mkdir()
    (folder / "deep").mkdir()
    read()
    (folder / "a.md").unlink()
    if as_link:
        (folder / "a.md").symlink_to("deep")
    else:
        (folder / "a.md").mkdir()
        write(folder / "a.md", inner="inside", more="more")
    outcome = read()
    inside = ["a.md/inner.md", "a.md/more.md"] if recursive and not as_link else []
    assert (outcome.kept, outcome.deleted, ids(store)) == (1, 0, sorted(["a.md", *inside, "b.md"]))
    (row,) = store.read("document_issues", "kb").rows(named=True)
    assert (row["path"], row["kind"]) == ("a.md", "not_a_file")
    assert "got a folder" in row["message"] and row["message"].endswith(ingest.STILL_THERE)
    assert read().new_issues.height == 0
    if inside:
        (folder / inside[0]).unlink()
        assert (read().deleted, ids(store)) == (1, ["a.md", inside[1], "b.md"])
    (folder / "a.md").rename(folder / "another")
    assert (read().issues.height, "a.md" in ids(store)) == (0, False)


def test_a_locked_folder_replacing_a_document_keeps_its_row(read, folder, store):
    write(folder, a="one")
    read()
    (folder / "a.md").unlink()
    (folder / "a.md").mkdir()
    write(folder / "a.md", inner="inside")
    read()
    (folder / "a.md").chmod(0)
    with permissions_count():
        assert (read().deleted, ids(store)) == (0, ["a.md", "a.md/inner.md"])
    assert store.read("document_issues", "kb")["kind"].to_list() == ["not_a_file", "unreadable"]
    (folder / "a.md").chmod(0o755)


@pytest.mark.parametrize("mode", [0o000, 0o300, 0o400, 0o444])
def test_nothing_goes_below_a_folder_without_permissions(read, folder, store, mode):
    (folder / "deep" / "er").mkdir(parents=True)
    write(folder, a="one")
    write(folder / "deep", b="two")
    write(folder / "deep" / "er", c="three")
    read()
    (folder / "deep").chmod(mode)
    (folder / "a.md").unlink()
    write(folder, d="four")
    with permissions_count():
        outcome = read()
    assert (outcome.kept, outcome.deleted, ids(store)) == (2, 1, ["d.md", "deep/b.md", "deep/er/c.md"])
    paths = set(store.read("document_issues", "kb")["path"])
    assert paths and paths <= {"deep", "deep/b.md", "deep/er"}
    (folder / "deep").chmod(0o755)
    assert (read().issues.height, ids(store)) == (0, ["d.md", "deep/b.md", "deep/er/c.md"])


@pytest.mark.parametrize("name", ["kb", "corpus"])
def test_a_collection_that_cannot_be_listed_keeps_its_rows(read, folder, store, name):
    write(folder, a="one")
    read()
    locked = folder if name == "kb" else folder.parent
    locked.chmod(0)
    with permissions_count():
        assert (read().kept, ids(store)) == (1, ["a.md"])
    assert store.read("document_issues", "kb")["path"].to_list() == ["."]


@pytest.mark.parametrize("name", ["deep", "new.name"])
def test_a_folder_that_becomes_a_broken_symlink_keeps_its_rows(read, folder, store, tmp_path, name):
    (folder / name).mkdir()
    write(folder, a="one")
    write(folder / name, b="two")
    read()
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(name)
    assert (read().kept, ids(store)) == (1, ["a.md", f"{name}/b.md"])


def test_a_document_moved_below_the_longest_path_is_moved(read, folder, store):
    write(folder, a="one", plan="the plan")
    read()
    inner = nest(folder, 30, ["new.md"], "new")
    os.rename(folder / "plan.md", "plan.md", dst_dir_fd=inner)
    os.close(inner)
    outcome = read()
    assert (outcome.moved, outcome.deleted, outcome.issues.height) == (1, 0, 0)
    assert [Path(doc_id).name for doc_id in ids(store)] == ["new.md", "plan.md", "a.md"]
    assert read().extracted == 0


def test_an_unreadable_corpus_file_is_no_other_kind_of_collection(read, folder, store):
    """Next to it are files that would be documents without it."""
    write(folder, readme="# About")
    (folder / "corpus.jsonl").write_text('{"_id": "a", "text": "one"}\n{"_id": "b", "text": "two"}\n', "utf-8")
    read()
    (folder / "corpus.jsonl").chmod(0)
    with permissions_count():
        assert (read().kept, ids(store)) == (2, ["a", "b"])
    assert store.read("document_issues", "kb")["path"].to_list() == ["corpus.jsonl"]
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus.jsonl").symlink_to("corpus.jsonl")
    assert (read().kept, ids(store)) == (2, ["a", "b"])


def test_unreadable_corpus_line_deletes_nothing(read, folder, store):
    lines = ['{"_id": "a", "text": "one"}', '{"_id": "b", "text": "two"}']
    (folder / "corpus.jsonl").write_text("\n".join(lines), "utf-8")
    read()
    (folder / "corpus.jsonl").write_text(f"{lines[0]}\n{{broken", "utf-8")
    assert (read().deleted, ids(store)) == (0, ["a", "b"])
    (folder / "corpus.jsonl").write_text(lines[0], "utf-8")
    assert (read().deleted, ids(store)) == (1, ["a"])


@pytest.mark.parametrize("left", [0, 1])
def test_too_many_deletions_write_nothing(read, folder, store, left):
    had = 2 * FEW + 2
    write(folder, **{f"d{number}": f"text {number}" for number in range(had)})
    read()
    for file in sorted(folder.glob("*.md"))[left:]:
        file.unlink()
    with pytest.raises(CorpusError, match=rf"{had - left} of {had} gone at once, for example d.*--accept-loss"):
        read()
    assert store.count("documents", "kb") == had
    assert (read(max_lost_share=1).deleted, store.count("documents", "kb")) == (had - left, left)


def test_few_deletions_pass_except_the_last_document(read, folder, store):
    write(folder, a="one", b="two", c="three")
    read()
    for name in "ab":
        (folder / f"{name}.md").unlink()
    assert read().deleted == 2
    (folder / "c.md").unlink()
    with pytest.raises(CorpusError, match="expected some of its documents to be left, got 1 of 1 gone"):
        read()


NEIGHBOURS = {
    "empty": lambda folder: (folder / "empty.md").touch(),
    "binary": lambda folder: (folder / "b.md").write_bytes(bytes(range(256))),
    "pipe": lambda folder: os.mkfifo(folder / "pipe.md"),
    "no document": lambda folder: (folder / "picture.png").touch(),
    "broken symlink": lambda folder: (folder / "other").symlink_to("nowhere"),
    "folder": lambda folder: (folder / "sub").mkdir(),
}


@pytest.mark.parametrize("neighbour", NEIGHBOURS)
@pytest.mark.parametrize("since", ["before", "after"])
def test_the_last_document_stays_whatever_is_next_to_it(read, folder, store, neighbour, since):
    write(folder, a="one")
    if since == "before":
        NEIGHBOURS[neighbour](folder)
    read()
    (folder / "a.md").unlink()
    if since == "after":
        NEIGHBOURS[neighbour](folder)
    with pytest.raises(CorpusError, match="expected some of its documents to be left, got 1 of 1 gone"):
        read()
    assert ids(store) == ["a.md"]
    assert read(max_lost_share=1).rows == 0


def test_the_last_row_stays_next_to_a_repeated_one(read, folder, store):
    corpus = folder / "corpus.jsonl"
    corpus.write_text('{"_id": "a", "text": "one"}\n', "utf-8")
    read()
    corpus.write_text("\n", "utf-8")
    with pytest.raises(CorpusError, match="got 1 of 1 gone"):
        read()
    corpus.write_text('{"_id": "b", "text": "two"}\n{"_id": "b", "text": "two"}\n', "utf-8")
    assert (read().deleted, ids(store)) == (1, ["b"])


def test_all_documents_turning_bad_fail_the_collection(read, folder, store):
    had = 2 * FEW
    write(folder, **{f"d{number}": f"text {number}" for number in range(had)})
    read()
    for file in folder.glob("*.md"):
        file.write_bytes(b"")
    with pytest.raises(CorpusError, match=f"got {had} of {had}, for example d0"):
        read()
    assert store.count("documents", "kb") == had


def test_other_files_do_not_count_as_bad_documents(read, folder, store):
    write(folder, a="one")
    for number in range(2 * FEW):
        (folder / f"link{number}").symlink_to("nowhere")
    assert (read().rows, store.count("document_issues", "kb")) == (1, 2 * FEW)


def test_too_many_bad_documents_fail_by_name(read, folder, store, monkeypatch):
    write(folder, a="one")
    read()
    for number in range(FEW + 1):
        (folder / f"bad{number}.md").write_bytes(b"")
    write(folder, a="edited")
    with pytest.raises(CorpusError, match=r"at most 50% .*got 11 of 12, for example bad0\.md.*whitespace"):
        read()
    assert store.count("document_issues", "kb") == FEW + 1
    assert store.read("documents", "kb")["text"].to_list() == ["one"]
    monkeypatch.setattr(deletion_guard, "MAX_UNUSABLE_SHARE", 1)
    assert read().rows == 1


# A row is that of its line as it is


def row(row_id: str = "a", **fields: object) -> str:
    return json.dumps({"_id": row_id, **{"title": "Whale", "text": "a mammal", **fields}}) + "\n"


@pytest.mark.parametrize(
    "change", [{"metadata": {"url": "http://example.org"}}, {"title": "Whale\x1fa", "text": "mammal"}]
)
def test_a_row_that_changes_anywhere_is_read_again(read, folder, store, change):
    before, after = row(title="Whale", text="a\x1fmammal"), row(**change)
    (folder / "corpus.jsonl").write_text(before + row("b"), "utf-8")
    read()
    (folder / "corpus.jsonl").write_text(after + row("b"), "utf-8")
    assert read().extracted == 1
    (found,) = store.read("documents", "kb", where=pl.col("doc_id") == "a").rows(named=True)
    assert found["size_bytes"] == len(after)
    assert found["title"] == json.loads(after)["title"]
    assert read().extracted == 0


def test_a_row_with_another_id_is_no_loss(read, folder, store):
    had = 2 * FEW
    (folder / "corpus.jsonl").write_text("".join(row(f"{n}", text=f"text {n}") for n in range(had)), "utf-8")
    read()
    (folder / "corpus.jsonl").write_text("".join(row(f"id-{n}", text=f"text {n}") for n in range(had)), "utf-8")
    assert (read().moved, store.count("documents", "kb")) == (had, had)


# What is published is what was staged


def removed(home: Path, table: str) -> None:
    shutil.rmtree(home / "staging" / table)


def damaged(home: Path, table: str) -> None:
    next((home / "staging" / table).rglob("*.parquet")).write_bytes(b"PAR1 nothing else")


def halved(home: Path, table: str) -> None:
    folder = next((home / "staging" / table).rglob("*.parquet")).parent
    for file in sorted(folder.glob("*.parquet"))[1:]:
        file.unlink()


LOST = [removed, damaged, halved]


@pytest.mark.parametrize("lose", LOST)
@pytest.mark.parametrize("earlier", ["some rows", "no rows"])
def test_staged_documents_that_are_lost_publish_nothing(read, folder, store, monkeypatch, tmp_path, lose, earlier):
    monkeypatch.setattr(ingest, "ROWS_A_FILE", 2)
    texts = {f"d{number}": f"text {number}" for number in range(6)}
    if earlier == "some rows":
        write(folder, **texts)
        read()
    write(folder, **{name: f"{text} edited" for name, text in texts.items()})
    before = _rows(tmp_path / "home", "documents")
    with monkeypatch.context() as patched:
        patched.setattr(
            ingest._Walk, "finish", _then(ingest._Walk.finish, lambda: lose(tmp_path / "home", "documents"), 4)
        )
        with pytest.raises(
            TableError, match=r"staged documents of collection 'kb'.*6 rows.*staging/documents/kb.*Run again"
        ):
            read()
    assert _rows(tmp_path / "home", "documents").equals(before)
    assert (read().rows, all(text.endswith("edited") for text in store.read("documents", "kb")["text"])) == (6, True)


@pytest.mark.parametrize("lose", LOST)
@pytest.mark.parametrize("earlier", ["some rows", "no rows"])
def test_staged_chunks_that_are_lost_publish_nothing(read, folder, tokenizer, monkeypatch, tmp_path, lose, earlier):
    monkeypatch.setattr(chunk_stage, "ROWS_A_FILE", 2)
    home = tmp_path / "home"
    texts = {f"d{number}": f"text {number}" for number in range(6)}
    if earlier == "some rows":
        write(folder, **texts)
        read()
        chunk(home, tokenizer)
    write(folder, **{name: f"{text} edited" for name, text in texts.items()})
    read()
    before = _rows(home, "chunks")
    with monkeypatch.context() as patched:
        patched.setattr(ChunkStage, "_cut", _then(ChunkStage._cut, lambda: lose(home, "chunks")))
        with pytest.raises(TableError, match=r"staged chunks of collection 'kb'.*6 rows.*staging/chunks/kb.*Run again"):
            chunk(home, tokenizer)
    assert _rows(home, "chunks").equals(before)
    assert chunk(home, tokenizer).rows == 6


def _then(call: Callable[..., Any], act: Callable[[], None], time: int = 1) -> Callable[..., Any]:
    """A function that does something else too when it has been called so many times."""
    calls = iter(range(1, 100))

    def wrapped(*args: Any) -> Any:
        result = call(*args)
        if next(calls) == time:
            act()
        return result

    return wrapped


def test_deletion_during_chunking_costs_no_document(read, folder, store, tokenizer, tmp_path):
    write(folder, a="one", b="two", c="three")
    read()
    with pytest.MonkeyPatch.context() as patched:
        real = ChunkStage._cut

        def goes(self, *args):
            store.exchange(
                "documents", "kb", [], store.read("documents", "kb", where=pl.col("doc_id") == "b.md").select("doc_id")
            )
            return real(self, *args)

        patched.setattr(ChunkStage, "_cut", goes)
        assert chunk(tmp_path / "home", tokenizer).rows == 2


# Chunks, and any sequence of changes


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    write_tokenizer(file)
    return file


def chunk(home: Path, tokenizer: Path, max_tokens: int = 32) -> ChunkOutcome:
    stage = ChunkStage(TableStore(home), tokenizer, max_tokens)
    return stage.run("kb", make_meter("chunk"))


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
    monkeypatch.setattr(chunk_stage, "ROWS_A_FILE", 1)
    with monkeypatch.context() as killed:
        killed.setattr(TableStore, "exchange", _killed)
        with pytest.raises(KeyboardInterrupt):
            chunk(tmp_path / "home", tokenizer)
    outcome = chunk(tmp_path / "home", tokenizer)
    assert (outcome.rows, outcome.documents_cut, outcome.computed) == (2, 2, 0)


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
        small.setattr(ingest, "ROWS_A_FILE", 2)
        folder, home = Path(place) / "corpus" / "kb", Path(place) / "home"
        folder.mkdir(parents=True)
        for operations, fate in [*steps, ([], "ok")]:
            for what, name, other in operations:
                _apply(folder, what, name, other)
            with pytest.MonkeyPatch.context() as patched:
                if fate == "killed":
                    patched.setattr(TableStore, "exchange", _killed)
                try:
                    _sync(folder, home, tokenizer)
                except KeyboardInterrupt:
                    continue
        for file in [file for file in folder.rglob("*") if file.is_file() and not file.read_text().strip()]:
            # A document that turned empty keeps its earlier version, which no rebuild can know.
            file.unlink()
        _sync(folder, home, tokenizer)
        _sync(folder, Path(place) / "fresh", tokenizer)
        for table in ("documents", "chunks"):
            grown, fresh = (_rows(Path(place) / name, table) for name in ("home", "fresh"))
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


def _sync(folder: Path, home: Path, tokenizer: Path) -> None:
    chosen = make_settings(home, max_lost_share=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deletion_guard, "MAX_UNUSABLE_SHARE", 1)
        Ingest(TableStore(home), chosen, Collection("kb", folder, True)).run()
    chunk(home, tokenizer)


def _rows(home: Path, table: str) -> pl.DataFrame:
    return TableStore(home).read(table, "kb").select(list(SCHEMAS[table])).sort(pl.all())
