"""Word documents (DOCX) through mammoth, which reads the styles: a heading there becomes a heading here."""

from __future__ import annotations

import io
from typing import Any

from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.html import markdown_of_html
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.zip_guard import open_checked_zip
from embedder_assets.errors import DocumentError


def extract_docx(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Turn a Word document into Markdown, without its images.

    Raises:
        DocumentError: With kind ``unreadable_docx``, ``too_large``, ``too_deep`` or ``xml_entities``.
    """
    import mammoth

    try:
        open_checked_zip(data, thing, limits).close()
        html = mammoth.convert_to_html(io.BytesIO(data), convert_image=_no_image).value
    except (DocumentError, MemoryError, RecursionError):
        raise
    except Exception as error:  # mammoth has no error of its own: zip, XML and key errors all come through
        raise DocumentError(
            thing,
            kind="unreadable_docx",
            expected="a Word document (DOCX)",
            got=f"{type(error).__name__}: {error}",
            remedy="Open it in a word processor and save it again as DOCX, without a password.",
        ) from error
    return Extracted(markdown_of_html(html, thing, limits))


def _no_image(_image: Any) -> list[Any]:
    return []
