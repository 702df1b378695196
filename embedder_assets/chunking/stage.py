"""Updates the table ``chunks`` of a collection from its documents: only what changed is cut."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from embedder_assets.corpus.document import Document
from embedder_assets.serving.cpu import cores
from embedder_assets.serving.models.description import CONTEXT
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.staging import Staging, missing_rows_error
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import StageMeter

if TYPE_CHECKING:
    from embedder_assets.chunking.chunker import Chunk

DOCUMENTS, CHUNKS = "documents", "chunks"
# Raise it when the chunker's rules change: every document is then cut anew.
CHUNKER_VERSION = "2"
# Also what a kill can cost at most.
ROWS_PER_STAGED_FILE = 16_384
# A display costs as much as a small document.
DOCUMENTS_PER_REPORT = 50
# Cut at most ahead of what is staged: bounds the memory.
DOCUMENTS_PER_BATCH = 256
# What chunks are made from, by the columns that they have for it; with their context from the title too.
VERSION = ["doc_id", "document_sha256", "chunking"]
TITLE = "title"
PLAIN = "text/plain"
# What tells a row from any other that there was.
KEY = ["chunk_id", "document_sha256", "chunking"]
# What is cut, of a document: no more of it is read.
_DOCUMENT = [field.name for field in fields(Document) if field.name not in {"source_metadata", "omissions"}]


@dataclass(frozen=True)
class ChunkOutcome:
    """What happened to the chunks of a collection.

    Attributes:
        rows: Chunks in the table now.
        documents_cut: Documents that were cut, because they or the rules are new.
        computed: Chunks that came of them.
        deleted: Chunks that are gone.
    """

    rows: int
    documents_cut: int
    computed: int
    deleted: int


class ChunkStage:
    """Cuts the documents of a collection that have no chunks yet.

    Args:
        store: The tables.
        tokenizer_file: Of the first dense model.
        max_tokens: The longest chunk, special tokens included.
        context: Whether a dense model reads a context in front of a chunk.
    """

    def __init__(self, store: TableStore, tokenizer_file: Path, max_tokens: int, *, context: bool = False) -> None:
        self._store = store
        self._tokenizer_file = tokenizer_file
        self._max_tokens = max_tokens
        self._context = context
        self._version = [*VERSION, TITLE] if context else VERSION
        rules = f"{CHUNKER_VERSION} {CONTEXT}" if context else CHUNKER_VERSION
        digest = hashlib.sha256(tokenizer_file.read_bytes()).hexdigest()
        self.chunking, self._plain = (
            hashlib.sha256(f"{rules} {max_tokens} {digest}{suffix}".encode()).hexdigest()[:16]
            for suffix in ("", f" {PLAIN}")
        )

    def run(self, collection: str, meter: StageMeter) -> ChunkOutcome:
        """Makes the chunks of the present documents the collection's only ones, in one commit.

        Raises:
            TableError: Chunks that were cut are not staged any more. The table is as it was.
        """
        columns = ["doc_id", "content_sha256", "media_type", "pages", TITLE]
        documents = self._versions(self._store.read(DOCUMENTS, collection, columns))
        cut, stale, kept = self._present(collection, documents)
        missing = documents.join(cut, on=self._version, how="anti")
        staging = self._store.local_staging(CHUNKS, collection, self.chunking)
        staged = staging.read({name: pl.String() for name in self._version})
        staged = staged.join(missing, on=self._version, how="semi")
        computed = self._cut(collection, missing.join(staged, on=self._version, how="anti"), staging, meter)
        meter.count("reused", kept)
        added = self._added(collection, missing, staging, expected=staged.height + computed)
        self._store.delete_and_insert(CHUNKS, collection, added, stale)
        staging.clear()
        return ChunkOutcome(self._store.count(CHUNKS, collection), missing.height, computed, stale.height)

    def _versions(self, documents: pl.DataFrame) -> pl.DataFrame:
        """Rows of ``documents`` with the columns of ``VERSION``: the same text may be plain, Markdown, or on pages."""
        is_plain = pl.col("media_type") == PLAIN
        chunking = pl.when(is_plain).then(pl.lit(self._plain)).otherwise(pl.lit(self.chunking))
        rows = documents.with_columns(
            pl.col("pages").fill_null([]), document_sha256="content_sha256", chunking=chunking
        )
        paged = [
            hashlib.sha256(f"{rules} {pages}".encode()).hexdigest()[:16] if pages else rules
            for rules, pages in zip(rows["chunking"], rows["pages"].to_list(), strict=True)
        ]
        return rows.with_columns(pl.Series("chunking", paged, pl.String))

    def _present(self, collection: str, documents: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, int]:
        """The versions of documents that are cut, the keys of chunks that have to go, and how many stay."""
        versions, stale, kept = (
            [documents.select(self._version).clear()],
            [pl.DataFrame(schema={name: SCHEMAS[CHUNKS][name] for name in KEY})],
            0,
        )
        for frame in self._store.batches(CHUNKS, collection, [*KEY, "doc_id", TITLE]):
            wanted = frame.join(documents, on=self._version, how="semi")
            versions.append(wanted.select(self._version).unique())
            stale.append(frame.join(wanted, on=KEY, how="anti").select(KEY))
            kept += wanted.height
        return pl.concat(versions).unique(), pl.concat(stale), kept

    def _cut(self, collection: str, todo: pl.DataFrame, staging: Staging, meter: StageMeter) -> int:
        """Stages the chunks of some versions of documents, and returns how many there are."""
        if not todo.height:
            return 0
        # Not loaded for a run that has nothing to cut.
        from embedder_assets.chunking.chunker import Chunker
        from embedder_assets.chunking.context import ContextChunker

        chunker = (ContextChunker if self._context else Chunker)(self._tokenizer_file, self._max_tokens)
        rows: list[dict[str, object]] = []
        computed = 0
        for done, (digest, chunking, chunks) in enumerate(self._chunks(chunker.chunk, collection, todo), start=1):
            rows += [{**vars(chunk), "document_sha256": digest, "chunking": chunking} for chunk in chunks]
            computed += len(chunks)
            meter.count("computed", len(chunks))
            if done % DOCUMENTS_PER_REPORT == 0 or done == todo.height:
                meter.progress(collection, done, todo.height)
            if len(rows) >= ROWS_PER_STAGED_FILE:
                # Never half a document: what is staged of one is all of it.
                _stage(staging, rows)
                rows = []
        _stage(staging, rows)  # also where a document has gone from the table meanwhile
        return computed

    def _chunks(
        self, cut: Callable[[Document], list[Chunk]], collection: str, todo: pl.DataFrame
    ) -> Iterator[tuple[str, str, list[Chunk]]]:
        """Digest, chunking and chunks of each version of a document, in the order of the table; a thread per core."""
        columns = [*_DOCUMENT, "content_sha256"]
        # Splitter and tokenizer compute without the interpreter's lock.
        with ThreadPoolExecutor(cores(), thread_name_prefix="cut") as workers:
            for frame in self._store.batches(DOCUMENTS, collection, columns):
                texts = self._versions(frame).join(todo, on=self._version, how="semi", maintain_order="left")
                for some in texts.iter_slices(DOCUMENTS_PER_BATCH):
                    documents = (Document(**row) for row in some.select(_DOCUMENT).iter_rows(named=True))
                    chunks = workers.map(cut, documents)
                    yield from zip(some["document_sha256"], some["chunking"], chunks, strict=True)

    def _added(
        self, collection: str, versions: pl.DataFrame, staging: Staging, expected: int
    ) -> Iterator[pl.DataFrame]:
        """All staged chunks of some versions of documents: it raises before a commit that would lack some."""
        found = 0
        for frame in staging.frames(SCHEMAS[CHUNKS]):
            rows = frame.join(versions, on=self._version, how="semi")
            found += rows.height
            if rows.height:
                yield rows
        if found != expected:
            staging.clear()
            raise missing_rows_error(f"staged chunks of collection '{collection}'", expected, found, staging.address)


def _stage(staging: Staging, rows: list[dict[str, object]]) -> None:
    if rows:
        staging.append(pl.DataFrame(rows, schema=SCHEMAS[CHUNKS]))
