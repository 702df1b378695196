"""Reads a collection's documents in order; a document that cannot be used becomes an issue and the rest goes on."""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath

from embedder_assets.corpus.beir import BeirRow, read_rows
from embedder_assets.corpus.collections import Collection
from embedder_assets.corpus.document import MEDIA_TYPES, Document, DocumentIssue
from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.formats import ISOLATED, extract
from embedder_assets.corpus.extract.isolated import ExtractorPool
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.safe_open import read_bytes
from embedder_assets.corpus.source_files import Listing, SourceFile, list_sources
from embedder_assets.errors import CorpusError, DocumentError

# Raise it when what is extracted from the same bytes changes: every document is then extracted anew.
EXTRACTION_VERSION = "2"
# Text is read in this process first: less of it than this does not repay the start of others.
TEXT_HERE_S = 2.0
# Files that may wait behind one that takes long.
MOST_PENDING = 1000


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
    progress: Callable[[int, int, int], None] = lambda *_: None,
) -> Generator[Read, None, None]:
    """Yield the sources of a collection and what they hold, with a bounded number of bytes of them in memory.

    Args:
        collection: The collection.
        limits: A document that goes beyond them is an issue.
        known: Whether nobody needs what a source holds; it is then not extracted, and None comes with it.
        listing: What is in the collection's folder; by default it is looked at now.
        progress: Given the sources that are done, their number, which is 0 where only the last one tells, and the
            pages of those that were read and have some.

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
                progress(done, 0, 0)
        return
    with ExtractorPool(limits) as pool:
        pages = 0
        for done, found in enumerate(_Files(collection, limits, pool).read(listing.sources, known), start=1):
            yield found
            pages += len(found[1].pages) if isinstance(found[1], Document) else 0
            progress(done, len(listing.sources), pages)


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
    return Document(collection.name, row.row_id, text, "text/plain", row.size_bytes, row.title or row.row_id)


@dataclass(frozen=True)
class _Submitted:
    """A file that the pool reads: as it is if it can be used, and as it is refused."""

    file: SourceFile
    found: Source
    refused: Source
    size_bytes: int


class _Files:
    """Reads the files of a collection."""

    def __init__(self, collection: Collection, limits: DocumentLimits, pool: ExtractorPool) -> None:
        self._collection = collection
        self._limits = limits
        self._pool = pool
        self._text_s = 0.0

    def read(self, files: Iterable[SourceFile], known: Known) -> Iterator[Read]:
        """Each source that a file is and what it holds, in order; None where nobody needs that."""
        pending: deque[Read | _Submitted] = deque()
        for file in files:
            pending.append(self._begin(file, known))
            while pending and not self._can_wait(pending):
                yield self._finish(pending.popleft())
        for each in pending:
            yield self._finish(each)

    def _can_wait(self, pending: Sequence[Read | _Submitted]) -> bool:
        held_up = isinstance(pending[0], _Submitted) and not self._pool.is_ready
        return held_up and not self._pool.is_full and len(pending) < MOST_PENDING

    def _begin(self, file: SourceFile, known: Known) -> Read | _Submitted:
        thing = f"{self._collection.name}/{file.doc_id}"
        # Other limits may let pass what these refuse.
        refused = Source(file.doc_id, None, f"{EXTRACTION_VERSION}/{self._limits.digest}")
        try:
            data = read_bytes(self._collection, file.path, thing, self._limits.document_bytes)
            found = Source(file.doc_id, hashlib.sha256(data).hexdigest(), EXTRACTION_VERSION)
            refused = replace(refused, sha256=found.sha256)
            for source in (found, refused):
                if known(source):
                    return source, None
            suffix = file.path.suffix.lower()
            if self._is_read_here(suffix):
                return found, self._document(file, suffix, self._extract_here(suffix, data, thing), len(data))
        except DocumentError as error:
            return refused, DocumentIssue.from_error(self._collection.name, file.doc_id, error)
        self._pool.submit(suffix, data, thing)
        return _Submitted(file, found, refused, len(data))

    def _is_read_here(self, suffix: str) -> bool:
        return suffix not in ISOLATED and (self._pool.processes == 1 or self._text_s < TEXT_HERE_S)

    def _extract_here(self, suffix: str, data: bytes, thing: str) -> Extracted:
        started = time.monotonic()
        try:
            return extract(suffix, data, thing, self._limits)
        finally:
            self._text_s += time.monotonic() - started

    def _finish(self, pending: Read | _Submitted) -> Read:
        if not isinstance(pending, _Submitted):
            return pending
        file = pending.file
        try:
            extracted = self._pool.take()
            return pending.found, self._document(file, file.path.suffix.lower(), extracted, pending.size_bytes)
        except DocumentError as error:
            return pending.refused, DocumentIssue.from_error(self._collection.name, file.doc_id, error)

    def _document(self, file: SourceFile, suffix: str, extracted: Extracted, size_bytes: int) -> Document:
        title = extracted.title or PurePosixPath(file.doc_id).stem
        return Document(
            self._collection.name,
            file.doc_id,
            extracted.text,
            MEDIA_TYPES[suffix],
            size_bytes,
            title,
            json.dumps(extracted.metadata, ensure_ascii=False, sort_keys=True),
            extracted.pages,
            [asdict(each) for each in extracted.omissions],
        )
