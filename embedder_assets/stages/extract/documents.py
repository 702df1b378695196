"""Reads a collection's documents one by one; a document that cannot be used becomes an issue and the rest goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from embedder_assets.errors import DocumentError
from embedder_assets.stages.beir import BeirRow, read_rows
from embedder_assets.stages.corpus import Collection, SourceFile, is_beir, list_sources
from embedder_assets.stages.document import MEDIA_TYPES, Document, DocumentIssue
from embedder_assets.stages.extract.docx import extract_docx
from embedder_assets.stages.extract.extracted import Extracted
from embedder_assets.stages.extract.html import extract_html
from embedder_assets.stages.extract.pdf import extract_pdf
from embedder_assets.stages.extract.plain import extract_plain
from embedder_assets.stages.extract.rst import extract_rst
from embedder_assets.stages.outline import headings

Extractor = Callable[[bytes, str], Extracted]

_BYTES_PER_MB = 1_000_000
# Raise it when what is extracted from the same bytes changes: every document is then extracted anew.
_RULES = "1"
_EXTRACTORS: dict[str, Extractor] = {
    ".md": extract_plain,
    ".markdown": extract_plain,
    ".txt": extract_plain,
    ".rst": extract_rst,
    ".html": extract_html,
    ".htm": extract_html,
    ".pdf": extract_pdf,
    ".docx": extract_docx,
}


@dataclass(frozen=True)
class Source:
    """What a document is extracted from.

    Attributes:
        doc_id: Of the document; of what is none, its place in the collection.
        sha256: Digest of the file's bytes, or of a row's title and text; None where they could not be read.
        extraction: Identifies the rules of extraction.
    """

    doc_id: str
    sha256: str | None
    extraction: str


Known = Callable[[Source], bool]


def read_sources(
    collection: Collection, *, max_document_mb: float, known: Known = lambda _: False
) -> Iterator[tuple[Source, Document | DocumentIssue | None]]:
    """Yield the sources of a collection and what they hold, with one of them in memory at a time.

    Args:
        collection: The collection.
        max_document_mb: A larger document is an issue.
        known: Whether nobody needs what a source holds; it is then not extracted, and None comes with it.

    Raises:
        CorpusError: If the ``corpus.jsonl`` of a BEIR collection cannot be read.
    """
    limit = int(max_document_mb * _BYTES_PER_MB)
    sources, issues, _ignored = list_sources(collection)
    for issue in issues:
        yield Source(issue.path, None, _RULES), issue
    for source in sources:
        if is_beir(collection):
            yield from _read_rows(collection, source, limit, known)
        else:
            yield _read_file(collection, source, limit, known)


def _read_rows(
    collection: Collection, source: SourceFile, limit: int, known: Known
) -> Iterator[tuple[Source, Document | DocumentIssue | None]]:
    for row in read_rows(source.path, collection.name, max_row_bytes=limit):
        if isinstance(row, DocumentIssue):
            yield Source(row.path, None, _RULES), row
        else:
            found = Source(row.row_id, hashlib.sha256(f"{row.title}\x1f{row.text}".encode()).hexdigest(), _RULES)
            yield found, None if known(found) else _row_document(collection, row)


def _row_document(collection: Collection, row: BeirRow) -> Document:
    text = "\n\n".join(part for part in (row.title, row.text) if part.strip())
    return Document(collection.name, row.row_id, text, "text/plain", row.size_bytes, row.title or row.row_id)


def _read_file(
    collection: Collection, file: SourceFile, limit: int, known: Known
) -> tuple[Source, Document | DocumentIssue | None]:
    thing = f"{collection.name}/{file.doc_id}"
    found = Source(file.doc_id, None, _RULES)
    try:
        data = _read_bytes(file.path, thing, limit)
        found = Source(file.doc_id, hashlib.sha256(data).hexdigest(), _RULES)
        if known(found):
            return found, None
        suffix = file.path.suffix.lower()
        try:
            extracted = _EXTRACTORS[suffix](data, thing)
        except DocumentError:
            raise
        except Exception as error:
            raise _unreadable(thing, f"{type(error).__name__}: {error}") from error
        return found, _document(collection, file, suffix, extracted, len(data))
    except DocumentError as error:
        return found, DocumentIssue.from_error(collection.name, file.doc_id, error)


def _document(
    collection: Collection, source: SourceFile, suffix: str, extracted: Extracted, size_bytes: int
) -> Document:
    text = extracted.text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise _empty(f"{collection.name}/{source.doc_id}")
    media_type = MEDIA_TYPES[suffix]
    first_heading = "" if media_type == "text/plain" else next((h.title for h in headings(text) if h.title), "")
    title = extracted.title or first_heading or PurePosixPath(source.doc_id).stem
    return Document(collection.name, source.doc_id, text, media_type, size_bytes, title)


def _read_bytes(path: Path, thing: str, limit: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > limit:
            raise DocumentError(
                thing,
                kind="too_large",
                expected=f"at most {limit / _BYTES_PER_MB:g} MB",
                got=f"{size / _BYTES_PER_MB:.1f} MB",
                remedy="Split the document, or raise EMBEDDER_MAX_DOCUMENT_MB.",
            )
        if size == 0:
            raise _empty(thing)
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(thing, f"{type(error).__name__}: {error.strerror}") from error


def _empty(thing: str) -> DocumentError:
    remedy = "Fill the file or remove it."
    return DocumentError(thing, kind="empty", expected="some text", got="nothing but whitespace", remedy=remedy)


def _unreadable(thing: str, got: str) -> DocumentError:
    remedy = "Open the file in its own application to check it, and save it again or remove it."
    return DocumentError(thing, kind="unreadable", expected="a file that can be read", got=got, remedy=remedy)
