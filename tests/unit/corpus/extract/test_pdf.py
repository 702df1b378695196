"""Documents in PDF."""

import io

import pytest
from reportlab.pdfgen.canvas import Canvas

from tests.support.corpora.extraction import document, issue


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
