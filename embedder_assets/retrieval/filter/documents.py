"""The documents that chunks are of: their fields, and who may see them.

While a run is under way, a search may answer from chunks of an earlier version of a document. A condition then looks at
the fields of that version; permissions look at the newest one too, so that a tightened ``acl`` holds at once.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from embedder_assets.corpus.metadata.values import FIELD_TYPES, FieldType
from embedder_assets.errors import StorageError, TableError, did_you_mean
from embedder_assets.retrieval.filter.conditions import Name
from embedder_assets.retrieval.filter.fields import Column, common_type
from embedder_assets.retrieval.filter.permissions import may_see, readers_of
from embedder_assets.tables.history import commits_of
from embedder_assets.tables.store import TableStore

DOCUMENTS, CHUNKS, FIELDS = "documents", "chunks", "metadata_fields"
_COLUMNS = ["doc_id", "content_sha256", "title", "media_type", "metadata", "public"]
# Columns that are fields too. A field of the metadata that has such a name is called `metadata.NAME`.
_OF_DOCUMENTS: dict[str, FieldType] = {"title": "text", "media_type": "text"}
_OF_CHUNKS: dict[str, FieldType] = {"collection": "text", "doc_id": "text", "page": "number", "last_page": "number"}
_METADATA = "metadata."
_NAMES_SHOWN = 20
Metadata = Mapping[str, object]


@dataclass(frozen=True)
class ChunkDocuments:
    """The document of each chunk of one collection.

    Attributes:
        collection: Its name.
        chunks: Its chunks.
        rows: The versions of documents that chunks are of: ``_COLUMNS``, and ``current``, whether it is the newest one.
        row: Of each chunk the row of its document; null where that is not known.
        newest: The newest rows of the documents of which ``rows`` has another version.
        types: Field to type, as the table ``metadata_fields`` has it.
    """

    collection: str
    chunks: pl.DataFrame
    rows: pl.DataFrame
    row: pl.Series
    newest: pl.DataFrame
    types: Mapping[str, str]

    @classmethod
    def read(cls, store: TableStore, tables: TableStore, collection: str, chunks: pl.DataFrame) -> ChunkDocuments:
        """Reads the documents of some chunks, each in the newest version that has the chunk's text.

        Args:
            store: The tables as they are.
            tables: The tables that the chunks were read from.
            collection: Name of the collection.
            chunks: Its chunks.

        Raises:
            TableError: The newest documents cannot be read.
        """
        # A document that is there twice is not known.
        newest = store.read(DOCUMENTS, collection, _COLUMNS).unique("doc_id", keep="none")
        versions = chunks.select("doc_id", content_sha256="document_sha256").unique(maintain_order=True)
        key = versions.columns
        current = versions.join(newest, on=key, maintain_order="left")
        others = versions.join(current, on=key, how="anti", maintain_order="left")
        earlier = newest.clear()
        if others.height:
            earlier = others.join(_documents_of(store, tables, collection), on=key, maintain_order="left")
        rows = pl.concat(
            [frame.with_columns(current=pl.lit(now)) for frame, now in ((current, True), (earlier, False))],
            how="diagonal",
        )
        row = chunks.select("doc_id", content_sha256="document_sha256").join(
            rows.select(key).with_row_index("row"), on=key, how="left", maintain_order="left"
        )["row"]
        types = store.read(FIELDS, collection, ["field", "type"])
        return cls(
            collection,
            chunks,
            rows,
            row,
            newest.join(earlier, on="doc_id", how="semi"),
            dict(types.iter_rows()),
        )

    @functools.cached_property
    def metadata(self) -> list[Metadata | None]:
        """Of each row."""
        return [_parsed(text) for text in self.rows["metadata"]]

    def metadata_of_chunk(self, chunk: int) -> Metadata:
        """Of the document of one chunk."""
        row = self.row[chunk]
        return {} if row is None else _parsed(self.rows["metadata"][row]) or {}

    @functools.cached_property
    def _readers(self) -> list[tuple[frozenset[str] | None, ...]]:
        """Of each row the readers of that version of the document, and of the newest one."""
        newest = {
            doc_id: readers_of(_parsed(text), public)
            for doc_id, text, public in self.newest.select("doc_id", "metadata", "public").iter_rows()
        }
        rows = zip(self.metadata, self.rows.select("doc_id", "public", "current").iter_rows(), strict=True)
        return [
            (readers_of(metadata, public), *([] if current else [newest.get(doc_id, frozenset())]))
            for metadata, (doc_id, public, current) in rows
        ]

    def visible(self, groups: frozenset[str] | None) -> pl.Series:
        """Which rows a reader may see; None may see all. Of an earlier version the newest one has to allow it too."""
        if groups is None:
            return pl.repeat(value=True, n=self.rows.height, dtype=pl.Boolean, eager=True)
        return pl.Series([all(may_see(groups, each) for each in of_row) for of_row in self._readers], dtype=pl.Boolean)

    def mask(self, groups: frozenset[str] | None) -> pl.Series:
        """Which chunks a reader may see; one whose document is not known only who may see all."""
        if groups is None:
            return pl.repeat(value=True, n=self.chunks.height, dtype=pl.Boolean, eager=True)
        return self.visible(groups).gather(self.row).fill_null(value=False)


class FieldColumns:
    """The fields of a collection's documents, as columns with a row per chunk.

    Args:
        documents: Of the chunks.
        groups: Of the reader, as of ``ChunkDocuments.visible``. Nothing that is said here tells of other documents.
        known: Names of the fields of all collections that are searched; those of this one are added.
    """

    def __init__(self, documents: ChunkDocuments, groups: frozenset[str] | None, known: set[str]) -> None:
        self.collection = documents.collection
        self._documents = documents
        self._known = known
        self._columns: dict[str, Column] = {}
        visible = documents.visible(groups)
        self._metadata = [(each or {}) if seen else {} for each, seen in zip(documents.metadata, visible, strict=True)]
        self._types = documents.types if groups is None else {}
        known.update(self._types)
        for each in self._metadata:
            known.update(field for field, value in each.items() if value is not None)

    def column(self, name: Name) -> Column:
        """A field with a row per chunk.

        Raises:
            FilterError: No collection that is searched has it.
        """
        if name.text not in self._columns:
            self._columns[name.text] = self._column(name)
        return self._columns[name.text]

    def _column(self, name: Name) -> Column:
        chunks, rows = self._documents.chunks, self._documents.rows
        own = name.text.lower()
        if own in _OF_CHUNKS and own in chunks.columns:
            return Column.of(chunks[own].to_list(), _OF_CHUNKS[own])
        if own in _OF_DOCUMENTS:
            return Column.of(rows[own].to_list(), _OF_DOCUMENTS[own]).gather(self._documents.row)
        field = self._field(name)
        of_rows = [metadata.get(field) for metadata in self._metadata]
        kind = self._types.get(field)
        column = Column.of(of_rows, kind if kind in FIELD_TYPES else common_type(of_rows))
        return column.gather(self._documents.row)

    def _field(self, name: Name) -> str:
        """The field of the metadata that is meant."""
        for text in (name.text, name.text.removeprefix(_METADATA)):
            for field in (text, text.lower()):
                if field in self._known:
                    return field
        own = [*(each for each in _OF_CHUNKS if each in self._documents.chunks.columns), *_OF_DOCUMENTS]
        names = [*own, *sorted(self._known - {*own})]
        more = len(names) - _NAMES_SHOWN
        raise name.place.error(
            expected=f"one of the fields {', '.join(names[:_NAMES_SHOWN])}{f' and {more} more' if more > 0 else ''}",
            got=f"'{name.text}'",
            remedy=did_you_mean(name.text.lower(), names, "Correct the name; a text stands in quotes."),
        )


def _documents_of(store: TableStore, tables: TableStore, collection: str) -> pl.DataFrame:
    """The documents that the chunks of some tables were cut from; no row where these cannot be read any more."""
    nothing = store.read(DOCUMENTS, collection, _COLUMNS, limit=0)
    try:
        version = tables.version(CHUNKS)
        commit = next((each for each in commits_of(store, CHUNKS, collection) if each.version <= version), None)
        if commit is None or DOCUMENTS not in commit.made_from:
            return nothing
        earlier = store.as_of({DOCUMENTS: commit.made_from[DOCUMENTS]})
        return earlier.read(DOCUMENTS, collection, _COLUMNS).unique("doc_id", keep="none")
    except StorageError:
        raise
    except TableError:
        return nothing


def _parsed(text: str | None) -> Metadata | None:
    """A JSON object; None for what is none."""
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
