"""Office formats and books: Word, OpenDocument, RTF, slides, spreadsheets, EPUB.

All but spreadsheets become HTML first, which ``html`` turns into Markdown, so that tables, marks and escapes are the
same as of a web page; equations become LaTeX (``equations``). ``package`` opens the archives and names what of any of
them is left out, ``properties`` reads what files say of themselves. The elements of each format are read here, since no
library that was tried names what it leaves out, and each left out much.
"""

from collections.abc import Callable

from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.office.book import extract_book
from embedder_assets.corpus.extract.office.opendocument import extract_odf_sheets, extract_odf_slides, extract_odf_text
from embedder_assets.corpus.extract.office.rtf import extract_rtf
from embedder_assets.corpus.extract.office.slides import extract_slides
from embedder_assets.corpus.extract.office.word import extract_word
from embedder_assets.corpus.extract.office.workbook import extract_workbook

OFFICE_EXTRACTORS: dict[str, Callable[[bytes, str, DocumentLimits], Extracted]] = {
    **dict.fromkeys((".docx", ".docm", ".dotx"), extract_word),
    **dict.fromkeys((".pptx", ".pptm", ".ppsx"), extract_slides),
    **dict.fromkeys((".xlsx", ".xlsm"), extract_workbook),
    ".odt": extract_odf_text,
    ".odp": extract_odf_slides,
    ".ods": extract_odf_sheets,
    ".rtf": extract_rtf,
    ".epub": extract_book,
}

__all__ = ["OFFICE_EXTRACTORS"]
