"""Books (EPUB)."""

from __future__ import annotations

import pytest

from tests.support.corpora.extraction import issue
from tests.support.corpora.office import book_file

METADATA = (
    "<dc:title>The book of pumps</dc:title><dc:creator>Ada</dc:creator><dc:creator>Bo</dc:creator>"
    "<dc:language>en-GB</dc:language><dc:subject>pumps</dc:subject><dc:subject>valves</dc:subject>"
    "<dc:description>All &lt;b&gt;about&lt;/b&gt; them</dc:description><dc:date>2020-01-02</dc:date>"
    '<meta property="dcterms:modified">2021-02-03T04:05:06Z</meta>'
)
NAVIGATION = '<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'


def encryption(algorithm: str) -> str:
    return (
        '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container" xmlns:e="http://www.w3.org/2001/04/xmlenc#">'
        f'<e:EncryptedData><e:EncryptionMethod Algorithm="{algorithm}"/></e:EncryptedData></encryption>'
    )


def test_chapters_follow_the_spine(extract):
    pages = {"b": "<h1>One</h1><p>First</p>", "a": "<h1>Two</h1><ul><li>x</li></ul>"}
    found = extract(".epub", book_file(pages, metadata=METADATA))
    assert found.text == "# One\n\nFirst\n\n# Two\n\n- x\n"
    assert found.title == "The book of pumps"
    assert found.metadata == {
        "language": "en-GB",
        "created": "2020-01-02",
        "modified": "2021-02-03T04:05:06Z",
        "keywords": ["pumps", "valves"],
        "description": "All about them",
        "author": "Ada; Bo",
    }


def test_cover_contents_and_page_numbers_go(extract):
    pages = {
        "cover": '<img src="c.png" alt="Cover"/>',
        "contents": '<nav epub:type="toc"><ol><li><a href="a.xhtml">One</a></li></ol></nav>',
        "a": '<h1>One</h1><p>Fir<span epub:type="pagebreak">17</span>st</p>',
    }
    found = extract(".epub", book_file(pages))
    assert found.text == "# One\n\nFirst\n"
    assert [(each.part, each.detail) for each in found.omissions] == [
        ("page without text", "cover.xhtml, contents.xhtml.")
    ]


def test_chapter_without_heading_has_that_of_the_contents(extract):
    nav = (
        '<html xmlns="http://www.w3.org/1999/xhtml"><body><nav><a href="a.xhtml#x">Chapter One</a></nav></body></html>'
    )
    data = book_file({"a": "<p>First</p>"}, manifest=NAVIGATION, **{"text/nav.xhtml": nav})
    assert extract(".epub", data).text == "## Chapter One\n\nFirst\n"


def test_mark_of_a_note_stays_apart(extract):
    note = '<aside epub:type="footnote" id="n"><p>In May</p></aside>'
    marked = f'<p>Open<a epub:type="noteref" href="#n">1</a> daily</p>{note}'
    assert extract(".epub", book_file({"a": marked})).text == "Open[1] daily\n\nIn May\n"


@pytest.mark.parametrize("content", ["<p>Caf&eacute;&nbsp;bar</p>", '<p>Café<a id="p1"/> bar</p>', "<p>Café<br>bar"])
def test_careless_pages_are_read(extract, content):
    assert extract(".epub", book_file({"a": content})).text.replace("\xa0", " ").split() == ["Café", "bar"]


def test_missing_chapter_is_named(extract):
    data = book_file({"a": "<p>First</p>", "b": "<p>Second</p>"})
    without = data.replace(b"text/b.xhtml", b"text/c.xhtml")
    found = extract(".epub", without)
    assert found.text == "First\n"
    assert [(each.part, each.count) for each in found.omissions] == [("chapter", 1)]


def test_protected_book_is_an_issue(collection):
    parts = {"META-INF/encryption.xml": encryption("http://www.w3.org/2001/04/xmlenc#aes128-cbc")}
    found = issue(collection, "a.epub", book_file({"a": "<p>x</p>"}, **parts))
    assert found.kind == "encrypted_office"
    assert "copy protection" in found.message


def test_obfuscated_fonts_are_no_protection(extract):
    parts = {"META-INF/encryption.xml": encryption("http://www.idpf.org/2008/embedding")}
    assert extract(".epub", book_file({"a": "<p>words</p>"}, **parts)).text == "words\n"


def test_archive_of_something_else_is_no_book(collection):
    data = book_file({"a": "<p>x</p>"}).replace(b"META-INF/container.xml", b"META-INF/contained.xml")
    assert issue(collection, "a.epub", data).kind == "unreadable_office"


def test_pages_are_read_as_html(extract):
    content = (
        "<p>10<sup>6</sup></p><p># of seats</p><table><tr><th>P</th><th>S</th></tr><tr><td rowspan='2'>r</td><td>1</td>"
        "</tr><tr><td>2</td></tr></table>"
    )
    text = extract(".epub", book_file({"a": content})).text
    assert text == "10^6\n\n\\# of seats\n\n| P | S |\n| --- | --- |\n| r | 1 |\n| r | 2 |\n"
