"""Many deletions, and many bad documents, stop a collection before anything is written."""

from __future__ import annotations

import os

import pytest

from embedder_assets.corpus import deletion_guard
from embedder_assets.corpus.deletion_guard import FEW
from embedder_assets.errors import CorpusError
from tests.support.corpora.folder import doc_ids, write


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
def test_last_document_stays_despite_neighbours(read, folder, store, neighbour, since):
    write(folder, a="one")
    if since == "before":
        NEIGHBOURS[neighbour](folder)
    read()
    (folder / "a.md").unlink()
    if since == "after":
        NEIGHBOURS[neighbour](folder)
    with pytest.raises(CorpusError, match="expected some of its documents to be left, got 1 of 1 gone"):
        read()
    assert doc_ids(store) == ["a.md"]
    assert read(max_lost_share=1).rows == 0


def test_last_row_may_be_replaced_only(read, folder, store):
    corpus = folder / "corpus.jsonl"
    corpus.write_text('{"_id": "a", "text": "one"}\n', "utf-8")
    read()
    corpus.write_text("\n", "utf-8")
    with pytest.raises(CorpusError, match="got 1 of 1 gone"):
        read()
    corpus.write_text('{"_id": "b", "text": "two"}\n{"_id": "b", "text": "two"}\n', "utf-8")
    assert (read().deleted, doc_ids(store)) == (1, ["b"])


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
