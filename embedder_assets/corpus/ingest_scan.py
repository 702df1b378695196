"""What a scan over the sources of a collection finds, and the texts of what is new, which it stages as they come."""

from __future__ import annotations

import hashlib

import polars as pl

from embedder_assets.corpus.extract import Document, DocumentIssue, Source
from embedder_assets.tables.schemas import SCHEMAS, Schema
from embedder_assets.tables.staging import Staging

DOCUMENTS = "documents"
VERSION = ["doc_id", "source_sha256", "extraction"]
# Also what a kill can cost at most, and about what is in memory.
ROWS_PER_STAGED_FILE = 4096
CHARACTERS_PER_STAGED_FILE = 4_000_000


class Versions:
    """The versions of documents that are known, each as 16 bytes: a collection may have millions."""

    def __init__(self, digests: set[bytes]) -> None:
        self._digests = digests

    @classmethod
    def of(cls, rows: pl.DataFrame) -> Versions:
        """Those of some rows with the columns of ``VERSION``."""
        return cls({_digest(*version) for version in rows.select(VERSION).iter_rows()})

    def __contains__(self, source: Source) -> bool:
        return _digest(source.doc_id, source.sha256, source.extraction) in self._digests


def _digest(*version: str | None) -> bytes:
    return hashlib.blake2b("\x1f".join(map(str, version)).encode(), digest_size=16).digest()


class IngestScan:
    """What a scan over the sources has found.

    Attributes:
        seen: Ids of all documents that have a usable source.
        issues: What could not be used, with its source.
        known_issues: Paths of what could not be used before, and has not changed.
        unread: Ids of what has not changed: what is in such a file has not changed either.
    """

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._rows: list[dict[str, object]] = []
        self._characters = 0
        self._changed: list[tuple[str, str | None, str]] = []
        self.seen: list[str] = []
        self.issues: list[tuple[Source, DocumentIssue]] = []
        self.known_issues: list[str] = []
        self.unread: list[str] = []

    @property
    def changed(self) -> pl.DataFrame:
        """The versions that the table does not have: the columns of ``VERSION``."""
        schema: Schema = {name: pl.String() for name in VERSION}
        return pl.DataFrame(self._changed, schema=schema, orient="row")

    def known(self, source: Source, *, staged: bool) -> None:
        """A version that the table has, or that is staged."""
        self.seen.append(source.doc_id)
        if staged:
            self._changed.append((source.doc_id, source.sha256, source.extraction))

    def issue(self, source: Source, issue: DocumentIssue) -> None:
        """A source that cannot be used."""
        self.issues.append((source, issue))

    def document(self, source: Source, document: Document) -> None:
        """A version that is new."""
        self.known(source, staged=True)
        digest = hashlib.sha256(document.text.encode()).hexdigest()
        version = {"source_sha256": source.sha256, "extraction": source.extraction}
        file = source.file or source.doc_id
        self._rows.append({**vars(document), "content_sha256": digest, **version, "source": file})
        self._characters += len(document.text)
        if len(self._rows) >= ROWS_PER_STAGED_FILE or self._characters >= CHARACTERS_PER_STAGED_FILE:
            self.finish()

    def finish(self) -> None:
        """Stages what has come so far."""
        if self._rows:
            self._staging.append(pl.DataFrame(self._rows, schema=SCHEMAS[DOCUMENTS]))
        self._rows, self._characters = [], 0
