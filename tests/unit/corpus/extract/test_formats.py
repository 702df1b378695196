"""What every format has in common: titles, encodings, what is empty, and what is refused."""

import os

import pytest

from embedder_assets.corpus.collections import Collection
from embedder_assets.corpus.document import MEDIA_TYPES
from embedder_assets.corpus.extract import Document, DocumentIssue, file_reader, formats, read_sources, safe_open
from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.json_rows import JSON_SUFFIXES
from embedder_assets.errors import DocumentError
from tests.support.corpora.extraction import document, issue, limits, read, word


def test_every_supported_suffix_has_an_extractor():
    assert {*formats.EXTRACTORS, *JSON_SUFFIXES} == set(MEDIA_TYPES)


def test_markdown_is_titled_by_its_first_heading(collection):
    text = "intro\n\n```\n# no heading\n```\n\n## The *real* `title`\r\n\r\nTe\u0301xt\rend\n"
    found = document(collection, "a.md", text)
    assert found.text == text.replace("\r\n", "\n").replace("\r", "\n")
    assert (found.title, found.media_type, found.doc_id) == ("The real title", "text/markdown", "a.md")
    assert found.size_bytes == len(text.encode())


def test_pages_follow_replaced_line_ends(collection, monkeypatch):
    text = "one\r\ntwo\r\n\r\nthree\rfour"
    pages = (0, text.index("two"), text.index("three"))
    monkeypatch.setitem(formats.EXTRACTORS, ".md", lambda *_: Extracted(text, pages=pages))
    found = document(collection, "a.md", "x")
    assert [found.text[start:].split()[0] for start in found.pages] == ["one", "two", "three"]


def test_front_matter_is_no_heading(collection):
    assert document(collection, "a.md", "---\nlayout: page\nname: x\n---\n\n# Title\n").title == "Title"


def test_plain_text_is_titled_by_its_name(collection):
    found = document(collection, "My notes.txt", "# not a heading\n")
    assert (found.title, found.media_type) == ("My notes", "text/plain")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_are_understood(collection, encoding):
    assert document(collection, "a.txt", "Grüße 漢字\n".encode(encoding)).text == "Grüße 漢字\n"


@pytest.mark.parametrize("name", ["a.md", "a.txt", "a.rst", "a.html", "a.docx"])
def test_documents_without_text_are_issues(collection, name):
    blank = word(lambda built: None) if name == "a.docx" else b" \n\t\r\n"
    assert issue(collection, name, blank).kind == "empty"


@pytest.mark.parametrize("name", ["a.md", "a.pdf", "a.docx"])
def test_files_of_no_bytes_are_issues(collection, name):
    assert issue(collection, name, b"").kind == "empty"


@pytest.mark.parametrize(
    "content",
    [
        b"text\0more",
        b"\x89PNG\r\n\x1a\n\0\0",
        bytes(range(1, 256)) * 9,
        "no mark".encode("utf-16-le"),
        b"\xff\xfe\0\0\0",
    ],
)
def test_binary_content_is_an_issue(collection, content):
    assert issue(collection, "a.md", content).kind in {"binary"} if content[:2] != b"\xff\xfe" else {"not_utf8"}


def test_invalid_utf8_names_the_byte_and_the_remedy(collection):
    found = issue(collection, "a.md", "abc Grüße".encode("latin-1"))
    assert found.kind == "not_utf8"
    assert "offset 6" in found.message
    assert "iconv" in found.message
    assert "offset 6" in issue(collection, "a.md", b"\xef\xbb\xbfabc\xfe").message


def test_too_large_is_refused_before_reading(collection):
    (collection.root / "a.md").touch()
    os.truncate(collection.root / "a.md", 10**12)
    (found,) = read(collection, max_document_mb=0.001)
    assert found.kind == "too_large"
    assert "0.001 MB" in found.message
    assert "EMBEDDER_MAX_DOCUMENT_MB" in found.message


def test_replaced_file_is_an_issue_without_blocking(collection, tmp_path):
    path, stays = collection.root / "a.md", limits(collection).document_bytes
    (tmp_path / "secret.md").write_text("secret")
    replacements = {
        "FileNotFoundError": lambda: None,
        "pipe": lambda: os.mkfifo(path),
        "IsADirectoryError|pipe": path.mkdir,
        "symlink": lambda: path.symlink_to("../secret.md"),
    }
    for message, replace in replacements.items():
        replace()
        with pytest.raises(DocumentError, match=message):
            safe_open.read_bytes(Collection("kb", collection.root, recursive=False), path, "kb/a.md", stays)
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)


def test_unexpected_library_error_is_an_issue(collection, monkeypatch):
    def explode(data, thing, limits):
        raise KeyError("boom")

    monkeypatch.setitem(formats.EXTRACTORS, ".md", explode)
    found = issue(collection, "a.md", b"x")
    assert found.kind == "unreadable"
    assert "KeyError" in found.message


def test_bad_documents_do_not_stop_the_others(collection, tmp_path):
    (tmp_path / "secret.md").write_text("secret")
    (collection.root / "link.md").symlink_to(tmp_path / "../secret.md")
    (collection.root / "sub").mkdir()
    (collection.root / "sub/z.md").write_text("fine")
    (collection.root / "b.pdf").write_bytes(b"broken")
    found = {getattr(item, "doc_id", None) or item.path: type(item) for item in read(collection, "a.md", "fine")}
    assert found == {"a.md": Document, "sub/z.md": Document, "b.pdf": DocumentIssue, "link.md": DocumentIssue}


def test_documents_are_streamed(collection, monkeypatch):
    for name in "abc":
        (collection.root / f"{name}.md").write_text(name)
    read_ones = []
    real = file_reader.read_bytes
    monkeypatch.setattr(file_reader, "read_bytes", lambda *given: read_ones.append(given[1].name) or real(*given))
    stream = (item for _, item in read_sources(collection, limits(collection)))
    next(stream)
    assert read_ones == ["a.md"]
