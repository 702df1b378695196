"""Updates the tables ``documents`` and ``document_issues`` of a collection from its sources.

Only what changed is extracted. What goes is decided with care, because an error looks like a deletion: a document
whose file cannot be used now keeps its earlier row, nothing goes from a folder that cannot be read, and a collection
that loses too much at once stops before anything is written (``corpus/deletion_guard.py``). What is published is
counted: rows that are staged and gone again are no deletion either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Set
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain

import polars as pl

from embedder_assets.corpus.collections import BEIR_CORPUS, Collection, is_document_name
from embedder_assets.corpus.deletion_guard import PendingDeletions, check_deletions, check_unusable
from embedder_assets.corpus.document import NOTICES
from embedder_assets.corpus.extract import Document, DocumentIssue, DocumentLimits, Source, read_sources, refused_by
from embedder_assets.corpus.ingest_scan import DOCUMENTS, VERSION, IngestScan, Versions
from embedder_assets.corpus.metadata.resolver import RESOLVED, MetadataResolver
from embedder_assets.corpus.partial_documents import COLUMNS, PARTIAL, partial_issues
from embedder_assets.corpus.source_files import Listing, list_sources
from embedder_assets.settings import Settings
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.staging import missing_rows_error
from embedder_assets.tables.store import TableStore

ISSUES, METADATA_FIELDS = "document_issues", "metadata_fields"
STILL_THERE = "The earlier version stays in the tables."
KEY = ["doc_id", "content_sha256"]
_ROW = re.compile(r":\d+$")
# Kinds of issues of a BEIR collection that say which document they are of, so that no other one is in doubt.
_OF_KNOWN_ROWS = {"duplicate_id"}
# Kinds of issues of a folder that say nothing of what is in it.
_OF_ITS_PATH_ALONE = {"not_a_file"}


@dataclass(frozen=True)
class IngestOutcome:
    """What happened to the documents of a collection.

    Attributes:
        rows: Documents in the table now.
        extracted: Documents that are new or changed.
        moved: Documents that are gone, while one that is new or changed has their text.
        deleted: Documents that are gone.
        kept: Documents that could not be read now, of which the earlier version stays.
        issues: Rows of ``document_issues``.
        new_issues: Those that the last run did not have.
        metadata_changed: Documents of which nothing but the metadata is new.
        fields: Rows of ``metadata_fields``.
    """

    rows: int
    extracted: int
    moved: int
    deleted: int
    kept: int
    issues: pl.DataFrame
    new_issues: pl.DataFrame
    metadata_changed: int
    fields: pl.DataFrame


class Ingest:
    """Reads the sources of one collection and updates its tables.

    Args:
        store: The tables.
        settings: The resolved settings.
        collection: The collection.
        progress: Given the sources that are done, their number, which is 0 where it is not known, and the pages of
            those that were read.
    """

    def __init__(
        self,
        store: TableStore,
        settings: Settings,
        collection: Collection,
        progress: Callable[[int, int, int], None] = lambda *_: None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._collection = collection
        self._progress = progress
        self._name = collection.name
        self._staging = store.local_staging(DOCUMENTS, self._name, "sources")

    def run(self) -> IngestOutcome:
        """Extracts what changed, and publishes it in one commit.

        Raises:
            CorpusError: The collection loses more documents at once than the settings allow, or more of them cannot be
                used. The documents are as they were.
            TableError: Documents that were read are not staged any more. The documents are as they were.
        """
        earlier = self._store.read(DOCUMENTS, self._name, [*VERSION, "content_sha256", "omissions", "source"])
        earlier = earlier.with_columns(pl.col("source").fill_null(pl.col("doc_id")))
        listing = list_sources(self._collection, {*earlier["doc_id"], *earlier["source"]})
        self._metadata = MetadataResolver(self._collection, listed=listing.is_listed)
        scan = self._scan(earlier, listing)
        unseen = earlier.filter(~_is_one_of("doc_id", scan.seen))
        absent = unseen.filter(~_is_one_of("source", scan.unread))
        gone = self._gone(absent, scan, listing)
        moved = self._moved(gone, scan)
        remaining = earlier.height - gone.height + scan.changed.join(earlier, on="doc_id", how="anti").height
        check_deletions(
            self._name, self._settings.max_lost_share, PendingDeletions(earlier.height, gone, moved, remaining)
        )
        replaced = earlier.join(scan.changed, on="doc_id", how="semi")
        kept = earlier.join(pl.concat([gone, replaced]), on="doc_id", how="anti")
        # Where the folder cannot be listed nothing is known of it, and all stays as it is.
        other_metadata, fields = kept.select(KEY).clear(), self._store.read(METADATA_FIELDS, self._name)
        if listing.is_listed:
            other_metadata, fields = self._resolve_metadata(kept, scan.changed), self._metadata.fields()
        issues, new_issues = self._issues(scan, listing, earlier, kept)
        self._store.replace(ISSUES, self._name, issues)
        unusable = issues.filter(~pl.col("kind").is_in(list(NOTICES)))
        bad = _where(unusable, [_names_document(path, listing) for path in unusable["path"]])
        check_unusable(self._name, bad, usable=len(scan.seen) + unseen.height - absent.height)
        self._store.delete_and_insert(
            DOCUMENTS,
            self._name,
            chain(self._added(scan.changed), self._with_new_metadata(other_metadata)),
            pl.concat([gone.select(KEY), replaced.select(KEY), other_metadata]),
        )
        self._store.replace(METADATA_FIELDS, self._name, fields)
        self._staging.clear()
        return IngestOutcome(
            rows=self._store.count(DOCUMENTS, self._name),
            extracted=scan.changed.height,
            moved=moved,
            deleted=gone.height - moved,
            kept=absent.height - gone.height,
            issues=issues,
            new_issues=new_issues,
            metadata_changed=other_metadata.height,
            fields=fields,
        )

    def _scan(self, earlier: pl.DataFrame, listing: Listing) -> IngestScan:
        """Looks at every source, and stages the text of those that changed."""
        staged = self._staging.read({name: SCHEMAS[DOCUMENTS][name] for name in VERSION})
        known_issues = (
            self._store.read(ISSUES, self._name).drop_nulls("source_sha256").filter(pl.col("kind") != PARTIAL)
        )
        files = _whole_files(earlier)
        unchanged, waiting, bad = (
            Versions.of(rows)
            for rows in (pl.concat([earlier.select(VERSION), files]), staged, known_issues.rename({"path": "doc_id"}))
        )
        limits = DocumentLimits.of(self._settings)
        outdated = _refused_in_files(known_issues, other_than=refused_by(limits))

        def known(source: Source) -> bool:
            # What is staged of a file need not be all that is in it.
            is_staged = source in waiting and not source.is_container
            return (source in unchanged and source.doc_id not in outdated) or is_staged or source in bad

        scan = IngestScan(self._staging)
        sources = read_sources(
            self._collection,
            limits,
            known=known,
            listing=listing,
            progress=self._progress,
        )
        # Closed: its processes end with the run, whatever ends it.
        with closing(sources):
            for source, item in sources:
                if isinstance(item, DocumentIssue):
                    scan.issue(source, item)
                elif isinstance(item, Document) and source not in unchanged and source not in waiting:
                    scan.document(source, item)
                elif item is None and source in bad:
                    scan.known_issues.append(source.doc_id)
                else:
                    scan.known(source, staged=source not in unchanged)
                    if item is None:
                        scan.unread.append(source.doc_id)
        scan.finish()
        return scan

    def _gone(self, absent: pl.DataFrame, scan: IngestScan, listing: Listing) -> pl.DataFrame:
        """Of documents that were not read, those that have no source any more, as far as that can be known."""
        if listing.is_beir:
            # A line that cannot be used may have been any of the documents.
            of_rows = (issue for _, issue in scan.issues if issue.path not in listing.about)
            unsure = any(issue.kind not in _OF_KNOWN_ROWS for issue in of_rows)
            return absent.clear() if unsure else absent
        in_the_way = {issue.path for _, issue in scan.issues if issue.kind in _OF_ITS_PATH_ALONE}
        doubtful = set(scan.known_issues)
        for source, issue in scan.issues:
            if issue.kind not in {*_OF_ITS_PATH_ALONE, *_OF_KNOWN_ROWS}:
                doubtful |= {issue.path, source.doc_id}  # a line that cannot be used may be any row of its file
        sure = [
            in_the_way.isdisjoint([doc_id, file]) and not _is_or_is_below(doc_id, doubtful)
            for doc_id, file in absent.select("doc_id", "source").iter_rows()
        ]
        return _where(absent, sure)

    def _moved(self, gone: pl.DataFrame, scan: IngestScan) -> int:
        """How many of the documents that are gone have their text in one that is new or changed."""
        if not (gone.height and scan.changed.height):
            return 0
        staged = self._staging.read({name: SCHEMAS[DOCUMENTS][name] for name in (*VERSION, "content_sha256")})
        texts = staged.join(scan.changed, on=VERSION, how="semi")
        return gone.join(texts, on="content_sha256", how="semi").height

    def _resolve_metadata(self, kept: pl.DataFrame, changed: pl.DataFrame) -> pl.DataFrame:
        """Looks at the metadata of all documents, and returns the keys of those kept ones that have another now."""
        keys = [kept.select(KEY).clear()]
        stays = kept.select("doc_id")
        for frame in self._store.batches(DOCUMENTS, self._name, [*KEY, "source_metadata", *RESOLVED]):
            rows = frame.join(stays, on="doc_id", how="semi", maintain_order="left")
            now = self._metadata.resolved(rows, count=True)
            same = [rows[name].eq_missing(now[name]) for name in RESOLVED]
            keys.append(rows.select(KEY).filter(~(same[0] & same[1])))
        for frame in self._staging.frames({name: SCHEMAS[DOCUMENTS][name] for name in (*VERSION, "source_metadata")}):
            self._metadata.resolved(frame.join(changed, on=VERSION, how="semi"), count=True)
        return pl.concat(keys)

    def _with_new_metadata(self, keys: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """The whole rows of documents in the table, with their metadata as it is now."""
        if not keys.height:
            return
        for frame in self._store.batches(DOCUMENTS, self._name, where=pl.col("doc_id").is_in(keys["doc_id"].implode())):
            yield self._metadata.resolved(frame.join(keys, on=KEY, how="semi"))

    def _issues(
        self, scan: IngestScan, listing: Listing, earlier: pl.DataFrame, kept: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The rows of ``document_issues``, and those that are new; ``kept`` are the documents that stay as they are."""
        before = self._store.read(ISSUES, self._name)
        still_there = set(earlier["doc_id"].filter(earlier["doc_id"].is_in([issue.path for _, issue in scan.issues])))
        found = [
            {
                **vars(issue),
                "message": f"{issue.message} {STILL_THERE}" if issue.path in still_there else issue.message,
                "source_sha256": source.sha256,
                "extraction": source.extraction,
            }
            for source, issue in scan.issues
        ]
        unusable = pl.DataFrame(found, schema=SCHEMAS[ISSUES]).drop("first_seen")
        staged = self._staging.read({name: SCHEMAS[DOCUMENTS][name] for name in COLUMNS})
        new = staged.join(scan.changed, on=VERSION, how="semi")
        partial = partial_issues(pl.concat([kept.select(COLUMNS), new])).with_columns(collection=pl.lit(self._name))
        passed_over = pl.DataFrame(list(listing.unknown_formats()), schema=SCHEMAS[ISSUES]).drop("first_seen")
        passed_over = passed_over.with_columns(collection=pl.lit(self._name))
        key = ["path", "kind", "part"]
        since = before.group_by(key).agg(pl.col("first_seen").min())
        rows = (
            pl.concat([unusable, partial.select(unusable.columns), self._metadata.issues(), passed_over])
            .join(since, on=key, how="left", nulls_equal=True)
            .with_columns(pl.col("first_seen").fill_null(datetime.now(UTC)))
        )
        same = set(earlier.filter(_is_one_of("source", scan.unread))["source_sha256"])
        unread, known = set(scan.unread), set(scan.known_issues)
        unlisted = set() if listing.is_listed else set(NOTICES)
        carried = _where(
            before,
            [
                kind != PARTIAL
                and (path in known or kind in unlisted or (digest in same and not unread.isdisjoint(_files_of(path))))
                for path, kind, digest in before.select("path", "kind", "source_sha256").iter_rows()
            ],
        )
        issues = pl.concat([rows.select(list(SCHEMAS[ISSUES])), carried]).sort(key)
        return issues, issues.join(before, on=key, how="anti", nulls_equal=True)

    def _added(self, changed: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """The rows of versions that are new, all of them: it raises before a commit that would lack some."""
        staged = 0
        for frame in self._staging.frames(SCHEMAS[DOCUMENTS]):
            rows = frame.join(changed, on=VERSION, how="semi", maintain_order="left")
            staged += rows.height
            if rows.height:
                yield self._metadata.resolved(rows)
        if staged != changed.height:
            address = self._staging.address
            self._staging.clear()
            raise missing_rows_error(f"staged documents of collection '{self._name}'", changed.height, staged, address)


def _is_or_is_below(doc_id: str, places: Set[str]) -> bool:
    """Whether a path, or a folder that it is in, is one of some places; ``.`` is the folder of all."""
    return not places.isdisjoint([".", doc_id, *_parents(doc_id)])


def _parents(path: str) -> list[str]:
    """The folders or files that a path is in."""
    return [path[:end] for end, character in enumerate(path) if character == "/"]


def _files_of(path: str) -> list[str]:
    """What may be the file that an issue's path is in: one above it, or the one whose row it is (``FILE:12``)."""
    return [*_parents(path), _ROW.sub("", path)] if _ROW.search(path) else _parents(path)


def _whole_files(documents: pl.DataFrame) -> pl.DataFrame:
    """Versions of files that are no documents, and of which all documents in them are: the columns of ``VERSION``."""
    parts = documents.join(documents, left_on="source", right_on="doc_id", how="anti").unique(["source", *VERSION[1:]])
    return parts.filter(pl.len().over("source") == 1).select(pl.col("source").alias("doc_id"), *VERSION[1:])


def _refused_in_files(issues: pl.DataFrame, *, other_than: str) -> set[str]:
    """Files with documents in them that were refused by other limits; each path is that of a folder or of a file."""
    rows = issues.filter(pl.col("extraction").str.contains("/", literal=True), pl.col("extraction") != other_than)
    return {file for path in rows["path"] for file in _files_of(path)}


def _is_one_of(column: str, values: list[str]) -> pl.Expr:
    return pl.col(column).is_in(pl.Series(values, dtype=pl.String).implode())


def _names_document(path: str, listing: Listing) -> bool:
    """Whether an issue's path is that of a document, and not of a folder or of a whole file of rows."""
    return path not in (BEIR_CORPUS, *listing.about) if listing.is_beir else is_document_name(_ROW.sub("", path))


def _where(rows: pl.DataFrame, wanted: list[bool]) -> pl.DataFrame:
    return rows.filter(pl.Series(wanted, dtype=pl.Boolean))
