"""A folder with a document of every format, and what each of them says."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

import docx
import pptx
import xlsxwriter
from reportlab.pdfgen.canvas import Canvas

Table = tuple[tuple[str, ...], ...]
PUMPS: Table = (("Part", "Torque"), ("impeller", "41 Nm"), ("gasket", "7 Nm"))


@dataclass(frozen=True)
class Expected:
    """What the document of a file has to say.

    Attributes:
        title: Of the document.
        words: That are in its text.
        metadata: Fields that it has, among others.
        omitted: Parts that are named as left out.
    """

    title: str
    words: tuple[str, ...]
    metadata: dict[str, object] = field(default_factory=dict)
    omitted: tuple[str, ...] = ()


TABLE = ("| impeller | 41 Nm |", "| gasket | 7 Nm |")
EXPECTED: dict[str, Expected] = {
    "front.md": Expected("Seals of the pump", ("Seals last two years",), {"product": "pump", "year": 2024}),
    "plain.txt": Expected("plain", ("Nothing but words",)),
    "component.mdx": Expected("Valves", ("A valve opens slowly",)),
    "guide.rst": Expected("Bearings", ("Bearings need oil",)),
    "manual.adoc": Expected("Couplings", ("A coupling joins two shafts",)),
    "page.html": Expected("Filters", ("Filters clog", *TABLE), {"language": "en"}),
    "report.pdf": Expected("report", ("The rotor turns clockwise",)),
    "letter.docx": Expected("Letter on pumps", ("Dear operator", *TABLE), omitted=("comment",)),
    "slides.pptx": Expected("Pump training", ("Check the seal first",)),
    "sheet.xlsx": Expected("Torques", TABLE),
    "table.csv": Expected("table", TABLE),
    "table2.tsv": Expected("table2", TABLE),
    "sheet2.ods": Expected("Torques", TABLE),
    "text.odt": Expected("Odt title", ("Words of an open document",)),
    "note.rtf": Expected("note", ("Rich words about flanges",)),
    "book.epub": Expected("The pump book", ("Chapter text about cavitation",), {"language": "en"}),
    "mail.eml": Expected("Pump order", ("Please send two pumps",), omitted=("attachment",)),
    "mail.eml/order.txt": Expected("order", ("Order number 4711",), {"attached_to": "mail.eml"}),
    "notebook.ipynb": Expected("Flow analysis", ("flow = 3", "The flow is steady")),
    "record.json": Expected("Json title", ("Body of the record",)),
    "code.py": Expected("code", ("def pump():",)),
}


def write_every_format(folder: Path) -> None:
    """Fills a folder with one file of each format; its ``rows.jsonl`` has two documents with ids of their own."""
    folder.mkdir(parents=True)
    _write_text_formats(folder)
    _write_page_formats(folder)
    _write_open_documents(folder)
    _write_mail(folder)
    workbook = xlsxwriter.Workbook(str(folder / "sheet.xlsx"))
    sheet = workbook.add_worksheet("Torques")
    for number, row in enumerate(PUMPS):
        sheet.write_row(number, 0, row)
    workbook.close()


def _write_text_formats(folder: Path) -> None:
    texts = {
        "front.md": "---\ntitle: Seals of the pump\nproduct: pump\nyear: 2024\n---\n\n# Seals\n\n"
        "Seals last two years.\n",
        "plain.txt": "Nothing but words.\n",
        "component.mdx": "import X from './x'\n\n# Valves\n\n<X>\n\nA valve opens slowly.\n\n</X>\n",
        "guide.rst": "Bearings\n========\n\nBearings need oil.\n",
        "manual.adoc": "= Couplings\n\nA coupling joins two shafts.\n",
        "page.html": "<html lang=en><title>Filters</title><h1>Filters</h1><p>Filters clog.</p>"
        f"<table>{''.join(f'<tr><td>{a}<td>{b}' for a, b in PUMPS)}</table>",
        "table.csv": "".join(f"{a},{b}\n" for a, b in PUMPS),
        "table2.tsv": "".join(f"{a}\t{b}\n" for a, b in PUMPS),
        "note.rtf": r"{\rtf1\ansi Rich words about flanges.\par}",
        "record.json": json.dumps({"title": "Json title", "text": "Body of the record."}),
        "rows.jsonl": "".join(json.dumps({"id": f"r{n}", "text": f"Row {n} about pipes."}) + "\n" for n in (1, 2)),
        "code.py": "def pump():\n    return 'water'\n",
        "notebook.ipynb": json.dumps(
            {
                "nbformat": 4,
                "nbformat_minor": 5,
                "metadata": {"language_info": {"name": "python"}},
                "cells": [
                    {"cell_type": "markdown", "metadata": {}, "source": "# Flow analysis\n\nThe flow is steady."},
                    {"cell_type": "code", "metadata": {}, "source": "flow = 3", "outputs": [], "execution_count": 1},
                ],
            }
        ),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")


def _write_page_formats(folder: Path) -> None:
    canvas = Canvas(str(folder / "report.pdf"))
    canvas.drawString(72, 700, "The rotor turns clockwise.")
    canvas.save()
    letter = docx.Document()
    letter.add_heading("Letter on pumps", 1)
    greeting = letter.add_paragraph("Dear operator")
    letter.add_comment(greeting.runs, "ask the author", author="A Reviewer")
    cells = letter.add_table(rows=0, cols=2)
    for row in PUMPS:
        for cell, text in zip(cells.add_row().cells, row, strict=True):
            cell.text = text
    letter.save(str(folder / "letter.docx"))
    slides = pptx.Presentation()
    slide = slides.slides.add_slide(slides.slide_layouts[1])
    slide.shapes.title.text = "Pump training"
    slide.placeholders[1].text = "Check the seal first"
    slides.save(str(folder / "slides.pptx"))


def _write_open_documents(folder: Path) -> None:
    office = "urn:oasis:names:tc:opendocument:xmlns:"
    names = " ".join(f'xmlns:{each}="{office}{each}:1.0"' for each in ("office", "text", "table", "meta"))
    rows = "".join(
        f"<table:table-row>{''.join(f'<table:table-cell><text:p>{cell}</text:p></table:table-cell>' for cell in row)}"
        "</table:table-row>"
        for row in PUMPS
    )
    bodies = {
        "text.odt": (
            "text",
            "<text:h text:outline-level='1'>Odt title</text:h><text:p>Words of an open document</text:p>",
        ),
        "sheet2.ods": ("spreadsheet", f"<table:table table:name='Torques'>{rows}</table:table>"),
    }
    for name, (kind, body) in bodies.items():
        content = f"<office:document-content {names} office:version='1.3'><office:body><office:{kind}>{body}"
        parts = {"content.xml": f"{content}</office:{kind}></office:body></office:document-content>"}
        _write_zip(folder / name, f"application/vnd.oasis.opendocument.{kind}", parts)
    package = (
        "<package xmlns='http://www.idpf.org/2007/opf' version='3.0' unique-identifier='i'><metadata "
        "xmlns:dc='http://purl.org/dc/elements/1.1/'><dc:identifier id='i'>x</dc:identifier><dc:title>The pump book"
        "</dc:title><dc:language>en</dc:language></metadata><manifest><item id='c' href='c.xhtml' "
        "media-type='application/xhtml+xml'/></manifest><spine><itemref idref='c'/></spine></package>"
    )
    container = (
        "<container xmlns='urn:oasis:names:tc:opendocument:xmlns:container' version='1.0'><rootfiles><rootfile "
        "full-path='book.opf' media-type='application/oebps-package+xml'/></rootfiles></container>"
    )
    chapter = (
        "<html xmlns='http://www.w3.org/1999/xhtml'><head><title>One</title></head><body><h1>One</h1>"
        "<p>Chapter text about cavitation.</p></body></html>"
    )
    parts = {"META-INF/container.xml": container, "book.opf": package, "c.xhtml": chapter}
    _write_zip(folder / "book.epub", "application/epub+zip", parts)


def _write_zip(path: Path, media_type: str, parts: dict[str, str]) -> None:
    manifest = "".join(
        f"<manifest:file-entry manifest:full-path='{name}' manifest:media-type='text/xml'/>" for name in parts
    )
    namespace = "urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", media_type)
        if "opendocument" in media_type:
            whole = f"<manifest:file-entry manifest:full-path='/' manifest:media-type='{media_type}'/>"
            archive.writestr(
                "META-INF/manifest.xml",
                f"<manifest:manifest xmlns:manifest='{namespace}'>{whole}{manifest}</manifest:manifest>",
            )
        for name, text in parts.items():
            archive.writestr(name, text)


def _write_mail(folder: Path) -> None:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "Pump order", "a@example.com", "b@example.com"
    mail["Date"] = "Mon, 02 Nov 2026 10:00:00 +0000"
    mail.set_content("Please send two pumps.\n")
    mail.add_attachment("Order number 4711.\n", filename="order.txt")
    mail.add_attachment(b"\x00\x01\x02", maintype="application", subtype="octet-stream", filename="drawing.dwg")
    target = io.BytesIO(mail.as_bytes())
    (folder / "mail.eml").write_bytes(target.getvalue())
