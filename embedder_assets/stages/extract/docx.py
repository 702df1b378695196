"""Word documents (DOCX) through mammoth, which reads the styles: a heading there becomes a heading here."""

from __future__ import annotations

import io
import zipfile
from typing import Any

from embedder_assets.errors import DocumentError
from embedder_assets.stages.extract.extracted import Extracted
from embedder_assets.stages.extract.html import markdown_of_html

# A few kilobytes can unpack to gigabytes; the largest honest documents stay far below this.
_MAX_UNPACKED_BYTES = 200_000_000


def extract_docx(data: bytes, thing: str) -> Extracted:
    """Turn a Word document into Markdown, without its images.

    Raises:
        DocumentError: With kind ``unreadable_docx`` or ``too_large``.
    """
    import mammoth

    try:
        _refuse_zip_bomb(data, thing)
        html = mammoth.convert_to_html(io.BytesIO(data), convert_image=_no_image).value
    except DocumentError:
        raise
    except Exception as error:  # mammoth has no error of its own: zip, XML and key errors all come through
        raise DocumentError(
            thing,
            kind="unreadable_docx",
            expected="a Word document (DOCX)",
            got=f"{type(error).__name__}: {error}",
            remedy="Open it in a word processor and save it again as DOCX, without a password.",
        ) from error
    return Extracted(markdown_of_html(html))


def _no_image(_image: Any) -> list[Any]:
    return []


def _refuse_zip_bomb(data: bytes, thing: str) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist() if entry.filename.endswith((".xml", ".rels")))
    if unpacked > _MAX_UNPACKED_BYTES:
        raise DocumentError(
            thing,
            kind="too_large",
            expected=f"at most {_MAX_UNPACKED_BYTES // 1_000_000} MB of text when unpacked",
            got=f"{unpacked // 1_000_000} MB",
            remedy="Split the document.",
        )
