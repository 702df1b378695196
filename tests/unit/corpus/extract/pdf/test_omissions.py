"""What of a PDF is not in its text is named, with its pages and a remedy; the rest is used."""

import polars as pl
from PIL import Image
from reportlab.lib.utils import ImageReader

from tests.support.corpora.extraction import document
from tests.support.corpora.pdf_files import drawn, one_page, stream, unreadable_font

SCAN = ImageReader(Image.effect_noise((60, 80), 50))


def words(canvas):
    canvas.drawString(72, 700, "Some readable words on this page.")


def scan(canvas):
    canvas.drawImage(SCAN, 0, 0, 595, 842)


def stamped_scan(canvas):
    scan(canvas)
    canvas.drawString(500, 20, "ACME 000123")


def picture_with_text(canvas):
    words(canvas)
    canvas.drawImage(SCAN, 100, 100, 100, 100)


def blank(canvas):
    canvas.line(10, 10, 20, 20)


def omission(found, part):
    (one,) = [each for each in found.omissions if each["part"] == part]
    return one["count"], one["detail"]


def test_scanned_pages_are_named_as_ranges(collection):
    found = document(collection, "a.pdf", drawn(scan, words, scan, scan, stamped_scan, words, scan))
    count, detail = omission(found, "page without text")
    assert count == 5
    assert detail.startswith("Pages 1, 3-5, 7. ")
    assert "ocrmypdf --skip-text" in detail


def test_scans_with_head_and_number_are_without_text(collection):
    def page(show):
        def draw(canvas):
            show(canvas)
            canvas.drawString(72, 810, "The manual of the northern plant")
            canvas.drawString(72, 30, f"Page {canvas.getPageNumber()} of 7")

        return draw

    def photo(canvas):
        canvas.drawImage(SCAN, 100, 100, 100, 100)

    found = document(collection, "a.pdf", drawn(*map(page, [words, photo, scan, blank, words, words, scan])))
    count, detail = omission(found, "page without text")
    assert (count, detail.partition(".")[0]) == (3, "Pages 2-3, 7")


def test_pictures_and_blank_pages_are_no_loss(collection):
    assert document(collection, "a.pdf", drawn(words, picture_with_text, blank)).omissions == []


def test_drawn_letters_are_a_page_without_text(collection):
    def outlines(canvas):
        for number in range(300):
            canvas.line(10, number, 20, number)

    assert omission(document(collection, "a.pdf", drawn(words, outlines)), "page without text")[0] == 1


def test_nine_of_ten_scanned_pages_are_an_issue(read, folder, store):
    (folder / "a.pdf").write_bytes(drawn(words, *[scan] * 9))
    read()
    issue = store.read("document_issues", "kb").filter(pl.col("kind") == "partial")
    assert issue.select("path", "part", "count").rows() == [("a.pdf", "page without text", 9)]
    assert "Pages 2-10" in issue["message"][0]
    assert store.count("documents", "kb") == 1


def test_font_that_names_no_letters_is_an_issue(read, folder, store):
    (folder / "a.pdf").write_bytes(unreadable_font(readable=b"A readable line"))
    read()
    issue = store.read("document_issues", "kb").filter(pl.col("kind") == "partial")
    assert issue.select("path", "part", "count").rows() == [("a.pdf", "page with an unreadable font", 1)]
    assert '"ABCDEF+Vera"' in issue["message"][0]
    assert "--force-ocr" in issue["message"][0]
    assert store.read("documents", "kb")["text"].to_list() == ["A readable line\n"]


def test_glyphs_without_names_are_no_letters(collection):
    # A font of drawings: what it calls a and b may be anything.
    content = b"BT /F1 12 Tf 72 700 Td (A readable line) Tj 0 -20 Td /F2 12 Tf (abab abba) Tj ET"
    font = (
        b"<</Type/Font/Subtype/Type3/FontBBox[0 0 750 750]/FontMatrix[.001 0 0 .001 0 0]"
        b"/CharProcs<</g1 7 0 R/g2 7 0 R>>"
        b"/Encoding<</Differences[97/g1/g2]>>/FirstChar 97/LastChar 98/Widths[1000 1000]/Resources<<>>>>"
    )
    glyph = stream(b"1000 0 0 0 750 750 d1 0 0 750 750 re f")
    found = document(collection, "a.pdf", one_page(content, font, glyph, resources=b"/F2 6 0 R"))
    assert found.text == "A readable line\n"
    assert omission(found, "page with an unreadable font")[0] == 1


def test_embedded_files_are_named(collection):
    names = b"/Names<</EmbeddedFiles<</Names[(a) 6 0 R (b) 7 0 R]>>>>"
    files = [
        b"<</Type/Filespec/F(%s)/UF(%s)/EF<</F 8 0 R>>>>" % (name, name)
        for name in (b"../../etc/plan.xlsx", b"x" * 500)
    ]
    data = one_page(b"BT /F1 12 Tf 72 700 Td (words) Tj ET", *files, stream(b"\0" * 300_000), catalog=names)
    count, detail = omission(document(collection, "a.pdf", data), "embedded file")
    assert count == 2
    assert '"../../etc/plan.xlsx"' in detail
    assert len(detail) < 300


def test_scripts_are_named(collection):
    names = b"/Names<</JavaScript<</Names[(a) 6 0 R]>>>>"
    script = b"<</S/JavaScript/JS(app.alert\\(1\\))>>"
    data = one_page(b"BT /F1 12 Tf 72 700 Td (words) Tj ET", script, catalog=names)
    assert omission(document(collection, "a.pdf", data), "script")[0] == 1


def test_text_of_layers_switched_off_is_read(collection):
    content = b"BT /F1 12 Tf 72 700 Td (shown) Tj ET /OC /L1 BDC BT /F1 12 Tf 72 680 Td (switched off) Tj ET EMC"
    layers = b"/OCProperties<</OCGs[6 0 R]/D<</OFF[6 0 R]>>>>"
    data = one_page(content, b"<</Type/OCG/Name(L)>>", catalog=layers, resources=b">>/Properties<</L1 6 0 R")
    assert document(collection, "a.pdf", data).text == "shown\nswitched off\n"
