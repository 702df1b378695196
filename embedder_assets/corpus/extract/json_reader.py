"""The documents in files of JSON, parsed in this process like the rows of a ``corpus.jsonl``."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import IO

from embedder_assets.corpus.collection_options import CollectionOptions
from embedder_assets.corpus.collections import COLLECTION_OPTIONS, Collection
from embedder_assets.corpus.document import PLAIN, Document, DocumentIssue
from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.formats import finished
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.mail.attachments import attached
from embedder_assets.corpus.extract.plain import decode, empty
from embedder_assets.corpus.extract.source import Known, Read, Source, refused_by
from embedder_assets.corpus.json_rows import (
    ROW_SUFFIXES,
    BadRow,
    JsonRow,
    extracted_json,
    is_lines,
    parse,
    rows_of_array,
    rows_of_lines,
)
from embedder_assets.errors import DocumentError


@dataclass(frozen=True)
class JsonReader:
    """Reads JSON of a collection.

    Attributes:
        collection: The collection.
        limits: What a document may cost.
        options: Of the collection: which fields are what.
        document: Makes a document of its source, what was extracted, and its size in bytes.
    """

    collection: Collection
    limits: DocumentLimits
    options: CollectionOptions
    document: Callable[[Source, Extracted, int], Document]

    def documents(self, source: Source, suffix: str, data: bytes, mails: tuple[str, ...]) -> Iterator[Read]:
        """The documents in JSON: an object, or each object of an array or on a line."""
        thing, fields = f"{self.collection.name}/{source.doc_id}", self.options.json
        self._refuse_unknown_fields(thing)
        if suffix in ROW_SUFFIXES or is_lines(data):
            rows = rows_of_lines(source.doc_id, io.BytesIO(data), fields, self.limits.document_bytes)
        else:
            values = parse(thing, decode(data, thing))
            if not isinstance(values, list) or not any(isinstance(each, dict) for each in values):
                extracted = finished(extracted_json(thing, values, fields), PLAIN, thing, self.limits)
                yield source, self.document(source, attached(extracted, mails), len(data))
                return
            rows = rows_of_array(source.doc_id, values, fields)
        for row in rows:
            yield self._row(source, row, mails=mails)

    def lines(self, source: Source, lines: IO[bytes], known: Known) -> Iterator[Read]:
        """The documents on the lines of a file, one of them in memory at a time.

        Raises:
            DocumentError: It has none, or cannot be read.
        """
        thing = f"{self.collection.name}/{source.doc_id}"
        self._refuse_unknown_fields(thing)
        found = False
        for row in rows_of_lines(source.doc_id, lines, self.options.json, self.limits.document_bytes):
            found = True
            yield self._row(source, row, known)
        if not found:
            raise empty(thing)

    def _row(
        self, source: Source, row: JsonRow | BadRow, known: Known = lambda _: False, mails: tuple[str, ...] = ()
    ) -> Read:
        """A row of a file; its digest is its own where the file, which is not read as a whole, has none."""
        try:
            if isinstance(row, BadRow):
                raise row.error
            sha256, file = source.sha256 or row.sha256, source.file or source.doc_id
            found = replace(source, doc_id=f"{source.doc_id}/{row.row_id}", sha256=sha256, file=file)
            if known(found):
                return found, None
            extracted = finished(row.extracted(), PLAIN, row.place, self.limits)
            title = extracted.title or (row.row_id if row.is_named else PurePosixPath(source.doc_id).stem)
            return found, self.document(found, attached(replace(extracted, title=title), mails), row.size_bytes)
        except DocumentError as error:
            refused = replace(source, extraction=refused_by(self.limits)) if source.sha256 else source
            return refused, DocumentIssue.from_error(self.collection.name, row.place, error)

    def _refuse_unknown_fields(self, thing: str) -> None:
        """By other fields, what was read would get other ids, and the earlier documents would look deleted."""
        if not self.options.valid:
            raise DocumentError(
                thing,
                kind="unreadable",
                expected=f"{COLLECTION_OPTIONS}, which may say what its fields are, to be right",
                got="one that cannot be used",
                remedy=f"Correct {COLLECTION_OPTIONS}.",
            )
