"""Documents in the rows of a BEIR corpus."""

import json
from pathlib import Path

from embedder_assets.corpus.extract import Document, DocumentIssue
from tests.support.corpora.extraction import read


def test_beir_rows_are_documents(collection):
    rows = [
        {"_id": "1", "title": "Title", "text": "Text\r\nmore"},
        {"_id": 2, "title": "", "text": "Only text"},
        {"_id": "3", "title": "Only title", "text": ""},
    ]
    content = b"\xef\xbb\xbf" + "\n\n".join(map(json.dumps, rows)).encode()
    found = read(collection, "corpus.jsonl", content)
    assert [(d.doc_id, d.text, d.title) for d in found] == [
        ("1", "Title\n\nText\nmore", "Title"),
        ("2", "Only text", "2"),
        ("3", "Only title", "Only title"),
    ]
    assert {d.media_type for d in found} == {"text/plain"}


def test_data_in_a_row_is_left_out_and_named(collection):
    text = f"Before ![the pump](data:image/png;base64,{'iVBORw0KGgo' * 20}) after"
    (found,) = read(collection, "corpus.jsonl", json.dumps({"_id": "1", "title": "Title", "text": text}))
    assert found.text == "Title\n\nBefore [image: the pump] after"
    assert [each["part"] for each in found.omissions] == ["embedded image"]


def test_bad_beir_lines_are_issues_by_line(collection):
    good = b'{"_id": "1", "text": "x"}'
    bad = {
        b"{": "bad_json",
        b"[1]": "bad_json",
        b'{"_id": "a", "text": 1}': "bad_json",
        b"[" * 100_000: "bad_json",
        b'{"text": "x"}': "missing_id",
        b'{"_id": true, "text": "x"}': "missing_id",
        b'{"_id": "", "text": "x"}': "missing_id",
        good: "duplicate_id",
        b'{"_id": "b", "title": " ", "text": ""}': "empty",
        b'{"_id": "c", "text": "\xff"}': "not_utf8",
        b'{"_id": "d", "text": "\\udc00"}': "not_utf8",
        b'{"_id": "e", "text": "' + b"x" * 300_000 + b'"}': "too_large",
    }
    last = b'{"_id": "9", "text": "after all"}'
    found = read(collection, "corpus.jsonl", b"\n".join([good, *bad, last]), max_document_mb=0.2)
    assert [item.doc_id for item in found if isinstance(item, Document)] == ["1", "9"]
    issues = [item for item in found if isinstance(item, DocumentIssue)]
    assert [(item.path, item.kind) for item in issues] == [
        (f"corpus.jsonl:{number}", kind) for number, kind in enumerate(bad.values(), start=2)
    ]
    assert "already on line 1" in issues[7].message


def test_unreadable_beir_corpus_is_an_issue(collection, monkeypatch):
    def refuse(path, mode):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    (collection.root / "corpus.jsonl").touch()
    (found,) = read(collection)
    assert (found.path, found.kind) == ("corpus.jsonl", "unreadable")
    assert "permissions" in found.message
