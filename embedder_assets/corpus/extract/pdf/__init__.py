"""PDF through pdfium: what stands on each page, in the order in which it is read, and what of it is no text.

What belongs here: everything that is true of PDF alone. What every format shares (limits, the isolated process, what a
reader returns) is one folder up. pdfium is loaded with the first PDF.
"""

from __future__ import annotations

from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.limits import DocumentLimits


def extract_pdf(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Take the text of a PDF that was not merely scanned.

    Raises:
        DocumentError: With kind ``encrypted_pdf``, ``unreadable_pdf``, ``no_text``, ``too_many_pages`` or ``too_long``.
    """
    from embedder_assets.corpus.extract.pdf.reader import read_pdf

    return read_pdf(data, thing, limits)
