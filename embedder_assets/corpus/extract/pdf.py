"""PDF through pdfium: the text layer, with the bookmarks as headings and without running heads and feet."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.limits import DocumentLimits, over_limit, too_long
from embedder_assets.errors import DocumentError

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

Bookmarks = dict[int, dict[str, int]]
"""For each page the titles of the bookmarks that point to it, with their level (outermost: 1)."""

_PASSWORD_ERROR = 4  # FPDF_ERR_PASSWORD
_SOFT_HYPHEN_AT_LINE_END = re.compile("[\u00ad\u2010\u2011\x02\ufffe]\n(?=[^\\W\\d_])")
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_LOOKS_LIKE_MARKDOWN = re.compile(r"^(?=[ ]{0,3}(?:#{1,6}(?:\s|$)|=+\s*$|-+\s*$|```|~~~))", re.MULTILINE)
_DOT_LEADERS = re.compile(r"(?: ?\.){5,}")
_FILE_NAME_TITLE = re.compile(r"^Microsoft |\.\w{2,4}$|^untitled$", re.IGNORECASE)
_MIN_PAGES_FOR_RUNNING_LINES = 5


def extract_pdf(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Take the text of a PDF that was not merely scanned.

    Raises:
        DocumentError: With kind ``encrypted_pdf``, ``unreadable_pdf``, ``no_text``, ``too_many_pages`` or ``too_long``.
    """
    import pypdfium2

    try:
        with closing(pypdfium2.PdfDocument(data)) as pdf:
            pages = list(_page_texts(pdf, thing, limits))
            bookmarks, title = _bookmarks(pdf), pdf.get_metadata_dict().get("Title", "").strip()
    except pypdfium2.PdfiumError as error:
        raise _unusable(thing, error) from error
    if not any(page.strip() for page in pages):
        raise DocumentError(
            thing,
            kind="no_text",
            expected="a PDF with a text layer",
            got=f"{len(pages)} pages of images or drawings only",
            remedy="Run OCR over it, for example: ocrmypdf IN.pdf OUT.pdf",
        )
    pages = [_with_headings(page, bookmarks[number]) for number, page in enumerate(_without_running_lines(pages))]
    text = "\n\n".join(page for page in pages if page)
    return Extracted(text + "\n", "" if _FILE_NAME_TITLE.search(title) else _NOT_TEXT.sub("", title))


def _page_texts(pdf: PdfDocument, thing: str, limits: DocumentLimits) -> Iterator[str]:
    if len(pdf) > limits.pdf_pages:
        expected, got = f"at most {limits.pdf_pages:,} pages", f"{len(pdf):,}"
        raise over_limit(thing, kind="too_many_pages", expected=expected, got=got)
    characters = 0
    for number in range(len(pdf)):
        page = _page_text(pdf, number)
        characters += len(page)
        # Packed content may be a thousand times the size of the file.
        if characters > limits.text_chars:
            raise too_long(thing, limits)
        yield page


def _page_text(pdf: PdfDocument, number: int) -> str:
    with closing(pdf[number]) as page, closing(page.get_textpage()) as textpage:
        text: str = textpage.get_text_range().replace("\r\n", "\n").replace("\r", "\n")
    text = _NOT_TEXT.sub("", _SOFT_HYPHEN_AT_LINE_END.sub("", text))
    return _DOT_LEADERS.sub(" ...", text).strip()


def _bookmarks(pdf: PdfDocument) -> Bookmarks:
    found: Bookmarks = defaultdict(dict)
    for bookmark in pdf.get_toc(max_depth=6):
        destination = bookmark.get_dest()
        page = destination.get_index() if destination else None
        if page is not None:
            found[page].setdefault(_normal(bookmark.get_title()), min(bookmark.level + 1, 6))
    return found


def _with_headings(page: str, titles: dict[str, int]) -> str:
    """Make a line a heading where a bookmark to the page says the same; keep other lines from looking like one."""
    open_titles = dict(titles)
    lines = []
    for line in page.split("\n"):
        level = open_titles.pop(_normal(line), None)
        lines.append(f"\n{'#' * level} {line.strip()}\n" if level else _LOOKS_LIKE_MARKDOWN.sub(r"\\", line))
    return "\n".join(lines).strip()


def _without_running_lines(pages: list[str]) -> list[str]:
    """Drop a page's first and last line where most pages have the same one, page numbers ignored."""
    if len(pages) < _MIN_PAGES_FOR_RUNNING_LINES:
        return pages
    split = [page.split("\n") for page in pages]
    heads = _frequent([lines[0] for lines in split])
    feet = _frequent([lines[-1] for lines in split])
    kept = []
    for lines in split:
        start = 1 if _numberless(lines[0]) in heads else 0
        stop = len(lines) - (1 if len(lines) > start and _numberless(lines[-1]) in feet else 0)
        kept.append("\n".join(lines[start:stop]).strip())
    return kept


def _frequent(lines: list[str]) -> set[str]:
    counts = Counter(_numberless(line) for line in lines)
    return {line for line, count in counts.items() if line and 2 * count > len(lines)}


def _numberless(line: str) -> str:
    return re.sub(r"\d+", "0", line.strip())


def _normal(title: str) -> str:
    return re.sub(r"^(?:\d+\.?)+\s", "", " ".join(title.split())).casefold()


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
