"""What the first stages hand on: a document, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from embedder_assets.errors import DocumentError

_OPEN_XML = "application/vnd.openxmlformats-officedocument"
_OPEN_DOCUMENT = "application/vnd.oasis.opendocument"
DOCX_MEDIA_TYPE = f"{_OPEN_XML}.wordprocessingml.document"

PLAIN = "text/plain"
CODE_LANGUAGES = {
    **dict.fromkeys((".c", ".h"), "c"),
    **dict.fromkeys((".cc", ".cpp", ".cxx", ".hpp", ".hh"), "c++"),
    **dict.fromkeys((".js", ".mjs", ".cjs", ".jsx"), "javascript"),
    **dict.fromkeys((".ts", ".tsx"), "typescript"),
    **dict.fromkeys((".kt", ".kts"), "kotlin"),
    **dict.fromkeys((".sh", ".bash"), "shell"),
    **dict.fromkeys((".ps1", ".psm1"), "powershell"),
    **dict.fromkeys((".pl", ".pm"), "perl"),
    **dict.fromkeys((".yaml", ".yml"), "yaml"),
    **dict.fromkeys((".ini", ".cfg"), "ini"),
    **{".cs": "c#", ".go": "go", ".java": "java", ".jl": "julia", ".lua": "lua", ".php": "php", ".proto": "protobuf"},
    **{".py": "python", ".r": "r", ".rb": "ruby", ".rs": "rust", ".scala": "scala", ".sql": "sql", ".swift": "swift"},
    **{".dart": "dart", ".tf": "terraform", ".toml": "toml"},
}
"""The suffixes of source code and of configuration that people write, and the language of each.

Not of what is written for machines, or looks rather than says something: style sheets, SVG and XML, build output.
"""
MEDIA_TYPES = {
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".mdx": "text/mdx",
    ".txt": "text/plain",
    ".rst": "text/x-rst",
    ".adoc": "text/asciidoc",
    ".asciidoc": "text/asciidoc",
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
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".ipynb": "application/x-ipynb+json",
    ".eml": "message/rfc822",
    ".msg": "application/vnd.ms-outlook",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".ndjson": "application/x-ndjson",
    **dict.fromkeys(CODE_LANGUAGES, PLAIN),
}
"""The suffixes of the files that are documents, and the media type of each."""

NOTICES = {
    "partial": "partial",
    "bad_metadata": "metadata",
    "bad_options": "metadata",
    "metadata_conflict": "metadata",
    "metadata_unmatched": "metadata",
    "unknown_format": "passed over",
}
"""The kinds of issues that leave no document out, and the word with which each is shown."""
CONTAINERS = {".eml", ".msg", ".json"}
"""Suffixes of files that other documents may be in, which have the path of the file in front of their own."""


@dataclass(frozen=True)
class Document:
    """One document as text: Markdown, or plain text where the media type is ``text/plain``.

    Attributes:
        source_metadata: The fields that the source itself states, as a JSON object.
        pages: Character offset of each page of the text; empty for a format without pages.
        omissions: What of the source is not in the text: part, count and detail of each kind (``Omission``).
    """

    collection: str
    doc_id: str
    text: str
    media_type: str
    size_bytes: int
    title: str
    source_metadata: str = "{}"
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


def worst_first(issues: pl.DataFrame) -> pl.DataFrame:
    """Rows of ``document_issues``, those of documents that are left out before the notices."""
    return issues.sort(pl.col("kind").is_in(list(NOTICES)), maintain_order=True)


def has_lone_surrogates(text: str) -> bool:
    """Say whether the text cannot be written as UTF-8, which every table needs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
