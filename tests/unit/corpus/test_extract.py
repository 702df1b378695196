import io
import json
import os
import zipfile
from pathlib import Path

import docx
import pytest
from PIL import Image
from reportlab.pdfgen.canvas import Canvas

from embedder_assets.corpus.collections import Collection
from embedder_assets.corpus.document import MEDIA_TYPES
from embedder_assets.corpus.extract import (
    Document,
    DocumentIssue,
    DocumentLimits,
    formats,
    read_sources,
    safe_open,
    source_reader,
)
from embedder_assets.errors import DocumentError
from tests.support.factories import make_settings


@pytest.fixture
def collection(tmp_path) -> Collection:
    root = tmp_path / "kb"
    root.mkdir()
    return Collection("kb", root, recursive=True)


def limits(collection: Collection, **values) -> DocumentLimits:
    return DocumentLimits.of(make_settings(collection.root.parent / "home", **{"max_document_mb": 1, **values}))


def read(collection: Collection, name: str | None = None, content: bytes | str = b"", **values):
    if name:
        (collection.root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return [item for _, item in read_sources(collection, limits(collection, **values))]


def document(collection: Collection, name: str, content: bytes | str) -> Document:
    (found,) = read(collection, name, content)
    assert isinstance(found, Document), found
    return found


def issue(collection: Collection, name: str, content: bytes | str, **values) -> DocumentIssue:
    (found,) = read(collection, name, content, **values)
    assert isinstance(found, DocumentIssue), found
    assert found.collection == "kb"
    return found


def pdf(*pages: list[str], bookmarks: bool = False, title: str = "", **options) -> bytes:
    file = io.BytesIO()
    canvas = Canvas(file, **options)
    if title:
        canvas.setTitle(title)
    for page in pages:
        for number, line in enumerate(page):
            canvas.drawString(72, 760 - 20 * number, line)
        if bookmarks and page:
            canvas.bookmarkPage(page[0])
            canvas.addOutlineEntry(page[0], page[0], level=0)
        canvas.showPage()
    canvas.save()
    return file.getvalue()


def word(build) -> bytes:
    file, built = io.BytesIO(), docx.Document()
    build(built)
    built.save(file)
    return file.getvalue()


def one_pixel() -> io.BytesIO:
    file = io.BytesIO()
    Image.new("RGB", (1, 1)).save(file, "PNG")
    return file


def test_every_supported_suffix_has_an_extractor():
    assert set(formats.EXTRACTORS) == set(MEDIA_TYPES)


def test_markdown_is_titled_by_its_first_heading(collection):
    text = "intro\n\n```\n# no heading\n```\n\n## The *real* `title`\r\n\r\nTe\u0301xt\rend\n"
    found = document(collection, "a.md", text)
    assert found.text == text.replace("\r\n", "\n").replace("\r", "\n")
    assert (found.title, found.media_type, found.doc_id) == ("The real title", "text/markdown", "a.md")
    assert found.size_bytes == len(text.encode())


def test_front_matter_is_no_heading(collection):
    assert document(collection, "a.md", "---\nlayout: page\nname: x\n---\n\n# Title\n").title == "Title"


def test_plain_text_is_titled_by_its_name(collection):
    found = document(collection, "My notes.txt", "# not a heading\n")
    assert (found.title, found.media_type) == ("My notes", "text/plain")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_are_understood(collection, encoding):
    assert document(collection, "a.txt", "Grüße 漢字\n".encode(encoding)).text == "Grüße 漢字\n"


def test_restructuredtext_becomes_markdown(collection, capfd):
    source = """
Title
=====

Some *emphasis*, :ref:`a link <label>` and :class:`Foo`.

Sub
---

.. note:: Take care.

.. code-block:: python

   x = 1

.. py:function:: connect(host)
   :module: net

   Opens a connection.

.. include:: /etc/passwd
.. raw:: html

   <script>alert(1)</script>

Broken `link_ and |missing| substitution.

Bad
==
"""
    found = document(collection, "a.rst", source)
    assert found.title == "Title"
    assert "# Title\n" in found.text
    assert "## Sub\n" in found.text
    assert "a link and Foo." in found.text
    assert "Take care." in found.text
    assert "x = 1" in found.text
    assert "connect(host)" in found.text
    assert "Opens a connection." in found.text
    for unwanted in ("root:", "alert", "System Message", "WARNING", "Unknown", ":module:"):
        assert unwanted not in found.text
    assert capfd.readouterr() == ("", "")


def test_html_becomes_markdown_without_what_surrounds_it(collection, capfd):
    page = """<?xml version="1.0"?><html><head><title>Site</title><style>p{}</style></head><body>
    <nav>Menu</nav><main><h1>Title<a class="headerlink" href="#t">¶</a></h1><p>Some <b>bold</b> snake_case text</p>
    <h2>Part</h2><ul><li>one</li></ul><img src="data:image/png;base64,AAAA" alt="a chart">
    <table><tr><th>k</th></tr><tr><td>v</td></tr></table><script>track()</script></main><footer>Imprint</footer>
    </body></html>"""
    found = document(collection, "a.html", page)
    assert found.title == "Title"
    assert found.text.startswith("# Title\n\nSome **bold** snake_case text\n\n## Part\n\n- one")
    assert "a chart" in found.text
    assert "| v |" in found.text
    for unwanted in ("Menu", "track", "Imprint", "base64", "p{}", "¶", "Site"):
        assert unwanted not in found.text
    assert capfd.readouterr() == ("", "")


def test_html_without_heading_uses_its_title(collection):
    assert document(collection, "a.htm", "<title> The\n page </title><p>x").title == "The page"


def test_html_is_read_in_its_declared_encoding(collection):
    page = "<meta charset=windows-1252><p>Grüße"
    assert "Grüße" in document(collection, "a.html", page.encode("windows-1252")).text


def test_html_in_no_known_encoding_is_an_issue(collection):
    assert issue(collection, "a.html", b"<meta charset=ascii><p>\xff").kind == "not_utf8"
    assert issue(collection, "a.html", b"<meta charset=klingon><p>\xff").kind == "not_utf8"


def test_deeply_nested_html_is_an_issue(collection):
    assert document(collection, "deep.html", "<div>" * 490 + "x").text == "x\n"
    found = issue(collection, "deep.html", "<div>" * 501 + "x")
    assert found.kind == "too_deep"
    assert "at most 500 levels of nesting" in found.message


def test_pdf_text_is_read_page_by_page(collection):
    found = document(collection, "a.pdf", pdf(["First page"], ["# no heading", "second"], title="The manual"))
    assert found.text == "First page\n\n\\# no heading\nsecond\n"
    assert (found.title, found.media_type) == ("The manual", "application/pdf")


def test_pdf_bookmarks_become_headings_and_running_lines_go(collection):
    names = ["One", "Two", "Three", "Four", "Five"]
    pages = [[f"ACME {number}", "Chapter", name, "text of it", f"page {number}"] for number, name in enumerate(names)]
    plain = document(collection, "a.pdf", pdf(*pages)).text
    assert "ACME" not in plain
    assert "page 1" not in plain
    chapters = pdf(*[[name, f"text {name}"] for name in names], bookmarks=True, title="report.doc")
    found = document(collection, "a.pdf", chapters)
    assert found.text.startswith("# One\n\ntext One\n\n# Two\n")
    assert found.title == "One"


def test_encrypted_pdf_is_an_issue_with_a_remedy(collection):
    found = issue(collection, "a.pdf", pdf(["secret"], encrypt="password"))
    assert found.kind == "encrypted_pdf"
    assert "qpdf" in found.message


@pytest.mark.parametrize("content", [b"%PDF-1.7\nrubbish", b"no pdf at all", pdf(["x"])[:300]])
def test_broken_pdf_is_an_issue(collection, content):
    assert issue(collection, "a.pdf", content).kind == "unreadable_pdf"


def test_pdf_without_text_asks_for_ocr(collection):
    found = issue(collection, "a.pdf", pdf([], []))
    assert found.kind == "no_text"
    assert "OCR" in found.message


def test_docx_becomes_markdown_without_its_images(collection):
    def build(built):
        built.add_heading("Title", 1)
        built.add_paragraph("Some text")
        built.add_heading("Part", 2)
        built.add_paragraph("an item", style="List Bullet")
        built.add_picture(one_pixel())

    found = document(collection, "a.docx", word(build))
    assert found.text == "# Title\n\nSome text\n\n## Part\n\n- an item\n"
    assert found.title == "Title"


def test_broken_docx_is_an_issue(collection):
    whole = word(lambda built: built.add_paragraph("x"))
    not_word = io.BytesIO()
    with zipfile.ZipFile(not_word, "w") as archive:
        archive.writestr("x.xml", "<x/>")
    for content in (b"no zip", whole[:-200], not_word.getvalue()):
        assert issue(collection, "a.docx", content).kind == "unreadable_docx"


def test_docx_bomb_is_an_issue(collection, monkeypatch):
    monkeypatch.setattr("embedder_assets.corpus.extract.limits.MAX_UNPACKED_BYTES", 10_000)
    content = word(lambda built: built.add_paragraph("x"))
    found = issue(collection, "a.docx", content)
    assert found.kind == "too_large"
    assert "at most 0.01 MB when unpacked" in found.message


@pytest.mark.parametrize("name", ["a.md", "a.txt", "a.rst", "a.html", "a.docx"])
def test_documents_without_text_are_issues(collection, name):
    blank = word(lambda built: None) if name == "a.docx" else b" \n\t\r\n"
    assert issue(collection, name, blank).kind == "empty"


@pytest.mark.parametrize("name", ["a.md", "a.pdf", "a.docx"])
def test_files_of_no_bytes_are_issues(collection, name):
    assert issue(collection, name, b"").kind == "empty"


def test_html_of_nothing_but_navigation_is_empty(collection):
    assert issue(collection, "a.html", "<nav>Menu</nav><script>x</script>").kind == "empty"


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
    real = source_reader.read_bytes
    monkeypatch.setattr(source_reader, "read_bytes", lambda *given: read_ones.append(given[1].name) or real(*given))
    stream = (item for _, item in read_sources(collection, limits(collection)))
    next(stream)
    assert read_ones == ["a.md"]


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
