"""What of a PDF is not in its text, in words: which pages, fonts and files, and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pypdfium2 import raw

from embedder_assets.corpus.extract.extracted import Omission
from embedder_assets.corpus.extract.pdf.annotations import Losses, embedded_files
from embedder_assets.errors import DocumentError
from embedder_assets.sanitize import one_line

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

_OCR = "Run OCR over it, for example: ocrmypdf {} IN.pdf OUT.pdf"
_DETAILS = {
    "comment": "What a reviewer noted about the text.",
    "hidden form value": "The page does not show it.",
    "stamp": "What it says is drawn.",
    "sound or film": "A recording has no text.",
}
_NAMED = 5  # files and fonts in a message
_MOST_RANGES = 20
_LONGEST_NAME = 80


def page_omissions(without_text: Sequence[int], unreadable: Mapping[int, set[str]]) -> Iterator[Omission]:
    """Pages that could not be read, counted from 0; ``unreadable`` has the fonts of each that has some."""
    if without_text:
        detail = f"{_ranges(without_text)}. {_OCR.format('--skip-text')}"
        yield Omission("page without text", len(without_text), detail)
    if unreadable:
        yield Omission("page with an unreadable font", len(unreadable), _unreadable_detail(unreadable))


def document_omissions(pdf: PdfDocument, losses: Losses) -> Iterator[Omission]:
    """What else of a document is not in its text."""
    if files := [*embedded_files(pdf), *losses.files]:
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


def no_text(thing: str, pages: int, unreadable: Mapping[int, set[str]]) -> DocumentError:
    """The error of a document without any text."""
    if unreadable:
        got, option = _unreadable_detail(unreadable).partition(". ")[0], "--force-ocr"
    else:
        got, option = f"{pages} {'page' if pages == 1 else 'pages'} of images or drawings only", ""
    remedy = _OCR.format(option).replace("  ", " ")
    return DocumentError(thing, kind="no_text", expected="a PDF with a text layer", got=got, remedy=remedy)


def _unreadable_detail(unreadable: Mapping[int, set[str]]) -> str:
    fonts = sorted({name for names in unreadable.values() for name in names if name})
    named = f", font {_names(fonts)}" if fonts else ""
    remedy = _OCR.format("--force-ocr")
    return f"{_ranges(list(unreadable))}{named}: the font does not say which letters its glyphs are. {remedy}"


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
