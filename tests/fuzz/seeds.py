"""Small documents that are whole, of every format: what the fuzzer damages."""

from __future__ import annotations

import io

import docx
from reportlab.pdfgen.canvas import Canvas

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


SEEDS: dict[str, bytes] = {
    ".md": MARKDOWN.encode(),
    ".rst": RST.encode(),
    ".html": HTML.encode(),
    ".pdf": pdf(),
    ".docx": word(),
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
