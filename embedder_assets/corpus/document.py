"""What the first stages hand on: a document, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embedder_assets.errors import DocumentError

_OPEN_XML = "application/vnd.openxmlformats-officedocument"
_OPEN_DOCUMENT = "application/vnd.oasis.opendocument"
DOCX_MEDIA_TYPE = f"{_OPEN_XML}.wordprocessingml.document"

MEDIA_TYPES = {
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".txt": "text/plain",
    ".rst": "text/x-rst",
    ".html": "text/html",
    ".htm": "text/html",
    ".pdf": "application/pdf",
    ".docx": DOCX_MEDIA_TYPE,
    ".docm": "application/vnd.ms-word.document.macroEnabled.12",
    ".dotx": f"{_OPEN_XML}.wordprocessingml.template",
    ".pptx": f"{_OPEN_XML}.presentationml.presentation",
    ".pptm": "application/vnd.ms-powerpoint.presentation.macroEnabled.12",
    ".ppsx": f"{_OPEN_XML}.presentationml.slideshow",
    ".xlsx": f"{_OPEN_XML}.spreadsheetml.sheet",
    ".xlsm": "application/vnd.ms-excel.sheet.macroEnabled.12",
    ".odt": f"{_OPEN_DOCUMENT}.text",
    ".odp": f"{_OPEN_DOCUMENT}.presentation",
    ".ods": f"{_OPEN_DOCUMENT}.spreadsheet",
    ".rtf": "application/rtf",
    ".epub": "application/epub+zip",
}
"""The suffixes of the files that are documents, and the media type of each."""


@dataclass(frozen=True)
class Document:
    """One document as text: Markdown, or plain text where the media type is ``text/plain``.

    Attributes:
        metadata: The fields that the source states, as a JSON object.
        pages: Character offset of each page of the text; empty for a format without pages.
        omissions: What of the source is not in the text: part, count and detail of each kind (``Omission``).
    """

    collection: str
    doc_id: str
    text: str
    media_type: str
    size_bytes: int
    title: str
    metadata: str = "{}"
    pages: Sequence[int] = ()
    omissions: Sequence[Mapping[str, object]] = ()


@dataclass(frozen=True)
class DocumentIssue:
    """Why one document, or one line of a file, is left out."""

    collection: str
    path: str
    kind: str
    message: str

    @classmethod
    def from_error(cls, collection: str, path: str, error: DocumentError) -> DocumentIssue:
        """Keeps the kind and the message of an error, so that the rest of the collection can go on.

        The message does not name the document again: the path stands next to it.
        """
        return cls(collection, path, error.kind, error.explanation)


def has_lone_surrogates(text: str) -> bool:
    """Say whether the text cannot be written as UTF-8, which every table needs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
