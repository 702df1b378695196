"""A collection of many formats: the ASVS, and PDF, DOCX and reStructuredText files that are made for it."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import docx
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from benchmarks.common.judged_collections import COLLECTIONS

ASVS = COLLECTIONS.parent / "docs" / "asvs-5.0"
PAGES = 4
SECTIONS = 6
WORDS_PER_LINE = 12
LINES_PER_PAGE = 48


def write_corpus(folder: Path, documents: int, copies: int) -> None:
    """Fills a collection's folder.

    Args:
        folder: The collection's.
        documents: How many are made, a third of each format.
        copies: How often the ASVS lies there, where it is at hand.
    """
    folder.mkdir(parents=True)
    for copy in range(copies if ASVS.is_dir() else 0):
        shutil.copytree(ASVS, folder / f"asvs-{copy}")
    writers = (_write_pdf, _write_docx, _write_rst)
    for number in range(documents):
        writers[number % 3](folder / f"{number:05}", random.Random(number))


def _line(chance: random.Random) -> str:
    words = ("".join(chance.choices("abdeilmnorst", k=chance.randint(2, 10))) for _ in range(WORDS_PER_LINE))
    return " ".join(words)


def _write_pdf(path: Path, chance: random.Random) -> None:
    canvas = Canvas(str(path.with_suffix(".pdf")), pagesize=A4)
    canvas.setTitle(_line(chance))
    for _ in range(PAGES):
        for at in range(LINES_PER_PAGE):
            canvas.drawString(72, 780 - 15 * at, _line(chance))
        canvas.showPage()
    canvas.save()


def _write_docx(path: Path, chance: random.Random) -> None:
    document = docx.Document()
    for _ in range(SECTIONS):
        document.add_heading(_line(chance), level=2)
        for _ in range(4):
            document.add_paragraph(" ".join(_line(chance) for _ in range(5)))
    table = document.add_table(rows=8, cols=3)
    for cell in table._cells:
        cell.text = _line(chance)
    document.save(str(path.with_suffix(".docx")))


def _write_rst(path: Path, chance: random.Random) -> None:
    parts = []
    for _ in range(2 * SECTIONS):
        title = _line(chance)
        parts += [title, "=" * len(title), ""]
        for _ in range(3):
            parts += ["\n".join(_line(chance) for _ in range(4)), ""]
        parts += [f"* {_line(chance)}" for _ in range(4)] + [""]
    path.with_suffix(".rst").write_text("\n".join(parts), "utf-8")
