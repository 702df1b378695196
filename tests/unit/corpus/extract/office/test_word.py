"""Documents of Word."""

import io
import zipfile

from PIL import Image

from tests.support.corpora.extraction import document, issue, word


def one_pixel() -> io.BytesIO:
    file = io.BytesIO()
    Image.new("RGB", (1, 1)).save(file, "PNG")
    return file


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
        assert issue(collection, "a.docx", content).kind == "unreadable_office"


def test_docx_bomb_is_an_issue(collection, monkeypatch):
    monkeypatch.setattr("embedder_assets.corpus.extract.limits.MAX_UNPACKED_BYTES", 10_000)
    content = word(lambda built: built.add_paragraph("x"))
    found = issue(collection, "a.docx", content)
    assert found.kind == "too_large"
    assert "at most 0.01 MB when unpacked" in found.message
