"""Reads and writes the Delta Lake tables, each partitioned by collection. Every change is one atomic commit.

Nothing here holds a whole collection of any size: rows come and go as frames, one after the other. The exceptions,
``read`` without a condition and ``replace``, are for tables that do not grow with the documents.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Literal, cast

import polars as pl
from arro3.core import RecordBatchReader
from deltalake import DeltaTable, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError

from embedder_assets.settings import Settings
from embedder_assets.tables.arrow_stream import write_stream
from embedder_assets.tables.file_errors import FREE_SPACE, translate_file_errors
from embedder_assets.tables.frames import CountedFrames, Rows, conform, conforming_frames, same_rows, scan, take_rows
from embedder_assets.tables.locks import table_lock
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.staging import FOLDER, StagedFiles, Staging, delete_files
from embedder_assets.tables.storage import TableStorage, storage_of
from embedder_assets.tables.time_travel import TimeTravelStorage
from embedder_assets.tables.transaction import ReadSnapshot, collection_predicate, commit_conflict

# A merge of delta-rs reads all rows of the collection into memory; above this many they are written anew, as a stream.
MERGE_ROWS = 100_000
# Small enough to be read whole, large enough that a million vectors are some fifty files.
FILE_BYTES = 32 * 2**20
# Rows that Parquet can leave out of a read together, see ``ranges``.
ROW_GROUP_ROWS = 4096


class TableStore:
    """All tables of one ``EMBEDDER_HOME``, or of several that share them.

    Args:
        home: The state folder: its locks keep the processes of one host apart.
        url: ``s3://bucket/prefix``, where the tables are in an object store; by default they are under the home.
    """

    def __init__(self, home: Path, url: str | None = None) -> None:
        self.home = home
        self.storage: TableStorage = storage_of(home, url)
        self._snapshot = ReadSnapshot(self.storage, remembers=False)

    @classmethod
    def of(cls, settings: Settings) -> TableStore:
        """The tables that the settings name."""
        return cls(settings.home, settings.tables_url)

    @contextmanager
    def transaction(self) -> Iterator[TableStore]:
        """The same tables for one piece of work, which ``run_exclusively`` does again where a commit fails.

        Yields:
            Tables that keep what is read through them: a commit fails where another host has changed that since.
        """
        tables = copy.copy(self)
        tables._snapshot = ReadSnapshot(self.storage, remembers=True)
        yield tables

    def as_of(self, versions: Mapping[str, int | None]) -> TableStore:
        """The same tables for reading, each at one version for good: the given one, or the newest at the first look.

        Args:
            versions: Name of a table to its version; None for a table that is to be empty.
        """
        fixed = copy.copy(self)
        fixed.storage = TimeTravelStorage(self.storage, versions)
        fixed._snapshot = ReadSnapshot(fixed.storage, remembers=False)
        return fixed

    def version(self, table: str) -> int:
        """The version of a table that this piece of work has read or made; -1 for a table that was not there."""
        with self.readable(table):
            return self._snapshot.version(table)

    def check_unchanged(self, collection: str) -> None:
        """Returns where all rows of a collection that this piece of work has read are still the newest.

        Raises:
            CommitConflictError: Another host has changed some.
        """
        self._snapshot.check_unchanged(collection)

    def check_access(self) -> None:
        """Returns where the tables can be looked at.

        Raises:
            StorageError: The object store does not answer, does not give access, or has no such bucket.
        """
        with translate_file_errors(
            f"the tables at {self.storage}", expected="to be reached", remedy="Check EMBEDDER_TABLES_URL."
        ):
            self.storage.check_access()

    def staging(self, table: str, collection: str, fingerprint: str) -> Staging:
        """Where computed rows wait that are not in their table yet, for all hosts that share the tables.

        Two hosts may both stage the rows of one text: who reads them takes one of each.

        Args:
            table: Name of the table.
            collection: The collection.
            fingerprint: Of the model.
        """
        return self.storage.staging(table, collection, fingerprint) or self.local_staging(
            table, collection, fingerprint
        )

    def local_staging(self, table: str, collection: str, source: str) -> Staging:
        """The same for this home alone, whose locks let one run at a time stage rows of a collection.

        Args:
            table: Name of the table.
            collection: The collection.
            source: What the rows are made with.
        """
        return StagedFiles(self.home / FOLDER, table, collection, source)

    def delete_staged(self, collection: str | None = None) -> None:
        """Removes what is staged of a collection; by default, of any, what was not needed for a week."""
        delete_files(self.home / FOLDER, collection)
        self.storage.delete_staged(collection)

    def path(self, table: str) -> Path:
        """The folder of a table, where the tables are in one."""
        return Path(self.storage.address(table))

    def exists(self, table: str) -> bool:
        """Whether the table has been written."""
        with self.readable(table):
            there = self.storage.exists(table)
        if not there:
            self._snapshot.note(table, None)
        return there

    def newest(self, table: str) -> DeltaTable:
        """The newest version of a table that there is; read it only, others hold it too."""
        delta = self.storage.newest(table)
        self._snapshot.note(table, delta)
        return delta

    def collections(self, table: str) -> list[str]:
        """The collections that have rows in a table, sorted."""
        if not self.exists(table):
            return []
        with self.readable(table):
            return sorted(str(part["collection"]) for part in self.newest(table).partitions())

    def read(
        self,
        table: str,
        collection: str,
        columns: Sequence[str] | None = None,
        *,
        where: pl.Expr | None = None,
        limit: int | None = None,
    ) -> pl.DataFrame:
        """The rows of one collection, empty with the right columns when there are none.

        Args:
            table: Name of the table.
            collection: The collection.
            columns: The columns that are wanted; all by default.
            where: Which rows are wanted; others are left out while reading, not after it.
            limit: How many rows are wanted at most; which ones is left open.

        Raises:
            TableError: The table's files cannot be read.
        """
        schema = SCHEMAS[table]
        wanted = list(columns or schema)
        if not self.exists(table):
            return pl.DataFrame(schema=schema).select(wanted)
        with self.readable(table):
            rows = self._scan(table).filter(pl.col("collection") == collection)
            rows = rows if where is None else rows.filter(where)
            rows = rows if limit is None else rows.head(limit)
            return rows.select(pl.col(name).cast(schema[name]) for name in wanted).collect()

    def count(self, table: str, collection: str) -> int:
        """The number of rows of one collection."""
        if not self.exists(table):
            return 0
        with self.readable(table):
            rows = self._scan(table).filter(pl.col("collection") == collection)
            return int(rows.select(pl.len()).collect().item())

    def batches(
        self, table: str, collection: str, columns: Sequence[str] | None = None, *, where: pl.Expr | None = None
    ) -> Iterator[pl.DataFrame]:
        """The same rows as ``read``, the table's files one after the other; frames without rows are left out.

        The rows are those of the version that is the newest when the first frame is asked for.
        """
        if not self.exists(table):
            return
        with self.readable(table):
            delta = self.newest(table)
        yield from self.batches_of(table, delta, collection, columns, where=where)

    def batches_of(
        self,
        table: str,
        delta: DeltaTable,
        collection: str,
        columns: Sequence[str] | None = None,
        *,
        where: pl.Expr | None = None,
    ) -> Iterator[pl.DataFrame]:
        """The same of a version of the table that was opened."""
        schema = SCHEMAS[table]
        with self.readable(table):
            files = self._files(table, delta, collection)
        for file in files:
            with self.readable(table):
                rows = scan(table, [file], self.storage.reading)
                rows = rows if where is None else rows.filter(where)
                frame = rows.select(pl.col(name).cast(schema[name]) for name in columns or schema).collect()
            if frame.height:
                yield frame

    def replace(self, table: str, collection: str, rows: pl.DataFrame) -> bool:
        """Makes ``rows`` the collection's only rows. Writes nothing, and returns False, when they already are."""
        rows = conform(table, rows)
        if self.exists(table) and self._holds(table, collection, rows):
            return False
        if not rows.height and not self.exists(table):
            # A table that was computed and has no row is there, and not missing.
            with self.committing(table) as base:
                if isinstance(base, str):
                    rows.write_delta(base, mode="append", delta_write_options=_PARTITIONED)
        self.overwrite(table, collection, [rows])
        return True

    def append(self, table: str, rows: Rows) -> None:
        """Adds rows of one collection in one commit; none at all make no commit."""
        self._write(table, conforming_frames(table, rows), None, mode="append")

    def delete_and_insert(self, table: str, collection: str, added: Rows, removed: pl.DataFrame) -> int:
        """Adds rows to a collection and removes others in one commit, a plain append where none is removed.

        Args:
            table: Name of the table.
            collection: The collection.
            added: New rows. Frames are taken one after the other.
            removed: Some of the table's columns: rows that agree with a row of this frame in all of them go.

        Returns:
            How many rows were removed.
        """
        frames = conforming_frames(table, added)
        if not removed.height:
            self._write(table, frames, collection, mode="append")
            return 0
        present = self.count(table, collection)
        first, rest = take_rows(frames, MERGE_ROWS) if present <= MERGE_ROWS else ([], frames)
        if rest is None:
            return self._merge(table, collection, pl.concat(first) if first else None, removed)
        kept = self.batches(table, collection)
        kept = (frame.join(removed, on=removed.columns, how="anti", nulls_equal=True) for frame in kept)
        old = CountedFrames(kept)
        self.overwrite(table, collection, chain(old, first, rest or ()))
        return present - old.rows

    def remove(self, table: str, collection: str) -> int:
        """Removes all rows of a collection in one commit and returns how many there were."""
        present = self.count(table, collection)
        if present:
            with self.committing(table, collection) as base:
                assert isinstance(base, DeltaTable), "it has rows"
                base.delete(
                    collection_predicate(collection), commit_properties=self._snapshot.describe(table, collection)
                )
        return present

    def _merge(self, table: str, collection: str, added: pl.DataFrame | None, removed: pl.DataFrame) -> int:
        # A row without a collection is one to remove: so both kinds are one source, and the merge one commit.
        none = pl.DataFrame(schema=SCHEMAS[table])
        changes = pl.concat([none if added is None else added, removed.unique()], how="diagonal")
        same = " AND ".join(["new.collection IS NULL", *(f'old."{name}" = new."{name}"' for name in removed.columns)])
        with self.committing(table, collection) as base:
            merge = changes.write_delta(
                base,
                mode="merge",
                delta_merge_options={
                    "predicate": f"old.{collection_predicate(collection)} AND {same}",
                    "source_alias": "new",
                    "target_alias": "old",
                    "merge_schema": True,  # the values of columns that are younger than the table would be lost
                    "commit_properties": self._snapshot.describe(table, collection),
                },
            )
            merge = merge.when_matched_delete().when_not_matched_insert_all(predicate="new.collection IS NOT NULL")
            return int(merge.execute()["num_target_rows_deleted"])

    def overwrite(self, table: str, collection: str, rows: Rows) -> None:
        """Makes some rows a collection's only ones in one commit, whatever they are."""
        frames = conforming_frames(table, rows)
        if not self._write(table, frames, collection, mode="overwrite"):
            self.remove(table, collection)

    def _write(
        self,
        table: str,
        frames: Iterator[pl.DataFrame],
        collection: str | None,
        *,
        mode: Literal["append", "overwrite"],
    ) -> bool:
        """Writes frames of a collection, by default their own, in one commit and returns whether there was any."""
        first = next(frames, None)
        if first is None:
            return False
        collection = str(first["collection"][0]) if collection is None else collection
        with self.committing(table, collection) as base:

            def write(stream: RecordBatchReader) -> None:
                # Also an append says what it is about, which deltalake's types do not know of: then commits to other
                # collections go through next to it, and none to this one.
                cast("Any", write_deltalake)(
                    base,
                    stream,
                    mode=mode,
                    predicate=collection_predicate(collection),
                    partition_by=["collection"],
                    schema_mode="merge",
                    target_file_size=FILE_BYTES,
                    writer_properties=WriterProperties(max_row_group_size=ROW_GROUP_ROWS),
                    commit_properties=self._snapshot.describe(table, collection),
                )

            write_stream(chain([first], frames), write)
        return True

    def _holds(self, table: str, collection: str, rows: pl.DataFrame) -> bool:
        """Whether rows are the collection's only rows already."""
        # The digest first, where there is one: rows that differ in it need not all be read and sorted.
        looks = [["input_digest"], rows.columns] if "input_digest" in rows.columns else [rows.columns]
        return all(same_rows(self.read(table, collection, look), rows.select(look)) for look in looks)

    def _files(self, table: str, delta: DeltaTable, collection: str | None = None) -> list[str]:
        """The files of a version of a table, or of one of its collections."""
        # Named here: deltalake percent-encodes the folder, where pl.scan_delta then looks for them.
        encoded_root = len(delta.table_uri.removeprefix("file://"))
        uris = delta.file_uris(file_pruning_predicate=None if collection is None else collection_predicate(collection))
        return [self.storage.file(table, uri[encoded_root:]) for uri in uris]

    def _scan(self, table: str) -> pl.LazyFrame:
        return scan(table, self._files(table, self.newest(table)), self.storage.reading)

    def readable(self, table: str) -> AbstractContextManager[None]:
        """While the context lasts, files of a table that cannot be read raise a ``TableError``."""
        return translate_file_errors(
            f"table '{table}' at {self.storage.address(table)}",
            expected="readable Delta Lake files",
            remedy=f"`embedder tables restore {table}` restores an earlier version; or delete the folder: the next "
            "run computes it anew.",
        )

    @contextmanager
    def committing(self, table: str, collection: str | None = None) -> Iterator[DeltaTable | str]:
        """While the context lasts, no other process of this host commits to a table.

        Args:
            table: Name of the table.
            collection: What the commit changes; None for all of the table.

        Yields:
            What to commit to: the table as the work has seen it, or its address where there is none yet.

        Raises:
            CommitConflictError: Another host has changed what the commit is made from.
            TableError: The table cannot be written.
        """
        with (
            translate_file_errors(
                f"table '{table}' at {self.storage.address(table)}",
                expected="to take a commit",
                remedy=f"The table is as it was. {FREE_SPACE}",
            ),
            table_lock(self.home, table),
        ):
            try:
                base = self._snapshot.base(table, collection)
                yield base
            except CommitFailedError as error:
                raise commit_conflict(table, collection, str(error).splitlines()[0]) from error
            self._snapshot.committed(table, base)


_PARTITIONED = {"partition_by": ["collection"], "schema_mode": "merge"}
