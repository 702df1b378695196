"""Small documents that are whole, of every format: what the fuzzer damages."""

from __future__ import annotations

import io

import docx
import xlsxwriter
from pptx import Presentation
from reportlab.pdfgen.canvas import Canvas

from tests.support.corpora import office

MARKDOWN = """---
layout: page
---

# Title

Some *words* with `code`, a [link](https://example.org "t") and ![picture](x.png).

> Quoted
> > deeper

- one
  - two
    1. three

| a | b |
|---|---|
| 1 | 2 |

```python
x = 1
```

<details><summary>More</summary>text</details>

[ref]: https://example.org
Setext
======
"""
RST = """
Title
=====

Words with *emphasis*, ``code``, :ref:`role <x>`, |sub| and a footnote [1]_.

.. |sub| replace:: replaced
.. [1] The note.

.. note:: Take care.

   - one

     - two

.. list-table:: T
   :header-rows: 1

   * - a
     - b
   * - 1
     - 2

+---+---+
| a | b |
+===+===+
| 1 | 2 |
+---+---+

.. code-block:: python

   x = 1

term
   what it means
"""
HTML = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Site</title></head><body><nav>Menu</nav>
<main><h1 id="a">Title</h1><p>Some <b>bold</b> &amp; <i>other</i> words &#8364;</p><ul><li>one<ol><li>two</ol></ul>
<table><thead><tr><th colspan="2">k</th></tr></thead><tbody><tr><td>v</td><td>w</td></tr></tbody></table>
<pre><code>x = 1
</code></pre><blockquote><p>quoted</blockquote><img src="x" alt="picture"><!-- no --><script>x()</script>
<svg><path d="M0 0"/></svg><dl><dt>t<dd>d</dl></main></body></html>"""
ROWS: list[dict[str, object]] = [
    {"_id": "1", "title": "Title", "text": "Some words"},
    {"_id": 2, "title": "", "text": 'Gr\u00fc\u00dfe \U0001f600 \\ "quoted"'},
    {"_id": "c", "text": "more", "metadata": {"url": "x", "n": [1, 2.5e3, None, True]}},
]


def pdf() -> bytes:
    """Two pages with bookmarks, nothing of it packed, so that damage reaches what it draws."""
    file = io.BytesIO()
    canvas = Canvas(file, pageCompression=0, invariant=1)
    canvas.setTitle("The title")
    for page in ("One", "Two"):
        canvas.bookmarkPage(page)
        canvas.addOutlineEntry(page, page, level=0)
        canvas.drawString(72, 760, page)
        canvas.drawString(72, 740, "Some words of it")
        canvas.showPage()
    canvas.save()
    return file.getvalue()


def word() -> bytes:
    """Headings, a list, a table and a hyperlink field."""
    file, built = io.BytesIO(), docx.Document()
    built.add_heading("Title", 1)
    built.add_paragraph("Some words")
    built.add_paragraph("an item", style="List Bullet")
    table = built.add_table(2, 2)
    table.cell(0, 0).text = "a"
    built.save(file)
    return file.getvalue()


def slides() -> bytes:
    """A list, a table with a merged cell, and notes."""
    file, built = io.BytesIO(), Presentation()
    slide = built.slides.add_slide(built.slide_layouts[1])
    slide.shapes.title.text, slide.placeholders[1].text = "Title", "Some words"
    table = slide.shapes.add_table(2, 2, 0, 0, 9999, 9999).table
    table.cell(0, 0).text = "a"
    table.cell(0, 0).merge(table.cell(1, 0))
    slide.notes_slide.notes_text_frame.text = "Notes"
    built.save(file)
    return file.getvalue()


def workbook() -> bytes:
    """Texts, a date, a percentage, a formula, merged cells and a second sheet."""
    file = io.BytesIO()
    with xlsxwriter.Workbook(file, {"in_memory": True}) as book:
        sheet = book.add_worksheet("Prices")
        sheet.write_row(0, 0, ["Part", "Share", "Day"])
        sheet.write(1, 1, 0.5, book.add_format({"num_format": "0%"}))
        sheet.write(1, 2, 45000, book.add_format({"num_format": "yyyy-mm-dd"}))
        sheet.write_formula(2, 1, "=B2*2", None, 1)
        sheet.merge_range("A2:A3", "Relay")
        book.add_worksheet("Other").write(5, 5, True)
    return file.getvalue()


_CELL = "<table:table-cell {}><text:p>a</text:p></table:table-cell>"
_TABLE = (
    '<table:table table:name="A"><table:table-row>'
    + _CELL.format('table:number-columns-spanned="2"')
    + '<table:covered-table-cell/></table:table-row><table:table-row table:number-rows-repeated="2">'
    + _CELL.format('table:number-columns-repeated="2" office:value-type="float" office:value="1.5"')
    + "</table:table-row></table:table>"
)
_ODF = (
    '<text:h text:outline-level="2">Title</text:h><text:p>Some <text:span>words</text:span><text:s text:c="3"/>'
    "<text:note><text:note-body><text:p>note</text:p></text:note-body></text:note></text:p><text:list><text:list-item>"
    "<text:p>one</text:p></text:list-item></text:list>"
)
_SLIDE = f"<draw:page><draw:frame><draw:text-box>{_ODF}</draw:text-box></draw:frame></draw:page>"
RTF = (
    rb"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Times;}}{\stylesheet{\s1\outlinelevel0 heading 1;}}{\header Head\par}"
    rb"\pard\s1\outlinelevel0 Title\par\pard\plain Gr\'fc\u8364? {\b bold}{\v hidden} 10{\super 6}\par"
    rb"\trowd\cellx1000\cellx2000 \intbl a\cell b\cell\row\pard{\field{\*\fldinst HYPERLINK x}{\fldrslt link}}"
    rb"{\footnote note}{\pict\pngblip 89504e47}\par}"
)
CHAPTERS = {
    "a": "<h1>Title</h1><p>Some <b>words</b><sup>2</sup></p>",
    "b": "<table><tr><td rowspan='2'>a</td></tr></table>",
}
SEEDS: dict[str, bytes] = {
    ".md": MARKDOWN.encode(),
    ".rst": RST.encode(),
    ".html": HTML.encode(),
    ".pdf": pdf(),
    ".docx": word(),
    ".pptx": slides(),
    ".xlsx": workbook(),
    ".odt": office.odf_file("text", _ODF + _TABLE),
    ".odp": office.odf_file("presentation", _SLIDE),
    ".ods": office.odf_file("spreadsheet", _TABLE),
    ".epub": office.book_file(CHAPTERS, metadata="<dc:title>Title</dc:title>"),
    ".rtf": RTF,
}
# Of an archive, the part that holds the text.
MAIN_PARTS = {
    ".docx": "word/document.xml",
    ".pptx": "ppt/slides/slide1.xml",
    ".xlsx": "xl/worksheets/sheet1.xml",
    **dict.fromkeys((".odt", ".odp", ".ods"), "content.xml"),
    ".epub": "text/a.xhtml",
}
WORDS: dict[str, list[bytes]] = {
    ".md": [b"> ", b"- ", b"1. ", b"# ", b"```", b"<!--", b"|", b"[", b"](", b"\t", b"---\n", b"***", b"&#x0;", b"\r"],
    ".rst": [
        b".. ",
        b"::\n\n",
        b"``",
        b"|",
        b"=====\n",
        b".. include:: /etc/passwd\n",
        b"   ",
        b"+---+\n",
        b"`_",
        b"\t",
        b".. raw:: html\n   :file: /etc/passwd\n",
        b".. |a| replace:: |a|\n",
        b".. unicode:: 0xD800\n",
        b".. class:: x\n",
    ],
    ".html": [
        b"<div>",
        b"</p>",
        b"<table>",
        b"<!--",
        b"<![CDATA[",
        b"&#xD800;",
        b"<td colspan=99999999>",
        b"<ol start=-9e9>",
        b"<meta charset=utf-7>",
        b"<li>",
        b"<pre>",
        b'"',
        b"<template>",
        b"<main>",
        b"<br>",
        b"<blockquote>",
        b"<h9>",
    ],
    ".pdf": [
        b"0 0 R",
        b"<<",
        b">>",
        b"/Kids[2 0 R]",
        b"/Count 99999999",
        b"stream\n",
        b"endobj",
        b"/Filter/FlateDecode",
        b"/Length -1",
        b"xref",
        b"(\\",
        b" Tj ",
        b" BT ",
        b" q " * 50,
        b"/Prev 0",
        b"/Encrypt 1 0 R",
        b"-2147483649",
        b"/XFA",
    ],
    ".docx": [
        b"<w:p>",
        b"</w:p>",
        b"<w:tbl>",
        b"<!DOCTYPE x>",
        b"&a;",
        b'w:val="9999999999"',
        b'Target="../../../etc/passwd"',
        b"<w:instrText>HYPERLINK",
        b"<mc:AlternateContent>",
        b"<w:footnoteReference w:id='1'/>",
        b"]]>",
        b"PK\x05\x06",
    ],
    ".pptx": [
        b"<a:p>",
        b"</a:r>",
        b'gridSpan="99999999"',
        b'r:id="rId99"',
        b"<p:grpSp>",
        b"<a:tbl>",
        b"&a;",
        b"PK\x05\x06",
    ],
    ".xlsx": [
        b"<c>",
        b"</row>",
        b't="s"',
        b"<v>99999999</v>",
        b'r="XFD1048576"',
        b'ref="A1:XFD1048576"',
        b"<f>",
        b"1e999",
    ],
    ".odt": [
        b"<text:p>",
        b"<text:list>",
        b"<draw:frame>",
        b'table:number-rows-spanned="99999"',
        b"<text:note>",
        b"&a;",
    ],
    ".odp": [b"<draw:page>", b"<draw:g>", b"<presentation:notes>", b'text:outline-level="-1"', b"<text:h>", b"]]>"],
    ".ods": [b"<table:table-row>", b'table:number-columns-repeated="999999999"', b'office:value="1e999"', b"<text:s/>"],
    ".epub": [
        b"<br>",
        b"&nbsp;",
        b"<!DOCTYPE x>",
        b"</p>",
        b"<svg>",
        b'rowspan="99999"',
        b'epub:type="noteref"',
        b"<nav>",
    ],
    ".rtf": [
        b"{",
        b"}",
        b"\\bin999999999 ",
        b"\\u-70000?",
        b"\\'",
        b"{\\*\\x ",
        b"\\cellx99999999",
        b"\\v ",
        b"\\super ",
        b"{\\footnote ",
        b"{\\shptxt ",
        b"{\\mmath{\\moMath{\\mf",
        b"{\\field{\\*\\fldinst ",
        b"\\itap99 ",
        b"\\clvmrg ",
        b"\\row ",
        b"{\\upr",
    ],
    ".jsonl": [
        b"{",
        b"[",
        b'"_id"',
        b"\\ud800",
        b"\\u0000",
        b"1e999",
        b"NaN",
        b"null",
        b"\xff",
        b'"',
        b"," * 9,
        b"true",
    ],
}
