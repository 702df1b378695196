"""Reads a PDF: the pages one by one, then what only the whole document shows, and the text with its pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

import pypdfium2
from pypdfium2 import raw

from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.limits import DocumentLimits, over_limit, too_long
from embedder_assets.corpus.extract.pdf.annotations import Annotations
from embedder_assets.corpus.extract.pdf.headings import bookmarks, heading_levels
from embedder_assets.corpus.extract.pdf.line import Line, PageLines
from embedder_assets.corpus.extract.pdf.omissions import document_omissions, no_text, page_omissions
from embedder_assets.corpus.extract.pdf.page_lines import page_lines
from embedder_assets.corpus.extract.pdf.properties import properties
from embedder_assets.corpus.extract.pdf.running_lines import without_running_lines
from embedder_assets.corpus.extract.pdf.text import text_of
from embedder_assets.errors import DocumentError

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage

_PASSWORD_ERROR = 4  # FPDF_ERR_PASSWORD
_LITTLE = 200  # characters of a page that may be nothing but a head and a foot
_STAMP = 25  # characters on the image of a page, as the number that lawyers give it
_MANY_PATHS = 100  # letters that were drawn
_DEPTH = 3  # of groups that are looked into for images


class Shown(Enum):
    """What a page shows besides its text."""

    NOTHING = 0
    SOMETHING = 1
    WHOLE_PAGE = 2


@dataclass
class _Read:
    """What was read of a document, page by page; ``bare`` says what those with little text show besides."""

    lines: list[PageLines] = field(default_factory=list)
    bare: dict[int, Shown] = field(default_factory=dict)
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
            lines = without_running_lines(pages.lines)
            omissions = (
                *page_omissions(_without_text(pages, lines), pages.unreadable),
                *document_omissions(pdf, annotations.losses),
            )
            titles, (title, metadata) = bookmarks(pdf), properties(pdf, data)
    except pypdfium2.PdfiumError as error:
        raise _unusable(thing, error) from error
    text, starts = text_of(lines, heading_levels(lines, titles))
    if not text.strip():
        raise no_text(thing, len(lines), pages.unreadable)
    return Extracted(text, title, metadata, omissions, tuple(starts))


def _read(pdf: PdfDocument, annotations: Annotations, thing: str, limits: DocumentLimits) -> _Read:
    pages, characters = _Read(), 0
    for number in range(len(pdf)):
        with closing(pdf[number]) as page, closing(page.get_textpage()) as textpage:
            # Packed content may be a thousand times the size of the file.
            if characters + textpage.count_chars() > limits.text_chars:
                raise too_long(thing, limits)
            read = page_lines(textpage, page.get_height())
            lines = annotations.placed(page, textpage, read.lines)
            length = _length(lines)
            if length < _LITTLE:
                pages.bare[number] = _shown(page)
        characters += length
        if characters > limits.text_chars:
            raise too_long(thing, limits)
        pages.lines.append(replace(read, lines=lines))
        if read.unreadable:
            pages.unreadable[number] = read.unreadable
    return pages


def _length(lines: Iterable[Line]) -> int:
    return sum(len(line.text) for line in lines)


def _shown(page: PdfPage) -> Shown:
    paths, found, area = 0, Shown.NOTHING, page.get_width() * page.get_height()
    for drawn in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE, raw.FPDF_PAGEOBJ_PATH], max_depth=_DEPTH):
        if drawn.type == raw.FPDF_PAGEOBJ_IMAGE:
            left, bottom, right, top = drawn.get_bounds()
            if 2 * (right - left) * (top - bottom) > area:
                return Shown.WHOLE_PAGE
            found = Shown.SOMETHING
        else:
            paths += 1
    return Shown.SOMETHING if paths > _MANY_PATHS else found


def _without_text(pages: _Read, lines: Sequence[Sequence[Line]]) -> list[int]:
    """Pages that show something and say nothing but what stands on most of them, or is stamped on an image."""
    lengths = {number: _length(lines[number]) for number in pages.bare if number not in pages.unreadable}
    return [
        number
        for number, length in lengths.items()
        if (length == 0 and pages.bare[number] is not Shown.NOTHING)
        or (length < _STAMP and pages.bare[number] is Shown.WHOLE_PAGE)
    ]


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
