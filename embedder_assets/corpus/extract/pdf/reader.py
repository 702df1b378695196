"""Reads a PDF: the pages one by one, then what only the whole document shows, and the text with its pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pypdfium2
from pypdfium2 import raw

from embedder_assets.corpus.extract.extracted import Extracted, Omission
from embedder_assets.corpus.extract.limits import DocumentLimits, over_limit, too_long
from embedder_assets.corpus.extract.pdf.annotations import Annotations, Losses, embedded_files
from embedder_assets.corpus.extract.pdf.headings import bookmarks, heading_levels
from embedder_assets.corpus.extract.pdf.page_lines import PageLines, page_lines
from embedder_assets.corpus.extract.pdf.properties import properties
from embedder_assets.corpus.extract.pdf.running_lines import without_running_lines
from embedder_assets.corpus.extract.pdf.text import text_of
from embedder_assets.errors import DocumentError
from embedder_assets.sanitize import one_line

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage

_PASSWORD_ERROR = 4  # FPDF_ERR_PASSWORD
_OCR = "Run OCR over it, for example: ocrmypdf {} IN.pdf OUT.pdf"
_DETAILS = {
    "comment": "What a reviewer noted about the text.",
    "hidden form value": "The page does not show it.",
    "sound or film": "A recording has no text.",
}
_NAMED = 5  # files and fonts in a message
_MOST_RANGES = 20
_LONGEST_NAME = 80
_FEW_CHARACTERS = 25  # a stamp or a page number on the image of a page
_MANY_PATHS = 100  # letters that were drawn
_DEPTH = 3  # of groups that are looked into for images


@dataclass
class _Pages:
    """What was read of a document, page by page; ``images`` are the pages that show something without text."""

    lines: list[PageLines] = field(default_factory=list)
    images: list[int] = field(default_factory=list)
    unreadable: dict[int, set[str]] = field(default_factory=dict)


def read_pdf(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Take the text of a PDF that was not merely scanned.

    Raises:
        DocumentError: With kind ``encrypted_pdf``, ``unreadable_pdf``, ``no_text``, ``too_many_pages`` or ``too_long``.
    """
    try:
        with closing(pypdfium2.PdfDocument(data)) as pdf:
            if len(pdf) > limits.pdf_pages:
                expected, got = f"at most {limits.pdf_pages:,} pages", f"{len(pdf):,}"
                raise over_limit(thing, kind="too_many_pages", expected=expected, got=got)
            pdf.init_forms()
            annotations = Annotations(pdf.formenv)
            pages = _read(pdf, annotations, thing, limits)
            annotations.losses.files[:0] = embedded_files(pdf)
            omissions = tuple(_omissions(pdf, pages, annotations.losses))
            titles, (title, metadata) = bookmarks(pdf), properties(pdf, data)
    except pypdfium2.PdfiumError as error:
        raise _unusable(thing, error) from error
    lines = without_running_lines(pages.lines)
    text, starts = text_of(lines, heading_levels(lines, titles))
    if not text.strip():
        raise _without_text(thing, pages)
    return Extracted(text, title, metadata, omissions, tuple(starts))


def _read(pdf: PdfDocument, annotations: Annotations, thing: str, limits: DocumentLimits) -> _Pages:
    pages, characters = _Pages(), 0
    for number in range(len(pdf)):
        with closing(pdf[number]) as page, closing(page.get_textpage()) as textpage:
            # Packed content may be a thousand times the size of the file.
            if characters + textpage.count_chars() > limits.text_chars:
                raise too_long(thing, limits)
            read = page_lines(textpage, page.get_height())
            lines = annotations.placed(page, textpage, read.lines)
            length = sum(len(line.text) for line in lines)
            if length < _FEW_CHARACTERS and not read.unreadable and _shows_something(page, bare=length == 0):
                pages.images.append(number)
        characters += length
        if characters > limits.text_chars:
            raise too_long(thing, limits)
        pages.lines.append(replace(read, lines=lines))
        if read.unreadable:
            pages.unreadable[number] = read.unreadable
    return pages


def _shows_something(page: PdfPage, *, bare: bool) -> bool:
    """Whether a page is an image, or drawn letters; a page without text at all may show smaller things too."""
    paths, area = 0, page.get_width() * page.get_height()
    for shown in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE, raw.FPDF_PAGEOBJ_PATH], max_depth=_DEPTH):
        if shown.type == raw.FPDF_PAGEOBJ_PATH:
            paths += 1
            if paths > _MANY_PATHS:
                return bare
        elif bare:
            return True
        else:
            left, bottom, right, top = shown.get_bounds()
            if 2 * (right - left) * (top - bottom) > area:
                return True
    return False


def _omissions(pdf: PdfDocument, pages: _Pages, losses: Losses) -> Iterator[Omission]:
    if pages.images:
        detail = f"{_ranges(pages.images)}. {_OCR.format('--skip-text')}"
        yield Omission("page without text", len(pages.images), detail)
    if pages.unreadable:
        yield Omission("page with an unreadable font", len(pages.unreadable), _unreadable_detail(pages))
    if files := losses.files:
        detail = f"{_names(files)}. Save them from a PDF viewer into the corpus folder to have them read."
        yield Omission("embedded file", len(files), detail)
    kind = pdf.get_formtype()
    if kind == raw.FORMTYPE_XFA_FULL or (kind == raw.FORMTYPE_XFA_FOREGROUND and not losses.fields):
        yield Omission("XFA form", 1, "Its values are not in its pages. Print it to a new PDF in Adobe Reader.")
    if scripts := raw.FPDFDoc_GetJavaScriptActionCount(pdf):
        yield Omission("script", scripts)
    for part, count in sorted(losses.counts.items()):
        if count:
            yield Omission(part, count, _DETAILS.get(part, ""))


def _unreadable_detail(pages: _Pages) -> str:
    fonts = sorted({name for names in pages.unreadable.values() for name in names if name})
    named = f", font {_names(fonts)}" if fonts else ""
    remedy = _OCR.format("--force-ocr")
    return f"{_ranges(list(pages.unreadable))}{named}: the font does not say which letters its glyphs are. {remedy}"


def _names(names: Iterable[str]) -> str:
    """Some names from a file, as much of them as a message has room for."""
    printed = [f'"{one_line(name)[:_LONGEST_NAME]}"' for name in names]
    more = len(printed) - _NAMED
    return ", ".join(printed[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _ranges(numbers: Sequence[int]) -> str:
    """Pages counted from 1, as a printer takes them: "Pages 2-10, 12"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    printed = ["-".join(str(number + 1) for number in run) for run in runs]
    more = f" and {len(printed) - _MOST_RANGES} more ranges" if len(printed) > _MOST_RANGES else ""
    return ("Page " if len(numbers) == 1 else "Pages ") + ", ".join(printed[:_MOST_RANGES]) + more


def _without_text(thing: str, pages: _Pages) -> DocumentError:
    count = len(pages.lines)
    if pages.unreadable:
        got, option = _unreadable_detail(pages).partition(". ")[0], "--force-ocr"
    else:
        got, option = f"{count} {'page' if count == 1 else 'pages'} of images or drawings only", ""
    remedy = _OCR.format(option).replace("  ", " ")
    return DocumentError(thing, kind="no_text", expected="a PDF with a text layer", got=got, remedy=remedy)


def _unusable(thing: str, error: Exception) -> DocumentError:
    if getattr(error, "err_code", None) == _PASSWORD_ERROR or "password" in str(error).lower():
        return DocumentError(
            thing,
            kind="encrypted_pdf",
            expected="a PDF that opens without a password",
            got="an encrypted one",
            remedy="Save it without a password, for example: qpdf --decrypt --password=... IN.pdf OUT.pdf",
        )
    return DocumentError(
        thing,
        kind="unreadable_pdf",
        expected="a PDF",
        got=str(error),
        remedy="Open it in a PDF viewer and print or save it to a new PDF.",
    )
