"""Small documents that are whole, of every format: what the fuzzer damages."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import docx
import xlsxwriter
from pptx import Presentation
from reportlab.pdfgen.canvas import Canvas

from tests.support.corpora import office
from tests.support.corpora.mails import attach, mail
from tests.support.corpora.msg import attachment, message, msg

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
MDX = """---
title: Page
tags: [a, b]
---
import Tabs from './tabs'

export const meta = {
  a: 1,
}

# Title {#id}

<Tabs label="One two">
  Inside `code` {/* comment */} and {'words'}.
</Tabs>
"""
ASCIIDOC = """= Title
Jo Smith <jo@example.org>
v1.0, 2024-03-05
:name: value

Words with {name}, <<id,a link>>, kbd:[Ctrl], https://example.org[site] and footnote:[a note].

[[id]]
== Section

NOTE: Mind it.

* one
** two
. three

Term:: meaning

[%header,cols="1,2"]
|===
|A |B

2+|wide
.2+|tall |b
|c
|===

[source,python]
----
x = 1
----

////
comment
////

include::other.adoc[]
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
<svg><path d="M0 0"/><text>s</text></svg><dl><dt>t<dd>d</dl><details><summary>q</summary>a</details><p>10<sup>6</sup>
H<sub>2</sub>O <math><msup><mi>x</mi><mn>2</mn></msup></math> <ruby>a<rt>b</rt></ruby> # 1. <a href="#n">n</a></p>
<form><label>n <input value="v"></label><select><option selected>o</select><button aria-expanded=true>b</button></form>
<div class="cookie" role="dialog">cookies <button>ok</button></div><table><tr><td rowspan=2>a<td>b<tr><td>c</table>
<script type="application/ld+json">{"datePublished": "2024-01-01", "author": [{"name": "n"}]}</script></main></body>
</html>"""
ROWS: list[dict[str, object]] = [
    {"_id": "1", "title": "Title", "text": "Some words"},
    {"_id": 2, "title": "", "text": 'Gr\u00fc\u00dfe \U0001f600 \\ "quoted"'},
    {"_id": "c", "text": "more", "metadata": {"url": "x", "n": [1, 2.5e3, None, True]}},
]


def pdf() -> bytes:
    """Two pages with bookmarks, fields and notes, nothing of it packed, so that damage reaches what it draws."""
    file = io.BytesIO()
    canvas = Canvas(file, pageCompression=0, invariant=1)
    canvas.setTitle("The title")
    for page in ("One", "Two"):
        canvas.bookmarkPage(page)
        canvas.addOutlineEntry(page, page, level=0)
        canvas.drawString(72, 760, page)
        canvas.drawString(72, 740, "Some words of it, which go on in a well-")
        canvas.drawString(72, 726, "known way")
        canvas.drawString(400, 726, "in a second cell")
        canvas.acroForm.textfield(name=f"who{page}", value="M. Sample", x=200, y=736, width=90, height=14)
        canvas.acroForm.checkbox(name=f"paid{page}", checked=True, x=72, y=700, size=14)
        canvas.freeTextAnnotation("A note", DA="/Helv 12 Tf", Rect=(72, 600, 200, 620))
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


CSV = 'Report;;\n\nid;note;"size, mm"\n1;"two\nlines; ""quoted""";3,5\n2;plain;\n;;\n3;x|y;7;8\n'
RECORD: dict[str, object] = {
    **{"id": 7, "title": "Title", "text": "Some words", "tags": ["a", "b"], "spec": {"flow": 1.5, "ok": True}},
    **{"log": [{"at": "2024-05-06", "by": None}], "acl": ["group:a"]},
}
NOTEBOOK = {
    "nbformat": 4,
    "metadata": {"language_info": {"name": "python"}, "kernelspec": {"display_name": "Python 3"}},
    "cells": [
        {"cell_type": "markdown", "source": ["# Title\n", "Text ![x](attachment:x.png)"]},
        {
            "cell_type": "code",
            "source": "x = 1\n```\n",
            "outputs": [
                {"output_type": "stream", "name": "stdout", "text": ["one\n", "two\n"]},
                {"output_type": "display_data", "data": {"image/png": "iVBO", "text/plain": "<Figure>"}},
                {"output_type": "error", "ename": "KeyError", "evalue": "\u001b[31mx", "traceback": []},
            ],
        },
        {"cell_type": "raw", "source": "raw"},
    ],
}


def eml() -> bytes:
    """Alternatives, an inline picture, files and a mail with a file in it."""
    inner = attach(mail("Inner words", "Inner"), list_csv="a,b\n1,2\n")
    message = mail(
        "Hello\n\n> quoted\n-- \nAda", "Gr\u00fc\u00dfe", Cc="J\u00fcrgen <j@b.c>", References="<0@b.c> <1@b.c>"
    )
    message.add_alternative("<h1>Hello</h1><p>Some <b>words</b>", subtype="html")
    return attach(message, notes_md="# Notes\n", photo_heic=b"x", inner_eml=inner).as_bytes()


def outlook() -> bytes:
    """The same of Outlook."""
    files = (attachment("list.csv", b"a,b\n1,2\n"), attachment("", message(p0037="Inner", p1000="inner words")))
    texts = {"p0037": "Title", "p1000": "Some words", "p1013": b"<h1>Hello</h1>", "p0C1A": "Ada", "p5D01": "ada@b.c"}
    return msg(datetime(2024, 5, 6, tzinfo=UTC), files, **texts)


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
    ".mdx": MDX.encode(),
    ".rst": RST.encode(),
    ".adoc": ASCIIDOC.encode(),
    ".html": HTML.encode(),
    ".pdf": pdf(),
    ".docx": word(),
    ".csv": CSV.encode(),
    ".json": json.dumps([RECORD, RECORD | {"id": 8}, {"name": "x", "n": 1}]).encode(),
    ".ndjson": b"".join(json.dumps(RECORD | {"id": number}).encode() + b"\n" for number in range(5)),
    ".ipynb": json.dumps(NOTEBOOK).encode(),
    ".eml": eml(),
    ".msg": outlook(),
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
_ODD_JSON = [
    b"\\ud800",
    b"\\u0000",
    b"1e999",
    b"NaN",
    b"null",
    b"\xff",
    b'"',
    b"," * 9,
    b"true",
]
_JSON = [b"{", b"[", b'"id"', b'"text": "', *_ODD_JSON]
WORDS: dict[str, list[bytes]] = {
    ".csv": [b";", b",", b'"', b"\n", b"\r", b"|", b"\t", b'""', b"sep=,\n", b"\\", b"\0", b";" * 99, b"\xff", b"x"],
    ".json": _JSON,
    ".ndjson": [*_JSON, b"\n"],
    ".ipynb": [*_JSON, b'"cells"', b'"outputs": [', b"image/png", b"```"],
    ".eml": [
        *(
            b"\n",
            b"\n\n",
            b"--",
            b"Content-Type: message/rfc822\n",
            b"Content-Type: multipart/mixed; boundary=x\n\n--x\n",
        ),
        *(
            b"=?utf-8?q?",
            b"?=",
            b"filename*=utf-8''%ff",
            b"charset=utf-7",
            b"\xff\xfe",
            b"(",
            b"<",
            b'"',
            b"=\n",
            b"\0",
        ),
        *(b"Content-Transfer-Encoding: base64\n", b"Content-Disposition: attachment\n", b"begin 644 x\n"),
    ],
    ".msg": [b"\xff\xff\xff\xff", b"\xfe\xff\xff\xff", b"\0\0\0\0", b"_\0_\0a\0t\0", b"\x01\0\0\0", b"3\x007\0"],
    ".mdx": [
        b"import x from 'y'\n",
        b"export const x = {\n",
        b"{/*",
        b"*/}",
        b"<A b={",
        b"</A>",
        b"<>",
        b"`",
        b"---\n",
    ],
    ".adoc": [b"|===\n", b"----\n", b"////\n", b"====\n", b"2+|", b".9+|", b"[%header]\n", b":a: {a}\n", b"[[", b"<<"],
    ".md": [
        b"---\na: ",
        b"+++\n",
        b"data:image/png;base64,",
        b"{#",
        b"{{<",
        b"> ",
        b"- ",
        b"1. ",
        b"# ",
        b"```",
        b"<!--",
        b"|",
        b"[",
        b"](",
        b"\t",
        b"---\n",
        b"***",
        b"&#x0;",
        b"\r",
    ],
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
        b"<td rowspan=65534 colspan=1000>",
        b"<meta charset=gb2312>",
        b"<details><summary>",
        b"<select><option>",
        b"<math><mfrac>",
        b"<svg><foreignObject>",
        b"<sup>",
        b" aria-hidden=true class=cookie>",
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
        b"/Annots[5 0 R]",
        b"/FT/Ch/Opt[(a)]",
        b"/Parent 6 0 R",
        b" 1e38 ",
        b"/ToUnicode 4 0 R",
        b"/Names<</EmbeddedFiles 1 0 R>>",
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
    ".jsonl": [b"{", b"[", b'"_id"', *_ODD_JSON],
}
