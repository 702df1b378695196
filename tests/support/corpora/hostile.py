"""Documents that mean harm, made when they are needed, and what has to come of each."""

from __future__ import annotations

import io
import json
import os
import random
import socket
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

from tests.support.corpora import office
from tests.support.corpora.msg import msg

AS_IT_IS = "as it is"
PARTIAL = "partial"
MB = 1_000_000
PASSWORDS = "root:"  # what /etc/passwd would show
DOCX_PARTS = {
    "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/word/document.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>',
    "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"'
    ' Target="word/document.xml"/></Relationships>',
}
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


@dataclass(frozen=True)
class Hostile:
    """A document and what has to come of it: the kind of an issue, ``PARTIAL`` or ``AS_IT_IS``."""

    name: str
    becomes: str
    write: Callable[[Path], object]


def of(content: bytes | str) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def archive(parts: dict[str, str | bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
        for name, content in parts.items():
            target.writestr(name, content)
    return file.getvalue()


def word(body: str, before: str = "") -> bytes:
    """A Word document with the given XML in its body."""
    xml = f'{before}<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
    return archive({**DOCX_PARTS, "word/document.xml": f"{xml}<w:body>{body}</w:body></w:document>"})


def paragraph(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def pdf(text: str = "Some words", **options: object) -> bytes:
    file = io.BytesIO()
    canvas = Canvas(file, **options)
    canvas.drawString(72, 700, text)
    canvas.save()
    return file.getvalue()


def raw_pdf(*objects: str) -> bytes:
    """A PDF of objects that are numbered from 1; the first is the catalogue."""
    parts, offsets = [b"%PDF-1.7\n"], []
    for number, content in enumerate(objects, start=1):
        offsets.append(sum(map(len, parts)))
        parts.append(f"{number} 0 obj\n{content}\nendobj\n".encode())
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    start, size = sum(map(len, parts)), len(objects) + 1
    end = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<</Size {size}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF"
    return b"".join([*parts, end.encode()])


def page_tree_loop() -> bytes:
    catalogue = "<</Type/Catalog/Pages 2 0 R>>"
    return raw_pdf(catalogue, "<</Type/Pages/Count 2/Kids[3 0 R]>>", "<</Type/Pages/Count 2/Kids[2 0 R]/Parent 2 0 R>>")


def many_pages(declared: int) -> bytes:
    """A PDF that declares more pages than it has."""
    catalogue, tree = "<</Type/Catalog/Pages 2 0 R>>", f"<</Type/Pages/Count {declared}/Kids[3 0 R]>>"
    return raw_pdf(catalogue, tree, "<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>")


def hostile_pdf(annotations: str = "", content: str = "BT /F1 12 Tf 72 700 Td (words) Tj ET", **catalog: str) -> bytes:
    """A page of words; objects 6 to 9 are a field, a bookmark and a form that lead back to themselves, and a note."""
    extra = "".join(f"/{key}{value}" for key, value in catalog.items())
    return raw_pdf(
        f"<</Type/Catalog/Pages 2 0 R{extra}>>",
        "<</Type/Pages/Count 1/Kids[3 0 R]>>",
        f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Annots[{annotations}]"
        "/Resources<</Font<</F1 5 0 R>>/XObject<</X 8 0 R>>>>>>",
        f"<</Length {len(content)}>>\nstream\n{content}\nendstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        "<</Type/Annot/Subtype/Widget/FT/Tx/T(f)/V 6 0 R/Parent 6 0 R/Kids[6 0 R 6 0 R]/Rect[0 0 9 9]>>",
        "<</Title(words)/Dest[3 0 R/Fit]/First 7 0 R/Next 7 0 R/Last 7 0 R/Parent 7 0 R/Count 9>>",
        "<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 8 0 R>>>>/Length 5>>"
        "\nstream\n/X Do\nendstream",
        "<</Type/Annot/Subtype/FreeText/Contents(note)/Rect[1e38 -1e38 1e39 9]/F 4>>",
    )


def zip_bomb(unpacked: int) -> bytes:
    return word(paragraph(" " * unpacked))


def zip_of_zips() -> bytes:
    inner = b"x" * 100_000
    for depth in range(10):
        inner = archive({f"{depth}-{copy}.zip": inner for copy in range(4)})
    return inner


def listening_socket(path: Path) -> None:
    # The path of a socket may have a hundred characters only.
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)


def nested_tables(depth: int) -> str:
    return "<w:tbl><w:tr><w:tc>" * depth + paragraph("x") + "</w:tc></w:tr></w:tbl>" * depth


def nested_parts(depth: int) -> str:
    parts = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(depth))
    return f"From: a@b.c\nSubject: parts\n{parts}\nwords"


def many_parts(part: str, count: int) -> str:
    return "From: a@b.c\nContent-Type: multipart/mixed; boundary=x\n\n" + f"--x\n{part}\n\nwords\n" * count + "--x--"


def header_bomb() -> str:
    odd = f"From: {'(' * 15_000}\nSubject: {'=?utf-8?q?a' * 100_000}\nTo: {'a@b.c, ' * 100_000}\nDate: {'(' * 50_000}\n"
    return odd + "".join(f"X-{number}: y\n" for number in range(50_000)) + "\nwords"


def circular_msg() -> bytes:
    """A compound file whose sectors follow each other in a circle."""
    whole = bytearray(msg(p0037="s", p1000="words" * 2000))
    (table,) = struct.unpack_from("<I", whole, 76)
    start = 512 * (table + 1)
    whole[start : start + 512] = bytes(512)
    return bytes(whole)


def long_paths() -> str:
    values: object = dict.fromkeys(map(str, range(50_000)), 1)
    for _ in range(20):
        values = {"x" * 1000: values}
    return json.dumps(values)


def notebook(output: str) -> str:
    outputs = [{"output_type": "stream", "text": output}]
    return json.dumps({"cells": [{"cell_type": "code", "source": "x", "outputs": outputs}]})


INCLUDING = """
Title
=====

Words.

.. include:: /etc/passwd
.. include:: /etc/passwd
   :literal:
.. raw:: html
   :file: /etc/passwd
.. csv-table:: t
   :file: /etc/passwd
.. csv-table:: t
   :url: file:///etc/passwd
.. literalinclude:: /etc/passwd
.. math::
   :name: /etc/passwd
.. role:: raw-html(raw)
   :format: html

:raw-html:`<script src="x">`
"""
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def sheet(rows: str, strings: str = "") -> bytes:
    """A workbook with the given rows on its one sheet, and shared strings."""
    name = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    return archive(
        {
            "_rels/.rels": office.relationships(main=("officeDocument", "xl/workbook.xml")),
            "xl/workbook.xml": f'<workbook xmlns="{name}" xmlns:r="{office.RELATIONSHIPS}"><sheets><sheet name="A" '
            'r:id="s"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": office.relationships(
                s=("worksheet", "worksheets/a.xml"), t=("sharedStrings", "strings.xml")
            ),
            "xl/worksheets/a.xml": f'<worksheet xmlns="{name}"><sheetData>{rows}</sheetData></worksheet>',
            "xl/strings.xml": strings or f'<sst xmlns="{name}"><si><t>word</t></si></sst>',
        }
    )


def shared_string(count: int, size: int) -> bytes:
    """A workbook whose cells all have one long string."""
    strings = (
        f'<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><si><t>{"w" * size}</t></si></sst>'
    )
    cells = '<c t="s"><v>0</v></c>' * count
    return sheet(f"<row>{cells}</row>" * 2, strings)


def slides(shapes: str) -> bytes:
    """A presentation with the given shapes on its one slide, which is listed three times."""
    again = '<p:sldId r:id="s"/>' * 3
    names = 'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"'
    return archive(
        {
            "_rels/.rels": office.relationships(main=("officeDocument", "ppt/presentation.xml")),
            "ppt/presentation.xml": f'<p:presentation {names} xmlns:r="{office.RELATIONSHIPS}"><p:sldIdLst>'
            f"{again}</p:sldIdLst></p:presentation>",
            "ppt/_rels/presentation.xml.rels": office.relationships(s=("slide", "slides/slide1.xml")),
            "ppt/slides/slide1.xml": f"<p:sld {names}><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:sld>",
        }
    )


def repeated(kind: str, rows: int, columns: int) -> bytes:
    """A table of OpenDocument that says of one cell that it is there again and again."""
    cell = f'<table:table-cell table:number-columns-repeated="{columns}"><text:p>word</text:p></table:table-cell>'
    row = f'<table:table-row table:number-rows-repeated="{rows}">{cell}</table:table-row>'
    return office.odf_file(kind, f'<table:table table:name="A">{row}</table:table>')


def deep_list(depth: int) -> str:
    return "<text:list><text:list-item>" * depth + "<text:p>x</text:p>" + "</text:list-item></text:list>" * depth


SVG = f'<!DOCTYPE svg [<!ENTITY l0 "ha">{LAUGHS}]><svg xmlns="http://www.w3.org/2000/svg"><text>&l9;</text></svg>'
DOCUMENTS = [
    Hostile("bomb.pptx", "too_large", of(slides(" " * (30 * MB)))),
    Hostile("bomb.xlsx", "too_large", of(sheet(" " * (30 * MB)))),
    Hostile("bomb.odt", "too_large", of(office.odf_file("text", " " * (30 * MB)))),
    Hostile("bomb.epub", "too_large", of(office.book_file({"a": " " * (30 * MB)}))),
    Hostile("zips.epub", "unreadable_office", lambda path: path.write_bytes(zip_of_zips())),
    Hostile("laughs.xlsx", "xml_entities", of(sheet("", f'<!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]><sst>&l9;</sst>'))),
    Hostile("picture.epub", "xml_entities", of(office.book_file({"a": "x"}, **{"text/a.svg": SVG}))),
    Hostile(
        "external.epub",
        "xml_entities",
        of(office.book_file({"a": "x"}, **{"a.xhtml": '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><p>&e;'})),
    ),
    Hostile("cells.ods", "too_large", of(repeated("spreadsheet", 1_048_576, 16_384))),
    Hostile("cells.odt", "too_large", of(repeated("text", 1_048_576, 16_384))),
    Hostile("strings.xlsx", "too_long", of(shared_string(1000, 100_000))),
    Hostile("far.xlsx", AS_IT_IS, of(sheet('<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'))),
    Hostile("again.pptx", AS_IT_IS, of(slides(""))),
    Hostile("deep.pptx", "too_deep", of(slides("<p:grpSp>" * 600 + "</p:grpSp>" * 600))),
    Hostile("deep.odt", "too_deep", of(office.odf_file("text", deep_list(300)))),
    Hostile("deep.rtf", "too_deep", of("{\\rtf1 " + "{" * 600 + "x" + "}" * 601)),
    Hostile("encrypted.xlsx", "encrypted_office", of(OLE + bytes(600) + "EncryptedPackage".encode("utf-16-le"))),
    Hostile("renamed.docx", "unreadable_office", of(sheet('<row><c t="s"><v>0</v></c></row>'))),
    Hostile("truncated.pptx", "unreadable_office", of(slides("")[:-30])),
    Hostile("nothing.epub", "unreadable_office", of(bytes(100_000))),
    Hostile("bomb.docx", "too_large", lambda path: path.write_bytes(zip_bomb(30 * MB))),
    Hostile("huge.docx", "too_large", lambda path: path.write_bytes(zip_bomb(201 * MB))),
    Hostile("zips.docx", "unreadable_office", lambda path: path.write_bytes(zip_of_zips())),
    Hostile(
        "laughs.docx",
        "xml_entities",
        of(word(paragraph("&l9;"), f'<!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]>')),
    ),
    Hostile(
        "external.docx",
        "xml_entities",
        of(word(paragraph("&e;"), '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>')),
    ),
    Hostile("deep.docx", "too_deep", of(word(nested_tables(300)))),
    Hostile("truncated.docx", "unreadable_office", of(word(paragraph("x"))[:-30])),
    Hostile("deep.html", "too_deep", of("<div>" * 100_000 + "x")),
    Hostile(
        "spans.html", "too_long", of("<table><th><tr><th rowspan=60000 colspan=1000>" + "x" * 400 + "<tr>" * 60_000)
    ),
    Hostile("lists.html", "too_long", of("<ul><li>" * 120 + "x<br>" * 100_000)),
    Hostile("quoting.html", "too_deep", of("<blockquote>" * 100 + "x")),
    Hostile("references.html", AS_IT_IS, of("<p>words &#xD800; &#0; &#x110000; &bogus; &#99999999999;")),
    Hostile("quotes.md", "too_deep", of(">" * 100_000 + " x")),
    Hostile("lists.md", "too_deep", of("- " * 100_000 + "x")),
    Hostile("brackets.md", AS_IT_IS, of("[" * 50_000 + "x")),
    Hostile("deep.rst", "too_deep", of("\n\n".join("  " * level + "x" for level in range(600)))),
    Hostile("including.rst", AS_IT_IS, of(INCLUDING)),
    Hostile("surrogate.rst", "not_utf8", of("Words |x|\n\n.. |x| unicode:: 0xD800\n")),
    Hostile("levels.eml", PARTIAL, of(nested_parts(1000))),
    Hostile("parts.eml", PARTIAL, of(many_parts("", 20_000))),
    Hostile("files.eml", PARTIAL, of(many_parts("Content-Type: x/y; name=x.bin", 20_000))),
    Hostile("headers.eml", PARTIAL, of(header_bomb())),
    Hostile(
        "boundaries.eml", AS_IT_IS, of(f"From: a\nContent-Type: multipart/mixed; boundary={'x' * 100_000}\n\n--x\n")
    ),
    Hostile("secret.eml", "encrypted_mail", of(nested_parts(1).replace("mixed", "encrypted"))),
    Hostile("circle.msg", AS_IT_IS, of(circular_msg())),
    Hostile("random.msg", "unreadable_mail", of(msg(p0037="s")[:512] + random.Random(1).randbytes(50_000))),
    Hostile("columns.csv", "too_complex", of("x," * 1_000_000 + "\n1,2\n")),
    Hostile("quote.csv", AS_IT_IS, of('a,b\n1,"' + "x,y\n" * 50_000)),
    Hostile("sparse.csv", "too_long", of(f"{'x,' * 9000}x\n" * 2 + "y\n" * 500_000)),
    Hostile("deep.json", "bad_json", of("[" * 100_000)),
    Hostile("levels.json", "too_deep", of('{"a": ' * 200 + "1" + "}" * 200)),
    Hostile("digits.json", "bad_json", of('{"n": ' + "1" * 1_000_000 + "}")),
    Hostile("paths.json", "too_long", of(long_paths())),
    Hostile("deep.ipynb", "unreadable_notebook", of('{"cells": ' + "[" * 100_000)),
    Hostile("outputs.ipynb", PARTIAL, of(notebook("line\n" * 1_000_000))),
    Hostile("minified.js", "empty", of("x=1;" * 100_000)),
    Hostile("one_line.txt", AS_IT_IS, of(b"word " * 200_000)),
    Hostile("one_character.txt", "too_large", lambda path: path.write_bytes(b"x" * (50 * MB))),
    Hostile("loop.pdf", "unreadable_pdf", of(page_tree_loop())),
    Hostile("fields.pdf", AS_IT_IS, of(hostile_pdf("6 0 R", AcroForm="<</Fields[6 0 R 6 0 R]>>"))),
    Hostile("outline.pdf", AS_IT_IS, of(hostile_pdf(Outlines=" 7 0 R"))),
    Hostile("forms.pdf", AS_IT_IS, of(hostile_pdf(content="BT /F1 12 Tf 9 9 Td (words) Tj ET /X Do"))),
    Hostile("notes.pdf", AS_IT_IS, of(hostile_pdf("9 0 R " * 10_000))),
    Hostile("far.pdf", "no_text", of(hostile_pdf(content="BT /F1 1e38 Tf 1e38 0 0 1e38 1e38 1e38 Tm (words) Tj ET"))),
    Hostile("pages.pdf", "too_many_pages", of(many_pages(100_000))),
    Hostile("encrypted.pdf", "encrypted_pdf", of(pdf(encrypt=StandardEncryption("secret", canPrint=0)))),
    Hostile("truncated.pdf", "unreadable_pdf", of(pdf()[:300])),
    Hostile("nothing.pdf", "unreadable_pdf", of(bytes(100_000))),
    Hostile("names.rst", AS_IT_IS, of("Words\n\n" + "\n".join(f".. d{n}:: word" for n in range(3000)))),
    Hostile("nested.rst", AS_IT_IS, of("\n\n".join("   " * level + f".. d{level}:: word" for level in range(60)))),
    Hostile("front_matter.md", AS_IT_IS, of(f"---\na: {'[' * 60_000}\n---\nWords.\n")),
    Hostile("bytes.md", "empty", of(f"![](data:image/png;base64,{'iVBO' * 90_000})\n")),
    Hostile("picture.md", "binary", of(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)))),
    Hostile("latin1.md", "not_utf8", of("Grüße".encode("latin-1"))),
    Hostile("utf16.md", "binary", of("Words without a mark".encode("utf-16-le"))),
    Hostile("invisible.md", AS_IT_IS, of("# \u202eeltit\u202c\n\nzero\u200bwidth\u2060 \ufeffwords שלום \U000e0041\n")),
    Hostile("escapes.md", AS_IT_IS, of("# \x1b[31mred\x07\n\n" + "words " * 20)),
    Hostile("loop.md", "unreadable", lambda path: path.symlink_to(path.name)),
    Hostile("passwd.md", "symlink_outside_corpus", lambda path: path.symlink_to("/etc/passwd")),
    Hostile("zero.md", "symlink_outside_corpus", lambda path: path.symlink_to("/dev/zero")),
    Hostile("pipe.md", "unreadable", os.mkfifo),
    Hostile("socket.md", "unreadable", listening_socket),
    # Root reads it all the same.
    Hostile("forbidden.md", "unreadable" if os.geteuid() else AS_IT_IS, lambda path: (of("x")(path), path.chmod(0))),
]


def rows() -> dict[int, tuple[str, bytes]]:
    """Lines of a ``corpus.jsonl`` and what comes of each, by the number of the line."""
    long = b'{"_id": "long", "text": "' + b"x" * (100 * MB) + b'"}'
    made = [
        (AS_IT_IS, b'{"_id": "first", "text": "words"}'),
        ("too_large", long),
        ("bad_json", b"[" * 1_000_000),
        ("bad_json", b'{"_id": ' + b"1" * 10_000 + b', "text": "x"}'),
        ("not_utf8", rb'{"_id": "surrogate", "text": "\ud800"}'),
        ("binary", rb'{"_id": "nul", "text": "a\u0000b"}'),
        ("missing_id", json.dumps({"_id": "x" * 5000, "text": "x"}).encode()),
        ("duplicate_id", b'{"_id": "first", "text": "other words"}'),
        (AS_IT_IS, b'{"_id": "last", "text": "words"}'),
    ]
    return dict(enumerate(made, start=1))
