"""An error is no deletion: what cannot be read keeps its rows, and is an issue."""

from __future__ import annotations

import pytest

from embedder_assets.corpus import ingest
from embedder_assets.corpus.collections import Collection
from embedder_assets.corpus.extract import formats
from embedder_assets.corpus.ingest import Ingest
from tests.support.corpora.folder import doc_ids, write
from tests.support.factories import make_settings
from tests.support.permissions import permissions_count

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
    assert (outcome.kept, outcome.deleted, doc_ids(store)) == (1, 0, ["a.md", "b.md"])
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
    assert (read().deleted, doc_ids(store)) == (0, ["a.md", "deep/b.md"])
    assert store.read("document_issues", "kb")["path"].to_list() == ["deep"]


@pytest.mark.parametrize("recursive", [True, False])
@pytest.mark.parametrize("as_link", [False, True])
def test_folder_replacing_a_document_deletes_nothing(folder, store, tmp_path, recursive, as_link):
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
    assert (outcome.kept, outcome.deleted, doc_ids(store)) == (1, 0, sorted(["a.md", *inside, "b.md"]))
    (row,) = store.read("document_issues", "kb").rows(named=True)
    assert (row["path"], row["kind"]) == ("a.md", "not_a_file")
    assert "got a folder" in row["message"] and row["message"].endswith(ingest.STILL_THERE)
    assert read().new_issues.height == 0
    if inside:
        (folder / inside[0]).unlink()
        assert (read().deleted, doc_ids(store)) == (1, ["a.md", inside[1], "b.md"])
    (folder / "a.md").rename(folder / "another")
    assert (read().issues.height, "a.md" in doc_ids(store)) == (0, False)


def test_locked_folder_keeps_the_replaced_document(read, folder, store):
    write(folder, a="one")
    read()
    (folder / "a.md").unlink()
    (folder / "a.md").mkdir()
    write(folder / "a.md", inner="inside")
    read()
    (folder / "a.md").chmod(0)
    with permissions_count():
        assert (read().deleted, doc_ids(store)) == (0, ["a.md", "a.md/inner.md"])
    assert store.read("document_issues", "kb")["kind"].to_list() == ["not_a_file", "unreadable"]
    (folder / "a.md").chmod(0o755)


@pytest.mark.parametrize("mode", [0o000, 0o300, 0o400, 0o444])
def test_folder_without_permissions_loses_no_row(read, folder, store, mode):
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
    assert (outcome.kept, outcome.deleted, doc_ids(store)) == (2, 1, ["d.md", "deep/b.md", "deep/er/c.md"])
    paths = set(store.read("document_issues", "kb")["path"])
    assert paths and paths <= {"deep", "deep/b.md", "deep/er"}
    (folder / "deep").chmod(0o755)
    assert (read().issues.height, doc_ids(store)) == (0, ["d.md", "deep/b.md", "deep/er/c.md"])


@pytest.mark.parametrize("name", ["kb", "corpus"])
def test_unlistable_collection_keeps_its_rows(read, folder, store, name):
    write(folder, a="one")
    read()
    locked = folder if name == "kb" else folder.parent
    locked.chmod(0)
    with permissions_count():
        assert (read().kept, doc_ids(store)) == (1, ["a.md"])
    assert store.read("document_issues", "kb")["path"].to_list() == ["."]


@pytest.mark.parametrize("name", ["deep", "new.name"])
def test_folder_turned_broken_symlink_keeps_rows(read, folder, store, tmp_path, name):
    (folder / name).mkdir()
    write(folder, a="one")
    write(folder / name, b="two")
    read()
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(name)
    assert (read().kept, doc_ids(store)) == (1, ["a.md", f"{name}/b.md"])


def test_unreadable_corpus_file_keeps_its_rows(read, folder, store):
    """Next to it are files that would be documents without it."""
    write(folder, readme="# About")
    (folder / "corpus.jsonl").write_text('{"_id": "a", "text": "one"}\n{"_id": "b", "text": "two"}\n', "utf-8")
    read()
    (folder / "corpus.jsonl").chmod(0)
    with permissions_count():
        assert (read().kept, doc_ids(store)) == (2, ["a", "b"])
    assert store.read("document_issues", "kb")["path"].to_list() == ["corpus.jsonl"]
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus.jsonl").symlink_to("corpus.jsonl")
    assert (read().kept, doc_ids(store)) == (2, ["a", "b"])


def test_unreadable_corpus_line_deletes_nothing(read, folder, store):
    lines = ['{"_id": "a", "text": "one"}', '{"_id": "b", "text": "two"}']
    (folder / "corpus.jsonl").write_text("\n".join(lines), "utf-8")
    read()
    (folder / "corpus.jsonl").write_text(f"{lines[0]}\n{{broken", "utf-8")
    assert (read().deleted, doc_ids(store)) == (0, ["a", "b"])
    (folder / "corpus.jsonl").write_text(lines[0], "utf-8")
    assert (read().deleted, doc_ids(store)) == (1, ["a"])
