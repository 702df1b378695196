"""Reads a collection's documents one by one; a document that cannot be used becomes an issue and the rest goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath

from embedder_assets.corpus.beir import BeirRow, read_rows
from embedder_assets.corpus.collection_options import CollectionOptions, JsonFields, read_options
from embedder_assets.corpus.collections import Collection
from embedder_assets.corpus.document import CONTAINERS, Document, DocumentIssue
from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.formats import ISOLATED, extract, media_type
from embedder_assets.corpus.extract.isolated import IsolatedExtractor
from embedder_assets.corpus.extract.json_reader import JsonReader
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.mail.attachments import AttachmentRoom, attached
from embedder_assets.corpus.extract.safe_open import open_source, read_bytes
from embedder_assets.corpus.json_rows import JSON_SUFFIXES, ROW_SUFFIXES
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
        file: Path of the file that it is in, where it is not a file of its own: an attachment, a row.
    """

    doc_id: str
    sha256: str | None
    extraction: str
    file: str = ""

    @property
    def is_container(self) -> bool:
        """Whether other documents may be in it."""
        return PurePosixPath(self.doc_id).suffix.lower() in CONTAINERS


def refused_by(limits: DocumentLimits) -> str:
    """The ``extraction`` of what these limits refuse."""
    return f"{EXTRACTION_VERSION}/{limits.digest}"


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
        files = _Files(collection, limits, isolated, read_options(collection)[0])
        for done, source in enumerate(listing.sources, start=1):
            is_rows = source.path.suffix.lower() in ROW_SUFFIXES
            yield from files.rows(source, known) if is_rows else files.read(source, known)
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
    return Document(collection.name, row.row_id, text, "text/plain", row.size_bytes, row.title or row.row_id)


@dataclass(frozen=True)
class _Files:
    """Reads the files of a collection."""

    collection: Collection
    limits: DocumentLimits
    isolated: IsolatedExtractor
    options: CollectionOptions

    def rows(self, file: SourceFile, known: Known) -> Iterator[Read]:
        """The documents on the lines of a file, one of them in memory at a time."""
        thing = f"{self.collection.name}/{file.doc_id}"
        source = Source(file.doc_id, None, self._rules(".jsonl"))
        try:
            with open_source(self.collection, file.path, thing) as lines:
                yield from self._json.lines(source, lines, known)
        except DocumentError as error:
            yield source, DocumentIssue.from_error(self.collection.name, file.doc_id, error)

    @property
    def _json(self) -> JsonReader:
        return JsonReader(self.collection, self.limits, self.options, self._document, self._refused)

    def read(self, file: SourceFile, known: Known) -> list[Read]:
        """The source that a file is and what it holds, then what is attached to it; None where nobody needs that."""
        thing = f"{self.collection.name}/{file.doc_id}"
        refused = self._refused(Source(file.doc_id, None, EXTRACTION_VERSION))
        try:
            data = read_bytes(self.collection, file.path, thing, self.limits.document_bytes)
        except DocumentError as error:
            return [(refused, DocumentIssue.from_error(self.collection.name, file.doc_id, error))]
        found = Source(file.doc_id, hashlib.sha256(data).hexdigest(), self._rules(file.path.suffix.lower()))
        for source in (found, self._refused(found)):
            if known(source):
                return [(source, None)]
        return list(self._documents(found, data, AttachmentRoom()))

    def _rules(self, suffix: str) -> str:
        """Identifies how a file is read; of JSON also which fields are what."""
        if self.options.json == JsonFields() or suffix not in JSON_SUFFIXES:
            return EXTRACTION_VERSION
        return f"{EXTRACTION_VERSION}+{hashlib.sha256(repr(self.options.json).encode()).hexdigest()[:8]}"

    def _refused(self, source: Source) -> Source:
        """A source that cannot be used: other limits may let it pass."""
        return replace(source, extraction=refused_by(self.limits))

    def _documents(
        self, source: Source, data: bytes, room: AttachmentRoom, mails: tuple[str, ...] = ()
    ) -> Iterator[Read]:
        """What some bytes hold, and what the files hold that are attached to it, in ``mails`` that are attached."""
        suffix = PurePosixPath(source.doc_id).suffix.lower()
        try:
            if suffix in JSON_SUFFIXES:
                yield from self._json.documents(source, suffix, data, mails)
                return
            extracted = self._extracted(suffix, data, f"{self.collection.name}/{source.doc_id}")
            extracted = room.take(extracted, level=len(mails))
            yield source, self._document(source, attached(extracted, mails), len(data))
        except DocumentError as error:
            yield self._refused(source), DocumentIssue.from_error(self.collection.name, source.doc_id, error)
            return
        for file in extracted.attachments:
            part = replace(source, doc_id=f"{source.doc_id}/{file.name}", file=source.file or source.doc_id)
            yield from self._documents(part, file.data, room, (*mails, source.doc_id))

    def _extracted(self, suffix: str, data: bytes, thing: str) -> Extracted:
        if suffix in ISOLATED:
            return self.isolated.extract(suffix, data, thing)
        return extract(suffix, data, thing, self.limits)

    def _document(self, source: Source, extracted: Extracted, size_bytes: int) -> Document:
        title = extracted.title or PurePosixPath(source.doc_id).stem
        return Document(
            self.collection.name,
            source.doc_id,
            extracted.text,
            media_type(PurePosixPath(source.doc_id).suffix.lower(), extracted),
            size_bytes,
            title,
            json.dumps(extracted.metadata, sort_keys=True),
            extracted.pages,
            [asdict(each) for each in extracted.omissions],
        )
