"""Reads a collection's documents one by one; a document that cannot be used becomes an issue and the rest goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath

from embedder_assets.corpus.beir import BeirRow, read_rows
from embedder_assets.corpus.collections import Collection
from embedder_assets.corpus.document import MEDIA_TYPES, Document, DocumentIssue
from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.formats import ISOLATED, extract
from embedder_assets.corpus.extract.isolated import IsolatedExtractor
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.markup.embedded_data import leave_out_embedded_data
from embedder_assets.corpus.extract.safe_open import read_bytes
from embedder_assets.corpus.source_files import Listing, SourceFile, list_sources
from embedder_assets.errors import CorpusError, DocumentError

# Raise it when what is extracted from the same bytes changes: every document is then extracted anew.
EXTRACTION_VERSION = "2"


@dataclass(frozen=True)
class Source:
    """What a document is extracted from.

    Attributes:
        doc_id: Of the document; of what is none, its place in the collection.
        sha256: Digest of the bytes of the file or of the row; None where they could not be read.
        extraction: Identifies the rules of extraction; of a file that cannot be used, the limits too.
    """

    doc_id: str
    sha256: str | None
    extraction: str


Known = Callable[[Source], bool]
Read = tuple[Source, Document | DocumentIssue | None]


def read_sources(
    collection: Collection,
    limits: DocumentLimits,
    *,
    known: Known = lambda _: False,
    listing: Listing | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Iterator[Read]:
    """Yield the sources of a collection and what they hold, with one of them in memory at a time.

    Args:
        collection: The collection.
        limits: A document that goes beyond them is an issue.
        known: Whether nobody needs what a source holds; it is then not extracted, and None comes with it.
        listing: What is in the collection's folder; by default it is looked at now.
        progress: Given the sources that are done, and their number, which is 0 where only the last one tells.

    Raises:
        SettingsError: If the process that reads documents cannot start.
    """
    listing = listing or list_sources(collection)
    for issue in listing.issues:
        yield Source(issue.path, None, EXTRACTION_VERSION), issue
    if listing.is_beir:
        for source in listing.sources:
            for done, row in enumerate(_read_rows(collection, source, limits, known), start=1):
                yield row
                progress(done, 0)
        return
    with IsolatedExtractor(limits) as isolated:
        files = _Files(collection, limits, isolated)
        for done, source in enumerate(listing.sources, start=1):
            yield files.read(source, known)
            progress(done, len(listing.sources))


def _read_rows(collection: Collection, source: SourceFile, limits: DocumentLimits, known: Known) -> Iterator[Read]:
    try:
        for row in read_rows(source.path, collection.name, max_row_bytes=limits.document_bytes):
            if isinstance(row, DocumentIssue):
                yield Source(row.path, None, EXTRACTION_VERSION), row
            else:
                found = Source(row.row_id, row.sha256, EXTRACTION_VERSION)
                yield found, None if known(found) else _row_document(collection, row)
    except CorpusError as error:  # the rows that were read are as good as ever
        issue = DocumentIssue(collection.name, source.doc_id, "unreadable", str(error))
        yield Source(source.doc_id, None, EXTRACTION_VERSION), issue


def _row_document(collection: Collection, row: BeirRow) -> Document:
    text = "\n\n".join(part for part in (row.title, row.text) if part.strip())
    found = leave_out_embedded_data(Extracted(text))
    return Document(
        collection.name,
        row.row_id,
        found.text,
        "text/plain",
        row.size_bytes,
        row.title or row.row_id,
        omissions=[asdict(each) for each in found.omissions],
    )


@dataclass(frozen=True)
class _Files:
    """Reads the files of a collection."""

    collection: Collection
    limits: DocumentLimits
    isolated: IsolatedExtractor

    def read(self, file: SourceFile, known: Known) -> Read:
        """The source that a file is and what it holds; None where nobody needs that."""
        thing = f"{self.collection.name}/{file.doc_id}"
        # Other limits may let pass what these refuse.
        refused = Source(file.doc_id, None, f"{EXTRACTION_VERSION}/{self.limits.digest}")
        try:
            data = read_bytes(self.collection, file.path, thing, self.limits.document_bytes)
            found = Source(file.doc_id, hashlib.sha256(data).hexdigest(), EXTRACTION_VERSION)
            refused = replace(refused, sha256=found.sha256)
            for source in (found, refused):
                if known(source):
                    return source, None
            suffix = file.path.suffix.lower()
            return found, self._document(file, suffix, self._extracted(suffix, data, thing), len(data))
        except DocumentError as error:
            return refused, DocumentIssue.from_error(self.collection.name, file.doc_id, error)

    def _extracted(self, suffix: str, data: bytes, thing: str) -> Extracted:
        if suffix in ISOLATED:
            return self.isolated.extract(suffix, data, thing)
        return extract(suffix, data, thing, self.limits)

    def _document(self, file: SourceFile, suffix: str, extracted: Extracted, size_bytes: int) -> Document:
        title = extracted.title or PurePosixPath(file.doc_id).stem
        return Document(
            self.collection.name,
            file.doc_id,
            extracted.text,
            MEDIA_TYPES[suffix],
            size_bytes,
            title,
            json.dumps(extracted.metadata, ensure_ascii=False, sort_keys=True),
            extracted.pages,
            [asdict(each) for each in extracted.omissions],
        )
