"""Documents in PDF as a whole: pages, headings, what they say of themselves, and those that cannot be used."""

import json

import pytest

from embedder_assets.corpus.document import DocumentIssue
from tests.support.corpora.extraction import document, issue, read
from tests.support.corpora.pdf_files import drawn, one_page, paged, placed, stream, unreadable_font


def test_text_is_read_page_by_page(collection):
    found = document(collection, "a.pdf", paged(["First page."], ["# no heading", "second"]))
    assert found.text == "First page.\n\n\\# no heading\nsecond\n"
    assert (found.title, found.media_type) == ("a", "application/pdf")
    assert [found.text[start:] for start in found.pages] == [found.text, "\\# no heading\nsecond\n"]


def test_bookmarks_become_headings(collection):
    def chapter(name, subtitle=""):
        def draw(canvas):
            canvas.bookmarkPage(name)
            canvas.addOutlineEntry(f"{name} {subtitle}".strip(), name, level=0)
            for row, line in enumerate([name, subtitle, f"Text of {name}."]):
                canvas.drawString(72, 700 - 20 * row, line)

        return draw

    found = document(collection, "a.pdf", drawn(chapter("One"), chapter("Two"), chapter("Three", "of the pumps")))
    assert found.text == "# One\n\nText of One.\n\n# Two\n\nText of Two.\n\n# Three of the pumps\n\nText of Three.\n"
    assert [found.text[start:][:5] for start in found.pages] == ["# One", "# Two", "# Thr"]


def test_number_above_a_heading_stays_apart(collection):
    def draw(canvas):
        canvas.bookmarkPage("x")
        canvas.addOutlineEntry("1.2 Injection", "x", level=0)
        for row, line in enumerate(["Level", "2", "1.2 Injection", "Words."]):
            canvas.drawString(72, 700 - 20 * row, line)

    assert document(collection, "a.pdf", drawn(draw)).text == "Level\n2\n\n# 1.2 Injection\n\nWords.\n"


def test_larger_lines_are_headings_without_bookmarks(collection):
    texts = [
        (72, 780, "Pumps of the", 24),
        (72, 750, "northern plant", 24),
        (72, 700, "Installation", 16),
        *((72, 680 - 14 * row, f"This is the line number {row} of the text.") for row in range(9)),
        (72, 530, "Operation", 16),
        (72, 510, "Turn it on, and wait until it hums."),
    ]
    found = document(collection, "a.pdf", placed(texts))
    headings = [line for line in found.text.split("\n") if line.startswith("#")]
    assert headings == ["# Pumps of the northern plant", "## Installation", "## Operation"]
    assert found.title == "Pumps of the northern plant"


def test_sentence_over_a_page_break_is_one_paragraph(collection):
    found = document(collection, "a.pdf", paged(["The pump turns and"], ["the valve opens."], ["A new thought."]))
    assert found.text == "The pump turns and\nthe valve opens.\n\nA new thought.\n"
    assert [found.text[start:].split()[0] for start in found.pages] == ["The", "the", "A"]


def test_offsets_are_right_after_omitted_lines(collection):
    pages = [
        [f"Body {name} mainte-", "nance\u2026", "\u2022 item"]
        for name in ("one", "two", "three", "four", "five", "six")
    ]
    pages[3] = []
    found = document(collection, "a.pdf", paged(*pages, head=lambda _: "ACME Ltd", foot=lambda n: f"Page {n}"))
    assert len(found.pages) == 6
    starts = [found.text[start:].split("\n")[0] for start in found.pages]
    assert starts == [f"Body {name} maintenance\u2026" for name in ("one", "two", "three", "five", "five", "six")]


def test_wide_gaps_part_paragraphs(collection):
    rows = [700, 686, 672, 640, 626, 612]
    text = document(collection, "a.pdf", placed([(72, y, f"line at {y}") for y in rows])).text
    assert text == "line at 700\nline at 686\nline at 672\n\nline at 640\nline at 626\nline at 612\n"


def test_properties_become_metadata(collection):
    def draw(canvas):
        canvas.setTitle("The manual")
        canvas.setAuthor("M. Sample")
        canvas.setSubject("How to install pumps")
        canvas.setKeywords(["pump", "valve; pump"])
        canvas.drawString(72, 700, "words")

    found = read(collection, "a.pdf", drawn(draw, lang="de-AT"))[0]
    assert found.title == "The manual"
    for part in ('"language": "de-AT"', '"keywords": ["pump", "valve"]', '"description": "How to install pumps"'):
        assert part in found.source_metadata


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("D:20240131094500Z", "2024-01-31T09:45:00+00:00"),
        ("D:20240131094500+01'00'", "2024-01-31T09:45:00+01:00"),
        ("D:20240131094500-0330", "2024-01-31T09:45:00-03:30"),
        ("D:20240131", "2024-01-31"),
        ("2024", "2024"),
        ("D:20241399", None),
        ("yesterday", None),
    ],
)
def test_dates_become_iso_8601(date, expected):
    from embedder_assets.corpus.extract.pdf.properties import iso_date

    assert (iso_date(date) or None) == expected


XMP = b"""<?xpacket begin="" id="x"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/"><rdf:Description xmp:CreateDate="2025-05-30T10:00:00+02:00">
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">The valve &amp; its seat</rdf:li></rdf:Alt></dc:title>
<dc:subject><rdf:Bag><rdf:li>valve</rdf:li><rdf:li>seat</rdf:li></rdf:Bag></dc:subject>
<dc:language><rdf:Bag><rdf:li>fr</rdf:li></rdf:Bag></dc:language></rdf:Description></rdf:RDF></x:xmpmeta>"""


def test_xmp_says_what_the_information_does_not(collection):
    content = b"BT /F1 12 Tf 72 700 Td (words) Tj ET"
    found = document(
        collection, "a.pdf", one_page(content, stream(XMP, b"/Type/Metadata/Subtype/XML"), catalog=b"/Metadata 6 0 R")
    )
    assert found.title == "The valve & its seat"
    assert json.loads(found.source_metadata) == {
        "language": "fr",
        "created": "2025-05-30T10:00:00+02:00",
        "keywords": ["valve", "seat"],
    }


def test_encrypted_document_is_an_issue_with_a_remedy(collection):
    found = issue(collection, "a.pdf", drawn(lambda canvas: canvas.drawString(72, 700, "secret"), encrypt="password"))
    assert found.kind == "encrypted_pdf"
    assert "qpdf" in found.message


@pytest.mark.parametrize("content", [b"%PDF-1.7\nrubbish", b"no pdf at all", paged(["x"])[:300]])
def test_broken_document_is_an_issue(collection, content):
    assert issue(collection, "a.pdf", content).kind == "unreadable_pdf"


def test_document_without_text_asks_for_ocr(collection):
    found = issue(collection, "a.pdf", paged([], []))
    assert found.kind == "no_text"
    assert "2 pages" in found.message
    assert "OCR" in found.message


def test_document_of_unreadable_letters_asks_for_ocr(collection):
    found = issue(collection, "a.pdf", unreadable_font())
    assert isinstance(found, DocumentIssue)
    assert found.kind == "no_text"
    assert '"ABCDEF+Vera"' in found.message
    assert "--force-ocr" in found.message
