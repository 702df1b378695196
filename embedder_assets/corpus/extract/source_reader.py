"""Reads a collection's documents in order; a document that cannot be used becomes an issue and the rest goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict

from embedder_assets.corpus.beir import BeirRow, read_rows
from embedder_assets.corpus.collection_options import read_options
from embedder_assets.corpus.collections import Collection
from embedder_assets.corpus.document import PLAIN, Document, DocumentIssue
from embedder_assets.corpus.extract import source as versions
from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.file_reader import FileReader
from embedder_assets.corpus.extract.isolated import ExtractorPool
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.markup.embedded_data import leave_out_embedded_data
from embedder_assets.corpus.extract.source import Known, Read, Source
from embedder_assets.corpus.source_files import Listing, SourceFile, list_sources
from embedder_assets.errors import CorpusError


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
        progress: Given the files that are done, or rows of BEIR, their number, which is 0 where only the last one
            tells, and the pages of those that were read and have some.

    Raises:
        SettingsError: If the process that reads documents cannot start.
    """
    listing = listing or list_sources(collection)
    for issue in listing.issues:
        yield Source(issue.path, None, versions.EXTRACTION_VERSION), issue
    if listing.is_beir:
        for source in listing.sources:
            for done, row in enumerate(_read_rows(collection, source, limits, known), start=1):
                yield row
                progress(done, 0, 0)
        return
    with ExtractorPool(limits) as pool:
        reader = FileReader(collection, read_options(collection)[0], limits, pool)
        pages, shown = 0, 0
        for found in reader.read(listing.sources, known):
            yield found
            pages += len(found[1].pages) if isinstance(found[1], Document) else 0
            progress(reader.done, len(listing.sources), pages)
            shown = reader.done
        if reader.done > shown:  # the last rows of a file are read before the file is done
            progress(reader.done, len(listing.sources), pages)


def _read_rows(collection: Collection, file: SourceFile, limits: DocumentLimits, known: Known) -> Iterator[Read]:
    try:
        for row in read_rows(file.path, collection.name, max_row_bytes=limits.document_bytes):
            if isinstance(row, DocumentIssue):
                yield Source(row.path, None, versions.EXTRACTION_VERSION), row
            else:
                found = Source(row.row_id, row.sha256, versions.EXTRACTION_VERSION)
                yield found, None if known(found) else _row_document(collection, row)
    except CorpusError as error:  # the rows that were read are as good as ever
        issue = DocumentIssue(collection.name, file.doc_id, "unreadable", str(error))
        yield Source(file.doc_id, None, versions.EXTRACTION_VERSION), issue


def _row_document(collection: Collection, row: BeirRow) -> Document:
    text = "\n\n".join(part for part in (row.title, row.text) if part.strip())
    found = leave_out_embedded_data(Extracted(text))
    return Document(
        collection.name,
        row.row_id,
        found.text,
        PLAIN,
        row.size_bytes,
        row.title or row.row_id,
        json.dumps(row.metadata),
        omissions=[asdict(each) for each in found.omissions],
    )
